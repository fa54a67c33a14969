"""What stands in the place of a recipe, and the recipe that is meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tomoservice.errors import RecipeError
from tomoservice.recipe import Recipe, parse_recipe, read_recipe

PROPOSAL = "proposal"
"""In the place of a recipe's name: what was accepted last for a scan like this one."""
DEFAULT_RECIPE = "default"
RECIPE_SUFFIXES = {".yml", ".yaml", ".json"}


def is_file_name(reference: str) -> bool:
    """Tell whether what names a recipe is the name of a file."""
    return os.sep in reference or Path(reference).suffix.lower() in RECIPE_SUFFIXES


def settled(reference: str) -> str:
    """Return the name or file of a recipe so that another process, in another folder, finds the same.

    The file itself is not looked at: it may be on storage that does not answer.
    """
    return str(Path(reference).absolute()) if is_file_name(reference) else reference


def from_file(reference: str) -> Recipe:
    """Return the recipe in a file.

    Raises
    ------
    RecipeError
        It cannot be read or is wrong.
    """
    path = Path(reference)
    # Opening a named pipe would wait for whoever writes into it.
    if path.exists() and not path.is_file():
        raise RecipeError("is no file", name=reference)
    return read_recipe(path)


def from_service(root: Any, reference: str, run_uid: str) -> Recipe:
    """Return the recipe that a name means for a run: a saved one, one of the package, or the proposed one.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    reference : str
        ``name``, ``name@2`` (its second revision) or ``proposal``.
    run_uid : str
        Run that is to be reconstructed.

    Raises
    ------
    RecipeError
        There is none of this name.
    CatalogError, ServiceUnavailableError
        The service does not tell.
    """
    from tomoservice.catalog.recipes import recipe_called
    from tomoservice.catalog.transport import NotFoundError, translated

    if reference == PROPOSAL:
        with translated(f"asking which recipe is proposed for run {run_uid}"):
            address = f"{root.context.api_uri}tomo/scans/{run_uid}/proposal"
            answer = root.context.http_client.get(address, headers={"Accept": "application/json"})
            answer.raise_for_status()
            return parse_recipe(answer.json()["recipe"])
    try:
        return recipe_called(root, reference)
    except NotFoundError as error:
        raise RecipeError(str(error), name=reference) from error
