"""A look at a few projections before anything is computed: can a volume come of them?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError
from tomoservice.pipeline.beam import Beam
from tomoservice.pipeline.chain import Chain, plain_chain
from tomoservice.pipeline.preprocess import Preprocessor
from tomoservice.pipeline.selection import Selection
from tomoservice.prep.saturation import detector_limit, saturated_part
from tomoservice.recipe import Recipe
from tomoservice.scan import TomoScan

LOOKED_AT = 5
"""Projections, spread over the scan."""
ROWS = 64
"""Detector rows in their middle, at most."""
SATURATED = 0.02
"""Part of the pixels at the detector's limit that is worth a word."""
LIGHTLESS = 1e-3
"""Transmission below which a detector sees nothing."""
OPAQUE, HOPELESS = 0.1, 0.9
"""Part of the pixels without light that is worth a word, or no scan."""
TOO_BRIGHT = 1.5
"""Median transmission above which the beam was not that of the flats."""


def check_transmission(scan: TomoScan, recipe: Recipe, selection: Selection, beam: Beam) -> list[str]:
    """Return what is odd about the light in a few projections, in sentences for the user.

    Raises
    ------
    InputError
        If next to no pixel has seen light: nothing can be reconstructed.
    """
    middle = (selection.rows.start + selection.rows.stop) // 2
    rows = slice(
        max(selection.rows.start, middle - ROWS // 2), min(selection.rows.stop, middle + ROWS // 2 + 1)
    )
    count = selection.angles_deg.size
    lines = tuple(sorted({round(i * (count - 1) / (LOOKED_AT - 1)) for i in range(LOOKED_AT)}))
    notes = _about_saturation(scan, selection, lines, rows)
    if plain_chain(recipe).minimum_transmission is None:
        return notes
    preprocessor = Preprocessor(scan, selection, beam, Chain(None))
    light = preprocessor.projections(lines, rows)[..., selection.columns]
    dark = float((light <= LIGHTLESS).mean())
    if dark > HOPELESS:
        raise InputError(
            scan.origin.location,
            f"{dark:.0%} of the pixels of a few projections are no brighter than the dark field",
            dataset=scan.origin.datasets.get("projections"),
            hint="Was the shutter open? Do flats and darks belong to this scan?",
        )
    if dark > OPAQUE:
        notes.append(
            f"{dark:.0%} of the pixels of a few projections have a transmission of {LIGHTLESS:g} or less: "
            "the sample is opaque there, or the darks are too bright; grey values are too low"
        )
    bright = float(np.median(light))
    if bright > TOO_BRIGHT:
        notes.append(
            f"a few projections are on the median {bright:.2g} times as bright as the flats: do these belong "
            "to the scan?"
        )
    return notes


def _about_saturation(scan: TomoScan, selection: Selection, lines: tuple[int, ...], rows: slice) -> list[str]:
    parts: list[tuple[float, float]] = []
    for line in lines:
        number = int(selection.projections[selection.places == line][0])
        frame: NDArray[np.generic] = scan.projections[number, rows, selection.columns]
        parts.append((saturated_part(frame), detector_limit(frame) or 0.0))
    worst, limit = max(parts)
    if worst <= SATURATED:
        return []
    return [
        f"up to {worst:.0%} of the pixels of a projection are saturated ({limit:.0f}): grey values are "
        "wrong. Expose the next scan for a shorter time"
    ]
