"""What the service refuses to store, and what it adds."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from tiled.structures.core import Spec

from tomoservice.catalog.nodes import ensure_container
from tomoservice.catalog.transport import translated
from tomoservice.client import Tomo
from tomoservice.errors import CatalogError
from tomoservice.recipe import shipped_recipe

VIRTUAL = {"state": "virtual"}


@pytest.fixture
def run(tomo: Tomo) -> Any:
    return ensure_container(tomo.root["processed"], "run-of-validators")


def create(run: Any, metadata: dict[str, Any], version: str | None = "1") -> Any:
    with translated("creating"):
        return run.create_container(
            uuid.uuid4().hex, metadata=metadata, specs=[Spec("TomoReconstruction", version=version)]
        )


@pytest.mark.parametrize(
    ("metadata", "version", "message"),
    [
        ({"status": VIRTUAL}, "1", "TomoReconstruction: recipe: Field required"),
        ({"recipe": {}}, "1", "TomoReconstruction: status: Field required"),
        ({"recipe": "default", "status": VIRTUAL}, "1", "recipe: .*dictionary, got 'default'"),
        ({"recipe": {"filtr": 1}, "status": VIRTUAL}, "1", "recipe: filtr"),
        ({"recipe": {"schema_version": 99}, "status": VIRTUAL}, "1", "recipe: .*99"),
        ({"recipe": {}, "status": {"state": "finished"}}, "1", "status.state: .*got 'finished'"),
        (
            {"recipe": {}, "status": {"state": "done"}},
            "1",
            "a new .* is queued or virtual, not done",
        ),
        ({"recipe": {}, "status": VIRTUAL}, "2", "version '2' of TomoReconstruction is unknown"),
    ],
)
def test_what_is_wrong_in_itself_is_refused_with_field_and_reason(
    run: Any, metadata: dict[str, Any], version: str, message: str
) -> None:
    with pytest.raises(CatalogError, match=message) as caught:
        create(run, metadata, version)
    assert caught.value.__cause__.response.status_code == 422  # type: ignore[union-attr]


@pytest.mark.parametrize("version", [None, "1"])
def test_what_a_plain_client_leaves_out_is_added(run: Any, version: str | None) -> None:
    node = create(run, {"recipe": {}, "status": VIRTUAL}, version)
    stored = run[node.path_parts[-1]].metadata
    assert stored["recipe_hash"] == shipped_recipe("default").hash
    assert stored["status"]["attempt"] == 0
    assert stored["status"]["time"] > 1.7e9


def test_an_array_is_no_reconstruction(run: Any) -> None:
    with pytest.raises(CatalogError, match="is a container"), translated("writing"):
        run.write_array(
            [1.0, 2.0],
            key=uuid.uuid4().hex,
            specs=[Spec("TomoReconstruction", version="1")],
            metadata={"recipe": {}, "status": VIRTUAL},
        )


def test_a_recipe_cannot_be_made_wrong_later(run: Any) -> None:
    node = create(run, {"recipe": {}, "status": VIRTUAL})
    with pytest.raises(CatalogError, match="recipe: filtr"), translated("updating"):
        node.update_metadata({"recipe": {"filtr": 1}})


def test_a_spec_that_nobody_declared_is_refused(run: Any) -> None:
    with pytest.raises(CatalogError, match="Unrecognized spec: TomoReconstrution"), translated("creating"):
        run.create_container(uuid.uuid4().hex, specs=["TomoReconstrution"])


def test_without_the_key_nothing_is_written_but_all_is_read(run: Any, tomo: Tomo) -> None:
    import tomoservice

    node = create(run, {"recipe": {}, "status": VIRTUAL})
    anonymous = tomoservice.connect(str(tomo.root.context.api_uri))
    found = anonymous.root["/".join(node.path_parts)]
    assert found.metadata["status"]["state"] == "virtual"
    with pytest.raises(CatalogError, match="may not do this"), translated("updating"):
        found.update_metadata({"note": "x"})
    anonymous.close()


def change(node: Any, **changes: Any) -> None:
    with translated("updating"):
        node.update_metadata(changes)


def test_recipe_and_record_cannot_be_made_to_disagree(run: Any) -> None:
    node = create(run, {"recipe": {}, "status": VIRTUAL})
    other = {"rotation_axis": {"method": "value", "value": 3.0}}
    change(node, recipe=other)
    change(node, status={"state": "queued"})
    change(node, recipe={"rotation_axis": {"value": 4.0}})
    change(node, status={"state": "running", "attempt": 1})
    with pytest.raises(CatalogError, match="recipe: cannot be changed while it is running") as caught:
        change(node, recipe={"rotation_axis": {"value": 5.0}})
    assert caught.value.__cause__.response.status_code == 409  # type: ignore[union-attr]
    change(node, resolved_recipe={"axis": 4.0}, provenance={"machine": "a"}, raw_uid="x")
    change(node, status={"state": "done"}, provenance={"machine": "b"})
    for wrong in (
        {"recipe": {"rotation_axis": {"value": 5.0}}},
        {"resolved_recipe": {"axis": 5.0}},
        {"provenance": {"machine": "c"}},
        {"raw_uid": "y"},
    ):
        with pytest.raises(CatalogError, match=f"{next(iter(wrong))}: cannot be changed while it is done"):
            change(node, **wrong)
    change(node, comment="what a user thinks of it")
