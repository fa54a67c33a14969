"""Curves as drawings (SVG) that need nothing else: in a page, in a notebook, in a file of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

COLOURS = ("#8a8f98", "#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207")
WIDTH, HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 10, 36
STYLE = (
    ".plot rect { fill: none; stroke: #d5d9e0; } .plot .grid { stroke: #eceef2; } "
    ".plot .mark { stroke: #15803d; stroke-dasharray: 4 3; } "
    ".plot polyline { fill: none; stroke-width: 1.5; stroke-linejoin: round; } "
    ".plot text { font: 11px system-ui, sans-serif; fill: #5b6472; }"
)

Limits = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A curve of a plot."""

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def draw(
    lines: Sequence[Line],
    titles: tuple[str, str],
    *,
    marks: Sequence[float] = (),
    limits: Limits | None = None,
) -> str:
    """Return curves as an SVG element; nothing if no value is finite.

    Parameters
    ----------
    lines
        Curves over the same axis; the first is drawn grey and behind the others.
    titles
        What the axes say, x and y.
    marks
        Where to draw vertical lines.
    limits
        Values that are shown at most; curves are cut there.
    """
    every_x = np.concatenate([line.x for line in lines])
    every_y = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    if limits is not None:
        every_y = every_y.clip(*limits)
    if not every_y.size:
        return ""
    across = _Scale.over(every_x, LEFT, WIDTH - RIGHT, margin=0)
    down = _Scale.over(every_y, HEIGHT - BOTTOM, TOP, margin=0.05)
    parts = _axes(across, down, *titles)
    for mark in marks:
        if across.low <= mark <= across.high:
            x = across(mark)
            parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    for line, colour in zip(lines, colours(len(lines)), strict=True):
        points = " ".join(
            f"{across(x):.1f},{down(min(max(y, down.low), down.high)):.1f}"
            for x, y in zip(line.x, line.y, strict=True)
            if math.isfinite(y)
        )
        parts.append(f'<polyline points="{points}" stroke="{colour}"/>')
    title = escape(f"{titles[1]} over {titles[0]}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'style="display: block; width: 100%; max-width: 860px" role="img" aria-label="{title}">'
        f"<style>{STYLE}</style>{''.join(parts)}</svg>"
    )


def colours(count: int) -> list[str]:
    """Return the colours of so many curves."""
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


@dataclass(frozen=True)
class _Scale:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    stop: float

    @classmethod
    def over(cls, values: NDArray[np.float64], start: float, stop: float, *, margin: float) -> _Scale:
        low, high = float(values.min()), float(values.max())
        if high <= low:
            low, high = low - 0.5, high + 0.5
        extra = margin * (high - low)
        return cls(low - extra, high + extra, start, stop)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Return round values, four to eight of them."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        first = math.ceil(self.low / step)
        return [step * i for i in range(first, math.floor(self.high / step) + 1)]


def _axes(across: _Scale, down: _Scale, x_title: str, y_title: str) -> list[str]:
    left, bottom = LEFT, HEIGHT - BOTTOM
    parts = [f'<rect x="{left}" y="{TOP}" width="{WIDTH - RIGHT - left}" height="{bottom - TOP}"/>']
    for value in across.ticks():
        parts.append(f'<text x="{across(value):.1f}" y="{bottom + 14}" text-anchor="middle">{value:g}</text>')
    for value in down.ticks():
        y = down(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{escape(x_title)}</text>')
    up = (TOP + bottom) / 2
    parts.append(
        f'<text x="12" y="{up}" text-anchor="middle" transform="rotate(-90 12 {up})">{escape(y_title)}</text>'
    )
    return parts


def _short(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"
