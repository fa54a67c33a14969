"""Stripe removal by sorting, of Vo, Atwood and Drakopoulos 2018 (DOI 10.1364/OE.26.028396).

What these methods share: the values of a column, sorted, change little from a good column to the next, so a
column whose sorted values differ from its neighbours' is a stripe. They agree with algotom's but for equal
values of one column, which here keep the order of their angles, and there come in any order; and where a
class says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from tomoservice.errors import EngineError
from tomoservice.prep.stripes._sorted import Ranked
from tomoservice.prep.stripes.base import Sinogram, above, at_least, large_window, small_window
from tomoservice.prep.stripes.detection import find_stripes, widened
from tomoservice.windows import window_path

Profile = NDArray[np.float64]
"""One number for each column."""
# Angles over which a responsive pixel's values hardly change, by the authors.
SMOOTH_ANGLES = 10
# Ratio of a column's mean to its neighbours' that a pixel's gain can explain.
LARGEST_GAIN = 2.0


@dataclass(frozen=True, kw_only=True)
class BySorting:
    """Small and medium, also partial, stripes: medians across sorted columns (algorithm 3).

    Parameters
    ----------
    size : int or None
        Columns of the median's window; wider than twice the widest stripe. At least 1; None stands for 1 % of
        the detector's width, at least 5.

    Raises
    ------
    EngineError
        If the parameter is out of its range.
    """

    size: int | None = 21

    def __post_init__(self) -> None:
        at_least("size", self.size, 1)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        ranked = Ranked.of(sinogram)
        return ranked.unsorted(ranked.medians(small_window(self.size, sinogram.shape[1])))


@dataclass(frozen=True, kw_only=True)
class LargeStripes:
    """Large stripes: found by their mean, replaced by the medians of sorted columns around (algorithm 5).

    Parameters
    ----------
    snr : float
        How far a stripe stands out of the others' spread; above 1, greater is less sensitive.
    size : int or None
        Columns of the median's window; wider than twice the widest stripe. At least 1; None stands for 2.5 %
        of the detector's width, at least 15.
    drop_ratio : float
        Fraction of each column's values, the extreme ones, left out of its mean; 0 to 0.8.
    normalise : bool
        Divide also the other columns by the ratio of their mean to their neighbours'. This takes away faint
        stripes, but also what the sample itself varies within half the window.

    Raises
    ------
    EngineError
        If a parameter is out of its range.

    Notes
    -----
    A column that does not stand out is left as it is if that ratio is beyond 1/2 to 2, where algotom divides
    by it: both means then are those of noise in air.
    """

    snr: float = 3.0
    size: int | None = 51
    drop_ratio: float = 0.1
    normalise: bool = True

    def __post_init__(self) -> None:
        above("snr", self.snr, 1)
        at_least("size", self.size, 1)
        if not 0 <= self.drop_ratio <= 0.8:
            msg = f"drop_ratio must be between 0 and 0.8, got {self.drop_ratio}"
            raise EngineError(msg)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        ranked = Ranked.of(sinogram)
        self.correct_ranked(ranked)
        return ranked.unsorted(ranked.values)

    def correct_ranked(self, ranked: Ranked) -> None:
        """Correct a sorted sinogram in place: it stays sorted."""
        values = ranked.values
        smooth = ranked.medians(large_window(self.size, len(values)))
        kept = self.ranks_kept(values.shape[1])
        mean, around = (
            np.asarray(np.mean(array[:, kept], axis=1, dtype=np.float64)) for array in (values, smooth)
        )
        ratio, large = self.judged(mean, around)
        if self.normalise:
            np.divide(values, ratio[:, None], out=values, casting="same_kind")
        values[large] = smooth[large]

    def ranks_kept(self, angles: int) -> slice:
        """Return which of a column's sorted values its mean is taken of."""
        drop = int(0.5 * self.drop_ratio * angles)
        return slice(drop, angles - drop)

    def judged(self, mean: Profile, around: Profile) -> tuple[Profile, NDArray[np.bool_]]:
        """Judge columns by the means (column,) of their sorted values and of the medians around them.

        Returns
        -------
        ratio : (column,) float64 array
            What `normalise` divides each column by.
        large : (column,) bool array
            Columns that are replaced by the medians.
        """
        ratio = np.divide(mean, around, out=np.ones_like(mean), where=around != 0)
        large = widened(find_stripes(ratio, self.snr))
        ratio[(ratio < 1 / LARGEST_GAIN) | (ratio > LARGEST_GAIN)] = 1
        return ratio, large


@dataclass(frozen=True)
class ColumnBridges:
    """Columns that are interpolated linearly between others, (bridge,) each."""

    lost: NDArray[np.intp]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    weight: Profile
    """Of the column on the right."""


