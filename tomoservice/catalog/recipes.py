"""Saved recipes in Tiled, ``/recipes/{name}``: the one place that writes them.

A saved recipe is a container with metadata and nothing else in it but who accepted it for which scan. Tiled
keeps the revisions of its metadata, and the service numbers them.
"""

from __future__ import annotations

import difflib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiled.queries import Contains, Key, KeyPresent, SpecsQuery
from tiled.structures.core import Spec

from tomoservice.catalog import names
from tomoservice.catalog.likeness import ScanConditions
from tomoservice.catalog.nodes import create_container, ensure_container
from tomoservice.catalog.proposals import Proposal, propose
from tomoservice.catalog.recipe_records import Acceptance, SavedRecipe
from tomoservice.catalog.record import plain
from tomoservice.catalog.transport import ConflictError, NotFoundError, child, translated
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.recipe import Recipe, shipped_recipe, shipped_recipes

logger = logging.getLogger(__name__)

Limits = tuple[float | None, float | None]
"""Lowest and highest value, both included; None is no limit."""


@dataclass(frozen=True, slots=True)
class RecipeSearch:
    """What a saved recipe shall be; what is not given does not matter."""

    energy_kev: Limits | None = None
    """Accepted for a scan with an energy between these, in keV."""
    pixel_size_um: Limits | None = None
    """Accepted for a scan with a pixel size between these, in micrometres."""
    sample: str | None = None
    """Accepted for a sample with this in its name, in upper or lower case."""
    tags: tuple[str, ...] = ()
    """Has all of these tags."""
    text: str = ""
    """Every word of this is in its name, tags, note, description or methods."""

    @property
    def of_scans(self) -> list[Any]:
        """Queries about the scan that the recipe was accepted for."""
        queries: list[Any] = []
        for name, limits in (("energy_kev", self.energy_kev), ("pixel_size_um", self.pixel_size_um)):
            low, high = limits or (None, None)
            queries += [] if low is None else [Key(f"scan.{name}") >= low]
            queries += [] if high is None else [Key(f"scan.{name}") <= high]
        return queries + ([KeyPresent("scan.sample_name")] if self.sample else [])

    def is_of_sample(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether an acceptance is for the sample that is looked for."""
        name = metadata["scan"].get("sample_name") or ""
        return self.sample is None or self.sample.casefold() in name.casefold()


def save_recipe(
    root: Any,
    name: str,
    recipe: Recipe,
    *,
    tags: Sequence[str] | None = None,
    note: str | None = None,
    saved_by: str = "",
) -> SavedRecipe:
    """Save a recipe under a name; what has this name already becomes an old revision of it.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    name : str
        Key of its node: letters, digits, ``.``, ``_`` and ``-``.
    recipe : Recipe
        What to save; its own name becomes `name`.
    tags : sequence of str, optional
        Words to find it by, in place of those it has; by default they stay.
    note : str, optional
        What it is for, or what is new; by default it stays.
    saved_by : str
        Who saves it.

    Returns
    -------
    SavedRecipe
        As it is now. Saving what is there already makes no revision.

    Raises
    ------
    CatalogError
        The service refuses the name, a tag or the note; says why.
    """
    if not names.is_key(name):
        raise CatalogError(
            f"a recipe cannot be called {name!r}: a name begins with a letter or a digit; after that come "
            "letters, digits, '.', '_' and '-', 128 characters at most"
        )
    given = {
        "name": name,
        "recipe": recipe.model_copy(update={"name": name}).dump(),
        **({} if tags is None else {"tags": list(tags)}),
        **({} if note is None else {"note": note}),
    }
    stamp = {"saved_by": saved_by, "saved_at": time.time()}
    folder = ensure_container(root, names.RECIPES)
    spec = Spec(names.RECIPE_SPEC, version=names.RECIPE_VERSION)
    try:
        create_container(folder, name, metadata={**given, **stamp}, specs=(spec,))
    except ConflictError:
        node = child(folder, name)
        before = plain(node.metadata)
        changed = {key for key, value in given.items() if before.get(key) != value}
        revised = bool(changed - {"tags"})
        if changed:
            # Replaced, not merged: what a stage had before must not stay in it.
            with translated(f"saving recipes/{name}"):
                node.replace_metadata(
                    {**before, **given, **(stamp if revised else {})}, drop_revision=not revised
                )
    return load_saved(root, name)


def load_saved(root: Any, name: str, revision: int | None = None) -> SavedRecipe:
    """Return a saved recipe, or an old revision of it.

    Raises
    ------
    NotFoundError
        There is none of this name, or it has no such revision; says what there is.
    """
    if revision is None:
        return SavedRecipe.from_metadata(name, _find(root, name).metadata)
    known = {saved.revision: saved for saved in revisions_of(root, name)}
    if revision not in known:
        there = ", ".join(str(number) for number in known)
        raise NotFoundError(f"recipe {name} has no revision {revision}; there are {there}")
    return known[revision]


def parsed_name(name: str) -> tuple[str, int | None]:
    """Return name and revision of ``name@2``, or the name and None."""
    plain_name, mark, number = name.rpartition("@")
    return (plain_name, int(number)) if mark and number.isdigit() else (name, None)


def recipe_called(root: Any, name: str) -> Recipe:
    """Return the recipe of a name: a saved one (``name`` or ``name@2``), else one of the package.

    Raises
    ------
    NotFoundError
        There is neither, or no such revision; says what there is.
    """
    try:
        return load_saved(root, *parsed_name(name)).recipe
    except NotFoundError as error:
        if name in shipped_recipes():
            return shipped_recipe(name)
        raise NotFoundError(f"{error}; the package comes with {', '.join(shipped_recipes())}") from error


def revisions_of(root: Any, name: str) -> list[SavedRecipe]:
    """Return all revisions of a saved recipe, the first one first.

    Raises
    ------
    NotFoundError
        There is no such recipe.
    """
    node = _find(root, name)
    with translated(f"reading the revisions of recipes/{name}"):
        earlier = [old["attributes"]["metadata"] for old in node.metadata_revisions[:]]
    # Somebody may have changed tags without dropping the revision: the last of each number counts.
    found = {
        saved.revision: saved
        for saved in (SavedRecipe.from_metadata(name, content) for content in [*earlier, node.metadata])
    }
    return [found[number] for number in sorted(found)]


def search_saved(root: Any, search: RecipeSearch | None = None) -> list[SavedRecipe]:
    """Return the saved recipes that a search finds, by name; all of them without one."""
    wanted = search or RecipeSearch()
    folder = _folder(root)
    if folder is None:
        return []
    accepted: set[str] | None = None
    if wanted.of_scans:
        # One and the same scan must be all that is asked for.
        scans = _acceptance_nodes(folder, wanted.of_scans)
        accepted = {path[0] for path, node in scans if wanted.is_of_sample(node.metadata)}
    with translated("searching the saved recipes"):
        found = folder.search(SpecsQuery([names.RECIPE_SPEC], []))
        for tag in wanted.tags:
            found = found.search(Contains("tags", tag))
        nodes = list(found.items())
    words = wanted.text.casefold().split()
    recipes = [
        saved
        for key, node in nodes
        if (accepted is None or key in accepted) and (saved := _readable(key, node)) is not None
    ]
    fitting = [saved for saved in recipes if all(word in _text_of(saved) for word in words)]
    return sorted(fitting, key=lambda saved: saved.name.casefold())


def tag_recipe(root: Any, name: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> SavedRecipe:
    """Add and remove tags of a saved recipe; that makes no new revision.

    Raises
    ------
    NotFoundError
        There is no such recipe.
    """
    node = _find(root, name)
    tags = [tag for tag in dict.fromkeys([*node.metadata.get("tags", ()), *add]) if tag not in set(remove)]
    with translated(f"tagging recipes/{name}"):
        node.update_metadata({"tags": tags}, drop_revision=True)
    return load_saved(root, name)


def delete_recipe(root: Any, name: str) -> None:
    """Delete a saved recipe with its revisions and with what is known of the scans it was accepted for.

    Raises
    ------
    NotFoundError
        There is no such recipe.
    """
    node = _find(root, name)
    with translated(f"deleting recipes/{name}"):
        node.delete(recursive=True, external_only=False)


def accept_recipe(
    root: Any, saved: SavedRecipe, run_uid: str, conditions: ScanConditions, accepted_by: str = ""
) -> Acceptance:
    """Record that a saved recipe is good for a run, and what that run was like.

    Accepting the same recipe for the same run once more makes it the latest.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    saved : SavedRecipe
        The revision that is good.
    run_uid : str
        The run.
    conditions : ScanConditions
        What it was like.
    accepted_by : str
        Who says so.
    """
    node = _find(root, saved.name)
    metadata = {
        "run_uid": run_uid,
        "recipe": saved.recipe.dump(),
        "recipe_hash": saved.recipe.hash,
        "revision": saved.revision,
        "accepted_by": accepted_by,
        "accepted_at": time.time(),
        "scan": conditions.model_dump(mode="json", exclude_none=True),
    }
    key = names.acceptance_key(run_uid, saved.recipe.hash)
    spec = Spec(names.ACCEPTANCE_SPEC, version=names.ACCEPTANCE_VERSION)
    try:
        create_container(node, key, metadata=metadata, specs=(spec,))
    except ConflictError:
        with translated(f"accepting recipes/{saved.name}"):
            child(node, key).replace_metadata(metadata, drop_revision=True)
    return Acceptance.from_metadata(saved.name, metadata)


def acceptances(root: Any, name: str | None = None, *, columns: int | None = None) -> list[Acceptance]:
    """Return which recipes were accepted for which scans, the oldest first.

    Parameters
    ----------
    root : tiled Container
        Root of the service.
    name : str, optional
        Only those of this recipe.
    columns : int, optional
        Only those for scans with so many detector columns.
    """
    folder = _folder(root)
    queries = [] if columns is None else [Key("scan.columns") == columns]
    found: list[Acceptance] = []
    for path, node in _acceptance_nodes(folder, queries) if folder is not None else ():
        if name is not None and path[0] != name:
            continue
        try:
            found.append(Acceptance.from_metadata(path[0], node.metadata))
        except (CatalogError, RecipeError) as error:
            logger.warning("%s is left out: %s", "/".join(node.path_parts), error)
    return sorted(found, key=lambda acceptance: acceptance.accepted_at)


def propose_recipe(root: Any, conditions: ScanConditions) -> Proposal:
    """Return the recipe that was accepted last for a scan like this, else the shipped default."""
    # Another detector is never alike, so most of them need not even be read.
    likely = [] if conditions.columns is None else acceptances(root, columns=conditions.columns)
    proposal = propose(conditions, likely)
    return proposal if proposal.acceptance is not None else propose(conditions, acceptances(root))


def _folder(root: Any) -> Any:
    """Return the container of the saved recipes, or None if nobody has saved one yet."""
    try:
        return child(root, names.RECIPES)
    except NotFoundError:
        return None


def _find(root: Any, name: str) -> Any:
    # What is no key may be another node's address.
    if names.is_key(name):
        try:
            return child(root, names.RECIPES, name)
        except NotFoundError:
            pass
    folder = _folder(root)
    with translated("listing the saved recipes"):
        there = [] if folder is None else list(folder)
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(there)) or 'none yet'}"
    raise NotFoundError(f"there is no saved recipe {name!r}; {hint}")


def _acceptance_nodes(folder: Any, queries: list[Any]) -> list[tuple[tuple[str, ...], Any]]:
    with translated("searching for the scans that recipes were accepted for"):
        found = folder.search_deep(SpecsQuery([names.ACCEPTANCE_SPEC], []), *queries, max_depth=2)
        return [(path, node) for path, node in found.items() if len(path) == 2]


def _readable(name: str, node: Any) -> SavedRecipe | None:
    """Return a saved recipe, or None if it is of a newer version of the package, or spoilt."""
    try:
        return SavedRecipe.from_metadata(name, node.metadata)
    except (CatalogError, RecipeError) as error:
        # One of them must not hide the others.
        logger.warning("recipes/%s is left out: %s", name, error)
        return None


def _text_of(saved: SavedRecipe) -> str:
    content = saved.recipe.dump()
    methods = [stage["method"] for stage in content.values() if isinstance(stage, dict) and "method" in stage]
    parts = (saved.name, saved.note, saved.recipe.description or "", *saved.tags, *methods)
    return " ".join(parts).casefold()
