"""What a Bluesky run in Tiled holds, read with the few requests that are needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import FaultError, InputError, ServiceUnavailableError
from tomoservice.sources.frames import leading_selections

HDF5_TYPE = "application/x-hdf5"
TIFF_TYPE = "multipart/related;type=image/tiff"
STREAM_SPEC = "BlueskyEventStream"
BUSY, FAULT = 429, 500
"""Answers of a service that may pass, with all above: it is busy, or gone behind its proxy, or cannot read
the file at present. Of one that is missing for good Tiled says the same."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Files behind a node, as the run's documents named them."""

    mimetype: str
    """Kind of the files."""
    files: tuple[Path, ...]
    """Their paths where they were written, in order."""
    parameters: Mapping[str, Any]
    """What Tiled's adapter is told; `dataset` in an HDF5 file."""

    @property
    def dataset(self) -> str:
        """Data set in each HDF5 file."""
        return str(self.parameters.get("dataset", ""))

    def invisible(self) -> Path | None:
        """Return the first of the files that cannot be read from here, or None if all can."""
        return next((path for path in self.files if not os.access(path, os.R_OK)), None)


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, its documents and its streams."""

    node: Any
    """Tiled client of the run."""
    containers: Mapping[str, Any]
    """Tiled clients of the streams, with their data sources."""
    start: Mapping[str, Any]
    """Start document."""
    stop: Mapping[str, Any] | None
    """Stop document, or None while the run goes on (or if its writer died)."""
    where: str
    """Address of the run."""
    cache: dict[str, Any] = field(default_factory=dict)
    """Nodes and frame orders that have been asked for."""

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams."""
        return tuple(self.containers)

    def keys(self, stream: str) -> tuple[str, ...]:
        """Return the data keys and columns of a stream; none if the run lacks it."""
        parts = self._parts(stream) if stream in self.streams else {}
        return tuple(
            key for name, part in parts.items() for key in (part.columns if _is_table(part) else (name,))
        )

    def first_key(self, stream: str, names: Sequence[str]) -> str | None:
        """Return the first of the names that a stream has."""
        there = self.keys(stream)
        return next((name for name in names if name in there), None)

    def array(self, stream: str, key: str) -> Any:
        """Return the Tiled client of a data key or column."""
        name = f"node/{stream}/{key}"
        if name not in self.cache:
            table = self._table(stream, key)
            self.cache[name] = self._parts(stream)[key] if table is None else table[key]
        return self.cache[name]

    def _table(self, stream: str, key: str) -> Any:
        """Return the table that has a column of that name; None if the key is a node of its own."""
        parts = self._parts(stream)
        if key in parts:
            return None
        return next(part for part in parts.values() if _is_table(part) and key in part.columns)

    def values(self, stream: str, key: str) -> NDArray[Any]:
        """Return all values of a data key, numbers of any shape."""
        table = self._table(stream, key)
        if table is not None:
            values = read_column(table, key, self.where, f"{stream}/{key}")
        else:
            invisible = found.invisible() if (found := self.stored(stream, key)) else None
            node = self.array(stream, key)
            # What it is known to have, and not all: of one that grows Tiled would refuse that.
            known = tuple(slice(0, size) for size in node.shape)
            values = read_array(node, known, self.where, f"{stream}/{key}", invisible=invisible)
        if values.dtype == object:
            try:
                values = np.asarray([np.asarray(item, np.float64) for item in values])
            except (TypeError, ValueError) as error:
                raise InputError(self.where, f"values are no numbers: {error}", dataset=key) from error
        return values

    def stored(self, stream: str, key: str) -> Stored | None:
        """Return the files behind a data key, or None if Tiled holds the values itself."""
        part = self._parts(stream).get(key)
        return None if part is None else stored(part)

    def _parts(self, stream: str) -> dict[str, Any]:
        """Return a stream's arrays and tables, with their data sources, in one request."""
        name = f"parts/{stream}"
        if name not in self.cache:
            # The plain container: a composite one asks the server again at every look.
            self.cache[name] = dict(self.containers[stream].base.items())
        parts: dict[str, Any] = self.cache[name]
        return parts


def _is_table(part: Any) -> bool:
    return hasattr(part, "columns")


def view_run(node: Any) -> RunView:
    """Look at a run.

    Parameters
    ----------
    node : BlueskyRun
        Tiled client of the run.

    Raises
    ------
    InputError
        If the node is no Bluesky run.
    """
    metadata = node.metadata
    where = str(node.uri)
    if "start" not in metadata:
        raise InputError(where, "is no Bluesky run: it has no start document")
    return RunView(
        node=node,
        containers=_streams(node),
        start=metadata["start"],
        stop=metadata.get("stop"),
        where=where,
    )


