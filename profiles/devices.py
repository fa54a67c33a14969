"""The beamline's devices for step scans: classic ophyd, with documents that Tiled reads as they are."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from ophyd import AreaDetector, Device, EpicsSignal, EpicsSignalRO, SingleTrigger
from ophyd import FormattedComponent as Formatted
from ophyd.areadetector.cam import AreaDetectorCam
from ophyd.areadetector.filestore_mixins import FileStoreHDF5IterativeWrite
from ophyd.areadetector.plugins import HDF5Plugin_V34
from ophyd.areadetector.trigger_mixins import ADTriggerStatus
from ophyd.device import Staged
from ophyd.status import SubscriptionStatus
from ophyd.utils.errors import InvalidState

from profiles.config import CameraConfig, MetadataConfig, MetadataSource, ShutterConfig
from tomoservice.errors import BeamlineError

SHUTTER_OPEN: Final = "open"
SHUTTER_CLOSED: Final = "closed"
TEXTS: Final = ("sample_name", "proposal")
TRIGGER_MARGIN_S: Final = 30.0
SETTING_TIMEOUT_S: Final = 10.0
STALE_STATUS_S: Final = 1.0


class Reached(SubscriptionStatus):
    """Done when a signal has a value that is waited for, found by a callback or at the first look.

    Both may find it at the same time, of which ophyd's own status complains with a traceback.
    """

    def set_finished(self) -> None:
        """Say that the value is reached; a second time changes nothing."""
        with suppress(InvalidState):
            super().set_finished()


class Shutter(Device):
    """A shutter that is set to ``"open"`` or ``"closed"``.

    Parameters
    ----------
    config
        Its PVs and what their values mean.
    """

    control = Formatted(EpicsSignal, "{config.set_pv}", kind="omitted")
    status = Formatted(EpicsSignalRO, "{config.status_pv}", kind="normal", auto_monitor=True)

    def __init__(self, config: ShutterConfig, **keywords: Any) -> None:
        self.config = config
        super().__init__("", name=config.name, **keywords)

    @property
    def state(self) -> str:
        """``"open"`` or ``"closed"``; anything in between counts as closed."""
        return SHUTTER_OPEN if self.status.get() == self.config.status_open else SHUTTER_CLOSED

    def set(self, state: str) -> Reached:
        """Move the shutter.

        Parameters
        ----------
        state
            ``"open"`` or ``"closed"``.

        Returns
        -------
        ophyd status
            Done when the shutter says so itself.

        Raises
        ------
        ValueError
            Any other state.
        """
        if state not in (SHUTTER_OPEN, SHUTTER_CLOSED):
            message = f"a shutter is set to 'open' or 'closed', not {state!r}"
            raise ValueError(message)
        wanted_open = state == SHUTTER_OPEN
        target = self.config.status_open if wanted_open else self.config.status_closed

        def arrived(*, value: int, **_: Any) -> bool:
            return value == target

        status = Reached(self.status, arrived, timeout=self.config.timeout_s)
        self.control.put(self.config.open_value if wanted_open else self.config.closed_value, wait=False)
        return status


class CameraDriver(AreaDetectorCam):
    """areaDetector's ``cam1:``, with the settings that a scan records."""

    _default_configuration_attrs = ("acquire_time", "acquire_period", "model", "manufacturer")


