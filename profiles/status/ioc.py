"""The IOC of the status PVs: looks at Tiled a few times a second, and carries out what is written."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from caproto import AlarmSeverity, AlarmStatus
from numpy.typing import NDArray

from profiles.serving import serve
from profiles.status.looking import Look, Looker, Reconstruction
from profiles.status.orders import Orders
from profiles.status.pvs import DISCONNECTED, MOST_PIXELS, NO_YES, TEXT_LENGTH, ImagePVs, StatusPVs
from tomoservice.catalog.impatience import connect_impatiently
from tomoservice.catalog.live_records import LiveMetadata, LiveState
from tomoservice.catalog.states import State
from tomoservice.client import Tomo
from tomoservice.errors import ServiceUnavailableError, TomoserviceError

logger = logging.getLogger(__name__)

EPICS_EPOCH_S: Final = 631152000.0
"""1990, in seconds since 1970."""
IMAGES: Final = {"xy": "image1", "xz": "image2", "yz": "image3"}
FAILED: Final = (State.FAILED, LiveState.ABORTED)


class StatusIOC:
    """Mirrors the nodes of a service in PVs, and hands on what is written to them.

    Parameters
    ----------
    prefix
        What the names of the PVs begin with.
    uri
        Address of the service; it need not answer yet.
    api_key
        Key that may write; without one the control PVs refuse everything.
    poll_s
        Seconds between two looks.
    """

    def __init__(self, prefix: str, uri: str, api_key: str | None, *, poll_s: float = 0.5) -> None:
        self.pvs = StatusPVs(prefix, self._order)
        self._uri = uri
        self._api_key = api_key
        self._poll_s = poll_s
        self._orders = Orders(prefix)
        self._looker = Looker(self._orders.key)
        self._tomo: Tomo | None = None
        self._images = 0
        self._shown: dict[str, Any] = {}
        self._lock = asyncio.Lock()
        # Tiled's client waits; only the answers are handled where Channel Access is.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="status-look")
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, interfaces: list[str]) -> None:
        """Answer Channel Access on some interfaces until told to end."""
        try:
            await serve(self.pvs.pvdb, interfaces, self._start)
        finally:
            for task in self._tasks:
                task.cancel()
            self._thread.shutdown()
            self._disconnect()

    async def _start(self) -> None:
        self._tasks = [asyncio.create_task(task()) for task in (self._beat, self._follow)]

    async def _beat(self) -> None:
        while True:
            await self.pvs.heartbeat.write(self.pvs.heartbeat.value + 1, verify_value=False)
            await asyncio.sleep(1.0)

    async def _follow(self) -> None:
        while True:
            async with self._lock:
                await self._refresh()
            await asyncio.sleep(self._poll_s)

    async def _refresh(self) -> None:
        """Look once, and show what there is."""
        try:
            await self._show(await self._in_thread(lambda tomo: self._looker.look(tomo.root)))
        except TomoserviceError as error:
            await self._show_trouble(str(error))
        except Exception as error:  # the IOC's boundary: whatever a node holds, the PVs go on
            logger.exception("the look at the service failed")
            await self._show_trouble(f"{type(error).__name__}: {error}")

    async def _in_thread(self, action: Callable[[Tomo], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._act, action)

    def _act(self, action: Callable[[Tomo], Any]) -> Any:
        """Do something with the service, connected anew if it was away."""
        if self._tomo is None:
            self._tomo = Tomo(connect_impatiently(self._uri, self._api_key))
            self._looker.forget()
            logger.info("connected to %s", self._uri)
        try:
            return action(self._tomo)
        except ServiceUnavailableError:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._tomo is not None:
            self._tomo.close()
            self._tomo = None

    async def _order(self, name: str, value: Any) -> None:
        """Carry out what a client wrote; done when the PVs show what came of it."""
        async with self._lock:
            message = ""
            try:
                await self._in_thread(lambda tomo: self._carry_out(tomo, name, value))
            except (TomoserviceError, ValueError) as error:
                message = self._refusal(name, str(error))
                logger.warning("%r is refused: %s", value, message)
            except Exception as error:  # the IOC's boundary: an error response leaves the client waiting
                message = self._refusal(name, f"{type(error).__name__}: {error}")
                logger.exception("%r: %s", value, message)
            await self._write("write_message", message, _severity(bool(message)))
            await self._refresh()

    def _refusal(self, name: str, reason: str) -> str:
        return f"{self.pvs.suffix(name)}: {' '.join(reason.split())}"

    def _carry_out(self, tomo: Tomo, name: str, value: Any) -> None:
        orders = self._orders
        match name:
            case "recipe":
                orders.choose_recipe(tomo, str(value))
            case "center":
                orders.set_axis(tomo, float(value))
            case "delta_beta":
                orders.set_delta_beta(tomo, float(value))
            case "ortho_x" | "ortho_y" | "ortho_z":
                orders.move_slice(tomo, name[-1], int(value))
            case "start_recon" if value:
                orders.start(tomo)
            case "stop_recon" if value:
                orders.stop(tomo)
            case "retake_recon" if value:
                orders.retake(tomo)

    async def _show(self, look: Look) -> None:
        newest, set_to = look.newest, look.setpoints
        failed = look.state in FAILED
        live = look.live or LiveMetadata(raw_uid="")
        shown = newest if look.shown is None else _axis_of(live)
        values: dict[str, Any] = {
            "server_running": "Running",
            "recon_status": look.message or look.state,
            "error_message": look.message if failed else "",
            "run_uid": newest.run_uid if look.shown is None else live.raw_uid,
            "progress": look.percent,
            "live_state": live.state if look.live else "none",
            "frames_expected": -1 if live.frames_expected is None else live.frames_expected,
            "frames_seen": live.frames_seen,
            "frames_used": live.frames_used,
            "frames_invalid": live.frames_invalid,
            "recon_rate": live.rate_hz,
            "center_found": shown.axis,
            "center_confidence": shown.confidence,
            "center_provisional": NO_YES[look.running is not None and live.rotation_axis.provisional],
            "recon_state": newest.state or "none",
            "recon_path": newest.path,
            "last_recon_path": look.done.path,
            "request_path": look.requested.path,
            "request_message": look.requested.message,
            "request_state": look.requested.state or "none",
            "center": _or_nan(set_to.rotation_axis),
            "delta_beta": _or_nan(set_to.delta_beta),
            "recipe": set_to.recipe,
            **{f"ortho_{axis}": _or_middle(number) for axis, number in set_to.slices.model_dump().items()},
        }
        for name, value in values.items():
            await self._write(name, value, _severity(failed and name == "error_message"))
        for key, image in look.pictures.items():
            await self._show_image(getattr(self.pvs, IMAGES[key]), image, live.update)
        # Last: whoever waits for a state finds everything else as it is then.
        await self._write("state", look.state, _severity(failed))

    async def _show_trouble(self, message: str) -> None:
        """Say that the service is away; what was shown last is marked as no longer valid."""
        for name in list(self._shown):
            if name not in ("state", "server_running", "error_message", "write_message"):
                await self._write(name, self._shown[name][0], AlarmSeverity.INVALID_ALARM)
        await self._write("server_running", "Stopped", AlarmSeverity.INVALID_ALARM)
        await self._write("error_message", message, AlarmSeverity.INVALID_ALARM)
        await self._write("state", DISCONNECTED, AlarmSeverity.INVALID_ALARM)

    async def _write(self, name: str, value: Any, severity: AlarmSeverity) -> None:
        shown = (value, severity)
        if name in self._shown and repr(self._shown[name]) == repr(shown):
            return
        status = {AlarmSeverity.NO_ALARM: AlarmStatus.NO_ALARM, AlarmSeverity.INVALID_ALARM: AlarmStatus.COMM}
        channel = getattr(self.pvs, name)
        text = _cut(value) if isinstance(value, str) else value
        await channel.write(
            text, verify_value=False, severity=severity, status=status.get(severity, AlarmStatus.STATE)
        )
        self._shown[name] = shown

    async def _show_image(self, image: ImagePVs, values: NDArray[np.float32], number: int) -> None:
        step = math.ceil(math.sqrt(values.size / MOST_PIXELS))
        part = values[::step, ::step]
        self._images += 1
        for channel, value in (
            (image.array_size0, part.shape[1]),
            (image.array_size1, part.shape[0]),
            (image.array_size, part.nbytes),
            (image.array_data, part.ravel()),
            (image.array_counter, self._images),
            (image.time_stamp, time.time() - EPICS_EPOCH_S),
            (image.unique_id, number),
        ):
            await channel.write(value, verify_value=False)


def _axis_of(live: LiveMetadata) -> Reconstruction:
    axis = live.rotation_axis
    return Reconstruction(axis=_or_nan(axis.value), confidence=_or_nan(axis.confidence))


def _severity(is_wrong: bool) -> AlarmSeverity:
    return AlarmSeverity.MAJOR_ALARM if is_wrong else AlarmSeverity.NO_ALARM


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _or_middle(number: int | None) -> int:
    return -1 if number is None else number


def _cut(text: str) -> str:
    """Return a text that fits into a PV."""
    return text.encode("latin-1", "replace")[: TEXT_LENGTH - 1].decode("latin-1")
