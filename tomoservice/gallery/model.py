"""What the gallery is made of: sections of comparisons, each between recipes for the same scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tomoservice.axis import AxisResult

Image = NDArray[np.float32]
Stages = Mapping[str, dict[str, Any]]
"""Stages of a recipe as somebody would write them in YAML.

`$axis` and `$delta_beta` stand for what is known of a simulated scan, also with a calculation: `$axis-5`.
"""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Variant(_Declared):
    """One of the recipes that are compared."""

    label: str
    """Its heading on the page."""
    recipe: Stages = Field(default_factory=dict)
    """What the recipe says; the default where it says nothing."""
    scan: str | None = None
    """Another scan of the same specimen, where the difference is in the scan."""


class Comparison(_Declared):
    """Recipes for the same scan side by side; what the first gives, the others are compared with."""

    title: str
    """Heading."""
    why: str
    """What one sees, and when one wants the stage: a few sentences."""
    scan: str
    """Name of the simulated scan; * for every measured one."""
    variants: tuple[Variant, ...]
    """The recipes."""
    common: Stages = Field(default_factory=dict)
    """Stages that all variants share."""
    known_axis: bool = True
    """Whether the recipes give the true rotation axis, rather than search it."""
    height: float = Field(0.5, ge=0, le=1)
    """Which detector row is shown: fraction of the height from the top."""
    rows: int | None = Field(1, ge=1)
    """Detector rows that are reconstructed around the one that is shown; null for all."""
    planes: bool = False
    """Whether to show three planes of the volume instead of one slice."""
    profile: float | None = Field(0.5, ge=0, le=1)
    """Where the line of the profile runs: fraction of the height from the top; null for no profile."""
    detail: tuple[float, float, float] | None = None
    """Part of the slice that is shown enlarged: centre (x, y) and edge as fractions of the width."""
    sinogram: bool = False
    """Whether to show the sinograms that were reconstructed."""
    rings: bool = False
    """Whether rings are what it is about, so that the ring score is told."""
    contrast: tuple[float, float] = (0.5, 99.8)
    """Percentiles of the grey values of a measured scan that become black and white."""
    compared: bool = True
    """Whether slices can be compared pixel by pixel, with one another and with the truth."""


class AxisSearch(_Declared):
    """A search for the rotation axis."""

    label: str
    """What is special."""
    scan: str
    """Name of the simulated scan; * for every measured one."""
    recipe: Stages = Field(default_factory=dict)
    """What the recipe says, its stage `rotation_axis` among it."""


class AxisTable(_Declared):
    """Searches for the rotation axis, in a table with their curves."""

    title: str
    """Heading."""
    why: str
    """What one sees."""
    searches: tuple[AxisSearch, ...]
    """The searches."""


class LevelSeries(_Declared):
    """A whole volume at ever lower resolutions, side by side."""

    title: str
    """Heading."""
    why: str
    """What one sees."""
    scan: str
    """Name of the simulated scan."""
    levels: int = Field(3, ge=2)
    """How many resolutions are shown."""

    @property
    def whole(self) -> Comparison:
        """What is to be reconstructed."""
        variant = Variant(label="level 0")
        return Comparison(title=self.title, why=self.why, scan=self.scan, variants=(variant,), rows=None)


class Section(_Declared):
    """Comparisons on one subject."""

    title: str
    """Heading."""
    introduction: str
    """What the stage is for."""
    entries: tuple[Comparison | AxisTable | LevelSeries, ...]
    """What is shown."""


@dataclass(frozen=True)
class Reconstructed:
    """What came out of one variant.

    Parameters
    ----------
    label
        Heading of the variant.
    asked
        What the recipe says.
    volume
        (z, y, x) float32, the rows that were asked for.
    shown
        Which slice of it is shown.
    seconds
        For preparing and computing.
    rotation_axis
        Column of the full frame.
    tilt_deg
        Tilt of the axis in the detector's plane, where one was found or given.
    axis
        How the axis was found, or None if it was given.
    units
        Of a grey value.
    notes
        What the plan had to say.
    recipe_yaml
        The recipe with every value filled in.
    sinogram
        (angle, column) line integrals of the shown slice, if asked for.
    """

    label: str
    asked: Stages
    volume: Image
    shown: int
    seconds: float
    rotation_axis: float
    tilt_deg: float | None
    axis: AxisResult | None
    units: str
    notes: tuple[str, ...]
    recipe_yaml: str
    sinogram: Image | None = None

    @property
    def image(self) -> Image:
        """The slice that is shown (y, x)."""
        image: Image = self.volume[self.shown]
        return image


@dataclass(frozen=True)
class Skipped:
    """A result that is not there, and why."""

    label: str
    asked: Stages
    reason: str