def _streams(node: Any) -> dict[str, Any]:
    """Return the streams of a run by their names, in one request; the client of a run makes several of it."""
    # What is found in it comes with its data sources; the run itself has none.
    found = dict(node.new_variation(include_data_sources=True).base.items())
    inner = found.get("streams")
    if inner is not None and STREAM_SPEC not in {spec.name for spec in inner.specs}:
        # As earlier writers laid runs out.
        found = dict(inner.items())
    return dict(sorted(found.items()))


def stored(node: Any) -> Stored | None:
    """Return the external files behind a Tiled node, or None if there are none."""
    sources = node.data_sources()
    if not sources:
        return None
    source = sources[0]
    uris = [asset.data_uri for asset in sorted(source.assets, key=lambda asset: asset.num or 0)]
    if str(getattr(source.management, "value", source.management)) != "external":
        return None
    if not uris or not all(uri.startswith("file:") for uri in uris):
        return None
    return Stored(source.mimetype, tuple(_path(uri) for uri in uris), dict(source.parameters or {}))


def _path(uri: str) -> Path:
    from tiled.utils import path_from_uri

    path = Path(path_from_uri(uri))
    # Whether a space is written as %20 depends on who wrote the document.
    return path if path.exists() else Path(unquote(str(path)))


def read_array(node: Any, key: Any, where: str, name: str, *, invisible: Path | None = None) -> NDArray[Any]:
    """Read a slice of a Tiled array.

    Parameters
    ----------
    node : ArrayClient
        Tiled client of an array or a table's column.
    key
        Integers, slices and Ellipsis.
    where, name : str
        Address and data key, for the error.
    invisible : Path, optional
        Raw file behind the array that cannot be read from here, for the error.

    Raises
    ------
    InputError
        If Tiled refuses.
    FaultError
        If it says that it cannot at present.
    ServiceUnavailableError
        If it does not answer.
    """
    from tiled.client.array import DaskArrayClient

    with _explained(where, name, invisible):
        # Computed in this thread: dask's pool would outlive the scan.
        return np.asarray(DaskArrayClient.read(node, key).compute(scheduler="synchronous"))


def read_column(table: Any, column: str, where: str, name: str) -> NDArray[Any]:
    """Read a column of a Tiled table, as many rows as there are now; raises what `read_array` does.

    Read as an array, which has a shape, a table that grows would be refused.
    """
    from tiled.client.dataframe import DaskDataFrameClient

    with _explained(where, name, None):
        # Computed in this thread: a worker of Dask that computes elsewhere asks its own cluster, whose every
        # thread may wait for the same.
        frame = DaskDataFrameClient.read(table, [column]).compute(scheduler="synchronous")
        return np.asarray(frame[column].to_numpy())


@contextmanager
def _explained(where: str, name: str, invisible: Path | None) -> Iterator[None]:
    """Turn what Tiled's client raises into errors of ours."""
    import httpx

    try:
        yield
    except httpx.HTTPStatusError as error:
        answer = error.response
        hint = "See the server's log"
        if invisible:
            hint = f"The raw file {invisible} is not visible from here; the server's log says if it is there"
        if answer.status_code == BUSY or answer.status_code >= FAULT:
            said = f"Tiled answers {answer.status_code} {answer.reason_phrase}"
            raise FaultError(f"reading {where}: {name}: {said}. {hint}") from error
        cause = f"Tiled answers {answer.status_code}: {' '.join(str(error).split())}"
        raise InputError(where, cause, dataset=name, hint=hint) from error
    except httpx.HTTPError as error:
        raise ServiceUnavailableError(
            f"reading {where}: {name}: Tiled does not answer ({type(error).__name__}: {error})"
        ) from error


@dataclass(frozen=True, slots=True)
class TiledReader:
    """Frames that Tiled serves; every block is one request (or a few, of 100 MiB each)."""

    node: Any
    """Tiled client of the array, rows and columns last."""
    where: str
    """Address of the run."""
    name: str
    """Stream and data key."""
    invisible: Path | None = None
    """Raw file behind it that cannot be read from here, if any."""

    def read(self, frames: range, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the block (frame, row, column)."""
        blocks = []
        for index, count in leading_selections(tuple(self.node.shape[:-2]), frames):
            block = read_array(
                self.node, (*index, rows, columns), self.where, self.name, invisible=self.invisible
            )
            blocks.append(block.reshape(count, *block.shape[-2:]))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
