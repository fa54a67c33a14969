"""How good each picture of a sweep is, where numbers can tell; kept beside the pictures.

::

    {folder}/metric/limits.json    grey values between which histograms are counted, the same for all pictures
    {folder}/metric/000003.json    what was measured of picture 3

Only what leaves edges or rings is measured: a wrong rotation axis, stripes that were not removed. Of filters,
phase retrieval or iterations every metric there is prefers the smoothest picture, which is no advice.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomoservice.axis import ImageMetric, grey_limits, plainness
from tomoservice.errors import OutputError
from tomoservice.recipe import Sweep
from tomoservice.recon.rings import ring_score
from tomoservice.store import write_durably

FOLDER = "metric"
LIMITS = "limits.json"

Slice = NDArray[np.float32]


class SweepMetric(StrEnum):
    """What is measured of the pictures of a sweep; the smaller, the better."""

    ENTROPY = "entropy"
    """Of the histogram of grey values, as in the search for the axis: the least where edges are sharpest."""
    RING_SCORE = "ring_score"
    """How strong rings around the axis are, in units of the noise."""

    @property
    def about(self) -> str:
        """What it is, in words."""
        return {
            SweepMetric.ENTROPY: "entropy of the histogram; the least is where edges are sharpest",
            SweepMetric.RING_SCORE: "strength of rings, in units of the noise; the least is the cleanest",
        }[self]


BY_STAGE = {
    "rotation_axis": SweepMetric.ENTROPY,
    "flat_field": SweepMetric.RING_SCORE,
    "stripes": SweepMetric.RING_SCORE,
    "rings": SweepMetric.RING_SCORE,
}
"""Of sweeps of these stages, or of anything in them."""


def metric_of(sweep: Sweep) -> SweepMetric | None:
    """Return what tells the pictures of a sweep apart; None where no number says which is better."""
    return BY_STAGE.get(sweep.parameter.partition(".")[0])


class Scores:
    """What was measured of the pictures of one sweep, on disk.

    Parameters
    ----------
    folder : Path
        Folder of the sweep's store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def present(self) -> set[int]:
        """Return the numbers of the pictures that have been measured."""
        return {int(path.stem) for path in self._folder.glob("[0-9]*.json")}

    def read(self, count: int) -> NDArray[np.float64]:
        """Return (value,) what was measured of each picture; NaN where nothing was, or it cannot be said."""
        scores = np.full(count, np.nan)
        for number in self.present():
            if number < count:
                score = json.loads(self._path(number).read_text("ascii"))["score"]
                scores[number] = np.nan if score is None else score
        return scores

    def keep(self, number: int, score: float) -> None:
        """Store what was measured of a picture.

        Raises
        ------
        OutputError
            The disk refuses.
        """
        self._write(self._path(number), {"score": score if math.isfinite(score) else None})

    def limits(self, reference: Callable[[], Slice]) -> tuple[float, float]:
        """Return the grey values between which all histograms are counted.

        Parameters
        ----------
        reference : callable
            Makes the slice that says so, if none has been made yet.
        """
        path = self._folder / LIMITS
        if not path.exists():
            self._write(path, dict(zip(("low", "high"), grey_limits(reference()), strict=True)))
        content = json.loads(path.read_text("ascii"))
        return content["low"], content["high"]

    def forget(self) -> None:
        """Remove all that was measured."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.json"

    def _write(self, path: Path, content: dict[str, float | None]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_durably(path, json.dumps(content))
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error}") from error


def measure(metric: SweepMetric, image: Slice, scores: Scores, reference: Callable[[], Slice]) -> float:
    """Measure a slice.

    Parameters
    ----------
    metric : SweepMetric
        What is measured.
    image : (y, x) float32 array
        The whole slice, with the rotation axis in its middle. Not modified.
    scores : Scores
        Knows what the slices are compared by.
    reference : callable
        Makes the slice by which all are compared, if it has to be made.
    """
    if metric is SweepMetric.RING_SCORE:
        return ring_score(image)
    return plainness(image, ImageMetric.ENTROPY, scores.limits(reference))
