"""Nodes of arrays that are computed: readable from the moment they are described, whether computed or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tiled.structures.array import ArrayStructure, BuiltinDtype
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import Asset, DataSource, Management
from tiled.utils import ensure_uri

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.nodes import forget_child
from tomoservice.catalog.transport import NotFoundError, child, translated

FIRST_AXIS = {names.VOLUME: "z", names.IMAGES: "value", names.METRIC: "value", names.VALUES: "value"}


class VolumeOutline(Protocol):
    """Shape, chunks and type of a volume."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x)."""

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Shape of a chunk (z, y, x)."""

    @property
    def dtype(self) -> str:
        """Type of a pixel."""


def describe_volume(
    parent: Any,
    path: Path,
    outline: VolumeOutline,
    metadata: Mapping[str, Any],
    key: str = names.VOLUME,
    *,
    may_exist: bool = True,
) -> tuple[Any, bool]:
    """Return the node of a volume, or of a sweep's images, created if it is not there or looks otherwise.

    Parameters
    ----------
    parent : tiled Container
        The reconstruction, or the sweep.
    path : Path
        Zarr array (z, y, x); it need not exist yet. For whoever wants to read the file itself: the server
        finds it by the node's path.
    outline : VolumeOutline
        Shape, chunks and type.
    metadata : mapping
        What is said of a volume that is created.
    key : str
        ``volume``, or ``images``.
    may_exist : bool
        False if nobody is known to have described it: then it is not looked for, which is quicker.

    Returns
    -------
    node : tiled ArrayClient
        The volume.
    created : bool
        False if it was there before.

    Raises
    ------
    ConflictError
        Somebody else has created one at the same time.
    """
    structure = _structure(outline, (FIRST_AXIS[key], "y", "x"))
    return _describe(parent, key, path, structure, metadata, may_exist=may_exist)


def describe_metric(parent: Any, path: Path, count: int, metadata: Mapping[str, Any]) -> None:
    """Create the node that says how good each picture of a sweep is, unless it is there.

    Parameters
    ----------
    parent : tiled Container
        The sweep.
    path : Path
        Folder of what was measured; it need not exist yet.
    count : int
        How many pictures there are.
    metadata : mapping
        What is measured.

    Raises
    ------
    ConflictError
        Somebody else has created it at the same time.
    """
    structure = ArrayStructure(
        data_type=BuiltinDtype.from_numpy_dtype(np.dtype(np.float64)),
        # A picture has a chunk of its own here, too.
        chunks=((1,) * count,),
        shape=(count,),
        dims=(FIRST_AXIS[names.METRIC],),
    )
    _describe(parent, names.METRIC, path, structure, metadata)


def store_values(parent: Any, values: Sequence[float], metadata: Mapping[str, Any]) -> None:
    """Store the numbers that the pictures of a sweep belong to, unless they are there.

    Parameters
    ----------
    parent : tiled Container
        The sweep.
    values : sequence of float
        One for each picture.
    metadata : mapping
        What they are.
    """
    with suppress(NotFoundError):
        child(parent, names.VALUES)
        return
    with translated(f"storing {names.VALUES} of {'/'.join(parent.path_parts)}"):
        parent.write_array(
            np.asarray(values, np.float64),
            key=names.VALUES,
            metadata=dict(metadata),
            dims=(FIRST_AXIS[names.VALUES],),
            access_tags=tags_of(parent),
        )


def _describe(
    parent: Any,
    key: str,
    path: Path,
    structure: ArrayStructure,
    metadata: Mapping[str, Any],
    *,
    may_exist: bool = True,
) -> tuple[Any, bool]:
    with suppress(NotFoundError):
        if may_exist:
            # With what is behind it, which would be another request.
            node = child(parent.new_variation(include_data_sources=True), key)
            if _is_like(node, structure):
                return node, False
            forget_child(parent, key, external=True)
    source = _source(path, structure, names.COMPUTED_MIMETYPE)
    with translated(f"describing {key} of {'/'.join(parent.path_parts)}"):
        created = _create(parent, key, source, metadata)
    return created, True


def register_array(parent: Any, key: str, path: Path) -> None:
    """Register a Zarr array (z, y, x) that exists as a child of a container."""
    import zarr

    structure = ArrayStructure.from_array(zarr.open_array(path, mode="r"), dims=("z", "y", "x"))
    source = _source(path, structure, names.ZARR_MIMETYPE)
    with translated(f"registering {'/'.join((*parent.path_parts, key))}"):
        _create(parent, key, source, {})


def _create(parent: Any, key: str, source: Any, metadata: Mapping[str, Any]) -> Any:
    """Create an array that the same people may read as its parent."""
    return parent.new(
        StructureFamily.array,
        [source],
        key=key,
        metadata=dict(metadata),
        specs=[],
        access_tags=tags_of(parent),
    )


def _source(path: Path, structure: ArrayStructure, mimetype: str) -> Any:
    return DataSource(
        structure_family=StructureFamily.array,
        structure=structure,
        mimetype=mimetype,
        management=Management.external,
        # Without a number, subscribers cannot parse the message that announces the asset.
        assets=[Asset(data_uri=ensure_uri(str(path)), is_directory=True, parameter="data_uri", num=0)],
    )


def _structure(outline: VolumeOutline, dims: tuple[str, ...]) -> ArrayStructure:
    chunks = tuple(
        tuple(min(step, size - start) for start in range(0, size, step))
        for size, step in zip(outline.shape, outline.chunks, strict=True)
    )
    return ArrayStructure(
        data_type=BuiltinDtype.from_numpy_dtype(np.dtype(outline.dtype)),
        chunks=chunks,
        shape=tuple(outline.shape),
        dims=dims,
    )


def _is_like(node: Any, structure: ArrayStructure) -> bool:
    """Tell whether a node is a volume of ours that looks as it should."""
    sources = node.data_sources() or []
    if len(sources) != 1 or sources[0].mimetype != names.COMPUTED_MIMETYPE:
        return False
    found = node.structure()
    return (found.shape, found.chunks) == (structure.shape, structure.chunks) and (
        found.data_type == structure.data_type
    )
