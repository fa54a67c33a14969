"""The recipe of a reconstruction: model, files, schema."""

from __future__ import annotations

from tomoservice.recipe.files import load_recipe, parse_text, read_recipe, shipped_recipe, shipped_recipes
from tomoservice.recipe.migrations import SCHEMA_VERSION
from tomoservice.recipe.model import Recipe, parse_recipe, recipe_schema
from tomoservice.recipe.sweep import Sweep, parse_sweep

__all__ = [
    "SCHEMA_VERSION",
    "Recipe",
    "Sweep",
    "load_recipe",
    "parse_recipe",
    "parse_sweep",
    "parse_text",
    "read_recipe",
    "recipe_schema",
    "shipped_recipe",
    "shipped_recipes",
]
