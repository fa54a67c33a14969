"""A scan file as documents of a Bluesky run, which refer to the file where it lies.

The run has the streams of our own plans, so the scan layout ``tomoservice`` reads it. A file that holds all
frames in one data set (NXtomo) is like a camera that was staged once: every frame has an event, whose time
puts it in its place in the file.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import event_model
import numpy as np
from numpy.typing import NDArray
from tiled.utils import ensure_uri

from tomoservice.errors import InputError
from tomoservice.scan import ImageKey, TomoScan
from tomoservice.sources.hdf5 import find_dataset, has, open_hdf5

Document = tuple[str, dict[str, Any]]

LAYOUT = "tomoservice"
PLAN = "ingest"
CAMERA = "camera"
IMAGE = "camera_image"
ANGLE = "rotation"
NUMBER = "frame"
NAMESPACE = uuid.UUID("6f6d0c1e-8f5b-5c0b-9f3f-6b1f6a3f9d51")
"""What the uids of such runs are derived in."""
STREAMS = {
    ImageKey.DARK: "dark",
    ImageKey.FLAT: "flat",
    ImageKey.PROJECTION: "primary",
    ImageKey.INVALID: "left_out",
}
KINDS = ("dxchange", "nxtomo")
"""Kinds of scans that lie in HDF5 files."""


@dataclass(frozen=True, slots=True)
class FrameSeries:
    """Frames of one stream."""

    stream: str
    """Name of the stream."""
    dataset: str
    """Data set that holds them."""
    count: int
    """How many there are."""
    angles_deg: NDArray[np.float64] | None = None
    """Angle of each, of projections."""
    numbers: NDArray[np.int64] | None = None
    """Where in the data set they are, if it holds other frames too; otherwise the first ones."""


@dataclass(frozen=True, slots=True)
class FileRun:
    """What the documents of a scan file say."""

    uid: str
    """Uid of the run."""
    path: Path
    """File that holds the frames, as the service sees it."""
    time: float
    """When the file was written, in seconds since 1970."""
    shape: tuple[int, int]
    """Rows and columns of a frame."""
    dtype: np.dtype[Any]
    """Type of a pixel."""
    series: tuple[FrameSeries, ...]
    """Its streams."""
    chunks: Mapping[str, tuple[int, ...]]
    """Shape of a chunk of each data set."""
    start: Mapping[str, Any] = field(default_factory=dict)
    """What the start document says beside."""


def run_uid_of(files: Iterable[Mapping[str, Any]]) -> str:
    """Return the uid of the run that a scan file makes: the same for the same content, wherever it lies.

    Parameters
    ----------
    files : iterable of mapping
        Fingerprints of the files that hold the scan, with their `sha256`.
    """
    return str(uuid.uuid5(NAMESPACE, "\n".join(str(file["sha256"]) for file in files)))


def describe_file(scan: TomoScan, files: Sequence[Mapping[str, Any]]) -> FileRun:
    """Return what the documents of a scan file are to say; no pixel is read.

    Parameters
    ----------
    scan : TomoScan
        The open scan.
    files : sequence of mapping
        Fingerprints of the files that hold it: path, size, time of last change, SHA-256.

    Raises
    ------
    InputError
        It does not lie in an HDF5 file.
    """
    if scan.origin.kind not in KINDS:
        raise InputError(
            scan.origin.location,
            f"is of the kind {scan.origin.kind}, which cannot be published as a run",
            hint="Only HDF5 files can (DXchange or NXtomo); `tomoservice reconstruct` takes this one",
        )
    series = tuple(_series(scan))
    path = _holder(scan, series)
    with open_hdf5(path) as file:
        chunks = {item.dataset: _chunk_of(find_dataset(file, item.dataset)) for item in series}
    tomo = {
        "pixel_size_um": scan.pixel_size_um,
        "energy_kev": scan.energy_kev,
        "distance_mm": scan.distance_mm,
    }
    start = {
        "plan_name": PLAN,
        "scan_layout": LAYOUT,
        "detectors": [CAMERA],
        "num_points": scan.shape[0],
        **({"sample_name": scan.sample_name} if scan.sample_name else {}),
        "tomo": {key: value for key, value in tomo.items() if value is not None},
        "ingest": {
            "kind": scan.origin.kind,
            "files": [dict(file) for file in files],
            "notes": list(scan.notes),
        },
    }
    return FileRun(
        uid=run_uid_of(files),
        path=path.resolve(),
        time=path.stat().st_mtime,
        shape=scan.shape[1:],
        dtype=scan.projections.dtype,
        series=series,
        chunks=chunks,
        start=start,
    )


def documents_of(run: FileRun) -> Iterator[Document]:
    """Yield the documents of a scan file's run in order."""
    bundle = event_model.compose_run(uid=run.uid, time=run.time, metadata=dict(run.start))
    yield "start", dict(bundle.start_doc)
    for series in run.series:
        yield from _stream(bundle, run, series)
    frames = sum(series.count for series in run.series)
    yield "stop", dict(bundle.compose_stop(time=run.time + frames))


