"""The recipe of a reconstruction: model, files, schema."""

from __future__ import annotations

from tomoservice.recipe.files import load_recipe, parse_text, read_recipe, shipped_recipe, shipped_recipes
from tomoservice.recipe.migrations import SCHEMA_VERSION
from tomoservice.recipe.model import Recipe, parse_recipe, recipe_schema

__all__ = [
    "SCHEMA_VERSION",
    "Recipe",
    "load_recipe",
    "parse_recipe",
    "parse_text",
    "read_recipe",
    "recipe_schema",
    "shipped_recipe",
    "shipped_recipes",
]