class Hdf5Writer(HDF5Plugin_V34, FileStoreHDF5IterativeWrite):
    """areaDetector's ``HDF1:``, whose documents say how the file can be read."""

    _default_configuration_attrs = ()

    def __init__(self, *args: Any, parent: Camera, **keywords: Any) -> None:
        self.config = parent.config
        super().__init__(
            *args,
            parent=parent,
            write_path_template=str(self.config.write_path),
            read_path_template=None if self.config.read_path is None else str(self.config.read_path),
            **keywords,
        )
        # before ophyd's own settings, the last of which opens the file
        for signal, value in (
            # attributes reach the file in chunks: a longer one would hide the angles of visible frames
            ("nd_attribute_chunk", self.config.frames_per_flush),
            ("num_frames_flush", self.config.frames_per_flush),
            ("swmr_mode", int(self.config.swmr)),
        ):
            self.stage_sigs[signal] = value
            self.stage_sigs.move_to_end(signal, last=False)
        # ophyd would wait for ever for a file that cannot be opened: `start_capture` opens it
        del self.stage_sigs["capture"]

    def stage(self) -> list[object]:
        """Open a file for the frames to come.

        Raises
        ------
        BeamlineError
            The camera's IOC cannot write there.
        """
        _, _, write_path = self.make_filename()
        self.choose_folder(write_path)
        staged: list[object] = super().stage()
        return staged

    def unstage(self) -> list[object]:
        """Close the file."""
        self.stop_capture()
        unstaged: list[object] = super().unstage()
        return unstaged

    def choose_folder(self, path: str) -> None:
        """Set the folder to write to, as the IOC sees it; the IOC makes up to three levels of it.

        Raises
        ------
        BeamlineError
            The IOC cannot see or make it.
        """
        put(self.create_directory, -3)
        self.file_path.set(path).wait(timeout=SETTING_TIMEOUT_S)
        if not self.file_path_exists.get():
            message = (
                f"{self.prefix}: the folder {path} does not exist where the camera writes, nor can it be made"
            )
            raise BeamlineError(message)

    def start_capture(self) -> None:
        """Open the file that was named, and wait until the plugin counts its frames from nothing.

        Raises
        ------
        BeamlineError
            The file cannot be opened, with the IOC's reason.
        """
        # never waited for: areaDetector's Capture is busy until the last frame is written
        self.capture.put(1, wait=False)
        began = time.monotonic()
        while self.capture.get() != 1 or self.num_captured.get() != 0:
            waited_s = time.monotonic() - began
            # at first the status may still be that of an earlier file
            if waited_s > SETTING_TIMEOUT_S or (waited_s > STALE_STATUS_S and self.write_status.get()):
                reason = self.write_message.get() or "no reason given"
                message = f"{self.prefix}: the camera cannot open its file: {reason}"
                raise BeamlineError(message)
            time.sleep(0.005)

    def stop_capture(self) -> None:
        """Close the file, if one is open."""
        put(self.capture, 0)

    def _generate_resource(self, resource_kwargs: dict[str, Any]) -> None:
        self.start_capture()
        # the IOC counts up when it opens a file, so the one just opened has the number before
        number = self.file_number.get() - 1
        self._fn = self.file_template.get() % (self._fp, self.file_name.get(), number)
        # `frame_per_point` would make Tiled add an axis of length one to every frame
        parameters = {key: value for key, value in resource_kwargs.items() if key != "frame_per_point"}
        super()._generate_resource(parameters | self.parent.stack_parameters())


class Camera(SingleTrigger, AreaDetector):
    """An areaDetector camera for step scans: one frame, one event.

    Parameters
    ----------
    config
        PVs, folder and data sets.
    """

    cam = Formatted(CameraDriver, "{self.prefix}{self.config.cam_suffix}")
    hdf5 = Formatted(Hdf5Writer, "{self.prefix}{self.config.hdf5_suffix}")

    def __init__(self, config: CameraConfig, **keywords: Any) -> None:
        self.config = config
        super().__init__(config.pv, name=config.name, **keywords)
        self.read_attrs = ["hdf5"]
        self.hdf5.read_attrs = []
        self.stage_sigs["cam.num_images"] = 1

    @property
    def image_key(self) -> str:
        """Data key of the frames."""
        return f"{self.name}_image"

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        size = self.cam.array_size
        return int(size.array_size_y.get()), int(size.array_size_x.get())

    def stack_parameters(self) -> dict[str, Any]:
        """Say how the stack of frames lies in the file and how it can be read."""
        return {
            "dataset": self.config.dataset,
            "chunk_shape": [1, *self.frame_shape],
            "swmr": self.config.swmr,
        }

    def make_data_key(self) -> dict[str, Any]:
        """Describe one frame, shape [row, column]: a leading 1 makes a growing stack unreadable in Tiled."""
        return {**super().make_data_key(), "shape": list(self.frame_shape), "dims": ["row", "column"]}

    def trigger(self) -> ADTriggerStatus:
        """Take one frame."""
        if self._staged != Staged.yes:
            message = f"{self.name} must be staged before it is triggered"
            raise RuntimeError(message)
        # kept in a local variable: a short exposure ends, and clears the attribute, before this returns
        status = ADTriggerStatus(self, timeout=self.cam.acquire_time.get() + TRIGGER_MARGIN_S)
        self._status = status
        self._acquisition_signal.put(1, wait=False)
        self.generate_datum(self.image_key, time.time(), {})
        return status


def put(signal: EpicsSignal, value: object) -> None:
    """Write a setting and wait until the IOC has taken it; not longer, should it never answer."""
    signal.put(value, wait=True, timeout=SETTING_TIMEOUT_S)


def metadata_signals(config: MetadataConfig) -> dict[str, tuple[EpicsSignalRO, float]]:
    """Make one signal, with its factor, for each metadata source; the name is the key."""
    sources: dict[str, MetadataSource] = {
        "energy_kev": config.energy_kev,
        "pixel_size_um": config.pixel_size_um,
        "distance_mm": config.distance_mm,
        "sample_name": config.sample_name,
        "proposal": config.proposal,
        **config.extra,
    }
    return {
        name: (EpicsSignalRO(source.pv, name=name, string=name in TEXTS), source.scale)
        for name, source in sources.items()
    }
