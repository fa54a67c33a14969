"""Saved recipes as seen from a notebook or a beamline session."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tomoservice.catalog.proposals import Proposal
from tomoservice.catalog.recipe_records import Acceptance, SavedRecipe
from tomoservice.catalog.recipes import (
    Limits,
    RecipeSearch,
    accept_recipe,
    acceptances,
    delete_recipe,
    load_saved,
    parsed_name,
    propose_recipe,
    recipe_called,
    revisions_of,
    save_recipe,
    search_saved,
    tag_recipe,
)
from tomoservice.catalog.scan_conditions import conditions_of
from tomoservice.catalog.transport import NotFoundError
from tomoservice.client.tables import Table
from tomoservice.errors import RecipeError
from tomoservice.recipe import Recipe, load_recipe, parse_recipe

RecipeLike = Recipe | SavedRecipe | Proposal | Mapping[str, Any] | Path | str
"""A recipe, its content, a file, or the name of a recipe: a saved one (``name`` or ``name@2``, its second
revision), or one that comes with the package."""

FILES = {".yml", ".yaml", ".json"}


class Recipes:
    """The saved recipes of a service: ``tomo.recipes``.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    """

    def __init__(self, root: Any) -> None:
        self._root = root

    def __repr__(self) -> str:
        return f"<Recipes: {', '.join(self) or 'none saved yet'}>"

    def _repr_html_(self) -> str:
        return self.list()._repr_html_()

    def __iter__(self) -> Iterator[str]:
        return iter([saved.name for saved in self.list()])

    def __len__(self) -> int:
        return len(self.list())

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __getitem__(self, name: str) -> SavedRecipe:
        plain_name, revision = parsed_name(name)
        return load_saved(self._root, plain_name, revision)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def save(
        self,
        name: str,
        recipe: RecipeLike,
        *,
        tags: Sequence[str] | None = None,
        note: str | None = None,
    ) -> SavedRecipe:
        """Save a recipe under a name; one that has it already becomes an old revision.

        Parameters
        ----------
        name : str
            Letters, digits, ``.``, ``_`` and ``-``.
        recipe : Recipe, mapping, Path or str
            What to save.
        tags : sequence of str, optional
            Words to find it by, in place of those it has.
        note : str, optional
            What it is for, or what is new.

        Raises
        ------
        CatalogError
            The service refuses it; says why.
        RecipeError
            The recipe is wrong; says which field and why.
        """
        return save_recipe(
            self._root, name, self.resolve(recipe), tags=tags, note=note, saved_by=getpass.getuser()
        )

    def load(self, name: str, revision: int | None = None) -> Recipe:
        """Return a saved recipe, or an old revision of it.

        Raises
        ------
        NotFoundError
            There is none of this name, or no such revision; says what there is.
        """
        return load_saved(self._root, name, revision).recipe

    def list(self) -> Table[SavedRecipe]:
        """Return all saved recipes, by name."""
        return self.search()

    def search(
        self,
        *,
        energy_kev: Limits | None = None,
        pixel_size_um: Limits | None = None,
        sample: str | None = None,
        tags: Sequence[str] | str = (),
        text: str = "",
    ) -> Table[SavedRecipe]:
        """Return the saved recipes that satisfy everything that is given.

        Parameters
        ----------
        energy_kev, pixel_size_um : (lowest, highest), optional
            Accepted for a scan between these, both included; None is no limit.
        sample : str, optional
            Accepted for a sample with this in its name.
        tags : sequence of str
            Has all of these tags.
        text : str
            Every word is in its name, tags, note, description or methods.
        """
        words = (tags,) if isinstance(tags, str) else tuple(tags)
        search = RecipeSearch(energy_kev, pixel_size_um, sample, words, text)
        return _table(search_saved(self._root, search))

    def tag(self, name: str, *tags: str, remove: Sequence[str] = ()) -> SavedRecipe:
        """Add tags to a saved recipe, and remove others."""
        return tag_recipe(self._root, name, add=tags, remove=remove)

    def accept(self, name: str, run_uid: str) -> Acceptance:
        """Say that a saved recipe is good for a run: it is then proposed for scans like that one.

        Parameters
        ----------
        name : str
            The recipe, or one of its revisions (``name@2``).
        run_uid : str
            The run; what it was like is recorded with the recipe.

        Raises
        ------
        NotFoundError
            There is no such recipe or run.
        InputError
            The run cannot be read as a scan.
        """
        saved = self[name]
        conditions = conditions_of(self._root, run_uid)
        return accept_recipe(self._root, saved, run_uid, conditions, getpass.getuser())

    def accepted(self, name: str | None = None) -> Table[Acceptance]:
        """Return for which scans recipes were accepted, the oldest first; of one recipe if it is named."""
        found = acceptances(self._root, name)
        return Table(
            found,
            ("recipe", "revision", "accepted", "scan"),
            lambda item: (item.name, str(item.revision), item.describe(), item.conditions.describe()),
        )

    def propose(self, run_uid: str) -> Proposal:
        """Return the recipe that was accepted last for a scan like this one, with the reason.

        Where there is none it is the default that comes with the package.

        Raises
        ------
        NotFoundError
            There is no such run.
        InputError
            The run cannot be read as a scan.
        """
        return propose_recipe(self._root, conditions_of(self._root, run_uid))

    def revisions(self, name: str) -> Table[SavedRecipe]:
        """Return all revisions of a saved recipe, the first one first."""
        return _table(revisions_of(self._root, name))

    def delete(self, name: str) -> None:
        """Delete a saved recipe with all its revisions; reconstructions that used it keep theirs."""
        delete_recipe(self._root, name)

    def resolve(self, given: RecipeLike) -> Recipe:
        """Return the recipe that something means: a name, a file, a mapping, ...

        A name means a saved recipe, and else one that comes with the package.

        Raises
        ------
        RecipeError
            It is none, or there is none of this name; says what there is.
        """
        match given:
            case Recipe():
                return given
            case SavedRecipe() | Proposal():
                return given.recipe
            case Mapping():
                return parse_recipe(given)
            case Path():
                return load_recipe(given)
        if Path(given).suffix.lower() in FILES or Path(given).exists():
            return load_recipe(Path(given))
        try:
            return recipe_called(self._root, given)
        except NotFoundError as error:
            raise RecipeError(
                f"neither a file nor a shipped recipe nor a saved one: {error}", name=given
            ) from error


def _table(found: Sequence[SavedRecipe]) -> Table[SavedRecipe]:
    return Table(
        found,
        ("name", "revision", "saved", "by", "tags", "note"),
        lambda saved: (
            saved.name,
            str(saved.revision),
            saved.saved_on,
            saved.saved_by,
            ", ".join(saved.tags),
            saved.note,
        ),
    )
