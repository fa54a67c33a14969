"""Documents of runs as facilities' plans emit them, over real HDF5 files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from event_model import compose_run
from numpy.typing import NDArray

Document = tuple[str, dict[str, Any]]
UNIX_TIME = 1_700_000_000.0


def image_key(frame: NDArray[Any], *lead: int, external: str = "STREAM:") -> dict[str, Any]:
    return {
        "source": "PV:camera",
        "dtype": "array",
        "shape": [*lead, *frame.shape[-2:]],
        "dtype_numpy": frame.dtype.str,
        "external": external,
    }


def number_key() -> dict[str, Any]:
    return {"source": "PV:value", "dtype": "number", "shape": [], "dtype_numpy": "<f8"}


class Run:
    """One run, document by document, on a clock of its own."""

    def __init__(self, **start: Any) -> None:
        self.bundle = compose_run(metadata=start, time=UNIX_TIME)
        self.documents: list[Document] = [("start", self.bundle.start_doc)]
        self.now = UNIX_TIME
        self.streams: dict[str, Any] = {}

    @property
    def uid(self) -> str:
        return str(self.bundle.start_doc["uid"])

    def tick(self) -> float:
        self.now += 1.0
        return self.now

    def stream(self, name: str, **data_keys: dict[str, Any]) -> None:
        bundle = self.bundle.compose_descriptor(name=name, data_keys=data_keys, time=self.tick())
        self.streams[name] = bundle
        self.documents.append(("descriptor", bundle.descriptor_doc))

    def event(self, stream: str, data: dict[str, Any], *, time: float | None = None, **filled: bool) -> None:
        moment = self.tick() if time is None else time
        event = self.streams[stream].compose_event(
            data=data, timestamps=dict.fromkeys(data, moment), filled=filled, time=moment
        )
        self.documents.append(("event", event))

    def resource(self, path: Path, *, frames: int = 1) -> Any:
        """Return a maker of datum ids for a file as areaDetector's HDF5 plugin writes it."""
        bundle = self.bundle.compose_resource(
            spec="AD_HDF5",
            root=str(path.parent),
            resource_path=path.name,
            resource_kwargs={"frame_per_point": frames},
        )
        self.documents.append(("resource", bundle.resource_doc))

        def datum(point: int) -> str:
            doc = bundle.compose_datum(datum_kwargs={"point_number": point})
            self.documents.append(("datum", doc))
            return str(doc["datum_id"])

        return datum

    def external(self, stream: str, key: str, path: Path, dataset: str, count: int, **more: Any) -> None:
        """Register `count` rows of a data set under a data key."""
        bundle = self.bundle.compose_stream_resource(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{path}",
            data_key=key,
            parameters={"dataset": dataset, "swmr": False, **more},
        )
        datum = bundle.compose_stream_datum(
            indices={"start": 0, "stop": count},
            seq_nums={"start": 1, "stop": count + 1},
            descriptor=self.streams[stream].descriptor_doc,
        )
        self.documents += [
            ("stream_resource", bundle.stream_resource_doc),
            ("stream_datum", datum),
        ]

    def close(self, status: str = "success") -> Iterator[Document]:
        stop = self.bundle.compose_stop(exit_status=status, time=self.tick())
        return iter([*self.documents, ("stop", stop)])


def write_frames(path: Path, frames: NDArray[Any], dataset: str = "/entry/data/data", **more: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(dataset, data=frames, chunks=(1, *frames.shape[1:]))
        for name, values in more.items():
            file.create_dataset(f"/entry/instrument/NDAttributes/{name}", data=values)
    return path


def random_frames(seed: int, count: int, rows: int = 6, columns: int = 9) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(1, 60_000, (count, rows, columns), dtype=np.uint16)
