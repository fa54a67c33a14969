"""Detector rows that have seen nothing: their slices are empty, which somebody has to say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.pipeline.references import References
from tomoservice.pipeline.selection import Selection
from tomoservice.prep.flat_field import dead_pixels
from tomoservice.recipe import Recipe
from tomoservice.recipe.stages.flat_field import NoFlatField
from tomoservice.scan import TomoScan
from tomoservice.sources.checks import listed

LOOKED_AT = 3
"""Projections, spread over the scan: a row that is blind is so in all of them."""


def blind_rows(
    scan: TomoScan, recipe: Recipe, selection: Selection, references: References
) -> tuple[int, ...]:
    """Return the detector rows that are kept but have seen nothing, in the full frame.

    Of a row without one usable pixel nothing is known. It is taken for open beam, as rows of single
    projections are, so that its slice is 0 and every volume finite: NaN would spread into neighbouring slices
    with every stage that looks at them, and into every statistic of whoever reads the volume.

    Reads a few projections, a flat and a dark.
    """
    rows, columns = selection.rows, selection.columns
    divided = not isinstance(recipe.flat_field, NoFlatField)
    unlit: NDArray[np.bool_] = np.zeros(rows.stop - rows.start, np.bool_)
    if divided and scan.flats is not None and references.flats.size:
        flat = scan.flats[int(references.flats[0]), rows, columns]
        dark = None
        if scan.darks is not None and references.darks.size:
            dark = scan.darks[int(references.darks[0]), rows, columns]
        unlit = np.asarray(dead_pixels(flat, dark).all(axis=1))
    count = selection.projections.size
    chosen = sorted({round(i * (count - 1) / (LOOKED_AT - 1)) for i in range(LOOKED_AT)})
    numbers = [int(selection.projections[place]) for place in chosen]
    empty = np.all([_empty(scan.projections[number, rows, columns], divided) for number in numbers], axis=0)
    return tuple((rows.start + np.flatnonzero(unlit | empty)).tolist())


def _empty(frame: NDArray[np.generic], divided: bool) -> NDArray[np.bool_]:
    """Return which rows hold no finite number; counts that are all zero are none either."""
    usable = np.asarray(np.isfinite(frame), np.bool_)
    if divided:
        # Without a division the image may show line integrals, and 0 is air.
        usable &= frame != 0
    return np.asarray(~usable.any(axis=1), np.bool_)


def about_blind_rows(rows: tuple[int, ...]) -> list[str]:
    """Return what the user should know, in sentences."""
    if not rows:
        return []
    named = listed(np.asarray(rows, np.int64))
    if len(rows) == 1:
        return [f"detector row {named} holds no usable pixel: its slice is empty"]
    return [f"detector rows {named} hold no usable pixel: their slices are empty"]
