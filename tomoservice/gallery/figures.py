"""Pictures as PNG files and curves as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from tomoservice.gallery.model import Image
from tomoservice.plots import Line, colours, draw
from tomoservice.png import enlarged, write_png

GAP = 6
"""Pixels between the planes of a volume."""
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
    shown = enlarged(image)
    write_png(path, shown, window)
    return shown.shape[1], shown.shape[0]


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


def plot(
    lines: Sequence[Line],
    titles: tuple[str, str],
    *,
    marks: Sequence[float] = (),
    limits: Window | None = None,
) -> str:
    """Return curves as a figure with a legend; takes what `draw` does."""
    drawing = draw(lines, titles, marks=marks, limits=limits)
    if not drawing:
        return ""
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{escape(line.label)}</span>'
        for line, colour in zip(lines, colours(len(lines)), strict=True)
    )
    return f'<figure class="plot">{drawing}<figcaption>{legend}</figcaption></figure>'
