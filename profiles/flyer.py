"""A camera for continuous scans: its frames are published while it writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from event_model import compose_stream_resource
from ophyd.status import DeviceStatus

from profiles.config import CameraConfig
from profiles.devices import Camera, Reached, put
from tomoservice.errors import BeamlineError

START_TIMEOUT_S = 10.0
WRITE_MARGIN_S = 30.0


@dataclass(frozen=True)
class Series:
    """Frames taken at equal intervals into one file.

    Parameters
    ----------
    num_frames
        How many.
    exposure_s
        Of each.
    period_s
        From the start of one to the start of the next.
    """

    num_frames: int
    exposure_s: float
    period_s: float


class FlyCamera:
    """Flies an areaDetector camera: prepare, kickoff, collect while it completes.

    Emits one stream_resource for the frames and one for the angle that the file holds for each of them,
    then stream_datum documents with growing index ranges: what they name can be read already.

    Parameters
    ----------
    camera
        The camera, used through its PVs only; its classic documents are not used.
    """

    parent = None

    def __init__(self, camera: Camera) -> None:
        self.name: str = camera.name
        self._camera = camera
        self._config: CameraConfig = camera.config
        self._series: Series | None = None
        self._path = ""
        self._published = 0
        self._bundles: list[Any] = []
        self._completion: Reached | None = None

    @property
    def angle_key(self) -> str:
        """Data key of the angles, degrees."""
        return f"{self.name}_angle"

    def stage(self) -> list[object]:
        """Make the camera ready for series of frames."""
        hdf5, cam = self._camera.hdf5, self._camera.cam
        self.unstage()
        for signal, value in (
            (cam.image_mode, "Multiple"),
            (cam.trigger_mode, "Internal"),
            (cam.array_callbacks, 1),
            (hdf5.enable, 1),
            (hdf5.blocking_callbacks, "No"),
            (hdf5.auto_increment, 1),
            (hdf5.file_write_mode, "Stream"),
            (hdf5.file_template, "%s%s_%6.6d.h5"),
            (hdf5.swmr_mode, int(self._config.swmr)),
            (hdf5.num_frames_flush, self._config.frames_per_flush),
            (hdf5.nd_attribute_chunk, self._config.frames_per_flush),
        ):
            put(signal, value)
        return [self]

    def unstage(self) -> list[object]:
        """Stop the camera and close its file."""
        put(self._camera.cam.acquire, 0)
        self._camera.hdf5.stop_capture()
        self._series = None
        if self._completion is not None and not self._completion.done:
            self._completion.set_exception(BeamlineError(f"{self.name}: the series was stopped"))
        self._completion = None
        return [self]

    def prepare(self, series: Series) -> DeviceStatus:
        """Open a new file for a series.

        Parameters
        ----------
        series
            What is to be recorded.

        Raises
        ------
        BeamlineError
            The file cannot be opened.
        """
        cam, hdf5 = self._camera.cam, self._camera.hdf5
        filename, read_path, write_path = hdf5.make_filename()
        hdf5.stop_capture()
        for signal, value in (
            (cam.acquire_time, series.exposure_s),
            (cam.acquire_period, series.period_s),
            (cam.num_images, series.num_frames),
            (hdf5.num_capture, series.num_frames),
            (hdf5.file_name, filename),
            (hdf5.file_number, 0),
        ):
            put(signal, value)
        hdf5.choose_folder(write_path)
        hdf5.start_capture()
        self._path = str(PurePosixPath(read_path) / f"{filename}_000000.h5")
        self._series = series
        self._published = 0
        self._bundles = []
        status = DeviceStatus(self._camera)
        status.set_finished()
        return status

    def kickoff(self) -> Reached:
        """Start the series that was prepared; done when the camera runs."""
        if self._series is None:
            message = f"{self.name}: prepare a series before kickoff"
            raise BeamlineError(message)
        acquire = self._camera.cam.acquire

        def running(*, value: int, **_: Any) -> bool:
            return value == 1

        status = Reached(acquire, running, run=False, timeout=START_TIMEOUT_S)
        acquire.put(1, wait=False)
        return status

    def complete(self) -> Reached:
        """Return a status that is done when every frame is in the file."""
        series = self._expect_series()

        def written(**_: Any) -> bool:
            return self._written() >= series.num_frames

        timeout_s = series.num_frames * series.period_s + WRITE_MARGIN_S
        self._completion = Reached(self._camera.hdf5.num_captured, written, timeout=timeout_s)
        return self._completion

    def get_index(self) -> int:
        """Return how many frames of the series can be read from the file."""
        series, written = self._expect_series(), self._written()
        if written >= series.num_frames:
            return series.num_frames
        # the plugin counts a frame when it is written, readers see it when it is flushed
        return written - written % self._config.frames_per_flush

    def describe_collect(self) -> dict[str, dict[str, Any]]:
        """Describe a frame and its angle."""
        image = self._camera.make_data_key()
        return {
            self._camera.image_key: {**image, "external": "STREAM:"},
            self.angle_key: {
                "source": image["source"],
                "dtype": "number",
                "dtype_numpy": "<f8",
                "shape": [],
                "units": "deg",
                "external": "STREAM:",
            },
        }

    def collect_asset_docs(self, index: int | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield documents for the frames that can be read and were not announced yet.

        Parameters
        ----------
        index
            Announce no frame from here on.
        """
        available = self.get_index() if index is None else min(index, self.get_index())
        if available <= self._published:
            return
        if not self._bundles:
            self._bundles = [self._compose(*parts) for parts in self._resources()]
            for bundle in self._bundles:
                yield "stream_resource", bundle.stream_resource_doc
        indices = {"start": self._published, "stop": available}
        self._published = available
        for bundle in self._bundles:
            yield "stream_datum", bundle.compose_stream_datum(indices=indices)

    def read_configuration(self) -> dict[str, Any]:
        """Return the camera's settings."""
        settings: dict[str, Any] = self._camera.cam.read_configuration()
        return settings

    def describe_configuration(self) -> dict[str, Any]:
        """Describe the camera's settings."""
        settings: dict[str, Any] = self._camera.cam.describe_configuration()
        return settings

    def _resources(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield self._camera.image_key, self._camera.stack_parameters()
        yield (
            self.angle_key,
            {"dataset": self._config.angle_dataset, "chunk_shape": [256], "swmr": self._config.swmr},
        )

    def _compose(self, data_key: str, parameters: dict[str, Any]) -> Any:
        return compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{quote(self._path)}",
            data_key=data_key,
            parameters=parameters,
            uid=str(uuid4()),
        )

    def _written(self) -> int:
        return int(self._camera.hdf5.num_captured.get())

    def _expect_series(self) -> Series:
        if self._series is None:
            message = f"{self.name}: no series was prepared"
            raise BeamlineError(message)
        return self._series
