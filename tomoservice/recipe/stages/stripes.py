"""Removal of stripes in sinograms, which make rings in slices."""

from __future__ import annotations

from typing import Literal

from tomoservice.recipe.stages.base import StageModel


class NoStripes(StageModel):
    """No removal of stripes."""

    method: Literal["none"] = "none"
