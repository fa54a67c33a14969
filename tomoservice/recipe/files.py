"""Recipes in files: YAML or JSON, by path or by the name of one that the package ships."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from tomoservice.errors import RecipeError
from tomoservice.recipe.model import Recipe, parse_recipe
from tomoservice.recipe.text import read_yaml

MAX_BYTES = 1_000_000
"""No recipe is longer than this; a larger file is something else."""


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that the package ships."""
    folder = files("tomoservice.recipe") / "shipped"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yml"))


def shipped_recipe(name: str) -> Recipe:
    """Return the recipe of this name that the package ships.

    Raises
    ------
    RecipeError
        If there is none; names those that there are.
    """
    names = shipped_recipes()
    if name not in names:
        raise RecipeError(f"no recipe of this name is shipped; there are {', '.join(names)}", name=name)
    text = (files("tomoservice.recipe") / "shipped" / f"{name}.yml").read_text("utf-8")
    return parse_text(text, name=name)


def read_recipe(path: Path | str) -> Recipe:
    """Return the recipe in a YAML or JSON file.

    Raises
    ------
    RecipeError
        If the file cannot be read or is not a valid recipe.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(
                f"the file has {path.stat().st_size} bytes; a recipe is shorter", name=str(path)
            )
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise RecipeError("no such file", name=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot be read: {error}", name=str(path)) from error
    return parse_text(text, name=str(path))


def load_recipe(name_or_path: Path | str) -> Recipe:
    """Return a shipped recipe if there is one of this name, else read the file.

    Raises
    ------
    RecipeError
        If there is neither, or it is not a valid recipe.
    """
    if str(name_or_path) in shipped_recipes():
        return shipped_recipe(str(name_or_path))
    path = Path(name_or_path)
    if not path.exists() and path.suffix.lower() not in {".yml", ".yaml", ".json"}:
        names = ", ".join(shipped_recipes())
        raise RecipeError(f"neither a file nor a shipped recipe ({names})", name=str(path))
    return read_recipe(path)


def parse_text(text: str, *, name: str = "recipe") -> Recipe:
    """Return the recipe that a YAML or JSON text describes.

    Raises
    ------
    RecipeError
        If the text is no YAML, gives a key twice or is not a valid recipe.
    """
    content = read_yaml(text, name=name)
    return parse_recipe({} if content is None else content, name=name)
