"""The recipe: the declarative description of a reconstruction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError

from tomoservice.errors import RecipeError
from tomoservice.recipe.migrations import SCHEMA_VERSION, migrate
from tomoservice.recipe.problems import describe_problems
from tomoservice.recipe.stages.base import Integer, StageModel
from tomoservice.recipe.stages.beam_hardening import BeamHardening, NoBeamHardening
from tomoservice.recipe.stages.flat_field import FlatField, StandardFlatField
from tomoservice.recipe.stages.frames import Frames
from tomoservice.recipe.stages.minus_log import MinusLog, StandardMinusLog
from tomoservice.recipe.stages.outliers import NoOutliers, Outliers
from tomoservice.recipe.stages.output import Output
from tomoservice.recipe.stages.phase import NoPhase, Phase
from tomoservice.recipe.stages.reconstruction import FourierFbp, Reconstruction
from tomoservice.recipe.stages.rings import NoRings, Rings
from tomoservice.recipe.stages.rotation_axis import AxisAuto, RotationAxis
from tomoservice.recipe.stages.stripes import NoStripes, Stripes
from tomoservice.recipe.text import write_yaml

NOT_HASHED = frozenset({"name", "description"})
"""Fields that say nothing about the result."""


class Recipe(StageModel):
    """What is done to a scan to make a volume, stage by stage in physical order."""

    schema_version: Integer = Field(
        SCHEMA_VERSION, ge=SCHEMA_VERSION, le=SCHEMA_VERSION, title="Schema version"
    )
    """Version of the form of this recipe; older ones are migrated when they are read."""
    name: str | None = Field(None, max_length=200, title="Name")
    """What people call it."""
    description: str | None = Field(None, max_length=5000, title="Description")
    """What it is for."""
    frames: Frames = Field(default_factory=Frames, title="Frame selection")
    flat_field: FlatField = Field(default_factory=StandardFlatField, title="Flat-field correction")
    outliers: Outliers = Field(default_factory=NoOutliers, title="Outlier removal")
    stripes: Stripes = Field(default_factory=NoStripes, title="Stripe removal")
    phase: Phase = Field(default_factory=NoPhase, title="Phase retrieval")
    minus_log: MinusLog = Field(default_factory=StandardMinusLog, title="Minus log")
    beam_hardening: BeamHardening = Field(default_factory=NoBeamHardening, title="Beam hardening")
    rotation_axis: RotationAxis = Field(default_factory=AxisAuto, title="Rotation axis")
    reconstruction: Reconstruction = Field(default_factory=FourierFbp, title="Reconstruction")
    rings: Rings = Field(default_factory=NoRings, title="Ring removal")
    output: Output = Field(default_factory=Output, title="Output")

    @property
    def hash(self) -> str:
        """SHA-256 of everything that determines the result, as 64 hexadecimal digits.

        Two recipes that differ only in name, description, key order or spelling of a number are equal.
        Defaults do not count, so that a new field, which does nothing by default, changes no hash; a new
        value of a default is a new schema version.
        """
        content = {
            "schema_version": self.schema_version,
            **{key: value for key, value in _chosen(self).items() if key not in NOT_HASHED},
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def dump(self) -> dict[str, Any]:
        """Return the recipe as plain JSON types, every default written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the recipe as YAML, stages in physical order."""
        return write_yaml(self.dump())

    def to_json(self) -> str:
        """Return the recipe as indented JSON."""
        return json.dumps(self.dump(), indent=2, ensure_ascii=False)

    def changed(self, **stages: Any) -> Self:
        """Return a recipe with these stages replaced, validated anew.

        Raises
        ------
        RecipeError
            If the result is not a valid recipe.
        """
        given = {k: v.model_dump(mode="json") if isinstance(v, StageModel) else v for k, v in stages.items()}
        return validated(type(self), {**self.dump(), **given}, name=self.name or "recipe")


def _chosen(model: StageModel) -> dict[str, Any]:
    """Return what differs from the defaults, as plain JSON types; of a stage that does, its method."""
    content: dict[str, Any] = {}
    plain = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name == "method":
            content[name] = value
        elif field.is_required() or value != field.get_default(call_default_factory=True):
            content[name] = _chosen(value) if isinstance(value, StageModel) else plain[name]
    return content


R = TypeVar("R", bound=Recipe)


def validated(model: type[R], content: Mapping[str, Any], *, name: str) -> R:
    """Validate `content` as it stands, turning pydantic's error into a `RecipeError`."""
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        raise RecipeError(describe_problems(error, model), name=name) from error


def parse_recipe(content: object, *, name: str = "recipe") -> Recipe:
    """Return the recipe that a mapping describes, migrated from an older schema version if needed.

    Parameters
    ----------
    content
        What a YAML or JSON document held; it is not modified. A missing `schema_version` means the
        present one.
    name
        What to call the recipe in an error.

    Raises
    ------
    RecipeError
        If it is not a valid recipe: names every wrong field, what it got and what it wants.
    """
    if not isinstance(content, Mapping):
        raise RecipeError(f"a recipe is a mapping of stages, got {type(content).__name__}", name=name)
    not_text = [key for key in content if not isinstance(key, str)]
    if not_text:
        raise RecipeError(f"{not_text[0]!r}: a stage's name must be text", name=name)
    return validated(Recipe, migrate(content, name=name), name=name)


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a recipe, with titles, units and help texts."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
