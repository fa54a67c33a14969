"""Saved recipes on a real Tiled server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tiled.structures.core import Spec

import tomoservice
from tests.service.scans import SmallScan
from tomoservice.catalog.nodes import ensure_container
from tomoservice.catalog.recipes import acceptances
from tomoservice.catalog.transport import translated
from tomoservice.client import Recipes, Tomo
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.service.running import RunningService

HANN = {"reconstruction": {"method": "fourier", "filter": "hann"}}
PAGANIN = {"phase": {"method": "paganin", "material": {"method": "delta_beta", "delta_beta": 500.0}}}


@pytest.fixture
def recipes(tomo: Tomo) -> Iterator[Recipes]:
    yield tomo.recipes
    for name in list(tomo.recipes):
        tomo.recipes.delete(name)


def test_saved_loaded_and_revised(recipes: Recipes) -> None:
    first = recipes.save("bone", PAGANIN, tags=["bone", " soft ", "bone"], note="first try")
    assert (first.name, first.revision, first.tags) == ("bone", 1, ("bone", "soft"))
    assert recipes.save("bone", PAGANIN).revision == 1
    # Stages are replaced, not merged: `material` would be no key of another method.
    second = recipes.save("bone", HANN, note="sharper")
    assert (second.revision, second.tags, second.note) == (2, ("bone", "soft"), "sharper")
    assert recipes.load("bone").reconstruction.filter == "hann"
    assert recipes.load("bone").name == "bone"
    assert recipes.load("bone", 1).phase.method == "paganin"
    assert recipes["bone@1"].note == "first try"
    assert [item.note for item in recipes.revisions("bone")] == ["first try", "sharper"]
    assert (list(recipes), len(recipes), "bone" in recipes) == (["bone"], 1, True)


def test_tags_make_no_revision(recipes: Recipes) -> None:
    recipes.save("bone", HANN)
    assert recipes.tag("bone", "a", "b").tags == ("a", "b")
    assert recipes.tag("bone", "c", remove=["a"]).tags == ("b", "c")
    recipes.save("bone", HANN, tags=["d"])
    assert [item.tags for item in recipes.revisions("bone")] == [("d",)]


def test_a_plain_client_makes_revisions_too(recipes: Recipes, tomo: Tomo) -> None:
    recipes.save("bone", HANN)
    bone = tomo.root["recipes"]["bone"]
    bone.update_metadata({"recipe": {"rotation_axis": {"method": "entropy"}}})
    assert recipes["bone"].revision == 2
    assert recipes.load("bone", 1).rotation_axis.method == "auto"
    assert tomo.root["recipes"]["bone"].metadata["recipe_hash"] == recipes.load("bone").hash


def test_what_is_not_there_is_named_with_what_is(recipes: Recipes) -> None:
    with pytest.raises(CatalogError, match=r"no saved recipe 'bone'; there are none yet"):
        recipes.load("bone")
    recipes.save("bones", HANN)
    with pytest.raises(CatalogError, match=r"no saved recipe 'bone'; did you mean 'bones'"):
        recipes.delete("bone")
    with pytest.raises(CatalogError, match=r"bones has no revision 3; there are 1"):
        recipes.load("bones", 3)
    with pytest.raises(RecipeError, match=r"neither a file nor a shipped recipe .*did you mean 'bones'"):
        recipes.resolve("bone")
    with pytest.raises(CatalogError, match=r"cannot be called '\.\./raw'"):
        recipes.save("../raw", HANN)
    with pytest.raises(CatalogError, match=r"no saved recipe '\.\.'"):
        recipes.delete("..")


def create(root: Any, **metadata: Any) -> Any:
    with translated("creating"):
        folder = ensure_container(root, "recipes")
        return folder.create_container("made-by-hand", metadata=metadata, specs=[Spec("TomoRecipe")])


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": "a"}, "TomoRecipe: recipe: Field required"),
        ({"recipe": {}}, "TomoRecipe: name: Field required"),
        ({"name": "a/b", "recipe": {}}, "TomoRecipe: name: .*letters, digits"),
        ({"name": "default", "recipe": {}}, "name: 'default' comes with the package"),
        ({"name": "a", "recipe": {"filtr": 1}}, "TomoRecipe: recipe: filtr"),
        ({"name": "a", "recipe": {}, "tags": ["a,b"]}, r"TomoRecipe: tags.0: .*without commas"),
        ({"name": "a", "recipe": {}, "tags": [3]}, r"TomoRecipe: tags.0: "),
        ({"name": "a", "recipe": {}, "note": "x" * 5001}, "TomoRecipe: note: "),
    ],
)
def test_what_is_wrong_in_itself_is_refused(
    recipes: Recipes, tomo: Tomo, metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(CatalogError, match=message) as caught:
        create(tomo.root, **metadata)
    assert caught.value.__cause__.response.status_code == 422  # type: ignore[union-attr]


def test_a_name_stays(recipes: Recipes, tomo: Tomo) -> None:
    recipes.save("bone", HANN)
    with pytest.raises(CatalogError, match="name: cannot be changed"), translated("renaming"):
        tomo.root["recipes"]["bone"].update_metadata({"name": "other"})


def test_accepted_for_scans_and_searched_by_them(recipes: Recipes, publish_run: Callable[..., str]) -> None:
    soft = {"sample_name": "Soft Tissue 3", "tomo": {"pixel_size_um": 1.5, "energy_kev": 17.0}}
    hard = {"sample_name": "tooth", "tomo": {"pixel_size_um": 6.0, "energy_kev": 40.0}}
    recipes.save("soft", PAGANIN, tags=["phase", "biology"])
    recipes.save("hard", HANN, tags=["biology"], note="absorbing well")
    accepted = recipes.accept("soft", publish_run(start={**soft, "beamline_id": "SYRMEP"}))
    recipes.accept("hard", publish_run(start=hard))
    conditions = accepted.conditions
    assert (conditions.energy_kev, conditions.pixel_size_um, conditions.sample_name) == (
        17,
        1.5,
        "Soft Tissue 3",
    )
    assert (conditions.rows, conditions.columns, conditions.angular_range_deg) == (16, 32, 180)
    assert (conditions.plan_name, conditions.beamline) == ("tomo_scan", "SYRMEP")

    def names(**wanted: Any) -> list[str]:
        return [found.name for found in recipes.search(**wanted)]

    assert names() == ["hard", "soft"]
    assert names(energy_kev=(16, 18)) == ["soft"]
    assert names(energy_kev=(None, 17)) == ["soft"]
    assert names(pixel_size_um=(2, None)) == ["hard"]
    assert names(energy_kev=(16, 18), pixel_size_um=(2, None)) == []
    assert names(sample="tissue") == ["soft"]
    assert names(tags="biology") == ["hard", "soft"]
    assert names(tags=["biology", "phase"]) == ["soft"]
    assert names(text="PAGAN") == ["soft"]
    assert names(text="well absorb") == ["hard"]
    assert names(text="absorb", tags=["phase"]) == []


def test_the_last_accepted_one_is_proposed(
    recipes: Recipes, tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    seen, new = publish_run(), publish_run(start={"sample_name": "another"})
    larger = publish_run(SmallScan(columns=48, rotation_axis=23.5))
    assert recipes.propose(new).recipe.name == "default"
    recipes.save("axis", {"rotation_axis": {"method": "value", "value": 15.5}})
    recipes.accept("axis", seen)
    recipes.save("axis", HANN)
    proposal = recipes.propose(new)
    assert proposal.recipe.rotation_axis.value == 15.5
    assert proposal.acceptance is not None
    assert (proposal.acceptance.name, proposal.acceptance.revision) == ("axis", 1)
    assert f"for run {seen[:8]} (sample ellipse): same detector, same pixel size" in proposal.reason
    assert "column 15.5" in proposal.cautions[0]
    assert recipes.propose(larger).recipe.name == "default"
    assert "48 detector columns, there 32" in recipes.propose(larger).reason

    recipes.accept("axis", seen)
    assert recipes.propose(new).recipe.reconstruction.filter == "hann"
    recipes.accept("axis@1", seen)
    assert recipes.propose(new).recipe.rotation_axis.method == "value"
    assert [found.revision for found in recipes.accepted("axis")] == [2, 1]
    job = tomo.reconstruct(new, recipes.propose(new))
    assert job.record.metadata.recipe_name == "axis"
    recipes.delete("axis")
    assert acceptances(tomo.root) == []


def test_a_saved_recipe_is_used_by_its_name(
    recipes: Recipes, tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    uid = publish_run()
    recipes.save("bone", HANN)
    recipes.save("bone", PAGANIN)
    assert tomo.reconstruct(uid, "bone@1").record.metadata.recipe_hash == recipes.load("bone", 1).hash
    latest = tomo.reconstruct(uid, "bone").record.metadata
    assert (latest.recipe_hash, latest.recipe_name) == (recipes.load("bone").hash, "bone")
    assert tomo.reconstruct(uid, "smooth").record.metadata.recipe_name == "smooth"


def test_what_a_session_shows(recipes: Recipes) -> None:
    assert repr(recipes) == "<Recipes: none saved yet>"
    recipes.save("bone", HANN, tags=["hard"], note="<b>bold</b>")
    assert repr(recipes) == "<Recipes: bone>"
    assert recipes._ipython_key_completions_() == ["bone"]
    assert repr(recipes["bone"]).startswith("<SavedRecipe bone, revision 1 of 20")
    head, row = repr(recipes.list()).splitlines()
    assert head.split() == ["name", "revision", "saved", "by", "tags", "note"]
    assert row.split()[:2] == ["bone", "1"]
    assert "&lt;b&gt;bold" in recipes._repr_html_()


def test_who_may_only_read_reads(recipes: Recipes, quiet_service: RunningService) -> None:
    recipes.save("bone", HANN)
    with tomoservice.connect(quiet_service.uri) as reader:
        assert list(reader.recipes) == ["bone"]
        assert [item.revision for item in reader.recipes.revisions("bone")] == [1]
        with pytest.raises(CatalogError, match="may not do this"):
            reader.recipes.tag("bone", "x")