def _series(scan: TomoScan) -> Iterator[FrameSeries]:
    datasets, keys = scan.origin.datasets, scan.image_keys
    if keys is None:
        for stream, name, stack in (("dark", "darks", scan.darks), ("flat", "flats", scan.flats)):
            if stack is not None:
                yield FrameSeries(stream, datasets[name], stack.shape[0])
        yield FrameSeries("primary", datasets["projections"], scan.shape[0], scan.angles_deg)
        return
    for key, stream in STREAMS.items():
        numbers = np.flatnonzero(keys == key)
        if numbers.size:
            angles = scan.angles_deg if key is ImageKey.PROJECTION else None
            yield FrameSeries(stream, datasets["projections"], numbers.size, angles, numbers)


def _holder(scan: TomoScan, series: Sequence[FrameSeries]) -> Path:
    """Return the file in which the data sets have their names; an entry may lie behind a link."""
    for name in scan.origin.files:
        with open_hdf5(Path(name)) as file:
            if all(has(file, item.dataset) for item in series):
                return Path(name)
    raise InputError(scan.origin.location, "its frames are not all in one file")


def _chunk_of(dataset: Any) -> tuple[int, ...]:
    # A part of a compressed chunk cannot be read without the rest; otherwise a frame is a good piece.
    return tuple(dataset.chunks or (1, *dataset.shape[1:]))


def _stream(bundle: Any, run: FileRun, series: FrameSeries) -> Iterator[Document]:
    keys: dict[str, Any] = {
        IMAGE: {
            "source": f"file:{run.path}",
            "dtype": "array",
            "dtype_numpy": run.dtype.str,
            "shape": list(run.shape),
            "external": "STREAM:",
        }
    }
    number = {"source": f"file:{run.path}", "dtype": "number", "shape": []}
    if series.angles_deg is not None:
        keys[ANGLE] = {**number, "dtype_numpy": "<f8", "units": "deg"}
    if series.numbers is not None:
        keys[NUMBER] = {**number, "dtype": "integer", "dtype_numpy": "<i8"}
    described = bundle.compose_descriptor(
        name=series.stream, data_keys=keys, object_keys={CAMERA: list(keys)}, configuration={}, time=run.time
    )
    yield "descriptor", dict(described.descriptor_doc)
    resource = bundle.compose_stream_resource(
        mimetype="application/x-hdf5",
        # As Tiled writes addresses of files, and takes them: a space stays a space.
        uri=ensure_uri(str(run.path)),
        data_key=IMAGE,
        parameters={
            "dataset": series.dataset,
            "chunk_shape": list(run.chunks[series.dataset]),
            "swmr": False,
        },
    )
    yield "stream_resource", dict(resource.stream_resource_doc)
    datum = resource.compose_stream_datum(
        indices={"start": 0, "stop": series.count},
        seq_nums={"start": 1, "stop": series.count + 1},
        descriptor=described.descriptor_doc,
    )
    yield "stream_datum", dict(datum)
    yield from _events(described, run, series)


def _events(described: Any, run: FileRun, series: FrameSeries) -> Iterator[Document]:
    if series.angles_deg is None and series.numbers is None:
        return
    for index in range(series.count):
        place = index if series.numbers is None else int(series.numbers[index])
        # A second for every frame: their order is what counts.
        moment = run.time + place
        data: dict[str, Any] = {}
        if series.angles_deg is not None:
            data[ANGLE] = float(series.angles_deg[index])
        if series.numbers is not None:
            data[NUMBER] = place
        event = described.compose_event(
            data=data, timestamps=dict.fromkeys(data, moment), seq_num=index + 1, time=moment, validate=False
        )
        yield "event", dict(event)
