"""Arrays that are computed when they are read: what is stored comes from disk, the rest from workers."""

from __future__ import annotations

import asyncio
import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from fastapi import HTTPException
from ndindex import ndindex
from numpy.typing import NDArray
from sqlalchemy import select
from tiled.adapters.core import Adapter
from tiled.catalog import orm
from tiled.ndslice import NDBlock, NDSlice
from tiled.structures.array import ArrayStructure
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import DataSource

from tomoservice.catalog import names
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import State
from tomoservice.compute.resolution import is_for
from tomoservice.compute.sweep_metric import Scores
from tomoservice.compute.sweeps import SweepOrder, fill_sweep, is_of_sweep
from tomoservice.compute.tasks import fill
from tomoservice.errors import ClaimLostError, OtherSlabsError, ServiceUnavailableError, TomoserviceError
from tomoservice.recipe import parse_recipe, parse_sweep
from tomoservice.service.answers import CONFLICT, UNAVAILABLE, UNPROCESSABLE
from tomoservice.service.readers import Fill, Order, Readers
from tomoservice.store import SlabStore, folder_of, read_resolution

logger = logging.getLogger(__name__)

BAD_REQUEST, TOO_MANY = 400, 429
UNKNOWN_S = 2.0
"""How long a slab is taken to take before one has been computed."""
UNKNOWN_PICTURE_S = 0.3
"""Likewise a picture of a sweep."""
LONGEST_RETRY_S = 30
COMPUTED = (names.VOLUME, names.IMAGES, names.METRIC)
"""Keys of arrays that are computed when they are read."""
CLOSED = (State.FAILED, State.CANCELLED)
"""States in which nothing is computed."""
LOOKED_AT = (State.VIRTUAL, State.PAUSED)
"""States in which nothing is computed but what somebody looks at."""


@dataclass(frozen=True)
class Place:
    """What an array that is computed belongs to, as the catalogue has it now."""

    path: str
    """Path of the reconstruction or sweep."""
    state: State
    message: str
    """What its status says."""
    folder: Path
    """Folder of the store."""
    order: Order
    """What workers are told."""
    fill: Fill
    """What computes layers of it."""
    unknown_s: float
    """How long a layer is taken to take before one has been computed."""
    waits: bool
    """Whether missing layers may be asked for at once, however many: a conductor or a person wants all."""
    hint: str
    """What can be read at once."""
    is_own: Callable[[SlabStore], bool]
    """Tells whether a store is its own, and not left of a node that stood under the same key before."""
    is_kept: bool = False
    """Whether it was stopped and kept: what is missing reads as the fill value."""
    scores: int | None = None
    """How many pictures there are, if it says how good each is; otherwise it is pixels."""

    def present(self, store: SlabStore) -> set[int]:
        """Return the numbers of the layers that have been computed."""
        return store.present() if self.scores is None else Scores(store.folder).present()

    def stored(self, store: SlabStore) -> Any:
        """Return what is stored, as an array."""
        return store.array if self.scores is None else Scores(store.folder).read(self.scores)


