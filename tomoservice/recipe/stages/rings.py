"""Removal of rings in slices, what stripe removal has left."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tomoservice.recipe.stages.base import Integer, Number, StageModel, unit


class NoRings(StageModel):
    """No removal of rings."""

    method: Literal["none"] = "none"


class PolarRings(StageModel):
    """Find what follows circles around the rotation axis, in polar coordinates, and subtract it (Sijbers and
    Postnov 2004). For rings that stripe removal has left, or that are short arcs; slower than stripe removal,
    which is to be tried first. Not for samples that are made of circles around the axis."""

    method: Literal["polar"] = "polar"
    width: Integer = Field(5, ge=1, le=1000, title="Widest ring", json_schema_extra=unit("pixel"))
    """Rings up to this wide are removed. Wider also takes away parts of the sample that lie along circles."""
    arc_deg: Number = Field(60.0, ge=15, le=360, title="Arc", json_schema_extra=unit("degree"))
    """Part of a turn over which a ring keeps its strength. Shorter follows rings that change along their way,
    longer leaves more of the sample."""
    snr: Number = Field(3.0, ge=0, le=1000, title="Signal-to-noise ratio")
    """How far a ring must stand out of the variation along its arc. Greater leaves the weaker rings, and more
    of the sample."""


Rings = Annotated[NoRings | PolarRings, Field(discriminator="method")]
