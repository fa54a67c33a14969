"""A run that grows under a test's hands: real documents through the real TiledWriter, real files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np
from bluesky_tiled_plugins import TiledWriter
from numpy.typing import NDArray

from tomoservice.phantom import FrameKind, Imperfections, SimulatedCamera, default_phantom

IMAGES = "/entry/data/data"
ANGLES = "/entry/instrument/NDAttributes/Angle"


@dataclass(frozen=True)
class Specimen:
    """What stands in the beam."""

    rows: int = 12
    columns: int = 64
    rotation_axis: float = 33.7

    def frames(self, angles_deg: NDArray[np.float64]) -> NDArray[np.uint16]:
        """Return projections (frame, row, column)."""
        lines = default_phantom(self.columns, self.rows).line_integrals(
            list(angles_deg), rotation_axis=self.rotation_axis
        )
        return np.stack([self.camera.projection(line, number) for number, line in enumerate(lines)])

    @property
    def camera(self) -> SimulatedCamera:
        return SimulatedCamera(self.rows, self.columns, Imperfections(beam_profile=0.3))

    def references(self, kind: FrameKind, count: int = 4) -> NDArray[np.uint16]:
        """Return flats or darks (frame, row, column)."""
        take = self.camera.flat if kind is FrameKind.FLAT else self.camera.dark
        return np.stack([take(number) for number in range(count)])


@dataclass
class GrowingRun:
    """Writes a run piece by piece.

    Parameters
    ----------
    raw
        Container of the raw runs.
    folder
        Where its files go.
    swmr
        Whether files can be read while they are written.
    step
        Whether angles are a motor's readback in events, as in a step scan.
    start
        More of the start document.
    began
        Its time, in seconds since 1970.
    """

    raw: Any
    folder: Path
    swmr: bool = True
    step: bool = False
    start: dict[str, Any] = field(default_factory=dict)
    began: float | None = None

    def __post_init__(self) -> None:
        content = {
            "plan_name": "tomo_fly",
            "scan_layout": "tomoservice",
            "tomo": {"pixel_size_um": 1.5, "num_projections": 90, "start_deg": 0.0, "stop_deg": 180.0},
            **self.start,
        }
        # None takes away what a plan of ours says.
        content = {key: value for key, value in content.items() if value is not None}
        self._run = event_model.compose_run(metadata=content, time=self.began)
        self.uid = self._run.start_doc["uid"]
        self._write = TiledWriter(self.raw, batch_size=1)
        self._write("start", dict(self._run.start_doc))
        self._open: dict[str, tuple[h5py.File, list[Any]]] = {}

    def series(self, stream: str, frames: NDArray[np.uint16], angles_deg: NDArray[np.float64] | None) -> None:
        """Append frames to a stream, which is begun if it is new; its file stays open."""
        if stream not in self._open:
            self._open[stream] = self._begin(stream, frames, angles_deg is not None)
        file, bundles = self._open[stream]
        before = file[IMAGES].shape[0]
        count = before + len(frames)
        for name, values in ((ANGLES, angles_deg), (IMAGES, frames)):
            if values is not None:
                file[name].resize(count, axis=0)
                file[name][before:] = values
                file[name].flush()
        for bundle in bundles:
            self._write("stream_datum", bundle.datum(before, count))
        if self.step and angles_deg is not None:
            for number, angle in enumerate(angles_deg):
                self._write("event", bundles[0].event(before + number, float(angle)))

    def close_files(self) -> None:
        """Close all files, as the camera does at the end of a series."""
        for file, _ in self._open.values():
            file.close()

    def end(self, exit_status: str = "success") -> None:
        """Close the files and end the run."""
        self.close_files()
        self._write("stop", dict(self._run.compose_stop(exit_status=exit_status)))

    def _begin(
        self, stream: str, frames: NDArray[np.uint16], with_angles: bool
    ) -> tuple[h5py.File, list[Any]]:
        path = self.folder / f"{self.uid}_{stream}.h5"
        shape = frames.shape[1:]
        file = h5py.File(path, "w", libver="latest")
        file.create_dataset(IMAGES, (0, *shape), frames.dtype, maxshape=(None, *shape), chunks=(1, *shape))
        file.create_dataset(ANGLES, (0,), "f8", maxshape=(None,), chunks=(16,))
        if self.swmr:
            file.swmr_mode = True
        image = {
            "source": "test",
            "dtype": "array",
            "dtype_numpy": "<u2",
            "shape": list(shape),
            "external": "STREAM:",
        }
        angle = {
            "source": "test",
            "dtype": "number",
            "dtype_numpy": "<f8",
            "shape": [],
            "external": "STREAM:",
        }
        keys = {"camera_image": image}
        if with_angles and self.step:
            keys["rotation"] = {"source": "test", "dtype": "number", "shape": []}
        elif with_angles:
            keys["camera_angle"] = angle
        descriptor = self._run.compose_descriptor(
            name=stream, data_keys=keys, object_keys={"camera": list(keys)}, configuration={}
        )
        self._write("descriptor", dict(descriptor.descriptor_doc))
        bundles = []
        for key, dataset, chunk in (("camera_image", IMAGES, [1, *shape]), ("camera_angle", ANGLES, [16])):
            if key in keys:
                bundle = self._run.compose_stream_resource(
                    mimetype="application/x-hdf5",
                    uri=f"file://localhost{path}",
                    data_key=key,
                    parameters={"dataset": dataset, "chunk_shape": chunk, "swmr": self.swmr},
                )
                self._write("stream_resource", dict(bundle.stream_resource_doc))
                bundles.append(_Bound(bundle, descriptor))
        return file, bundles


@dataclass(frozen=True)
class _Bound:
    resource: Any
    descriptor: Any

    def datum(self, start: int, stop: int) -> dict[str, Any]:
        made = self.resource.compose_stream_datum(
            indices={"start": start, "stop": stop},
            seq_nums={"start": start + 1, "stop": stop + 1},
            descriptor=self.descriptor.descriptor_doc,
        )
        return dict(made)

    def event(self, number: int, angle: float) -> dict[str, Any]:
        made = self.descriptor.compose_event(
            data={"rotation": angle}, timestamps={"rotation": 0.0}, seq_num=number + 1
        )
        return dict(made)