class VolumeAdapters:
    """Makes adapters for volumes; one for each server.

    Parameters
    ----------
    catalog : tiled CatalogNodeAdapter
        The tree that the server serves.
    volumes : Path
        Folder of all stores.
    readers : Readers
        Has slabs computed for whoever reads.
    bytes_limit : int
        Largest answer, in bytes.
    """

    def __init__(self, catalog: Any, volumes: Path, readers: Readers, bytes_limit: int) -> None:
        self._catalog = catalog
        self.volumes = volumes
        self.readers = readers
        self.bytes_limit = bytes_limit

    def from_catalog(
        self, data_source: DataSource[ArrayStructure], node: orm.Node, /, **parameters: Any
    ) -> VolumeAdapter:
        """Return the adapter of a node; called by Tiled for every request.

        `parameters` come from whoever created the node and are ignored: the scan follows from its path.
        """
        del parameters
        if data_source.structure is None:
            raise HTTPException(UNPROCESSABLE, detail="a volume has a structure: shape, chunks and type")
        return VolumeAdapter(self, data_source.structure, node)

    async def place(self, node_id: int, access_tags: Sequence[str]) -> Place:
        """Return what a volume with some access tags belongs to, by where it stands in the catalogue."""
        statement = (
            select(orm.Node.key, orm.Node.metadata_)
            .where(orm.Node.id != 0)
            .join(orm.NodesClosure, orm.NodesClosure.ancestor == orm.Node.id)
            .where(orm.NodesClosure.descendant == node_id)
            .order_by(orm.NodesClosure.depth.desc())
        )
        async with self._catalog.context.session() as session:
            found = (await session.execute(statement)).all()
        keys = tuple(key for key, _ in found)
        if len(keys) != 4 or keys[0] != names.PROCESSED or keys[3] not in COMPUTED:
            _refuse(
                UNPROCESSABLE, f"/{'/'.join(keys)} is no volume of a reconstruction, nor images of a sweep"
            )
        if not all(names.is_key(key) for key in keys[1:3]):
            _refuse(UNPROCESSABLE, f"/{'/'.join(keys)}: keys must match {names.KEY_PATTERN}")
        try:
            if keys[3] == names.VOLUME:
                record = ReconstructionRecord.from_metadata(keys[:3], found[2][1], access_tags)
                return self._volume(record)
            return self._sweep(keys, found[2][1], access_tags)
        except TomoserviceError as error:
            _refuse(UNPROCESSABLE, str(error))

    def _volume(self, record: ReconstructionRecord) -> Place:
        folder = folder_of(self.volumes, record.run_uid, record.reconstruction_id)
        return Place(
            path=record.path,
            state=record.state,
            message=record.metadata.status.message,
            folder=folder,
            order=self.readers.order(record, folder),
            fill=fill,
            unknown_s=UNKNOWN_S,
            waits=record.state not in LOOKED_AT,
            hint="read slices along z, which are computed one by one",
            is_own=partial(_is_of_recipe, record.metadata.recipe),
            is_kept=record.metadata.kept is not None,
        )

    def _sweep(self, keys: tuple[str, ...], metadata: Mapping[str, Any], access_tags: Sequence[str]) -> Place:
        folder = folder_of(self.volumes, keys[1], keys[2])
        sweep = parse_sweep(metadata.get("sweep"))
        status = metadata.get("status")
        said = status if isinstance(status, Mapping) else {}
        failed = said.get("state") == State.FAILED.value
        return Place(
            path="/".join(keys[:3]),
            state=State.FAILED if failed else State.VIRTUAL,
            message=str(said.get("message", "")),
            folder=folder,
            order=SweepOrder(
                *(self.readers.run(keys[1], access_tags), sweep.model_dump(mode="json"), str(folder)),
                *(self.readers.memory_bytes, self.readers.device),
            ),
            fill=fill_sweep,
            unknown_s=UNKNOWN_PICTURE_S,
            waits=True,
            hint=f"read its {keys[3]} one by one",
            is_own=partial(is_of_sweep, sweep=sweep),
            scores=len(sweep.values) if keys[3] == names.METRIC else None,
        )


