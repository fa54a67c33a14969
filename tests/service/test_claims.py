"""Claims: one worker at a time, and whoever was overtaken finds out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.conftest import connected
from tomoservice.catalog.claims import Claim, Worker, crashes_before, latest_lease, try_claim
from tomoservice.catalog.names import claim_key
from tomoservice.catalog.nodes import create_container, ensure_container, reconstruction_spec
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import ConflictError, translated
from tomoservice.catalog.writer import ReconstructionWriter
from tomoservice.client import Tomo
from tomoservice.errors import ClaimLostError, IllegalTransitionError
from tomoservice.service.running import RunningService

LEASE_S = 30.0


@pytest.fixture
def node(tomo: Tomo) -> Any:
    """A reconstruction that no conductor looks at."""
    run = ensure_container(tomo.root["processed"], "run-of-claims")
    metadata = {"recipe": {}, "status": {"state": "virtual"}}
    return create_container(
        run, f"claims-{time.monotonic_ns()}", metadata=metadata, specs=(reconstruction_spec(),)
    )


@pytest.fixture
def queued(node: Any) -> Iterator[Any]:
    node.update_metadata({"status": {"state": "queued"}})
    yield node
    node.delete(recursive=True)


def claimed(node: Any, lease_s: float = LEASE_S) -> Claim:
    claim = try_claim(node, Worker(), lease_s)
    assert claim is not None
    return claim


def test_of_eight_claimers_one_wins(quiet_service: RunningService, node: Any) -> None:
    connections = [connected(quiet_service) for _ in range(8)]
    nodes = [connection.root["/".join(node.path_parts)] for connection in connections]
    barrier, won = threading.Barrier(8), []

    def race(mine: Any) -> None:
        barrier.wait()
        claim = try_claim(mine, Worker(), LEASE_S)
        if claim is not None:
            won.append(claim)

    threads = [threading.Thread(target=race, args=(mine,)) for mine in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [claim.attempt for claim in won] == [1]
    assert list(node) == ["claim-1"]
    for connection in connections:
        connection.close()


def test_a_live_claim_is_respected_and_a_released_one_is_not(node: Any) -> None:
    first = claimed(node)
    assert try_claim(node, Worker(), LEASE_S) is None
    first.release()
    assert claimed(node).attempt == 2


def test_a_lease_that_runs_out_is_taken_over_and_its_holder_finds_out(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claimed(node, lease_s=1.0)
    monkeypatch.setattr("tomoservice.catalog.claims.CLOCK_TOLERANCE_S", 0.0)
    time.sleep(1.1)
    second = claimed(node)
    assert second.attempt == 2
    with pytest.raises(ClaimLostError, match="attempt 2 has taken over from attempt 1"):
        first.renew()
    second.renew()


def test_renewing_extends_the_lease(node: Any) -> None:
    claim = claimed(node, lease_s=5.0)
    before = latest_lease(node)
    time.sleep(0.05)
    claim.renew()
    after = latest_lease(node)
    assert before is not None
    assert after is not None
    assert 0.04 < after.expires - before.expires < 5
    assert len(node[claim_key(1)].metadata_revisions[:]) == 0


def test_an_overtaken_worker_cannot_write_the_state(queued: Any) -> None:
    first = claimed(queued)
    writer = ReconstructionWriter(first)
    writer.enter(State.RUNNING)
    first.release()
    ReconstructionWriter(claimed(queued)).enter(State.RUNNING)
    with pytest.raises(ClaimLostError):
        writer.enter(State.DONE)
    queued.refresh()
    assert queued.metadata["status"]["state"] == "running"
    assert queued.metadata["status"]["attempt"] == 2


def test_the_server_refuses_a_lower_attempt_whatever_the_client_checks(queued: Any) -> None:
    ReconstructionWriter(claimed(queued)).enter(State.RUNNING)
    queued.update_metadata({"status": {"attempt": 5}})
    with pytest.raises(ConflictError, match="attempt 5 works on it, this is attempt 1"), translated("x"):
        queued.update_metadata({"status": {"state": "done", "attempt": 1}})


def test_states_follow_the_table(queued: Any) -> None:
    writer = ReconstructionWriter(claimed(queued))
    with pytest.raises(IllegalTransitionError, match="queued and cannot become done"):
        writer.enter(State.DONE)
    with pytest.raises(ConflictError, match="done cannot follow queued"), translated("x"):
        queued.update_metadata({"status": {"state": "done"}})


def test_crashes_are_counted_back_to_the_last_orderly_end(node: Any) -> None:
    for released in (False, True, False, False):
        claim = claimed(node)
        if released:
            claim.release()
        else:
            claim._write({"expires": 0.0})
    assert crashes_before(node, 5) == 2
    assert crashes_before(node, 3) == 0
    assert crashes_before(node, 2) == 1
