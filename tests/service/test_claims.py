"""Claims: one worker at a time, and whoever was overtaken finds out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.conftest import connected
from tomoservice.catalog import claims
from tomoservice.catalog.claims import Claim, Worker, crashes_before, latest_lease, try_claim
from tomoservice.catalog.controls import Verb, ask
from tomoservice.catalog.names import attempt_of, claim_key, is_key
from tomoservice.catalog.nodes import create_container, ensure_container, reconstruction_spec
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import ConflictError, translated
from tomoservice.catalog.writer import Progress, ReconstructionWriter
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
    assert crashes_before(node, 5, fruitful={4}) == 0
    assert crashes_before(node, 5, fruitful={3}) == 1


def test_a_worker_whose_answer_was_lost_has_its_claim(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(*arguments: Any, **options: Any) -> Any:
        """Create, and try again as a client does that never heard of its success."""
        create_container(*arguments, **options)
        return create_container(*arguments, **options)

    monkeypatch.setattr(claims, "create_container", twice)
    worker = Worker()
    claim = try_claim(node, worker, LEASE_S)
    assert claim is not None
    assert claim.attempt == 1
    assert try_claim(node, Worker(), LEASE_S) is None
    again = try_claim(node, worker, LEASE_S)
    assert again is not None
    assert again.attempt == 1
    assert list(node) == ["claim-1"]


def foreign_claim(node: Any, key: str, **changes: Any) -> None:
    lease = {"attempt": 1, "host": "h", "pid": 1, "identity": "x", "expires": 0.0, "lease_s": 30.0}
    node.create_container(key, metadata={**lease, **changes})


def test_the_key_says_which_attempt_it_is(node: Any) -> None:
    foreign_claim(node, "claim-5", attempt=1)
    latest = latest_lease(node)
    assert latest is not None
    assert latest.attempt == 5
    assert claimed(node).attempt == 6


def test_a_lease_of_a_day_is_nonsense(node: Any) -> None:
    foreign_claim(node, "claim-1", expires=time.time() + 86400)
    assert claimed(node).attempt == 2


def test_a_lease_of_a_clock_that_is_fast_is_respected(node: Any) -> None:
    foreign_claim(node, "claim-1", expires=time.time() + 30 + 20)
    assert try_claim(node, Worker(), LEASE_S) is None


def test_an_overtaken_worker_writes_no_progress_and_leaves_requests_alone(queued: Any) -> None:
    first = claimed(queued)
    first.release()
    second = claimed(queued)
    ReconstructionWriter(second).progress(Progress("reconstructing", 1, 2))
    ask(queued, Verb.CANCEL)
    writer = ReconstructionWriter(first)
    with pytest.raises(ClaimLostError):
        writer.progress(Progress("done", 2, 2))
    with pytest.raises(ClaimLostError):
        writer.end(State.CANCELLED)
    assert queued["progress"].metadata["percent"] == 50
    assert "control-cancel" in list(queued)


def test_a_state_that_was_stored_may_be_stored_again_by_the_same_attempt(queued: Any) -> None:
    writer = ReconstructionWriter(claimed(queued))
    writer.enter(State.RUNNING)
    writer.enter(State.DONE, content={"note": 1})
    writer.enter(State.DONE, content={"note": 1})
    assert queued.refresh().metadata["status"]["state"] == "done"


@pytest.mark.parametrize(
    ("key", "attempt"),
    [
        ("claim-1", 1),
        ("claim-10", 10),
        ("claim-01", None),
        ("claim-\u0661", None),
        ("claim-" + "1" * 5000, None),
    ],
)
def test_only_plain_numbers_are_attempts(key: str, attempt: int | None) -> None:
    assert attempt_of(key) == attempt


def test_keys_that_lead_elsewhere_are_none() -> None:
    assert is_key("6f1c9a2e-7d51-4d8f-8a60-d8f2a9c1f0aa")
    assert is_key("auto-0123456789ab")
    assert not any(
        is_key(key) for key in ("", ".", "..", ".a", "a/b", "a%2Fb", "a b", "a\n", "\u0661", "a" * 129)
    )


def test_a_progress_that_somebody_deletes_is_made_anew(queued: Any) -> None:
    writer = ReconstructionWriter(claimed(queued))
    writer.progress(Progress("reconstructing", 1, 4))
    queued["progress"].delete()
    writer.progress(Progress("reconstructing", 2, 4))
    assert queued["progress"].metadata["percent"] == 50


def test_a_holder_whose_machine_slept_looks_before_it_writes(
    queued: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claimed(queued)
    queued.create_container("claim-2", metadata={"attempt": 2})
    # Nobody takes over from a live lease, so nothing is asked.
    first.check()
    later = time.time() + LEASE_S + 1
    monkeypatch.setattr("tomoservice.catalog.claims.time.time", lambda: later)
    with pytest.raises(ClaimLostError):
        first.check()
