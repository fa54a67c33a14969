"""Scans, recipes, reconstructions and sweeps over HTTP, within what each caller may see and do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.service.conftest import wait_for
from tests.service.http_api import api_of, ok
from tests.service.scans import SmallScan
from tomoservice.catalog.states import State
from tomoservice.client import Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.service.answers import Refusal
from tomoservice.service.models import ReconstructionDetail, ScanDetail, ScanPage
from tomoservice.service.running import RunningService

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


@pytest.fixture
def api(quiet_service: RunningService) -> Iterator[httpx.Client]:
    with api_of(quiet_service, quiet_service.api_key) as client:
        yield client


@pytest.fixture
def anybody(quiet_service: RunningService) -> Iterator[httpx.Client]:
    with api_of(quiet_service, None) as client:
        yield client


def test_scans_are_listed_a_page_at_a_time(
    anybody: httpx.Client, tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    named = [f"pebble {letter} of the beach" for letter in "abc"]
    uids = [publish_run(start={"sample_name": name, "scan_id": 7070 + n}) for n, name in enumerate(named)]
    page = ScanPage.model_validate(ok(anybody.get("scans", params={"q": "Beach pebble", "limit": 2})))
    assert [scan.run_uid for scan in page.scans] == uids[:0:-1]
    assert page.total == 3
    scan = page.scans[0]
    expected = {
        **{name: getattr(SmallScan(), name) for name in ("rows", "columns")},
        "projections": SmallScan().angles,
        "flats": 3,
        "darks": 3,
        "pixel_size_um": 1.5,
        "energy_kev": 20.0,
        "distance_mm": 100.0,
        "title": "tomo_scan 7072",
        "acquisition": "complete",
        "size_bytes": 66 * 16 * 32 * 2,
        "sample_name": named[2],
    }
    assert {name: getattr(scan, name) for name in expected} == expected
    rest = ok(anybody.get("scans", params={"q": "beach pebble", "limit": 2, "offset": 2}))
    assert [scan["run_uid"] for scan in rest["scans"]] == uids[:1]
    oldest = ok(anybody.get("scans", params={"q": "beach", "sort": "oldest", "limit": 1}))
    assert oldest["scans"][0]["run_uid"] == uids[0]
    for words, found in (
        (uids[1][:9], 1),
        ("7071 beach", 1),
        ("beach glacier", 0),
        ("100%", 0),
        ("bea_h", 0),
    ):
        assert ok(anybody.get("scans", params={"q": words}))["total"] == found


def test_a_list_says_what_has_been_made_of_a_scan(
    anybody: httpx.Client, tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    uid = publish_run(start={"sample_name": "thrice made"})
    tomo.reconstruct(uid, AT_15_5)
    assert conductor.step()
    last = tomo.reconstruct(uid, AT_15_5)
    (scan,) = ok(anybody.get("scans", params={"q": "thrice"}))["scans"]
    made = scan["reconstructions"]
    assert (made["done"], made["queued"], made["failed"]) == (1, 1, 0)
    assert made["latest"] == {"id": last.path[-12:], "path": last.path, "state": "queued", "percent": None}
    listed = ok(anybody.get("reconstructions", params={"run_uid": uid}))
    assert [each["state"] for each in listed["reconstructions"]] == ["queued", "done"]
    assert listed["reconstructions"][1]["progress"]["percent"] == 100.0
    assert {each["sample_name"] for each in listed["reconstructions"]} == {"thrice made"}
    only = ok(anybody.get("reconstructions", params={"run_uid": uid, "state": ["done", "failed"]}))
    assert only["total"] == 1
    detail = ScanDetail.model_validate(ok(anybody.get(f"scans/{uid}")))
    assert len(detail.latest_reconstructions) == 2


def test_a_scan_in_detail(anybody: httpx.Client, tomo: Tomo, publish_run: Callable[..., str]) -> None:
    uid = publish_run()
    scan = ScanDetail.model_validate(ok(anybody.get(f"scans/{uid}")))
    assert scan.angles is not None
    assert (scan.angles.range_deg, scan.angles.views, scan.dtype) == (180.0, 60, "uint16")
    assert scan.start["uid"] == uid
    assert scan.stop is not None
    # What is no scan is shown as far as it goes, and says why.
    odd = publish_run(start={"scan_layout": "somewhere"})
    assert "no such layout" in ok(anybody.get(f"scans/{odd}"))["problem"]
    aborted = publish_run(exit_status="abort", start={"sample_name": "aborted one"})
    assert aborted in str(ok(anybody.get("scans", params={"state": "failed", "q": "aborted"})))
    for absent in ("no-such-run", "-", "..%2Fprocessed"):
        assert anybody.get(f"scans/{absent}").status_code == 404


def test_a_reconstruction_from_request_to_provenance(
    api: httpx.Client, tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    uid = publish_run()
    made = ok(api.post(f"scans/{uid}/reconstructions", json={"recipe": AT_15_5, "recipe_name": "mine"}), 201)
    assert (made["state"], made["recipe_name"]) == ("queued", "mine")
    where = f"reconstructions/{uid}/{made['id']}"
    wait_for(lambda: ok(api.get(where))["volume"] is not None)
    detail = ReconstructionDetail.model_validate(ok(api.get(where)))
    assert detail.volume is not None
    assert (detail.volume.shape, detail.volume.dtype) == ((16, 32, 32), "float32")
    assert detail.recipe["rotation_axis"]["value"] == 15.5
    assert detail.provenance is None
    assert conductor.step()
    done = ReconstructionDetail.model_validate(ok(api.get(where)))
    assert done.state is State.DONE
    assert done.provenance is not None
    assert done.resolved_recipe is not None
    assert "references" in done.quality
    assert api.get(f"reconstructions/{uid}/nothing").status_code == 404


def test_recipes_are_saved_found_accepted_and_proposed(
    api: httpx.Client, tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    uid = publish_run()
    content = {"recipe": {"stripes": {"method": "sorting"}}, "tags": ["shell"]}
    assert ok(api.put("recipes/limpet", json=content))["revision"] == 1
    assert ok(api.put("recipes/limpet", json={**content, "note": "better"}))["revision"] == 2
    assert [each["note"] for each in ok(api.get("recipes/limpet/revisions"))["recipes"]] == ["", "better"]
    assert ok(api.get("recipes/limpet", params={"revision": 1}))["note"] == ""
    assert ok(api.post("recipes/limpet/accept", json={"run_uid": uid}))["scan"]["energy_kev"] == 20.0
    proposal = ok(api.get(f"scans/{uid}/proposal"))
    assert (proposal["recipe_name"], proposal["accepted"]["run_uid"]) == ("limpet", uid)
    assert "accepted" in proposal["reason"]
    found = ok(api.get("recipes", params={"tag": "shell", "energy_kev_min": 19, "energy_kev_max": 21}))
    assert [each["name"] for each in found["recipes"]] == ["limpet"]
    assert ok(api.get("recipes", params={"energy_kev_min": 30}))["recipes"] == []
    everything = {each["name"]: each["shipped"] for each in ok(api.get("recipes"))["recipes"]}
    assert everything["limpet"] is False
    assert everything["default"] is True
    by_name = ok(api.post(f"scans/{uid}/reconstructions", json={"recipe_name": "limpet@1"}), 201)
    assert by_name["recipe_name"] == "limpet"
    assert api.delete("recipes/limpet").status_code == 204
    assert "no saved recipe 'limpet'" in api.get("recipes/limpet").json()["detail"]


def test_a_recipe_is_checked_field_by_field(anybody: httpx.Client) -> None:
    right = ok(anybody.post("recipe/check", json={"text": "stripes: {method: sorting}"}))
    assert right["valid"]
    assert "method: sorting" in right["yaml"]
    wrong = ok(anybody.post("recipe/check", json={"recipe": {"stripes": {"method": "sortng"}, "x": 1}}))
    assert not wrong["valid"]
    assert {each["field"] for each in wrong["problems"]} == {"stripes.method", "x"}
    assert ok(anybody.get("recipe/schema"))["properties"]["stripes"]


def test_a_sweep(api: httpx.Client, tomo: Tomo, publish_run: Callable[..., str]) -> None:
    uid = publish_run()
    asked = {"recipe": AT_15_5, "parameter": "rotation_axis", "values": [15.0, 15.5], "z": 3}
    made = ok(api.post(f"scans/{uid}/sweeps", json=asked), 201)
    assert made["labels"] == [15.0, 15.5]
    where = f"sweeps/{uid}/{made['id']}"
    wait_for(lambda: ok(api.get(where))["images"] is not None)
    assert ok(api.get(where))["images"]["shape"] == [2, 32, 32]
    assert [sweep["id"] for sweep in ok(api.get(f"scans/{uid}"))["sweeps"]] == [made["id"]]
    refused = api.post(f"scans/{uid}/sweeps", json={**asked, "parameter": "rotation_axes"})
    assert refused.status_code == 422
    assert "there is no rotation_axes" in refused.json()["detail"]
    saved = ok(api.post(f"{where}/accept", json={"index": 1, "name": "swept", "tags": ["sharp"]}))
    assert saved["recipe"]["rotation_axis"]["value"] == 15.5
    assert (saved["tags"], saved["revision"]) == (["sharp"], 1)
    proposal = ok(api.get(f"scans/{uid}/proposal"))
    assert (proposal["recipe_name"], proposal["accepted"]["run_uid"]) == ("swept", uid)
    beyond = api.post(f"{where}/accept", json={"index": 2})
    assert beyond.status_code == 422
    tomo.recipes.delete("swept")


@pytest.mark.parametrize(
    ("method", "path", "content", "field"),
    [
        ("GET", "scans?limit=0", None, "limit"),
        ("GET", "scans?sort=size", None, "sort"),
        ("GET", "reconstructions?state=lost", None, "state.0"),
        ("POST", "scans/{run}/reconstructions", {"recipe": {"stripes": 3}}, "stripes"),
        ("POST", "scans/{run}/reconstructions", {"recipes": {}}, "recipes"),
        ("POST", "scans/{run}/sweeps", {"values": [1]}, "parameter"),
        ("PUT", "recipes/limpet", {"recipe": {}, "tags": ["a,b"]}, "tags.0"),
        ("PUT", "recipes/limpet", {"recipe": {"x": 1}}, "x"),
        ("POST", "recipe/check", {"recipe": {}, "text": ""}, ""),
    ],
)
def test_what_is_wrong_is_named(
    api: httpx.Client,
    publish_run: Callable[..., str],
    method: str,
    path: str,
    content: dict[str, Any] | None,
    field: str,
) -> None:
    run = publish_run() if "{run}" in path else ""
    answer = api.request(method, path.format(run=run), json=content)
    assert answer.status_code == 422
    refusal = Refusal.model_validate(answer.json())
    assert refusal.detail
    assert field in [problem.field for problem in refusal.problems]


def test_who_may_only_read_changes_nothing(
    anybody: httpx.Client, tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    uid = publish_run()
    for method, path, content in (
        ("POST", f"scans/{uid}/reconstructions", {}),
        ("POST", f"scans/{uid}/sweeps", {"parameter": "rotation_axis", "values": [15.0]}),
        ("PUT", "recipes/limpet", {"recipe": {}}),
        ("POST", "recipes/default/accept", {"run_uid": uid}),
        ("GET", "metrics", None),
    ):
        answer = anybody.request(method, path, json=content)
        assert answer.status_code == 401, path
        assert "Requires scopes" in answer.json()["detail"]
    assert anybody.delete("recipes/limpet").status_code == 401
    assert ok(anybody.get("reconstructions", params={"run_uid": uid}))["total"] == 0


def test_a_list_of_very_many_scans_is_quick(
    anybody: httpx.Client, quiet_service: RunningService, tomo: Tomo, publish_run: Callable[..., str]
) -> None:
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    publish_run()
    start = json.dumps({"start": {"sample_name": "sand", "time": 0}, "stop": {"exit_status": "fail"}})

    async def pour(statement: str) -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{quiet_service.data}/catalog.db")
        async with engine.begin() as connection:
            await connection.execute(text(statement), {"content": start})
        await engine.dispose()

    many = 5000
    into = "INSERT INTO nodes (parent, key, structure_family, metadata, specs)"
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many})"
    raw = "(SELECT id FROM nodes WHERE key = 'raw' AND parent = 0)"
    asyncio.run(pour(f"{into} {numbers} SELECT {raw}, 'sand-' || i, 'container', :content, '[]' FROM n"))
    try:
        anybody.get("scans")
        answer = anybody.get("scans", params={"limit": 50, "offset": 2000})
        assert len(ok(answer)["scans"]) == 50
        assert answer.json()["total"] >= many
        # A tenth of that on a machine that does nothing else; by one request for each run it is minutes.
        assert answer.elapsed.total_seconds() < 5
    finally:
        # SQLite cascades for Tiled's connections only, and would give the numbers of the nodes out again.
        sand = "nodes WHERE key LIKE 'sand-%'"
        asyncio.run(pour(f"DELETE FROM nodes_closure WHERE descendant IN (SELECT id FROM {sand})"))
        asyncio.run(pour(f"DELETE FROM {sand}"))


def test_the_service_says_whether_it_is_well(
    quiet_service: RunningService, anybody: httpx.Client, api: httpx.Client
) -> None:
    # Nobody computes here.
    answer = anybody.get("health")
    assert answer.status_code == 503
    checks = {check["name"]: check for check in answer.json()["checks"]}
    assert {name: check["status"] for name, check in checks.items()} == {
        "database": "ok",
        "workers": "failed",
        "disk": "ok",
    }
    assert "start a conductor" in checks["workers"]["message"]
    assert str(quiet_service.data) not in answer.text
    text = api.get("metrics").text
    for line in (
        'tomoservice_reconstructions{state="queued"} ',
        "tomoservice_worker_slots 0.0",
        "tiled_request",
    ):
        assert line in text, line
