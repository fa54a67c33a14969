"""When a thread that looks after nodes looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tomoservice.service import lookout as module
from tomoservice.service.lookout import AFTER_S, Lookout


class Looking:
    """A lookout, and when the thread has looked."""

    def __init__(self) -> None:
        self.lookout = Lookout()
        self.looks: list[float] = []
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for _ in self.lookout.rounds():
            self.looks.append(time.monotonic() - self._began)

    def after(self, seconds: float) -> list[float]:
        time.sleep(seconds)
        return list(self.looks)

    def stop(self) -> None:
        self.lookout.stop()
        self._thread.join(5)
        assert not self._thread.is_alive()


@pytest.fixture
def looking() -> Iterator[Looking]:
    made = Looking()
    yield made
    made.stop()


def test_it_looks_several_times_after_a_poke(looking: Looking) -> None:
    looking.lookout.poke()
    assert len(looking.after(sum(AFTER_S) + 0.5)) == len(AFTER_S)


def test_it_looks_once_after_some_time(looking: Looking) -> None:
    looking.lookout.again(0.3)
    # The earlier comes first, whoever asks, and when.
    looking.lookout.again(2.0)
    time.sleep(0.05)
    looking.lookout.again(1.0)
    looks = looking.after(0.8)
    assert len(looks) == 1
    assert 0.3 <= looks[0] < 0.8
    # And the others are not forgotten: what they are for may not have been there yet.
    looks = looking.after(1.7)
    assert len(looks) == 3
    assert 1.0 <= looks[1] < 1.6
    assert looks[2] >= 2.0


def test_looks_that_are_planned_together_are_one(looking: Looking) -> None:
    for _ in range(100):
        looking.lookout.again(0.3)
    # They may lie on either side of a tick.
    assert 1 <= len(looking.after(1.0)) <= 2


def test_a_poke_does_not_wait_for_what_is_planned(looking: Looking) -> None:
    looking.lookout.again(30.0)
    looking.lookout.poke()
    assert len(looking.after(sum(AFTER_S) + 0.5)) == len(AFTER_S)


def test_a_plan_during_looks_is_kept(looking: Looking) -> None:
    looking.lookout.poke()
    time.sleep(0.2)
    looking.lookout.again(0.7)
    assert len(looking.after(1.2)) == len(AFTER_S) + 1


def test_it_looks_now_and_then_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALWAYS_S", 0.2)
    looking = Looking()
    try:
        # What is planned for later does not put it off.
        looking.lookout.again(30.0)
        assert len(looking.after(1.1)) >= 3
    finally:
        looking.stop()
