"""Computing what is compared: each variant from its scan, by the pipeline that the command line uses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import AxisResult
from tomoservice.errors import CancelledError, GeometryError, TomoserviceError
from tomoservice.gallery.model import AxisSearch, Comparison, Reconstructed, Skipped, Stages, Variant
from tomoservice.gallery.scans import GalleryScan, Simulations
from tomoservice.pipeline import Slab, compute, find_axis, prepare
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.recipe import parse_recipe
from tomoservice.sources import open_scan

Stopped = Callable[[], bool]
KNOWN = re.compile(r"\$(?P<name>\w+)(?:(?P<sign>[-+*])(?P<number>[\d.]+))?")


@dataclass(frozen=True)
class FoundAxis:
    """What a search for the axis gave."""

    label: str
    result: AxisResult
    true: float | None
    """The true column, where it is known."""
    seconds: float


class Laboratory:
    """Opens scans and reconstructs them.

    Parameters
    ----------
    size
        Detector columns of the simulated scans.
    files
        Measured scans by the names that comparisons call them.
    stopped
        Asked now and then whether to stop.
    """

    def __init__(self, size: int, files: dict[str, Path], stopped: Stopped) -> None:
        self._simulations = Simulations(size)
        self._files = files
        self._stopped = stopped
        self._opened: dict[str, GalleryScan] = {}

    def close(self) -> None:
        """Close the measured scans, and let go of the simulated ones."""
        for opened in self._opened.values():
            opened.scan.close()
        self._opened.clear()
        self._simulations.forget()

    def scan(self, name: str) -> GalleryScan:
        """Return a scan by name: a measured one if there is one of that name, else a simulated one."""
        if name in self._files and name not in self._opened:
            scan = open_scan(self._files[name])
            self._opened[name] = GalleryScan(scan)
        return self._opened[name] if name in self._opened else self._simulations[name]

    def reconstruct(self, comparison: Comparison, variant: Variant) -> Reconstructed | Skipped:
        """Reconstruct one variant, or say why it cannot be.

        Raises
        ------
        CancelledError
            If somebody asked to stop.
        """
        asked = variant.recipe
        try:
            held = self.scan(variant.scan or comparison.scan)
            asked = filled(variant.recipe, held.known)
            return self._computed(comparison, held, variant.label, asked)
        except CancelledError:
            raise
        except TomoserviceError as error:
            return Skipped(variant.label, asked, str(error))

    def find_axis(self, search: AxisSearch) -> FoundAxis | Skipped:
        """Search the rotation axis, or say why it cannot be found.

        Raises
        ------
        CancelledError
            If somebody asked to stop.
        """
        try:
            held = self.scan(search.scan)
            begin = time.perf_counter()
            result = find_axis(held.scan, parse_recipe(search.recipe), cancelled=self._stopped)
            seconds = time.perf_counter() - begin
        except CancelledError:
            raise
        except TomoserviceError as error:
            return Skipped(search.label, search.recipe, str(error))
        return FoundAxis(search.label, result, held.known.get("axis"), seconds)

    def _computed(
        self, comparison: Comparison, held: GalleryScan, label: str, asked: Stages
    ) -> Reconstructed:
        begin = time.perf_counter()
        recipe = parse_recipe(_whole_recipe(comparison, held, asked))
        plan = prepare(held.scan, recipe, cancelled=self._stopped)
        volume = np.empty(plan.shape, np.float32)
        slope, offset = plan.scaling.get("slope", 1.0), plan.scaling.get("offset", 0.0)

        def keep(slab: Slab, slices: NDArray[Any]) -> None:
            volume[slab.start : slab.stop] = slope * slices.astype(np.float32) + offset

        compute(plan, held.scan, on_slab=keep, cancelled=self._stopped)
        seconds = time.perf_counter() - begin
        row = held.row(comparison.height)
        shown = (row - plan.selection.rows.start) // plan.selection.binning
        shown = min(max(shown, 0), len(volume) - 1)
        sinogram = None
        if comparison.sinogram:
            before = Preprocessor(held.scan, plan.selection, plan.beam, plan.chain)
            sinogram = before.sinograms(shown, shown + 1)[0]
        return Reconstructed(
            label=label,
            asked=asked,
            volume=volume,
            shown=shown,
            seconds=seconds,
            rotation_axis=plan.rotation_axis,
            tilt_deg=getattr(plan.resolved.rotation_axis, "tilt_deg", None),
            axis=plan.axis,
            units=plan.units,
            notes=plan.notes,
            recipe_yaml=plan.resolved.to_yaml(),
            sinogram=sinogram,
        )


def filled(stages: Stages, known: dict[str, float]) -> dict[str, dict[str, Any]]:
    """Put what is known of a scan in the place of `$axis` and its like.

    Raises
    ------
    GeometryError
        If the scan does not know a value of that name.
    """
    return {name: _filled(stage, known) for name, stage in stages.items()}


def _filled(value: Any, known: dict[str, float]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, known) for key, inner in value.items()}
    match = KNOWN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    if match["name"] not in known:
        raise GeometryError(f"the scan does not tell its {match['name']}")
    start, number = known[match["name"]], float(match["number"] or 0)
    result = {"+": start + number, "-": start - number, "*": start * number, None: start}[match["sign"]]
    # A whole number reads better without its point.
    return int(result) if result.is_integer() else round(result, 6)


def _whole_recipe(comparison: Comparison, held: GalleryScan, asked: Stages) -> dict[str, Any]:
    """Return the recipe of a variant, restricted to the rows that are shown."""
    content: dict[str, Any] = {**filled(comparison.common, held.known), **asked}
    if comparison.known_axis:
        content["rotation_axis"] = {"method": "value", "value": held.known["axis"]}
    if comparison.rows is not None:
        height = held.scan.shape[1]
        row = held.row(comparison.height)
        first = min(max(row - comparison.rows // 2, 0), max(height - comparison.rows, 0))
        rows = {"start": first, "stop": min(first + comparison.rows, height)}
        content["frames"] = {**content.get("frames", {}), "rows": rows}
    return content
