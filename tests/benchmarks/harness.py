"""Timing of ours beside its peers: interleaved, so that what slows the machine down slows all of them."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

Work = Callable[[], object]


class NotThereYetError(Exception):
    """What a benchmark measures, or the peer that it compares with, does not exist here."""


class Verdict(StrEnum):
    """What a measurement says about its target."""

    REACHED = "reached"
    MISSED = "not reached"
    ABSENT = "not there yet"
    INFORMATION = ""


@dataclass(frozen=True)
class Target:
    """What a figure must be.

    Parameters
    ----------
    limit
        The figure itself.
    at_least
        Whether more is better.
    unit
        Written behind the figure; "x" for a ratio.
    """

    limit: float
    at_least: bool = True
    unit: str = "x"

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {figure(self.limit, self.unit)}"

    def met_by(self, value: float) -> bool:
        """Tell whether `value` is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    work
        What was done.
    target
        What the value must be; None for a figure that is only told.
    value
        The figure; None where it could not be measured.
    details
        Where the figure comes from: times, sizes, or the reason why there is none.
    """

    work: str
    target: Target | None
    value: float | None
    details: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the target is reached."""
        if self.value is None:
            return Verdict.ABSENT
        if self.target is None:
            return Verdict.INFORMATION
        return Verdict.REACHED if self.target.met_by(self.value) else Verdict.MISSED

    @property
    def measured(self) -> str:
        """The figure and where it comes from."""
        if self.value is None:
            return self.details
        told = figure(self.value, self.target.unit if self.target else "")
        return f"{told} ({self.details})" if self.details else told


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Parameters
    ----------
    rounds
        Timed runs of everything; a median of less than five says little.
    full
        Whether the cases that take minutes are measured too.
    quick
        Whether small sizes do, to see that everything runs.
    scan_gb
        Size of the scan that goes through the whole pipeline, 1e9 bytes.
    scratch
        Folder for that scan and its volume, removed afterwards.
    """

    rounds: int
    full: bool
    quick: bool
    scan_gb: float
    scratch: Path

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Lend a folder that is removed afterwards."""
        with tempfile.TemporaryDirectory(prefix="tomoservice-bench-", dir=self.scratch) as name:
            yield Path(name)


@dataclass(frozen=True)
class Times:
    """Seconds that each work took in each round."""

    seconds: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        """Return the median of one work."""
        return statistics.median(self.seconds[name])

    def ratio(self, above: str, below: str) -> float:
        """Return how many times longer `above` takes than `below`: the median over the rounds.

        Both stand in the same round, so a load that comes and goes touches both.
        """
        pairs = zip(self.seconds[above], self.seconds[below], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def told(self) -> str:
        """Return the medians in words."""
        return ", ".join(f"{name} {duration(self.median(name))}" for name in self.seconds)


def interleave(
    works: Mapping[str, Work], rounds: int, *, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """Time works in turn, round by round; a first call of each is not counted.

    The order is turned round from one round to the next, so that none always follows the same neighbour.
    """
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        order = list(works) if number % 2 == 0 else list(reversed(works))
        for name in order:
            begin = clock()
            works[name]()
            seconds[name].append(clock() - begin)
    return Times({name: tuple(values) for name, values in seconds.items()})


def faster(work: str, target: Target | None, times: Times, ours: str = "ours", peer: str = "peer") -> Row:
    """Return the row that says how many times faster `ours` is than `peer`."""
    return Row(work, target, times.ratio(peer, ours), times.told())


def figure(value: float, unit: str) -> str:
    """Return a figure with three significant digits and its unit."""
    digits = f"{value:.3g}"
    return f"{digits} {unit}".rstrip() if unit not in {"x", "%"} else f"{digits}{unit}"


def duration(seconds: float) -> str:
    """Return a time in words."""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
