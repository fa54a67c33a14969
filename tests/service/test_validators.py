"""What the service refuses to store, and what it adds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tiled.structures.core import Spec
from tiled.utils import patch_mimetypes

from tomoservice.catalog.nodes import ensure_container
from tomoservice.catalog.transport import translated
from tomoservice.client import Tomo
from tomoservice.errors import CatalogError
from tomoservice.recipe import shipped_recipe
from tomoservice.service.running import RunningService

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
        (
            {
                "recipe": {"beam_hardening": {"method": "polynomial", "coefficients": [0]}},
                "status": VIRTUAL,
            },
            "1",
            "recipe: beam_hardening.coefficients: all are 0",
        ),
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
    for status in ({"state": "virtual"}, {"state": "queued"}, {"state": "running", "attempt": 1}):
        change(node, status=status)
        with pytest.raises(CatalogError, match="recipe: cannot be changed; ask for another") as caught:
            change(node, recipe=other)
        assert caught.value.__cause__.response.status_code == 409  # type: ignore[union-attr]
    change(node, resolved_recipe={"axis": 4.0}, provenance={"machine": "a"})
    change(node, status={"state": "done"}, provenance={"machine": "b"})
    for wrong in (
        {"recipe": other},
        {"resolved_recipe": {"axis": 5.0}},
        {"provenance": {"machine": "c"}},
        {"raw_uid": "y"},
    ):
        with pytest.raises(CatalogError, match=f"{next(iter(wrong))}: cannot be changed; ask for another"):
            change(node, **wrong)
    change(node, comment="what a user thinks of it")


@pytest.mark.parametrize("form", [patch_mimetypes.JSON_PATCH, patch_mimetypes.MERGE_PATCH])
def test_no_form_of_a_patch_gets_past_the_states(run: Any, form: str) -> None:
    node = create(run, {"recipe": {}, "status": VIRTUAL})
    merged = {"status": {"state": "done"}}
    replaced = [{"op": "replace", "path": "/status/state", "value": "done"}]
    patch = merged if form == patch_mimetypes.MERGE_PATCH else replaced
    with pytest.raises(CatalogError, match="done cannot follow virtual"), translated("patching"):
        node.patch_metadata(metadata_patch=patch, content_type=form)
    assert run[node.path_parts[-1]].metadata["status"]["state"] == "virtual"


NESTED: dict[str, Any] = {}
for _ in range(200):
    NESTED = {"a": NESTED}
ODD = (None, "virtual", 3, True, [], [1], {"a": None}, -1, 1e300, 10**30, NESTED)
"""What no key wants, or few."""
WHOLE: dict[str, dict[str, Any]] = {
    "TomoReconstruction": {
        "recipe": {},
        "status": {"state": "virtual", "attempt": 0, "message": "", "time": 1.0},
        "recipe_name": "default",
        "requested_at": 1.0,
        "pyramid": {"state": "pending"},
        "quality": {"state": "pending"},
    },
    "TomoSweep": {
        "sweep": {"parameter": "rotation_axis", "values": [1.0], "rows": {"start": 0}},
        "status": {"state": "failed", "message": "", "time": 1.0},
        "labels": [1.0],
        "requested_at": 1.0,
    },
    "TomoRecipe": {"name": "odd", "recipe": {}, "tags": [], "note": ""},
    "TomoAcceptance": {"recipe": {}, "run_uid": "x", "revision": 1, "accepted_at": 1.0, "scan": {}},
}


@pytest.fixture
def http(quiet_service: RunningService) -> Iterator[httpx.Client]:
    # After an answer of 500 the server closes the connection.
    headers = {"Authorization": f"Apikey {quiet_service.api_key}", "Connection": "close"}
    with httpx.Client(
        base_url=f"{quiet_service.uri}/api/v1/metadata/", headers=headers, timeout=30
    ) as client:
        yield client


def post(http: httpx.Client, run: Any, spec: str, metadata: dict[str, Any], key: str) -> httpx.Response:
    body = {"structure_family": "container", "metadata": metadata, "data_sources": [], "id": key}
    path = "/".join(run.path_parts)
    return http.post(path, json={**body, "specs": [{"name": spec, "version": "1"}]})


@pytest.mark.parametrize("spec", WHOLE)
def test_whatever_stands_there_instead_gets_an_answer(http: httpx.Client, run: Any, spec: str) -> None:
    whole = WHOLE[spec]
    for name, value in whole.items():
        inner = [{**value, key: odd} for key in value for odd in ODD] if isinstance(value, dict) else []
        for odd in [*ODD, *inner]:
            answer = post(http, run, spec, {**whole, name: odd}, uuid.uuid4().hex)
            assert answer.status_code in (200, 422), (name, odd)
            # Our reason, in words.
            assert answer.status_code == 200 or answer.json()["detail"].startswith(f"{spec}: {name}"), odd


@pytest.mark.parametrize("odd", [None, "virtual"])
def test_a_status_that_is_none_is_named(http: httpx.Client, run: Any, odd: object) -> None:
    answer = post(http, run, "TomoSweep", {**WHOLE["TomoSweep"], "status": odd}, uuid.uuid4().hex)
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"TomoSweep: status: is a mapping, got {odd!r}"


@pytest.mark.parametrize("spec", ["TomoReconstruction", "TomoSweep"])
def test_a_patch_cannot_make_something_else_of_the_whole(http: httpx.Client, run: Any, spec: str) -> None:
    assert post(http, run, spec, WHOLE[spec], spec).status_code == 200
    for odd in ([], "virtual", None):
        patch = [{"op": "replace", "path": "", "value": odd}]
        body = {"content-type": patch_mimetypes.JSON_PATCH, "metadata": patch, "specs": None}
        answer = http.patch("/".join((*run.path_parts, spec)), json=body)
        assert answer.status_code == 422
        assert answer.json()["detail"] == f"{spec}: metadata: are a mapping, got {odd!r}"
    assert dict(run[spec].metadata["status"]) == WHOLE[spec]["status"]
