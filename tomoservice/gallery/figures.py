"""Pictures as PNG files and curves as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from tomoservice.export.png import write_png
from tomoservice.gallery.model import Image

SMALLEST_EDGE = 256
"""Pictures with fewer pixels are enlarged by a whole number, so that a browser does not blur them."""
GAP = 6
"""Pixels between the planes of a volume."""
COLOURS = ("#8a8f98", "#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207")
PLOT_WIDTH, PLOT_HEIGHT = 640, 190
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 10, 36

BEYOND = 0.15
"""Part of the range of true values that pictures show beyond it."""

Window = tuple[float, float]


def window_around(truth: Image) -> Window:
    """Return grey values that show a true slice and a little of what is beyond it on either side."""
    low, high = float(truth.min()), float(truth.max())
    margin = BEYOND * (high - low) or 1.0
    return low - margin, high + margin


def shared_window(images: Sequence[Image], percentiles: tuple[float, float]) -> Window:
    """Return the grey values that become black and white in all of some images."""
    ends = [np.nanpercentile(image[np.isfinite(image)], percentiles) for image in images]
    low, high = float(min(end[0] for end in ends)), float(max(end[1] for end in ends))
    return (low, high) if high > low else (low, low + 1.0)


def symmetric_window(reach: float) -> Window:
    """Return grey values around zero for differences."""
    return (-reach, reach) if reach > 0 else (-1.0, 1.0)


def save(path: Path, image: Image, window: Window) -> tuple[int, int]:
    """Write an image (row, column) as PNG, small ones enlarged; return its width and height."""
    factor = max(math.ceil(SMALLEST_EDGE / max(min(image.shape), 1)), 1) if max(image.shape) < 512 else 1
    enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
    write_png(path, enlarged, window)
    return enlarged.shape[1], enlarged.shape[0]


def is_constant(path: Path) -> bool:
    """Tell whether a picture shows one grey value only."""
    with Picture.open(path) as picture:
        low, high = picture.convert("L").getextrema()
    return low == high


def planes(volume: Image) -> Image:
    """Return the three planes through the middle of a volume (z, y, x) side by side: z, y and x."""
    z, y, x = (size // 2 for size in volume.shape)
    height = max(volume.shape[0], volume.shape[1])
    parts = [_raised(part, height) for part in (volume[z], volume[:, y], volume[:, :, x])]
    gap = np.full((height, GAP), np.nan, np.float32)
    return np.hstack([parts[0], gap, parts[1], gap, parts[2]])


def _raised(image: Image, height: int) -> Image:
    above = (height - image.shape[0]) // 2
    below = height - image.shape[0] - above
    return np.pad(image, ((above, below), (0, 0)), constant_values=np.nan)


@dataclass(frozen=True)
class Line:
    """A curve of a plot."""

    label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def plot(
    lines: Sequence[Line],
    titles: tuple[str, str],
    *,
    marks: Sequence[float] = (),
    limits: Window | None = None,
) -> str:
    """Return curves as an SVG element.

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
    across = _Scale.over(every_x, LEFT, PLOT_WIDTH - RIGHT, margin=0)
    down = _Scale.over(every_y, PLOT_HEIGHT - BOTTOM, TOP, margin=0.05)
    parts = _axes(across, down, *titles)
    for mark in marks:
        if across.low <= mark <= across.high:
            x = across(mark)
            parts.append(
                f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{PLOT_HEIGHT - BOTTOM}"/>'
            )
    for line, colour in zip(lines, _colours(len(lines)), strict=True):
        points = " ".join(
            f"{across(x):.1f},{down(min(max(y, down.low), down.high)):.1f}"
            for x, y in zip(line.x, line.y, strict=True)
            if math.isfinite(y)
        )
        parts.append(f'<polyline points="{points}" stroke="{colour}"/>')
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{escape(line.label)}</span>'
        for line, colour in zip(lines, _colours(len(lines)), strict=True)
    )
    title = escape(f"{titles[1]} over {titles[0]}")
    return (
        f'<figure class="plot"><svg viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" role="img" aria-label="{title}">'
        f"{''.join(parts)}</svg><figcaption>{legend}</figcaption></figure>"
    )


def _colours(count: int) -> list[str]:
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
    left, bottom = LEFT, PLOT_HEIGHT - BOTTOM
    parts = [f'<rect x="{left}" y="{TOP}" width="{PLOT_WIDTH - RIGHT - left}" height="{bottom - TOP}"/>']
    for value in across.ticks():
        parts.append(f'<text x="{across(value):.1f}" y="{bottom + 14}" text-anchor="middle">{value:g}</text>')
    for value in down.ticks():
        y = down(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{PLOT_WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    middle = (left + PLOT_WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{PLOT_HEIGHT - 5}" text-anchor="middle">{escape(x_title)}</text>')
    up = (TOP + bottom) / 2
    parts.append(
        f'<text x="12" y="{up}" text-anchor="middle" transform="rotate(-90 12 {up})">{escape(y_title)}</text>'
    )
    return parts


def _short(value: float) -> str:
    return f"{0.0 if abs(value) < 1e-12 else value:.4g}"
