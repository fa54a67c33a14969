"""Bluesky runs in Tiled, opened as scans through a scan layout."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tomoservice.errors import InputError, MissingDataError
from tomoservice.scan import ScanOrigin, TomoScan
from tomoservice.sources.angles import match_counts
from tomoservice.sources.beam_monitor import Readings, as_readings, readings_of
from tomoservice.sources.frames import LazyFrames, shorten
from tomoservice.sources.layout import (
    Images,
    MetadataValue,
    ScanLayout,
    choose_layout,
    load_layout,
    look_up,
)
from tomoservice.sources.run_angles import angles_of_run
from tomoservice.sources.run_frames import Opening, RunStack, open_stack
from tomoservice.sources.run_metadata import data_keys, first_number, first_text
from tomoservice.sources.run_view import RunView, view_run
from tomoservice.sources.units import Quantity


def open_run(
    run_node: Any,
    *,
    layout: ScanLayout | str | Path | None = None,
    catalog: Any = None,
    direct: bool = True,
    readable: Sequence[Path] | None = None,
    layout_directories: Sequence[Path] = (),
) -> TomoScan:
    """Open a Bluesky run as a scan.

    Parameters
    ----------
    run_node : BlueskyRun
        Tiled client of the run.
    layout : ScanLayout, str or Path, optional
        Scan layout, its name, or a YAML file; by default the one that the start document names in
        `scan_layout`, or else the one that recognises the run.
    catalog : Container, optional
        Where other runs are, by their uid (flats and darks may be a run of their own); by default
        the container that the run is in.
    direct : bool
        Whether raw files are read directly where they are visible; otherwise everything is read
        through Tiled.
    readable : sequence of Path, optional
        Folders below which they may be read directly; by default wherever they are.
    layout_directories : sequence of Path
        Folders with further layouts.

    Returns
    -------
    TomoScan
        To be closed after use; a context manager.

    Raises
    ------
    InputError
        If no layout fits, or something that it names is missing or damaged.
    """
    view = view_run(run_node)
    if layout is None:
        layout = choose_layout(view.start, view.streams, view.where, layout_directories)
    elif not isinstance(layout, ScanLayout):
        layout = load_layout(layout, layout_directories)
    with ExitStack() as opened:
        folders = None if readable is None else tuple(folder.resolve() for folder in readable)
        opening = Opening(opened, _state(view), direct, folders)
        scan = _Opener(view, layout, opening, catalog).scan()
        # The scan closes the files from now on.
        return replace(scan, closer=opened.pop_all().close)


@contextmanager
def open_references(
    run_node: Any,
    *,
    catalog: Any = None,
    readable: Sequence[Path] | None = None,
    layout_directories: Sequence[Path] = (),
) -> Iterator[tuple[LazyFrames | None, LazyFrames | None]]:
    """Yield flats and darks of a run as far as it has them, be there projections yet or not.

    Parameters and errors are those of `open_run`.
    """
    view = view_run(run_node)
    layout = choose_layout(view.start, view.streams, view.where, layout_directories)
    folders = None if readable is None else tuple(folder.resolve() for folder in readable)
    with ExitStack() as opened:
        opener = _Opener(view, layout, Opening(opened, [], readable=folders), catalog)
        flats, darks = opener.references()
        yield None if flats is None else flats.frames, None if darks is None else darks.frames


@dataclass(frozen=True)
class _Opener:
    view: RunView
    layout: ScanLayout
    opening: Opening
    catalog: Any

    def scan(self) -> TomoScan:
        view, layout, notes = self.view, self.layout, self.opening.notes
        projections = self._projections()
        flats, darks = self.references()
        angles, source = angles_of_run(view, layout, projections, self._named, notes)
        count, angles, said = match_counts(projections.frames.shape[0], angles, view.where)
        stream = layout.beam_monitor.stream if layout.beam_monitor else None
        monitor = self._monitor(view, stream or layout.projections.stream, projections, count)
        flat_monitor = None
        if flats is not None and layout.flats is not None:
            stream = layout.beam_monitor.flats_stream if layout.beam_monitor else None
            there_too = self._view_of(layout.flats)
            flat_monitor = self._monitor(
                there_too, stream or layout.flats.stream, flats, flats.frames.shape[0]
            )
        stacks = {"projections": projections, "flats": flats, "darks": darks}
        there = {name: stack for name, stack in stacks.items() if stack is not None}
        files = [str(file) for stack in there.values() for file in stack.files]
        places = layout.metadata
        notes += said
        return TomoScan(
            projections=shorten(projections.frames, count),
            angles_deg=angles,
            origin=ScanOrigin(
                "bluesky",
                view.where,
                {name: stack.name for name, stack in there.items()}
                | {"angles": source}
                | ({} if monitor is None else {"monitor": monitor[1]}),
                run_uid=str(view.start.get("uid")),
                files=tuple(dict.fromkeys(files)),
                references=self._reference_runs(there),
                unseen=tuple(stack.unseen for stack in there.values() if stack.unseen is not None),
            ),
            flats=flats.frames if flats else None,
            darks=darks.frames if darks else None,
            monitor=None if monitor is None else monitor[0],
            flat_monitor=None if flat_monitor is None else flat_monitor[0],
            rotation_axis=self._number(places.rotation_axis, None),
            pixel_size_um=self._number(places.pixel_size, Quantity.LENGTH_UM),
            energy_kev=self._number(places.energy, Quantity.ENERGY_KEV),
            distance_mm=self._number(places.distance, Quantity.DISTANCE_MM),
            sample_name=self._text(places.sample_name),
            notes=tuple(notes),
        )

    def references(self) -> tuple[RunStack | None, RunStack | None]:
        """Open flats and darks."""
        return self._stack("flats", self.layout.flats), self._stack("darks", self.layout.darks)

    def _named(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Put the detector's name into data keys."""
        return data_keys(self.layout, self.view.start, keys, self.view.where)

    def _projections(self) -> RunStack:
        images = self.layout.projections
        stack = self._open(self.view, images)
        if stack is None:
            keys = ", ".join(self.view.keys(images.stream)) or "no such stream"
            raise MissingDataError(
                self.view.where,
                f"layout {self.layout.name} wants projections in"
                f" {' or '.join(self._named(images.data_key))}; there is: {keys}",
                dataset=images.stream,
                hint=f"The run has streams {', '.join(self.view.streams) or 'none'}",
            )
        return stack

    def _stack(self, what: str, images: Images | None) -> RunStack | None:
        if images is None:
            self.opening.notes.append(f"layout {self.layout.name} has no {what}")
            return None
        view = self._view_of(images)
        if view is None:
            self.opening.notes.append(f"the start document has no {images.run}: no {what}")
            return None
        stack = self._open(view, images)
        if stack is None or stack.frames.shape[0] == 0:
            self.opening.notes.append(
                f"run {view.start.get('uid')} has no stream {images.stream} with frames: no {what}"
            )
            return None
        return stack

    def _view_of(self, images: Images) -> RunView | None:
        """Return the run that has these frames, or None if the start document does not name it."""
        if images.run is None:
            return self.view
        uid = look_up(self.view.start, images.run)
        return None if uid is None else self._other_run(str(uid), images.run)

    def _reference_runs(self, there: Collection[str]) -> dict[str, str]:
        """Return the uids of other runs that flats and darks are of, as far as there are any."""
        stacks = {"flats": self.layout.flats, "darks": self.layout.darks}
        views = {what: self._view_of(images) for what, images in stacks.items() if images and what in there}
        uids = {what: str(view.start.get("uid")) for what, view in views.items() if view is not None}
        own = str(self.view.start.get("uid"))
        return {what: uid for what, uid in uids.items() if uid != own}

    def _monitor(
        self, view: RunView | None, stream: str, stack: RunStack, count: int
    ) -> tuple[Readings, str] | None:
        """Return what the monitor read at the first frames, and where that stands; None if nothing does."""
        monitor = self.layout.beam_monitor
        if monitor is None or view is None:
            return None
        key = view.first_key(stream, self._named(monitor.data_key))
        if key is None:
            return None
        name, notes = f"{stream}/{key}", self.opening.notes
        shape, frames = view.array(stream, key).shape, stack.frames.shape[0]
        try:
            readings = as_readings(shape, lambda: view.values(stream, key), frames, name, notes)
        except InputError as error:
            notes.append(f"{name} cannot be read, so there is no beam monitor: {error.cause}")
            return None
        if readings is None:
            return None
        matched = readings_of(stack.per_frame(readings), count, name, notes)
        return None if matched is None else (matched, name)

    def _open(self, view: RunView, images: Images) -> RunStack | None:
        key = view.first_key(images.stream, self._named(images.data_key))
        if key is None:
            return None
        return open_stack(view, images.stream, key, self.opening, dataset=images.dataset)

    def _other_run(self, uid: str, why: str) -> RunView:
        catalog = self.catalog if self.catalog is not None else self.view.node.parent
        cached = f"run/{uid}"
        if cached not in self.view.cache:
            # Slashes would lead out of the catalogue: the uid comes from a document.
            if "/" in uid or uid not in catalog:
                raise MissingDataError(
                    self.view.where,
                    f"{why} names run {uid}, which is not in {catalog.uri}",
                    hint="Say in which catalogue it is",
                )
            self.view.cache[cached] = view_run(catalog[uid])
        view: RunView = self.view.cache[cached]
        return view

    def _found(self, places: tuple[MetadataValue, ...]) -> list[tuple[MetadataValue, Any]]:
        found = []
        for place in places:
            if place.stream is None:
                value = look_up(self.view.start, place.key)
            elif place.key in self.view.keys(place.stream):
                values = self.view.values(place.stream, place.key).reshape(-1)
                value = values[0] if values.size else None
            else:
                value = None
            if value is not None:
                found.append((place, value))
        return found

    def _number(self, places: tuple[MetadataValue, ...], quantity: Quantity | None) -> float | None:
        return first_number(self._found(places), quantity, self.layout.name, self.opening.notes)

    def _text(self, places: tuple[MetadataValue, ...]) -> str | None:
        return first_text(self._found(places))


def _state(view: RunView) -> list[str]:
    """Return what is to be said about a run that has not ended well."""
    if view.stop is None:
        return ["the run has no stop document: it is still going on, or its session was killed"]
    status = view.stop.get("exit_status")
    if status != "success":
        reason = view.stop.get("reason") or "no reason given"
        return [f"the run ended with {status} ({reason}): what there is is used"]
    return []
