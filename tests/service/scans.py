"""Small runs with real files: one ellipse, written to HDF5 and published by the real TiledWriter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import event_model
import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.recipe import parse_recipe
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan

DATASET = "/entry/data/data"
OPEN_BEAM = 60000.0
OFFSET = 100.0


@dataclass(frozen=True)
class SmallScan:
    """An elliptic cylinder, off centre, of uniform attenuation."""

    columns: int = 32
    rows: int = 16
    angles: int = 60
    rotation_axis: float = 15.5
    attenuation: float = 0.05
    """Per pixel."""
    half_axes: tuple[float, float] = (9.0, 6.0)
    centre: tuple[float, float] = (2.0, -1.0)

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        return np.linspace(0.0, 180.0, self.angles, endpoint=False)

    def line_integrals(self) -> NDArray[np.float32]:
        """Return exact line integrals (angle, row, column), averaged over each pixel's width."""
        a, b = self.half_axes
        fine = (np.arange(self.columns * 8) + 0.5) / 8 - 0.5 - self.rotation_axis
        theta = np.deg2rad(self.angles_deg)[:, None]
        shift = self.centre[0] * np.cos(theta) + self.centre[1] * np.sin(theta)
        radius2 = (a * np.cos(theta)) ** 2 + (b * np.sin(theta)) ** 2
        chord = 2 * a * b * np.sqrt(np.clip(radius2 - (fine - shift) ** 2, 0, None)) / radius2
        pixels = self.attenuation * chord.reshape(self.angles, self.columns, 8).mean(axis=2)
        return np.repeat(pixels[:, None, :], self.rows, axis=1).astype(np.float32)

    def frames(self) -> dict[str, NDArray[np.uint16]]:
        """Return what a camera sees, by stream (frame, row, column)."""
        rng = np.random.default_rng(1)
        beam = OPEN_BEAM * (0.8 + 0.2 * rng.random((self.rows, self.columns)))
        projections = OFFSET + beam * np.exp(-self.line_integrals())
        flat, dark = OFFSET + beam, np.full((self.rows, self.columns), OFFSET)
        return {
            "dark": np.repeat(dark[None], 3, axis=0).astype(np.uint16),
            "flat": np.repeat(np.rint(flat)[None], 3, axis=0).astype(np.uint16),
            "primary": np.rint(projections).astype(np.uint16),
        }


SLOW = SmallScan(
    columns=96, rows=384, angles=160, rotation_axis=47.5, half_axes=(30.0, 20.0), attenuation=0.01
)
SLOW_RECIPE = {
    "rotation_axis": {"method": "value", "value": 47.5},
    "reconstruction": {"method": "astra_fbp"},
}
"""With `SLOW`: six slabs that take a quarter of a second or more each."""


FOURIER = {"rotation_axis": {"method": "value", "value": 47.5}}
"""With `SLOW`: six slabs that take no time."""


def reconstructed(scan: SmallScan, recipe: dict[str, Any]) -> NDArray[np.float32]:
    """Compute the volume (z, y, x) from arrays in memory, without files, catalogue, store or conductor."""
    frames = scan.frames()
    whole = TomoScan(
        ArrayFrames(frames["primary"]),
        scan.angles_deg,
        ScanOrigin("memory", "memory"),
        flats=ArrayFrames(frames["flat"]),
        darks=ArrayFrames(frames["dark"]),
    )
    plan = prepare(whole, parse_recipe(recipe))
    volume = np.full(plan.shape, np.nan, np.float32)

    def keep(slab: Slab, pixels: NDArray[np.float32]) -> None:
        volume[slab.start : slab.stop] = pixels

    compute(plan, whole, on_slab=keep)
    return volume


Document = tuple[str, dict[str, Any]]


def documents(
    scan: SmallScan,
    folder: Path,
    *,
    start: dict[str, Any] | None = None,
    exit_status: str = "success",
) -> Iterator[Document]:
    """Write the scan's files into `folder` and yield its documents in order."""
    content = {
        "plan_name": "tomo_scan",
        "sample_name": "ellipse",
        "scan_layout": "tomoservice",
        "tomo": {"pixel_size_um": 1.5, "energy_kev": 20.0, "distance_mm": 100.0},
        **(start or {}),
    }
    run = event_model.compose_run(metadata=content)
    yield "start", dict(run.start_doc)
    for stream, frames in scan.frames().items():
        path = folder / f"{run.start_doc['uid']}_{stream}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset(DATASET, data=frames, chunks=(1, *frames.shape[1:]))
        yield from _stream(run, stream, frames, path, scan.angles_deg if stream == "primary" else None)
    yield "stop", dict(run.compose_stop(exit_status=exit_status))


def _stream(
    run: Any, stream: str, frames: NDArray[np.uint16], path: Path, angles: NDArray[np.float64] | None
) -> Iterator[Document]:
    keys: dict[str, Any] = {
        "camera_image": {
            "source": "test",
            "dtype": "array",
            "dtype_numpy": "<u2",
            "shape": list(frames.shape[1:]),
            "external": "STREAM:",
        }
    }
    if angles is not None:
        keys["rotation"] = {"source": "test", "dtype": "number", "shape": []}
    bundle = run.compose_descriptor(
        name=stream, data_keys=keys, object_keys={"camera": list(keys)}, configuration={}
    )
    yield "descriptor", dict(bundle.descriptor_doc)
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        data_key="camera_image",
        parameters={"dataset": DATASET, "chunk_shape": [1, *frames.shape[1:]]},
    )
    yield "stream_resource", dict(resource.stream_resource_doc)
    count = len(frames)
    yield (
        "stream_datum",
        dict(
            resource.compose_stream_datum(
                indices={"start": 0, "stop": count},
                seq_nums={"start": 1, "stop": count + 1},
                descriptor=bundle.descriptor_doc,
            )
        ),
    )
    for index in range(count if angles is not None else 0):
        data = {"rotation": float(angles[index])}
        yield "event", dict(bundle.compose_event(data=data, timestamps={"rotation": 0.0}, seq_num=index + 1))


def publish(raw: Any, docs: Iterator[Document]) -> str:
    """Send documents through the real TiledWriter and return the run's uid."""
    from bluesky_tiled_plugins import TiledWriter

    writer = TiledWriter(raw, batch_size=20)
    uid = ""
    for name, doc in docs:
        uid = doc["uid"] if name == "start" else uid
        writer(name, doc)
    return uid
