"""What a worker process keeps ready: scans that are open, plans that are made, tables that are computed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.access import RunsFor, check_readers
from tomoservice.catalog.nodes import find_run
from tomoservice.catalog.transport import NotAllowedError, NotFoundError, child, connect, disconnect
from tomoservice.compute.base import Line
from tomoservice.compute.orders import RunAddress, VolumeOrder
from tomoservice.compute.published import service_volume
from tomoservice.compute.resolution import identity, is_for, restored, stored_form, stored_recipe
from tomoservice.compute.shelf import Shelf
from tomoservice.devices import DeviceChoice
from tomoservice.errors import CatalogError, InputError, NoSuchRunError
from tomoservice.export.sources import earlier_volume
from tomoservice.pipeline import Computation, Plan, outline, prepare
from tomoservice.pipeline.memory import memory_budget
from tomoservice.pipeline.prepare import Known
from tomoservice.pipeline.previews import Previewer
from tomoservice.provenance import FileState, Fingerprints, file_states
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.scan import EarlierVolume, TomoScan
from tomoservice.sources import open_companions, open_run
from tomoservice.store import keep_resolution, read_resolution, set_aside

KEPT = 3
"""Reconstructions that are kept ready, at most."""
CONNECTIONS = 4
"""Connections to services that are kept open, at most."""


class Planned:
    """A scan that is open, and the plan for it.

    Parameters
    ----------
    scan
        The scan, which belongs to it from now on.
    plan
        The plan.
    memory_bytes
        Memory of one computation.
    folder
        Of the store, which says what has been decided by now.
    """

    def __init__(self, scan: TomoScan, plan: Plan, memory_bytes: int, folder: Path) -> None:
        self.scan = scan
        self.plan = plan
        self.identity = identity(plan, scan)
        """What determines the pixels."""
        self._folder = folder
        self.memory_bytes = memory_bytes
        self._files = file_states(scan.origin.files)
        self._idle: list[Computation] = []
        self._lock = threading.Lock()

    @contextmanager
    def computation(self, memory_bytes: int | None = None) -> Iterator[Computation]:
        """Lend a computation; the same for task after task, with a smaller budget a new one.

        Raises
        ------
        MemoryBudgetError
            Not even the smallest piece fits.
        """
        if memory_bytes is not None and memory_bytes != self.memory_bytes:
            with Computation(self.plan, self.scan, memory_bytes=memory_bytes) as smaller:
                yield smaller
            return
        with self._lock:
            ready = self._idle.pop() if self._idle else None
        lent = ready or Computation(self.plan, self.scan, memory_bytes=self.memory_bytes)
        try:
            yield lent
        except BaseException:
            # Where it was interrupted is not known.
            lent.close()
            raise
        with self._lock:
            self._idle.append(lent)

    def is_fresh(self) -> bool:
        """Tell whether nobody has written to the raw files since, nor decided otherwise."""
        stored = read_resolution(self._folder)
        if stored is not None and stored["identity"] != self.identity:
            return False
        return _are_as_before(self._files)

    def close(self) -> None:
        """Close the scan and give back what is held."""
        for computation in self._idle:
            computation.close()
        self.scan.close()


class Previewed:
    """A scan that is open, and what is kept of earlier previews of it."""

    def __init__(self, scan: TomoScan, memory_bytes: int) -> None:
        self.previewer = Previewer(scan, memory_bytes=memory_bytes)
        self._files = file_states(scan.origin.files)

    def is_fresh(self) -> bool:
        """Tell whether nobody has written to the raw files since."""
        return _are_as_before(self._files)

    def close(self) -> None:
        """Close the scan."""
        self.previewer.close()


def _are_as_before(files: list[FileState]) -> bool:
    """Tell whether files are all there, as they were."""
    return file_states([name for name, _, _ in files]) == files


class Workbench:
    """Keeps the latest scans and plans of a worker process ready; used by several threads.

    Parameters
    ----------
    slots
        Tasks that work at once, which share the memory.
    """

    def __init__(self, slots: int = 1) -> None:
        self._slots = max(slots, 1)
        self.fingerprints = Fingerprints()
        """Of the raw files that were read."""
        self._planned: Shelf[Planned] = Shelf(KEPT)
        self._previewed: Shelf[Previewed] = Shelf(KEPT)
        self._lock = threading.Lock()
        self._roots: OrderedDict[tuple[str, str | None], Any] = OrderedDict()

    def close(self) -> None:
        """Close all scans and connections."""
        self._planned.close()
        self._previewed.close()
        with self._lock:
            roots, self._roots = list(self._roots.values()), OrderedDict()
        for root in roots:
            disconnect(root)

    @contextmanager
    def planned(self, order: VolumeOrder, line: Line, *, decide: bool = False) -> Iterator[Planned]:
        """Lend a scan and its plan, opened and made now if they are not ready.

        Parameters
        ----------
        order
            What is wanted.
        line
            Asked whether to stop, told what is being done.
        decide
            Whether decisions that were made for something else are replaced; for the claim's holder alone.

        Raises
        ------
        InputError, RecipeError, GeometryError, MemoryBudgetError
            The scan cannot be read, or does not fit the recipe.
        CancelledError
            `line` said so.
        """
        with self._planned.lend(order.key, lambda: self._plan(order, line, decide=decide)) as planned:
            yield planned

    @contextmanager
    def previewer(self, run: RunAddress, memory_bytes: int | None) -> Iterator[Previewer]:
        """Lend what makes previews of a run, with all that is kept of earlier ones.

        Raises
        ------
        InputError
            The scan cannot be read.
        """

        def open_scan() -> Previewed:
            return Previewed(self.open(run), memory_budget(memory_bytes) // self._slots)

        with self._previewed.lend(run.key, open_scan) as previewed, notes_in_errors(previewed.previewer.scan):
            yield previewed.previewer

    def _plan(self, order: VolumeOrder, line: Line, *, decide: bool) -> Planned:
        memory = memory_budget(order.memory_bytes) // self._slots
        line.tell("opening the raw data")
        with ExitStack() as opened:
            scan = opened.enter_context(self._opened(order))
            with notes_in_errors(scan):
                plan = _plan(order, scan, memory, line, decide=decide)
            opened.pop_all()
        return Planned(scan, plan, memory, order.path)

    def _opened(self, order: VolumeOrder) -> TomoScan:
        """Open the run, and those that the recipe names beside it."""
        recipe = parse_recipe(order.recipe, name=order.recipe_name)
        return open_companions(
            self.open(order.run),
            recipe,
            lambda uid: self.open(replace(order.run, run_uid=uid)),
            lambda name: self._volume(order.run, name),
        )

    @contextmanager
    def _volume(self, address: RunAddress, name: str) -> Iterator[EarlierVolume]:
        """Lend the volume of a reconstruction, of the same run or, as `RUN/RECONSTRUCTION`, of another."""
        keys = name.split("/") if "/" in name else [address.run_uid, name]
        where = "/".join((names.PROCESSED, *keys))
        if len(keys) != 2 or not all(names.is_key(key) for key in keys):
            raise InputError(
                name,
                "names no reconstruction of the service",
                hint="Give its key, or the uid of a run, a slash, and the key",
            )
        try:
            node = child(self._root(address.uri, address.api_key), names.PROCESSED, *keys)
            check_readers(address.access_tags, node)
            # The service decides what it gives.
            volume = service_volume(node, direct=False)
        except NotAllowedError as error:
            hint = "Start from one that everybody may read who may read the result"
            raise InputError(where, str(error), hint=hint) from error
        except CatalogError as error:
            raise InputError(where, str(error), hint="Start from a volume that is done") from error
        yield earlier_volume(volume)

    def open(self, address: RunAddress) -> TomoScan:
        """Open a raw run, which is the caller's to close.

        Raises
        ------
        InputError
            There is no such run, or it cannot be read.
        NotAllowedError
            More people could read what is made of it than may read it.
        ServiceUnavailableError
            The service does not answer.
        """
        if not names.is_key(address.run_uid):
            raise NoSuchRunError(
                f"{names.RAW}/{address.run_uid}",
                "is no run; a recipe of the service names runs by their uids",
            )
        root = self._root(address.uri, address.api_key)
        try:
            run = find_run(root, address.run_uid)
        except NotFoundError as error:
            raise NoSuchRunError(f"{names.RAW}/{address.run_uid}", "there is no such run") from error
        check_readers(address.access_tags, run)
        raw = RunsFor(root, address.access_tags)
        if address.readable == ():
            return open_run(run, catalog=raw, direct=False)
        readable = None if address.readable is None else [Path(folder) for folder in address.readable]
        scan = open_run(run, catalog=raw, readable=readable)
        if _may_read(address, scan):
            return scan
        scan.close()
        # The service decides what it gives.
        return open_run(run, catalog=raw, direct=False)

    def _root(self, uri: str, api_key: str | None) -> Any:
        key = (uri, api_key)
        with self._lock:
            if key not in self._roots:
                self._roots[key] = connect(uri, api_key)
                if len(self._roots) > CONNECTIONS:
                    disconnect(self._roots.popitem(last=False)[1])
            self._roots.move_to_end(key)
            return self._roots[key]


def _plan(order: VolumeOrder, scan: TomoScan, memory: int, line: Line, *, decide: bool) -> Plan:
    """Make the plan, by what has been decided before if that was for this recipe."""
    asked = parse_recipe(order.recipe, name=order.recipe_name)

    def planned(recipe: Recipe, depth: int | None = None) -> Plan:
        return prepare(
            scan,
            recipe,
            depth=depth,
            device=DeviceChoice.parse(order.device),
            memory_bytes=memory,
            progress=line.tell,
            cancelled=line.should_stop,
            known=Known(checked=depth is not None),
        )

    def again(stored: Mapping[str, Any]) -> Plan:
        plan = planned(stored_recipe(stored, order.recipe_name), stored["depth"])
        return restored(plan, asked, stored)

    def is_left_over() -> bool:
        # A node's recipe never changes, so this is of another one that stood under the same key.
        stored = read_resolution(order.path)
        return stored is not None and not is_for(stored, asked)

    if is_left_over():
        set_aside(order.path, is_left_over)
    stored = read_resolution(order.path)
    if stored is not None:
        plan = again(stored)
        if identity(plan, scan) == stored["identity"]:
            return plan
    elif (known := outline(scan, asked)) is not None:
        # What is to come may take long: a search for the axis, for instance.
        line.show(known)
    plan = planned(asked)
    mine = stored_form(plan, scan)
    kept = keep_resolution(order.path, mine)
    if kept != mine:
        # Somebody was quicker: what they found counts, should it differ in the last digit.
        theirs = again(kept)
        if identity(theirs, scan) == kept["identity"]:
            return theirs
        if decide:
            keep_resolution(order.path, mine, replace=True)
    return plan


@contextmanager
def notes_in_errors(scan: TomoScan) -> Iterator[None]:
    """Add to an error about the input what had been noted when it was opened, which may be the cause."""
    try:
        yield
    except InputError as error:
        if not scan.notes:
            raise
        hint = ". ".join(part for part in (error.hint, *scan.notes) if part)
        raise type(error)(error.where, error.cause, dataset=error.dataset, hint=hint) from error


def _may_read(address: RunAddress, scan: TomoScan) -> bool:
    """Tell whether a scan's files lie where the service serves files from: paths come from clients."""
    if address.readable is None:
        return True
    folders = [Path(folder) for folder in address.readable]
    files = [Path(file).resolve() for file in scan.origin.files]
    return all(any(file.is_relative_to(folder) for folder in folders) for file in files)
