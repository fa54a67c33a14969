"""Removal of what the sample did not cause: zingers, hot pixels."""

from __future__ import annotations

from typing import Literal

from tomoservice.recipe.stages.base import StageModel


class NoOutliers(StageModel):
    """No removal of outliers."""

    method: Literal["none"] = "none"
