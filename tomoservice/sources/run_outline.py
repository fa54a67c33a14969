"""What a run looks like from outside: from its documents and the shapes of its arrays, nothing is opened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tomoservice.errors import InputError
from tomoservice.sources.layout import (
    Images,
    MetadataValue,
    ScanLayout,
    choose_layout,
    layouts,
    recognise_layout,
)
from tomoservice.sources.run_metadata import data_keys, first_number, first_text, in_start
from tomoservice.sources.units import Quantity


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """An array of a run."""

    shape: tuple[int, ...]
    """Frames first, (row, column) last."""
    itemsize: int
    """Bytes of a pixel."""

    @property
    def frames(self) -> int:
        """Number of frames."""
        return math.prod(self.shape[:-2])


@dataclass(frozen=True, slots=True)
class RunOutline:
    """What is known of a scan without opening it; None is what is not."""

    layout: str | None = None
    """Name of the layout by which it is read."""
    sample_name: str | None = None
    """Name of the sample."""
    projections: int | None = None
    """Number of projections that were recorded."""
    rows: int | None = None
    """Detector rows."""
    columns: int | None = None
    """Detector columns."""
    flats: int | None = None
    """Number of open-beam frames of the run itself."""
    darks: int | None = None
    """Number of frames without beam of the run itself."""
    size_bytes: int | None = None
    """Size of all of these, uncompressed."""
    pixel_size_um: float | None = None
    """Size of a pixel at the sample in micrometres."""
    energy_kev: float | None = None
    """Photon energy in keV."""
    distance_mm: float | None = None
    """Distance from sample to detector in millimetres."""
    problem: str = ""
    """Why the run is no scan that can be read."""


Arrays = Mapping[str, Mapping[str, ArrayShape]]
"""Arrays by stream and data key."""


class RunOutliner:
    """Outlines runs by the layouts that come with the package, each of which is read once."""

    def __init__(self) -> None:
        self._layouts = {layout.name: layout for layout in layouts()}

    def outline(self, start: Mapping[str, Any], streams: Sequence[str], arrays: Arrays) -> RunOutline:
        """Return what a run looks like.

        Parameters
        ----------
        start : mapping
            Start document.
        streams : sequence of str
            Names of its streams.
        arrays : mapping
            Its arrays, by stream and data key.
        """
        try:
            return self._outline(start, streams, arrays)
        except InputError as error:
            return RunOutline(sample_name=self.sample_name(start), problem=error.cause)

    def sample_name(self, start: Mapping[str, Any]) -> str | None:
        """Return the name of the sample that a start document says, by the layout that it names."""
        named = start.get("scan_layout")
        layout = self._layouts.get(named) if isinstance(named, str) else None
        said = None if layout is None else first_text(in_start(start, layout.metadata.sample_name))
        return said or str(start.get("sample_name") or "") or None

    def _outline(self, start: Mapping[str, Any], streams: Sequence[str], arrays: Arrays) -> RunOutline:
        layout = self._layout(start, streams)
        stacks = {
            name: _stack(layout, images, start, arrays)
            for name, images in (
                ("projections", layout.projections),
                ("flats", layout.flats),
                ("darks", layout.darks),
            )
        }
        seen = stacks["projections"]
        there = [stack for stack in stacks.values() if stack is not None]

        def number(places: tuple[MetadataValue, ...], quantity: Quantity) -> float | None:
            return first_number(in_start(start, places), quantity, layout.name, [])

        places = layout.metadata
        return RunOutline(
            layout=layout.name,
            sample_name=first_text(in_start(start, places.sample_name)),
            projections=_frames(seen),
            flats=_frames(stacks["flats"]),
            darks=_frames(stacks["darks"]),
            rows=None if seen is None else seen.shape[-2],
            columns=None if seen is None else seen.shape[-1],
            size_bytes=sum(math.prod(stack.shape) * stack.itemsize for stack in there) or None,
            pixel_size_um=number(places.pixel_size, Quantity.LENGTH_UM),
            energy_kev=number(places.energy, Quantity.ENERGY_KEV),
            distance_mm=number(places.distance, Quantity.DISTANCE_MM),
        )

    def _layout(self, start: Mapping[str, Any], streams: Sequence[str]) -> ScanLayout:
        named, where = start.get("scan_layout"), _where(start)
        if named is None:
            return recognise_layout(start, streams, where, list(self._layouts.values()))
        if isinstance(named, str) and named in self._layouts:
            return self._layouts[named]
        return choose_layout(start, streams, where)


def _where(start: Mapping[str, Any]) -> str:
    return f"run {start.get('uid', '')}"


def _frames(stack: ArrayShape | None) -> int | None:
    return None if stack is None else stack.frames


def _stack(
    layout: ScanLayout, images: Images | None, start: Mapping[str, Any], arrays: Arrays
) -> ArrayShape | None:
    # What lies in another run, or in other data sets of the file, cannot be seen from outside.
    if images is None or images.run is not None or images.dataset is not None:
        return None
    there = arrays.get(images.stream, {})
    keys = data_keys(layout, start, images.data_key, _where(start))
    found = next((there[key] for key in keys if key in there), None)
    return found if found is not None and len(found.shape) >= 2 else None