@dataclass(frozen=True, kw_only=True)
class DeadStripes:
    """Stripes of unresponsive and of fluctuating pixels (algorithm 6).

    A column that follows the rotation much less, or fluctuates much more, than its neighbours carries no
    information: it is interpolated linearly between good columns. Nothing is done if a third of the columns
    or more seem to be such.

    Parameters
    ----------
    snr : float
        How far a stripe stands out of the others' spread; above 1, greater is less sensitive.
    size : int or None
        Columns of the median's window; wider than twice the widest stripe. At least 1; None stands for 2.5 %
        of the detector's width, at least 15.
    residual : bool
        Whether large stripes are removed afterwards (`LargeStripes`).

    Raises
    ------
    EngineError
        If a parameter is out of its range.
    """

    snr: float = 3.0
    size: int | None = 51
    residual: bool = True

    def __post_init__(self) -> None:
        above("snr", self.snr, 1)
        at_least("size", self.size, 1)

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        repaired = self.repaired(sinogram)
        return LargeStripes(snr=self.snr, size=self.size).corrected(repaired) if self.residual else repaired

    def repaired(self, sinogram: Sinogram) -> Sinogram:
        """Return the sinogram with dead columns interpolated; the sinogram itself if there are none."""
        from tomoservice.prep.stripes._kernels import fluctuations

        changes = fluctuations(sinogram, window_path(len(sinogram), SMOOTH_ANGLES), SMOOTH_ANGLES)
        bridges = self.bridges(changes)
        if bridges is None:
            return sinogram
        repaired = sinogram.copy()
        left, right, weight = sinogram[:, bridges.left], sinogram[:, bridges.right], bridges.weight
        repaired[:, bridges.lost] = left * (1 - weight) + right * weight
        return repaired

    def bridges(self, changes: Profile) -> ColumnBridges | None:
        """Judge columns by how far their values lie from the means around them, (column,), summed up.

        Returns
        -------
        ColumnBridges or None
            How dead columns are interpolated; None if nothing is to be done.
        """
        columns = len(changes)
        around = median_filter(changes, large_window(self.size, columns))
        around[around == 0] = np.mean(around) or 1
        dead = widened(find_stripes(changes / around, self.snr))
        # The outermost columns have nothing beyond them to interpolate to.
        dead[:2] = dead[-2:] = False
        if not 0 < np.count_nonzero(dead) < columns // 3:
            return None
        good, lost = np.flatnonzero(~dead), np.flatnonzero(dead)
        after = np.searchsorted(good, lost)
        left, right = good[after - 1], good[after]
        return ColumnBridges(lost, left, right, (lost - left) / (right - left))


@dataclass(frozen=True, kw_only=True)
class EveryStripe:
    """Stripes of every kind: dead, then large, then small ones (algorithms 6, 5 and 3).

    Equals `DeadStripes` without residual, `LargeStripes` and `BySorting` in turn, but sorts once: neither
    dividing a column nor replacing it by medians of sorted columns changes the order of its values.

    Parameters
    ----------
    snr : float
        How far a stripe stands out of the others' spread; above 1, greater is less sensitive.
    large_size, small_size : int or None
        Columns of the medians' windows against large and against small stripes. At least 1; None stands for
        2.5 % and 1 % of the detector's width, at least 15 and 5.
    drop_ratio : float
        Fraction of each column's values, the extreme ones, left out of its mean; 0 to 0.8.
    normalise : bool
        As for `LargeStripes`.

    Raises
    ------
    EngineError
        If a parameter is out of its range.
    """

    snr: float = 3.0
    large_size: int | None = 51
    small_size: int | None = 21
    drop_ratio: float = 0.1
    normalise: bool = True

    def __post_init__(self) -> None:
        at_least("small_size", self.small_size, 1)
        at_least("large_size", self.large_size, 1)
        self.in_turn()

    def corrected(self, sinogram: Sinogram) -> Sinogram:
        """Return a sinogram without stripes; see `StripeMethod.corrected`."""
        dead, large, small = self.in_turn()
        ranked = Ranked.of(dead.repaired(sinogram))
        large.correct_ranked(ranked)
        return ranked.unsorted(ranked.medians(small_window(small.size, sinogram.shape[1])))

    def in_turn(self) -> tuple[DeadStripes, LargeStripes, BySorting]:
        """Return the methods that this one is made of."""
        large = LargeStripes(
            snr=self.snr, size=self.large_size, drop_ratio=self.drop_ratio, normalise=self.normalise
        )
        return DeadStripes(snr=self.snr, size=self.large_size), large, BySorting(size=self.small_size)
