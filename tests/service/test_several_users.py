"""Two users with a proposal each, a beamline that publishes, and a conductor that serves them all."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from tiled.structures.core import Spec
from websockets.exceptions import ConnectionClosed

from tests.service.conftest import wait_for
from tests.service.facility import Facility, accounts, accounts_settings, api_key, facility_of
from tests.service.http_api import about, api_of, heard, listening, ok
from tests.service.scans import SmallScan, documents, publish, reconstructed
from tests.service.test_trust import hdf5
from tomoservice.catalog.nodes import create_container, request_reconstruction
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import NotAllowedError, NotFoundError
from tomoservice.client import Job
from tomoservice.recipe import parse_recipe
from tomoservice.service.running import running_service

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def facility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    folder = tmp_path_factory.mktemp("facility")
    given = accounts_settings(folder)
    with (
        accounts(),
        running_service(folder / "data", given) as service,
        facility_of(service, folder, given) as facility,
    ):
        yield facility


def test_only_who_may_read_a_run_reads_and_makes_its_reconstructions(facility: Facility) -> None:
    alice, bob = facility.people["alice"], facility.people["bob"]
    uid = facility.publish("proposal-1")
    assert uid in alice.runs
    assert uid not in bob.runs
    job = alice.reconstruct(uid, AT_15_5)
    with pytest.raises(NotFoundError, match="there is no run"):
        bob.reconstruct(uid, AT_15_5)
    # By other means, too.
    with pytest.raises((NotAllowedError, NotFoundError)):
        request_reconstruction(bob.root, uid, parse_recipe(AT_15_5))
    with pytest.raises(NotAllowedError):
        create_container(bob.root["processed"], uid)
    # The service has described it before anybody computes.
    wait_for(lambda: "volume" in list(job.node), 60)
    assert set(job.volume.access_tags) == {"proposal-1"}
    assert facility.work()
    assert job.wait(5).state is State.DONE
    assert np.array_equal(job.volume[:], reconstructed(SmallScan(), AT_15_5))
    for key in ("volume", "progress", "claim-1", "quality"):
        assert set(job.node[key].access_tags) == {"proposal-1"}
    assert set(job.node["quality", "references"].access_tags) == {"proposal-1"}
    assert list(bob.root["processed"]) == []
    with pytest.raises(KeyError):
        bob.root[job.path]
    with pytest.raises(KeyError):
        bob.root[f"{job.path}/volume"]
    # Nor may alice register files, not even below what is hers.
    with pytest.raises(httpx.HTTPStatusError, match="register"):
        job.node.new("array", [hdf5("file://localhost/etc/passwd")], access_tags=["proposal-1"])
    anonymous = httpx.get(f"{facility.service.uri}/api/v1/metadata/{job.path}")
    assert anonymous.status_code in (401, 403, 404)


def test_a_node_with_other_tags_than_its_run_is_not_made(facility: Facility) -> None:
    uid = facility.publish("proposal-1")
    # However it came about: somebody with all rights was careless.
    root = facility.people["conductor"].root
    room = create_container(root["processed"], uid, access_tags=["proposal-2"])
    node = room.create_container(
        "stolen",
        metadata={"recipe": AT_15_5, "status": {"state": "queued"}},
        specs=[Spec("TomoReconstruction", version="1")],
        access_tags=["proposal-2"],
    )
    assert facility.work()
    status = Job(facility.people["bob"].root["/".join(node.path_parts)]).status
    assert status.state is State.FAILED
    assert "the access tags proposal-2 are not among those of raw/" in status.message


@pytest.mark.parametrize("owner", ["proposal-1", "proposal-2"])
def test_flats_of_a_run_that_one_may_not_read_are_not_lent(facility: Facility, owner: str) -> None:
    theirs = facility.publish(owner)
    mine = facility.publish(
        "proposal-2", scan_layout="hex", current_dark_flat_scan_uid=theirs, detectors=["camera"]
    )
    bob = facility.people["bob"]
    job = bob.reconstruct(mine, AT_15_5)
    assert facility.work()
    if owner == "proposal-2":
        assert (job.state, job.status.message) == (State.DONE, "")
    else:
        assert job.state is State.FAILED
        assert f"names run {theirs}, which is not in" in job.status.message


@pytest.mark.parametrize("owner", ["proposal-1", "proposal-2"])
def test_nobody_starts_from_a_volume_that_they_may_not_read(facility: Facility, owner: str) -> None:
    theirs, mine = facility.publish(owner), facility.publish("proposal-2")
    person = "alice" if owner == "proposal-1" else "bob"
    begun = facility.people[person].reconstruct(theirs, AT_15_5)
    assert facility.work()
    name = f"{theirs}/{begun.wait(5).record.reconstruction_id}"
    start = {"method": "sirt", "iterations": 1, "initial": "volume", "initial_volume": name}
    job = facility.people["bob"].reconstruct(mine, {**AT_15_5, "reconstruction": start})
    assert facility.work()
    if owner == "proposal-2":
        assert (job.state, job.status.message) == (State.DONE, "")
    else:
        assert job.state is State.FAILED
        assert f"are not among those of processed/{theirs}/" in job.status.message


def test_whoever_owns_a_run_alone_gets_its_reconstruction(facility: Facility) -> None:
    beamline = facility.people["beamline"]
    uid = publish(beamline.raw, documents(SmallScan(), facility.raw))
    assert set(beamline.raw[uid].access_tags) == {"user:beamline"}
    job = beamline.reconstruct(uid, AT_15_5)
    assert facility.work()
    assert set(job.wait(5).volume.access_tags) == {"user:beamline"}
    job.cancel()
    assert uid not in facility.people["alice"].runs


def test_room_is_made_for_real_runs_only(facility: Facility) -> None:
    key = {"Authorization": f"Apikey {facility.people['alice'].root.context.api_key}"}
    for uid, status in (("..%2Fraw", 404), ("no-such-run", 404), ("-x", 422)):
        answer = httpx.post(f"{facility.service.uri}/api/v1/tomo/processed/{uid}", headers=key)
        assert answer.status_code == status


@pytest.mark.timeout(600)
def test_a_batch_is_made_of_runs_that_one_may_use(facility: Facility) -> None:
    alice, bob = facility.people["alice"], facility.people["bob"]
    mine, also_mine = (facility.publish("proposal-1") for _ in range(2))
    theirs = facility.publish("proposal-2")
    with pytest.raises(NotFoundError, match=f"there is no run '{theirs}', or this key may not read it"):
        alice.batch([mine, theirs], AT_15_5)
    # By other means, too.
    key = {"Authorization": f"Apikey {alice.root.context.api_key}"}
    body = {"runs": [mine, theirs], "recipes": [AT_15_5]}
    asked = httpx.post(f"{facility.service.uri}/api/v1/tomo/batches", json=body, headers=key, timeout=30)
    assert asked.status_code == 404
    batch = alice.batch([mine, also_mine], AT_15_5, name="ours")
    wait_for(lambda: batch.summary.counts == {"queued": 2}, 60)
    assert set(batch.node.access_tags) == {"proposal-1"}
    assert batch.record.metadata.requested_by == "alice"
    assert list(bob.batches) == []
    job = batch.job(1)
    assert set(job.node.access_tags) == {"proposal-1"}
    batch.pause()
    assert not facility.work()
    batch.resume()
    assert facility.work()
    assert job.state is State.DONE
    # What is added is for the same people.
    later = facility.publish("proposal-1", "proposal-2")
    assert batch.add(later) == [3]
    with pytest.raises(NotFoundError, match=f"there is no run '{theirs}', or this key may not read it"):
        batch.add(theirs)
    asked = httpx.post(
        f"{facility.service.uri}/api/v1/tomo/batches/{batch.id}/items",
        json={"runs": [theirs]},
        headers=key,
        timeout=30,
    )
    assert asked.status_code == 404
    wait_for(lambda: batch.summary.counts == {"done": 1, "queued": 2}, 60)
    assert set(batch.node["more-1"].access_tags) == {"proposal-1"}
    bobs = {"Authorization": f"Apikey {bob.root.context.api_key}"}
    asked = httpx.post(str(asked.url), json={"runs": [theirs]}, headers=bobs, timeout=30)
    assert asked.status_code == 404
    whoever = facility.people["conductor"].find_batch(batch.id)
    with pytest.raises(NotAllowedError, match=f"run {theirs} is not for the same people as batches/"):
        whoever.add(theirs)
    said = {"runs": [theirs], "recipes": [AT_15_5], "first": 4}
    for key_of_it, tags in (("more-2", ["proposal-1"]), ("more-3", ["proposal-2"])):
        odd = create_container(
            whoever.node, key_of_it, metadata=said, specs=(Spec("TomoBatchAddition"),), access_tags=tags
        )
        wait_for(lambda odd=odd: odd.refresh().metadata["submitted"], 60)
        assert odd.metadata["message"].startswith("refused: ")
    assert all(not key_of_it.startswith(batch.id) for key_of_it in made_of(facility, theirs))
    # Whoever has all rights cannot make others read what they may not.
    root = facility.people["conductor"].root
    said = {"runs": [theirs], "recipes": [AT_15_5]}
    odd = create_container(
        root["batches"], "odd", metadata=said, specs=(Spec("TomoBatch"),), access_tags=["proposal-1"]
    )
    wait_for(lambda: odd.refresh().metadata["submitted"], 60)
    assert odd.metadata["message"] == f"refused: there is no run {theirs!r} for whoever may read this batch"
    batch.cancel()
    assert facility.work()


def made_of(facility: Facility, run: str) -> list[str]:
    """Return the keys of what is made of a run, as whoever may read everything sees them."""
    processed = facility.people["conductor"].root["processed"]
    return list(processed[run]) if run in processed else []


def test_nobody_sees_more_than_tiled_shows_them(facility: Facility) -> None:
    uid = facility.publish("proposal-1", sample_name="alice's own")
    keys = {name: api_key(facility.service.uri, name) for name in ("alice", "bob")}
    with api_of(facility.service, keys["alice"]) as alice, api_of(facility.service, keys["bob"]) as bob:
        made = ok(alice.post(f"scans/{uid}/reconstructions", json={"recipe": AT_15_5}), 201)
        assert made["requested_by"] == "alice"
        where = f"reconstructions/{uid}/{made['id']}"
        assert ok(alice.get("scans", params={"q": "alice's"}))["total"] == 1
        assert ok(alice.get("reconstructions", params={"run_uid": uid}))["total"] == 1
        assert ok(alice.get(where))["sample_name"] == "alice's own"
        assert uid not in bob.get("scans", params={"limit": 200}).text
        assert uid not in bob.get("reconstructions", params={"limit": 200}).text
        for path in (f"scans/{uid}", f"scans/{uid}/proposal", f"scans/{uid}/thumbnail", where):
            assert bob.get(path).status_code == 404, path
        for path in ("reconstructions", "preview", "axis"):
            assert bob.post(f"scans/{uid}/{path}", json={}).status_code == 404, path
        sweep = {"parameter": "rotation_axis", "values": [15.0]}
        assert bob.post(f"scans/{uid}/sweeps", json=sweep).status_code == 404
        # Numbers about everybody's work are for whoever runs the service.
        assert alice.get("metrics").status_code == 401
    with api_of(facility.service, None) as nobody:
        for path in ("scans", "reconstructions", "recipes", f"scans/{uid}", "recipe/schema"):
            assert nobody.get(path).status_code == 401, path
        assert nobody.get("health").status_code in (200, 503)


def test_who_may_not_delete_steers_nothing_by_half(facility: Facility) -> None:
    uid = facility.publish("proposal-1")
    job = facility.people["alice"].reconstruct(uid, AT_15_5)
    scopes = ["read:metadata", "read:data", "write:metadata", "create:node"]
    with api_of(facility.service, api_key(facility.service.uri, "alice", scopes)) as half:
        where = f"reconstructions/{uid}/{job.path.rpartition('/')[2]}"
        for verb in ("cancel", "pause", "resume", "retry"):
            refused = half.post(f"{where}/{verb}")
            assert refused.status_code == 401
            assert "delete:node" in refused.text
        ok(half.patch(where, json={"priority": "background"}))
    assert [key for key in job.node if key.startswith("control-")] == ["control-priority"]
    job.delete()


def test_nobody_hears_of_what_they_may_not_see(facility: Facility) -> None:
    keys = {name: api_key(facility.service.uri, name) for name in ("alice", "bob")}
    with listening(facility.service, keys["alice"]) as alice, listening(facility.service) as bob:
        bob.send(json.dumps({"type": "auth", "api_key": keys["bob"]}))
        uid = facility.publish("proposal-1")
        heard(alice, about(uid, "complete"))
        job = facility.people["alice"].reconstruct(uid, AT_15_5)
        heard(alice, about(job.path.rpartition("/")[2], "queued"))
        his = facility.publish("proposal-2")
        told = heard(bob, about(his, "complete"))
        assert {event.run_uid for event in told} == {his}
    with listening(facility.service) as nobody:
        nobody.send(json.dumps({"type": "hello"}))
        with pytest.raises(ConnectionClosed):
            nobody.recv(timeout=10)
