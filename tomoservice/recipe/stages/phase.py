"""Phase retrieval."""

from __future__ import annotations

from typing import Literal

from tomoservice.recipe.stages.base import StageModel


class NoPhase(StageModel):
    """No phase retrieval."""

    method: Literal["none"] = "none"
