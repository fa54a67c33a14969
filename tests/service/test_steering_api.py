"""Reconstructions and batches steered over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.service.conftest import wait_for
from tomoservice.catalog.states import State
from tomoservice.client import Job, Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.service.running import RunningService

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


@pytest.fixture
def api(quiet_service: RunningService) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"{quiet_service.uri}/api/v1/tomo",
        headers={"Authorization": f"Apikey {quiet_service.api_key}"},
        timeout=120,
    ) as client:
        yield client


@pytest.fixture
def uids(publish_run: Callable[..., str], tomo: Tomo) -> Iterator[list[str]]:
    yield [publish_run() for _ in range(2)]
    for batch in tomo.batches:
        batch.node.delete(recursive=True)


def answered(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content


def address(job: Job) -> str:
    return "/".join(("/reconstructions", *job.path.split("/")[1:]))


def test_a_job_from_pause_to_delete(
    api: httpx.Client, tomo: Tomo, uids: list[str], conductor: Conductor, quiet_service: RunningService
) -> None:
    job = tomo.reconstruct(uids[0], AT_15_5, priority="background")
    place = address(job)
    assert answered(api.post(f"{place}/pause"))["state"] == "paused"
    assert "resume it instead" in answered(api.post(f"{place}/retry"), 422)["detail"]
    assert answered(api.post(f"{place}/resume"))["state"] == "queued"
    assert answered(api.patch(place, json={"priority": "normal"}))["priority"] == "normal"
    assert answered(api.get(place))["priority"] == job.priority == "normal"
    assert (
        "'live' cannot be asked for" in answered(api.patch(place, json={"priority": "live"}), 422)["detail"]
    )
    assert answered(api.post(f"{place}/cancel"))["state"] == "cancelled"
    assert "is cancelled; there is nothing to stop" in answered(api.post(f"{place}/stop"), 409)["detail"]
    assert answered(api.post(f"{place}/retry"))["state"] == "queued"
    assert conductor.step()
    assert job.state is State.DONE
    assert "nothing to pause" in answered(api.post(f"{place}/pause"), 409)["detail"]
    assert api.post(f"{place}/explode").status_code == 422
    assert api.post("/reconstructions/nonsense/nothing/pause").status_code == 404
    # Who may only read may not steer.
    anonymous = httpx.post(f"{quiet_service.uri}/api/v1/tomo{place}/cancel", timeout=20)
    assert anonymous.status_code in (401, 403)
    assert api.delete(place).status_code == 204
    assert api.delete(place).status_code == 404


def test_a_batch_from_request_to_summary(
    api: httpx.Client, tomo: Tomo, uids: list[str], conductor: Conductor
) -> None:
    wanted = {"id": "night", "runs": uids, "recipes": [AT_15_5, {**AT_15_5, "name": "b"}][:1], "name": "n"}
    made = answered(api.post("/batches", json=wanted), 201)
    assert [item["number"] for item in made["items"]] == [1, 2]
    # Asked for once more by somebody who never heard the answer.
    assert answered(api.post("/batches", json=wanted))["id"] == "night"
    other = {**wanted, "recipes": [{}]}
    assert "another batch is called 'night'" in answered(api.post("/batches", json=other), 409)["detail"]
    wait_for(lambda: answered(api.get("/batches/night"))["state"] == "queued")
    assert [item["state"] for item in answered(api.get("/batches/night"))["items"]] == ["queued"] * 2
    assert answered(api.post("/batches/night/pause"))["state"] == "paused"
    assert not conductor.step()
    ordered = answered(api.put("/batches/night/order", json={"items": [2]}))
    assert [item["number"] for item in ordered["items"]] == [2, 1]
    assert answered(api.post("/batches/night/resume"))["state"] == "queued"
    assert conductor.step()
    fares = answered(api.get("/batches/night"))
    assert (fares["state"], fares["items"][0]["state"]) == ("running", "done")
    assert fares["summary"]["seconds_left"] > 0
    assert answered(api.post("/batches/night/cancel"))["state"] == "ending"
    assert conductor.step()
    page = answered(api.get("/batches"))
    assert page["total"] == 1
    [listed] = page["batches"]
    assert (listed["state"], listed["summary"]["counts"]) == ("finished", {"done": 1, "cancelled": 1})
    ended = answered(api.get("/batches/night"))["summary"]
    assert ended["messages"] == {"1": "cancelled with its batch night"}
    assert answered(api.post("/batches/night/retry"))["summary"]["counts"] == {"done": 1, "queued": 1}
    assert conductor.step()
    assert "nothing to pause" in answered(api.post("/batches/night/pause"), 409)["detail"]
    assert tomo.find_batch("night").record.metadata.name == "n"


def test_what_is_wrong_with_a_batch_is_said(
    api: httpx.Client, uids: list[str], quiet_service: RunningService
) -> None:
    for body, status, says in (
        ({"runs": [*uids, "nonsense"]}, 404, "nonsense"),
        ({"runs": uids, "recipes": [{"filtr": 1}]}, 422, "recipes: "),
        ({"runs": []}, 422, "runs"),
        ({"runs": uids, "id": "../x"}, 422, "a batch cannot be called '../x'"),
        ({"runs": uids, "colour": "red"}, 422, "colour"),
        ({"runs": uids, "priority": "live"}, 422, "priority"),
    ):
        answer = api.post("/batches", json=body)
        assert answer.status_code == status, answer.text
        assert says in answer.text
    assert api.get("/batches/nonsense").status_code == 404
    assert api.put("/batches/nonsense/order", json={"items": [1]}).status_code == 404
    anonymous = httpx.post(f"{quiet_service.uri}/api/v1/tomo/batches", json={"runs": uids}, timeout=20)
    assert anonymous.status_code in (401, 403)
