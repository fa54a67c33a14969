"""Which flats and darks of a scan are used, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomoservice.prep.flat_frames import JudgedFrames, judge_frames
from tomoservice.recipe.stages.flat_field import FlatField, NoFlatField
from tomoservice.scan import TomoScan

DARK_TOLERANCE = 0.005
"""Darks that differ by less than this part of the flats' level are the same dark."""


@dataclass(frozen=True, slots=True)
class References:
    """The flats and darks that a reconstruction uses."""

    flats: NDArray[np.intp]
    """Numbers of the flats that are used, ascending."""
    darks: NDArray[np.intp]
    """Numbers of the darks that are used, ascending."""
    notes: tuple[str, ...] = ()
    """Which are left out and why, in sentences."""
    unjudged: bool = False
    """Whether all are used as they are, because the recipe says so."""
    hopeless: bool = False
    """Whether no flat is good."""


def choose_references(scan: TomoScan, stage: FlatField) -> References:
    """Look at all flats and darks, and leave bad ones out if the recipe says so."""
    flats, darks = (
        np.arange(0 if frames is None else frames.shape[0]) for frames in (scan.flats, scan.darks)
    )
    if isinstance(stage, NoFlatField):
        return References(flats, darks)
    if stage.bad_frames == "keep":
        return References(flats, darks, unjudged=True)
    notes: list[str] = []
    level, hopeless = 0.0, False
    if scan.flats is not None and flats.size:
        judged = judge_frames(scan.flats)
        flats, level = judged.kept, float(np.median(judged.levels[judged.kept]))
        notes += _sentences("flat", judged)
        hopeless = len(judged.reasons) == judged.bad.size
    if scan.darks is not None and darks.size:
        judged = judge_frames(scan.darks, tolerance=DARK_TOLERANCE * level)
        darks = judged.kept
        notes += _sentences("dark", judged)
    return References(flats, darks, tuple(notes), hopeless=hopeless)


def _sentences(kind: str, judged: JudgedFrames) -> list[str]:
    """Say of each bad frame why it is bad, and whether it is left out."""
    return [
        f"{kind} {number} {reason}" + (": left out" if judged.bad[number] else "")
        for number, reason in sorted(judged.reasons.items())
    ]
