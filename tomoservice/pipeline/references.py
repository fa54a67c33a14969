"""Which flats and darks of a scan are used, and why others are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import RecipeError
from tomoservice.prep.flat_frames import JudgedFrames, judge_frames
from tomoservice.recipe.stages.flat_field import FlatField, NoFlatField
from tomoservice.scan import Frames, TomoScan

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
    lit: bool = False
    """Whether the flats are known to be brighter than the darks."""


@dataclass(frozen=True, slots=True)
class ChosenFrames:
    """Some of the frames of a stack, read when they are asked for."""

    frames: Any
    """The stack (frame, row, column)."""
    numbers: NDArray[np.intp]
    """Which of its frames."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of chosen frames, rows and columns."""
        return (int(self.numbers.size), *self.frames.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        dtype: np.dtype[Any] = self.frames.dtype
        return dtype

    def __getitem__(self, key: Any, /) -> NDArray[Any]:
        if isinstance(key, tuple):
            rows: NDArray[Any] = self.frames[(slice(None), *key[1:])]
            return rows[self.numbers[key[0]]]
        one: NDArray[Any] = self.frames[int(self.numbers[key])]
        return one


def choose_references(scan: TomoScan, stage: FlatField) -> References:
    """Look at all flats and darks, and leave out bad ones and those that the recipe excludes.

    Raises
    ------
    RecipeError
        If it excludes a frame that the scan does not have, or all of them.
    """
    if isinstance(stage, NoFlatField):
        return References(np.arange(_count(scan.flats)), np.arange(_count(scan.darks)))
    flats = _kept("flats", scan.flats, stage.exclude_flats)
    darks = _kept("darks", scan.darks, stage.exclude_darks)
    if stage.bad_frames == "keep":
        return References(flats, darks, unjudged=True)
    notes: list[str] = []
    level, dark_level, hopeless = 0.0, np.inf, False
    if flats.size:
        judged = judge_frames(ChosenFrames(scan.flats, flats))
        notes += _sentences("flat", judged, flats)
        hopeless = len(judged.reasons) == judged.bad.size
        flats, level = flats[judged.kept], float(np.median(judged.levels[judged.kept]))
    if darks.size:
        judged = judge_frames(ChosenFrames(scan.darks, darks), tolerance=DARK_TOLERANCE * level)
        notes += _sentences("dark", judged, darks)
        darks, dark_level = darks[judged.kept], float(np.median(judged.levels[judged.kept]))
    return References(flats, darks, tuple(notes), hopeless=hopeless, lit=level > dark_level)


def _count(frames: Frames | None) -> int:
    return 0 if frames is None else frames.shape[0]


def _kept(kind: str, frames: Frames | None, excluded: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the numbers of the frames that the recipe does not exclude."""
    count = _count(frames)
    if excluded and max(excluded) >= count:
        raise RecipeError(
            f"flat_field.exclude_{kind}: got {max(excluded)}, but the scan has {count} {kind}", name="recipe"
        )
    kept = np.setdiff1d(np.arange(count), np.asarray(excluded, np.intp))
    if count and not kept.size:
        raise RecipeError(f"flat_field.exclude_{kind}: leaves none of {count} {kind}", name="recipe")
    return kept


def _sentences(kind: str, judged: JudgedFrames, numbers: NDArray[np.intp]) -> list[str]:
    """Say of each bad frame why it is bad, and whether it is left out."""
    return [
        f"{kind} {numbers[place]} {reason}" + (": left out" if judged.bad[place] else "")
        for place, reason in sorted(judged.reasons.items())
    ]
