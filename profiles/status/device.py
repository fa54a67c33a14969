"""The status PVs as an ophyd device, so that plans can read and set them, and wait for a volume."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from ophyd import Component, Device, EpicsSignal, EpicsSignalRO, get_cl
from ophyd.status import Status

from tomoservice.errors import BeamlineError

SETTING_TIMEOUT_S: Final = 30.0
RECONSTRUCTION_S: Final = 3600.0
LOOK_S: Final = 0.1
DONE: Final = "done"
ENDED: Final = ("failed", "cancelled")


class Setting(EpicsSignal):
    """A control PV; setting it is done when the service has taken it, and fails if it is refused."""

    def set(self, value: Any, *, timeout: float | None = None, settle_time: float | None = None) -> Status:
        """Set the PV.

        Parameters
        ----------
        value
            What to set.
        timeout
            Longest time that it may take, seconds.
        settle_time
            Time to wait afterwards, seconds.

        Returns
        -------
        ophyd status
            Fails with a `BeamlineError` that says why if the value is refused.
        """
        device: TomoStatus = self.parent
        status = Status(self, timeout=timeout or SETTING_TIMEOUT_S, settle_time=settle_time or 0)
        device.in_thread(status, lambda: device.order(self, value))
        return status


def _text(suffix: str, kind: str) -> Any:
    return Component(EpicsSignalRO, suffix, string=True, auto_monitor=True, kind=kind)


def _number(suffix: str, kind: str) -> Any:
    return Component(EpicsSignalRO, suffix, auto_monitor=True, kind=kind)


class TomoStatus(Device):
    """What the service does, and what it is asked for.

    ``bps.mv(tomo_status.recipe, "bone")`` sets, ``bps.trigger_and_read([tomo_status])`` asks for a
    reconstruction of the newest scan and reads where it is when it is done.
    """

    server_running = _text("ServerRunning", kind="omitted")
    heartbeat = _number("Heartbeat", kind="omitted")
    state = _text("State", kind="normal")
    recon_status = _text("ReconStatus", kind="omitted")
    error_message = _text("ErrorMessage", kind="omitted")
    write_message = _text("WriteMessage", kind="omitted")
    run_uid = _text("RunUid", kind="normal")
    progress = _number("Progress", kind="omitted")
    live_state = _text("LiveState", kind="omitted")
    frames_expected = _number("FramesExpected", kind="omitted")
    frames_seen = _number("FramesSeen", kind="omitted")
    frames_used = _number("FramesUsed", kind="normal")
    frames_invalid = _number("FramesInvalid", kind="omitted")
    recon_rate = _number("ReconRate", kind="omitted")
    center_found = _number("CenterFound", kind="hinted")
    center_confidence = _number("CenterConfidence", kind="normal")
    center_provisional = _text("CenterProvisional", kind="omitted")
    recon_state = _text("ReconState", kind="omitted")
    recon_path = _text("ReconPath", kind="omitted")
    last_recon_path = _text("LastReconPath", kind="omitted")
    request_state = _text("RequestState", kind="omitted")
    request_path = _text("RequestPath", kind="normal")
    request_message = _text("RequestMessage", kind="omitted")
    center = Component(Setting, "Center", kind="config")
    delta_beta = Component(Setting, "DeltaBeta", kind="config")
    ortho_x = Component(Setting, "OrthoX", kind="omitted")
    ortho_y = Component(Setting, "OrthoY", kind="omitted")
    ortho_z = Component(Setting, "OrthoZ", kind="omitted")
    recipe = Component(Setting, "Recipe", string=True, kind="config")
    start_recon = Component(Setting, "StartRecon", kind="omitted")
    stop_recon = Component(Setting, "StopRecon", kind="omitted")
    retake_recon = Component(Setting, "RetakeRecon", kind="omitted")

    def __init__(self, prefix: str, **keywords: Any) -> None:
        # One at a time: whether an order was refused stands in a PV that the next one clears.
        self._ordering = threading.Lock()
        super().__init__(prefix, **keywords)

    def trigger(self) -> Status:
        """Ask for a reconstruction of the newest scan; done when it is, and fails if that does."""
        status = Status(self, timeout=RECONSTRUCTION_S)
        self.in_thread(status, lambda: self._reconstruct(status))
        return status

    def order(self, signal: EpicsSignal, value: Any) -> None:
        """Write to a control PV and wait until the service has answered.

        Raises
        ------
        BeamlineError
            It is refused; says why.
        """
        with self._ordering:
            signal.put(value, wait=True, timeout=SETTING_TIMEOUT_S)
            said = self.write_message.get(use_monitor=False)
        name, _, refused = said.partition(": ")
        # Somebody else may have written to another PV meanwhile.
        if name == signal.pvname.removeprefix(self.prefix):
            message = f"{signal.pvname} = {value!r} is refused: {refused}"
            raise BeamlineError(message)

    def in_thread(self, status: Status, action: Callable[[], None]) -> None:
        """Do something that waits, and let a status say what came of it."""

        def act() -> None:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - the thread's boundary: the status tells who waits
                if not status.done:
                    status.set_exception(error)
            else:
                if not status.done:
                    status.set_finished()

        # One that may use Channel Access.
        get_cl().thread_class(target=act, daemon=True, name=f"{self.name}-order").start()

    def _reconstruct(self, status: Status) -> None:
        self.order(self.start_recon, 1)
        path = self.request_path.get(use_monitor=False)
        while not status.done:
            state = self.request_state.get(use_monitor=False)
            if self.request_path.get() != path:
                message = f"{path} is not waited for any more: {self.request_path.get()} was asked for"
                raise BeamlineError(message)
            if state == DONE:
                return
            if state in ENDED:
                message = f"{path} {state}: {self.request_message.get(use_monitor=False)}"
                raise BeamlineError(message)
            time.sleep(LOOK_S)


def status_device(prefix: str) -> TomoStatus:
    """Return the device of the PVs with a prefix, which need not answer yet; for sessions typed by hand."""
    device = TomoStatus(prefix, name="tomo_status")
    atexit.register(_leave, device)
    return device


def disconnect_status(device: TomoStatus) -> None:
    """Close the connections of a device within a process that goes on."""
    atexit.unregister(_leave)
    device.destroy()


def _leave(device: TomoStatus) -> None:
    # Only after ophyd's threads have stopped: one that still talks to a channel crashes the process.
    get_cl().get_dispatcher().stop()
    device.destroy()


class LiveSlice(Device):
    """One of the live slices, as far as a plan wants to know it.

    Parameters
    ----------
    prefix
        Of the PVs, with the name of the image: ``TOMO:image1:``.
    """

    array_data = Component(EpicsSignalRO, "ArrayData", kind="omitted")
    columns = Component(EpicsSignalRO, "ArraySize0_RBV", kind="omitted")
    rows = Component(EpicsSignalRO, "ArraySize1_RBV", kind="omitted")
    unique_id = Component(EpicsSignalRO, "UniqueId_RBV", kind="normal")

    @property
    def image(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The slice (row, column)."""
        rows, columns = int(self.rows.get()), int(self.columns.get())
        values = np.asarray(self.array_data.get(count=rows * columns), dtype=np.float32)
        return values.reshape(rows, columns)
