"""What an iterative reconstruction is asked for, and how it is steered while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tomoservice.errors import CancelledError, EngineError
from tomoservice.recon.base import SliceOptions


class Initial(StrEnum):
    """What the iterations start from."""

    ZERO = "zero"
    FBP = "fbp"
    VOLUME = "volume"


@dataclass(frozen=True, kw_only=True)
class IterativeOptions(SliceOptions):
    """Options of the iterative methods; each refuses those that it has no use for.

    With `mask_circle` the pixels outside the circle are no unknowns: they are 0 from the beginning, and what
    the projections saw there is charged to the rim. That is right for a sample inside the field of view; for
    a wider one leave the mask off, and the corners take up what lies outside.

    Parameters
    ----------
    iterations
        Most iterations; at least 1.
    initial
        What to start from: nothing, the Fourier method's filtered back-projection, or slices that come with
        the sinograms.
    minimum, maximum
        Least and greatest attenuation per pixel that a slice may hold; None stands for no limit. Not with
        ``"cgls"``.
    tolerance
        End as soon as an iteration changes the relative residual by less than this part of itself; 0 never
        ends early.
    subsets
        For ``"sart"``: how many groups the projections are cut into; more than there are projections
        stand for one projection each.
    relaxation
        For ``"sart"``: part of each correction that is made; above 0, below 2.
    weight
        For ``"tv"``: what a step of 1 along a pixel's edge costs, against half the squared misfit of a line
        integral, summed over the columns and averaged over the projections.
    half_acquisition
        Whether the filtered back-projection to start from must treat the scan as a half-acquisition. The
        iterations make no difference between scans.
    """

    iterations: int = 100
    initial: Initial = Initial.ZERO
    minimum: float | None = None
    maximum: float | None = None
    tolerance: float = 0.0
    subsets: int = 16
    relaxation: float = 1.0
    weight: float = 1e-3
    half_acquisition: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise EngineError(f"iterations must be at least 1, got {self.iterations}")
        if self.minimum is not None and self.maximum is not None and not self.minimum < self.maximum:
            raise EngineError(f"minimum must be below maximum, got {self.minimum:g} and {self.maximum:g}")
        if not 0 <= self.tolerance < 1:
            raise EngineError(f"tolerance is a fraction, at least 0 and below 1, got {self.tolerance:g}")
        if self.subsets < 1:
            raise EngineError(f"subsets must be at least 1, got {self.subsets}")
        if not 0 < self.relaxation < 2:
            raise EngineError(f"relaxation lies between 0 and 2, got {self.relaxation:g}")
        if not 0 <= self.weight < float("inf"):
            raise EngineError(f"weight must be finite and not negative, got {self.weight:g}")


def never() -> bool:
    """Say that nobody asked."""
    return False


def _ignore(_row: int, _iteration: int, _residual: float) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class IterationControl:
    """Ears and voice of a running reconstruction. All are called from the threads that compute.

    Parameters
    ----------
    cancelled
        Asked several times a second for each slice being computed; true ends the reconstruction with
        `CancelledError`.
    stop_and_keep
        Asked after each iteration; true ends a slice with what it has reached. A slice that begins later
        still gets one iteration, so that none is empty.
    on_iteration
        Told detector row, iteration (counted from 1) and relative residual, ``|A x - b| / |b|`` after that
        iteration.
    """

    cancelled: Callable[[], bool] = never
    stop_and_keep: Callable[[], bool] = never
    on_iteration: Callable[[int, int, float], None] = _ignore

    def listen(self) -> None:
        """Raise `CancelledError` if the reconstruction is cancelled."""
        if self.cancelled():
            raise CancelledError("stopped while reconstructing")
