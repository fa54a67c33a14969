"""What notebooks show of a scan: pictures with their exact values, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.plots import Line, draw
from tomoservice.png import encode_png, enlarged, grey_window

WIDEST = 1024
"""Pixels across a picture in a notebook, at most; larger ones are thinned out."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of a scan: a notebook shows it, `image` has its exact values.

    NumPy takes it for the array: ``np.mean(picture)``, ``picture[10, 20]``, ``plt.imshow(picture)``.
    """

    image: NDArray[np.float32]
    """(y, x) slice, (z, x) or (z, y) plane, (angle, column) sinogram or (row, column) projection."""
    title: str
    """What it is, in words."""
    units: str = ""
    """Of the grey values."""
    rotation_axis: float | None = None
    """Detector column of the rotation axis it was made with; None for what does without."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long each stage took; what was kept from before is absent."""
    window: tuple[float, float] | None = None
    """Grey values that are shown black and white; by default nearly all values lie between them."""

    def __repr__(self) -> str:
        size = " x ".join(str(length) for length in self.image.shape)
        axis = "" if self.rotation_axis is None else f", rotation axis {self.rotation_axis:.2f}"
        low, high = grey_window(self.image)
        units = f" {self.units}" if self.units else ""
        return f"<{self.title}: {size}{axis}, grey values {low:.4g} to {high:.4g}{units}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False and dtype not in (None, self.image.dtype):
            raise ValueError(f"{self.title} is float32; as {dtype} it has to be copied")
        return np.array(self.image, dtype=dtype) if copy else np.asarray(self.image, dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        return self.image[index]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image."""
        return self.image.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of its values: float32."""
        return self.image.dtype

    def _repr_png_(self) -> bytes:
        return encode_png(enlarged(thinned(self.image, WIDEST)), self.window or grey_window(self.image))


def thinned(image: NDArray[np.float32], widest: int) -> NDArray[np.float32]:
    """Return every so many pixels of an image, so that it is `widest` pixels across at most."""
    step = -(-max(image.shape) // widest)
    return image[::step, ::step]


@dataclass(frozen=True, eq=False)
class AxisSearch:
    """A rotation axis that was searched: a notebook plots the curve, ``float()`` gives the column."""

    value: float
    """Detector column of the full frame, 0-based; an integer is a pixel's centre."""
    confidence: float
    """0 (a guess) to 1 (beyond doubt). Below about 0.5 somebody should look at the curve."""
    method: str
    """What found it."""
    note: str
    """A sentence about it."""
    at_window_edge: bool
    """Whether the best candidate lies at the border of the search window: the axis may be outside."""
    candidates: NDArray[np.float64]
    """(candidate,) columns that were tried, ascending."""
    metric: NDArray[np.float64]
    """(candidate,) how badly each fits; the smaller, the better. NaN where it cannot be said."""
    tilt_deg: float | None = None
    """Angle between the axis and the detector's columns, if it was searched."""

    def __repr__(self) -> str:
        return f"<{self._said()}>"

    def __float__(self) -> float:
        return self.value

    @property
    def stage(self) -> dict[str, Any]:
        """What a recipe says to use it: its stage ``rotation_axis``."""
        tilt = {} if self.tilt_deg is None else {"tilt_deg": self.tilt_deg}
        return {"method": "value", "value": self.value, **tilt}

    def _said(self) -> str:
        tilt = "" if self.tilt_deg is None else f", tilt {self.tilt_deg:.3f} degrees"
        edge = ", at the border of the window" if self.at_window_edge else ""
        how = f"confidence {self.confidence:.2f}, {self.method}"
        return f"Rotation axis at column {self.value:.2f}{tilt} ({how}{edge})"

    def _repr_svg_(self) -> str:
        line = Line(self.method, self.candidates, self.metric)
        return draw([line], ("column of the axis", "how badly it fits"), marks=(self.value,))

    def _repr_html_(self) -> str:
        return f"<p><b>{escape(self._said())}</b>. {escape(self.note)}</p>{self._repr_svg_()}"


@dataclass(frozen=True, eq=False)
class SweepScores:
    """How good the pictures of a sweep are, value by value: a notebook plots it with the best one marked.

    NumPy takes it for the array of scores.
    """

    metric: str
    """What was measured: ``"entropy"`` or ``"ring_score"``."""
    about: str
    """What that is, in words."""
    parameter: str
    """What differs between the pictures."""
    labels: Sequence[float] | Sequence[str]
    """The values of the sweep."""
    scores: NDArray[np.float64]
    """(value,) the smaller, the better. NaN where it cannot be said."""

    def __repr__(self) -> str:
        best = self.best
        if best is None:
            return f"<{self.metric} of {self.parameter}: no value can be told from another>"
        return f"<{self.metric} of {self.parameter}: best {self.labels[best]} (picture {best})>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.scores, dtype=dtype) if copy else np.asarray(self.scores, dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        return self.scores[index]

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def best(self) -> int | None:
        """Number of the picture with the smallest score; None if there is nothing to choose between."""
        finite = np.isfinite(self.scores)
        if not finite.any() or (finite.sum() > 1 and np.ptp(self.scores[finite]) == 0):
            return None
        return int(np.nanargmin(self.scores))

    def _repr_svg_(self) -> str:
        numbers = all(isinstance(label, int | float) for label in self.labels)
        places = np.asarray(self.labels if numbers else range(len(self.labels)), np.float64)
        order = np.argsort(places, kind="stable")
        line = Line(self.metric, places[order], self.scores[order])
        marks = () if self.best is None else (float(places[self.best]),)
        along = self.parameter if numbers else f"{self.parameter}, number of the picture"
        return draw([line], (along, self.metric.replace("_", " ")), marks=marks)

    def _repr_html_(self) -> str:
        best = self.best
        chosen = "No picture can be told from another" if best is None else f"Best: {self.labels[best]}"
        return f"<p><b>{escape(chosen)}</b>, by the {escape(self.about)}.</p>{self._repr_svg_()}"
