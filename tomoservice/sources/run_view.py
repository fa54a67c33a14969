"""What a Bluesky run in Tiled holds, read with the few requests that are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError
from tomoservice.sources.frames import leading_selections

HDF5_TYPE = "application/x-hdf5"
TIFF_TYPE = "multipart/related;type=image/tiff"


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
    start: Mapping[str, Any]
    """Start document."""
    stop: Mapping[str, Any] | None
    """Stop document, or None while the run goes on (or if its writer died)."""
    streams: tuple[str, ...]
    """Names of the streams."""
    where: str
    """Address of the run."""
    cache: dict[str, Any] = field(default_factory=dict)
    """Nodes and frame orders that have been asked for."""

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
            parts = self._parts(stream)
            tables = (part for part in parts.values() if _is_table(part) and key in part.columns)
            self.cache[name] = parts[key] if key in parts else next(tables)[key]
        return self.cache[name]

    def values(self, stream: str, key: str) -> NDArray[Any]:
        """Return all values of a data key, numbers of any shape."""
        invisible = found.invisible() if (found := self.stored(stream, key)) else None
        values = read_array(self.array(stream, key), ..., self.where, f"{stream}/{key}", invisible=invisible)
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
            self.cache[name] = dict(self.node[stream].base.items())
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
        node=node.include_data_sources(),
        start=metadata["start"],
        stop=metadata.get("stop"),
        streams=tuple(node),
        where=where,
    )


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
        If Tiled refuses or does not answer.
    """
    import httpx
    from tiled.client.array import DaskArrayClient

    try:
        # Computed in this thread: dask's pool would outlive the scan.
        return np.asarray(DaskArrayClient.read(node, key).compute(scheduler="synchronous"))
    except httpx.HTTPStatusError as error:
        answer = error.response
        raise InputError(
            where,
            f"Tiled answers {answer.status_code}: {' '.join(str(error).split())}",
            dataset=name,
            hint=f"The raw file {invisible} is not visible from here; the server's log says if it is there"
            if invisible
            else "See the server's log",
        ) from error
    except httpx.HTTPError as error:
        raise InputError(where, f"Tiled does not answer: {error}", dataset=name) from error


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
