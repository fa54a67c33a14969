"""A sweep: one slice by recipes that differ in one thing, to look at side by side."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from tomoservice.errors import RecipeError
from tomoservice.recipe.model import Recipe, parse_recipe
from tomoservice.recipe.problems import describe_problems
from tomoservice.recipe.stages.base import Integer, Number, StageModel, unit
from tomoservice.recipe.stages.frames import Range

MOST_VALUES = 500
Value = Annotated[Number | dict[str, Any] | str, Field(union_mode="left_to_right")]
"""A number, a choice, or a whole stage."""


class Sweep(StageModel):
    """One slice by several recipes that differ in one thing."""

    recipe: dict[str, Any] = Field(default_factory=dict, title="Recipe")
    """What all of them share."""
    parameter: str = Field(title="Parameter", min_length=1, max_length=200)
    """What differs: a field of the recipe with its stage (``reconstruction.filter_cutoff``,
    ``phase.material.delta_beta``), or a stage, whose values are then whole stages. Numbers for
    ``rotation_axis`` are its columns."""
    values: tuple[Value, ...] = Field(title="Values", min_length=1, max_length=MOST_VALUES)
    """The values, in the order in which they are shown."""
    z: Integer = Field(0, ge=0, title="Slice")
    """Slice of the volume."""
    rows: Range = Field(default_factory=Range, title="Rows", json_schema_extra=unit("pixel"))
    """Rows of the slice that are shown."""
    columns: Range = Field(default_factory=Range, title="Columns", json_schema_extra=unit("pixel"))
    """Columns of the slice that are shown."""

    @field_validator("values")
    @classmethod
    def _all_different(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        texts = [json.dumps(value, sort_keys=True) for value in values]
        if len(set(texts)) < len(texts):
            raise ValueError("every value may be given once")
        return values

    @property
    def hash(self) -> str:
        """SHA-256 of everything that determines the pictures."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()

    @property
    def labels(self) -> list[float] | list[str]:
        """What stands beside the pictures: the numbers, or what the alternatives are called."""
        if all(isinstance(value, int | float) for value in self.values):
            return [float(value) for value in self.values if isinstance(value, int | float)]
        return [_label(value) for value in self.values]

    def recipes(self) -> tuple[Recipe, ...]:
        """Return the recipe of each value.

        Raises
        ------
        RecipeError
            The recipe has no such parameter, or a value does not fit: names it.
        """
        base = parse_recipe(self.recipe).dump()
        return tuple(self._recipe(base, value) for value in self.values)

    def recipe_of(self, index: int) -> Recipe:
        """Return the recipe of one value, counted from 0, or from the end if negative.

        Raises
        ------
        RecipeError
            There is no such value.
        """
        count = len(self.values)
        if not -count <= index < count:
            raise RecipeError(f"there is no picture {index}: the sweep has 0 to {count - 1}", name="sweep")
        return self._recipe(parse_recipe(self.recipe).dump(), self.values[index])

    def _recipe(self, base: Mapping[str, Any], value: Any) -> Recipe:
        path = self.parameter.split(".")
        if self.parameter in ("rotation_axis", "rotation_axis.value") and isinstance(value, int | float):
            path, value = ["rotation_axis"], {**_tilt(base), "method": "value", "value": value}
        content = copy.deepcopy(dict(base))
        place: Any = content
        for number, name in enumerate(path):
            if not isinstance(place, dict) or name not in place:
                raise RecipeError(_unknown(path[: number + 1], place), name="sweep")
            if number < len(path) - 1:
                place = place[name]
        place[path[-1]] = value
        try:
            return parse_recipe(content, name="sweep")
        except RecipeError as error:
            problems = [f"{self.parameter} = {_label(value)}: {problem}" for problem in error.problems]
            raise RecipeError(problems, name="sweep") from error


def parse_sweep(content: object) -> Sweep:
    """Return the sweep that a mapping describes, if all of its recipes are valid.

    Raises
    ------
    RecipeError
        If it is not: names every wrong field, what it got and what it wants.
    """
    if not isinstance(content, Mapping):
        raise RecipeError(f"a sweep is a mapping, got {type(content).__name__}", name="sweep")
    try:
        sweep = Sweep.model_validate(dict(content))
    except ValidationError as error:
        raise RecipeError(describe_problems(error, Sweep), name="sweep") from error
    sweep.recipes()
    return sweep


def _tilt(base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tilt of a recipe that gives one: another column does not change it."""
    axis = base["rotation_axis"]
    return {"tilt_deg": axis["tilt_deg"]} if "tilt_deg" in axis else {}


def _unknown(path: list[str], place: Any) -> str:
    there = ", ".join(sorted(place)) if isinstance(place, dict) else "no fields"
    stage = f" with method {place['method']!r}" if isinstance(place, dict) and "method" in place else ""
    return f"parameter: there is no {'.'.join(path)}; {'.'.join(path[:-1]) or 'a recipe'}{stage} has {there}"


def _label(value: Any) -> str:
    if isinstance(value, dict):
        rest = ", ".join(f"{name} {part}" for name, part in value.items() if name != "method")
        return " ".join(part for part in (str(value.get("method", "")), f"({rest})" if rest else "") if part)
    return f"{value:g}" if isinstance(value, float) else str(value)