class VolumeAdapter(Adapter[ArrayStructure]):
    """One volume (z, y, x), for one request."""

    structure_family = StructureFamily.array

    def __init__(self, adapters: VolumeAdapters, structure: ArrayStructure, node: orm.Node) -> None:
        super().__init__(structure, metadata=node.metadata_, specs=[])
        self._adapters = adapters
        self._node_id = node.id
        # Of the volume itself: with them it is read.
        self._access_tags = [tag.name for tag in node.access_tags]

    async def read(self, slice: NDSlice | Sequence[Any] = NDSlice(...)) -> NDArray[Any]:  # noqa: A002, B008
        """Return a part of the volume, computing what is missing of it.

        Parameters
        ----------
        slice
            Integers and slices, as NumPy takes them.

        Raises
        ------
        HTTPException
            What is wrong, or when to ask again.
        """
        shape = self.structure().shape
        index = self._index(tuple(slice), shape)
        self._check_size(index, shape)
        place = await self._adapters.place(self._node_id, self._access_tags)
        if 0 not in ndindex(index).newshape(shape):
            await self._complete(place, self._slabs(index))
        return await asyncio.to_thread(_read, place, index, shape, self.structure().chunks[0][0])

    async def read_block(
        self,
        block: NDBlock,
        slice: NDSlice | Sequence[Any] = NDSlice(...),  # noqa: A002, B008
    ) -> NDArray[Any]:
        """Return a part of a chunk; otherwise as `read`."""
        whole = block.slice_from_chunks(self.structure().chunks)
        return await self.read(whole[NDSlice(*slice)] if NDSlice(*slice) else whole)

    def _index(self, given: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[int | slice, ...]:
        try:
            expanded = ndindex(given).expand(shape).raw
        except (IndexError, ValueError, TypeError) as error:
            _refuse(BAD_REQUEST, f"slice {_written(given)} does not fit a volume of shape {shape}: {error}")
        return tuple(expanded) if isinstance(expanded, tuple) else (expanded,)

    def _check_size(self, index: tuple[int | slice, ...], shape: tuple[int, ...]) -> None:
        wanted = ndindex(index).newshape(shape)
        size = int(np.prod(wanted)) * self.structure().data_type.to_numpy_dtype().itemsize
        limit = self._adapters.bytes_limit
        if size > limit:
            _refuse(
                BAD_REQUEST,
                f"slice {_written(index)} is {size / 1e6:.0f} MB, more than the {limit / 1e6:.0f} MB that "
                "one answer may hold; ask for it in parts (?slice=...)",
            )

    def _slabs(self, index: tuple[int | slice, ...]) -> list[int]:
        """Return the numbers of the slabs behind a part of the volume."""
        depth = self.structure().chunks[0][0]
        z = index[0]
        rows = [z] if isinstance(z, int) else range(*z.indices(self.structure().shape[0]))
        return sorted({row // depth for row in rows})

    async def _complete(self, place: Place, slabs: list[int]) -> None:
        """Make sure that slabs exist, or say why they do not."""
        seconds, missing = await asyncio.to_thread(_missing, place, slabs)
        if not missing:
            return
        if place.is_kept:
            return
        if place.state in CLOSED:
            _refuse(
                UNPROCESSABLE,
                f"{place.path} is {place.state.value} ({place.message}), and {len(missing)} of the "
                f"{len(slabs)} slabs that this needs were never computed; queue it again",
            )
        estimate = (place.unknown_s if seconds is None else seconds) * len(missing)
        readers = self._adapters.readers
        if len(missing) > 1 and estimate > readers.longest_s:
            self._put_off(place, missing, len(slabs), estimate)
        try:
            await readers.compute(place.fill, place.order, missing)
        except TomoserviceError as error:
            _explain(place, error)

    def _put_off(self, place: Place, missing: list[int], needed: int, estimate: float) -> NoReturn:
        work = f"about {estimate:.0f} s of work"
        what = f"{len(missing)} of the {needed} slabs that this needs are missing, {work}"
        if not place.waits:
            queue = f"Queue the reconstruction (`tomoservice retry {place.path}`)"
            way_out = "Resume it" if place.state is State.PAUSED else queue
            _refuse(UNPROCESSABLE, f"{place.path} is {place.state.value}: {what}. {way_out}, or {place.hint}")
        # They come before the rest of the volume from now on.
        self._adapters.readers.hurry(place.fill, place.order, missing, self._is_open)
        after = min(max(round(estimate), 1), LONGEST_RETRY_S)
        raise HTTPException(
            TOO_MANY,
            detail=f"{place.path} is {place.state.value}: {what}; ask again in {after} s, or {place.hint}",
            headers={"Retry-After": str(after)},
        )

    async def _is_open(self) -> bool:
        """Tell whether the volume is still to be computed."""
        try:
            place = await self._adapters.place(self._node_id, self._access_tags)
        except HTTPException:
            # Deleted.
            return False
        return place.state not in CLOSED


def _is_of_recipe(recipe: Mapping[str, Any], store: SlabStore) -> bool:
    stored = read_resolution(store.folder)
    return stored is None or is_for(stored, parse_recipe(recipe))


def _missing(place: Place, slabs: Sequence[int]) -> tuple[float | None, list[int]]:
    """Return the seconds that a slab took, if any is known, and the numbers of those that do not exist."""
    try:
        store = SlabStore.open(place.folder)
        if not place.is_own(store):
            return None, list(slabs)
    except TomoserviceError:
        return None, list(slabs)
    present = place.present(store)
    missing = [slab for slab in slabs if slab not in present]
    if not missing:
        return None, missing
    took = [marker.seconds for marker in store.markers().values() if marker.seconds]
    return (statistics.median(took) if took else None), missing


def _read(place: Place, index: tuple[int | slice, ...], shape: tuple[int, ...], depth: int) -> NDArray[Any]:
    try:
        store = SlabStore.open(place.folder)
    except TomoserviceError as error:
        _refuse(CONFLICT, f"{place.path}: {error}")
    array = place.stored(store)
    if array.shape != tuple(shape) or store.chunks[0] != depth:
        _refuse(
            CONFLICT,
            f"{place.path}: the volume is {array.shape} in slabs of {store.chunks[0]}, its description says "
            f"{tuple(shape)} in slabs of {depth}; ask for another reconstruction",
        )
    # NumPy knows negative steps, Zarr does not.
    forward = tuple(_ascending(part, size) for part, size in zip(index, shape, strict=True))
    stored = np.asarray(array[forward])
    if place.is_kept:
        stored = _blanked(stored, store, forward[0], place.is_own(store))
    turned = tuple(
        slice(None, None, -1) if _is_descending(part) else slice(None)
        for part in index
        if not isinstance(part, int)
    )
    return stored[turned] if turned else stored


def _blanked(stored: NDArray[Any], store: SlabStore, rows: int | slice, is_own: bool) -> NDArray[Any]:
    """Return pixels with the fill value wherever no slab exists, whatever lies on disk there."""
    present = store.present() if is_own else set()
    fill = store.array.fill_value
    depth = store.chunks[0]
    if isinstance(rows, int):
        return stored if rows // depth in present else np.full_like(stored, fill)
    missing = [row // depth not in present for row in range(*rows.indices(store.shape[0]))]
    stored[missing] = fill
    return stored


def _is_descending(part: int | slice) -> bool:
    return not isinstance(part, int) and (part.step or 1) < 0


def _ascending(part: int | slice, size: int) -> int | slice:
    """Return the same places in ascending order."""
    if isinstance(part, int) or not _is_descending(part):
        return part
    places = range(*part.indices(size))
    return slice(places[-1], places[0] + 1, -places.step) if places else slice(0, 0)


def _explain(place: Place, error: TomoserviceError) -> NoReturn:
    if isinstance(error, ServiceUnavailableError):
        raise HTTPException(
            UNAVAILABLE, detail=f"{place.path}: {error}", headers={"Retry-After": "5"}
        ) from error
    status = CONFLICT if isinstance(error, OtherSlabsError | ClaimLostError) else UNPROCESSABLE
    raise HTTPException(status, detail=f"{place.path}: {error}") from error


def _refuse(status: int, detail: str) -> NoReturn:
    raise HTTPException(status, detail=detail)


def _written(index: Sequence[Any]) -> str:
    return str(NDSlice(*index).to_numpy_str())
