"""What befalls the tasks of a reconstruction, and what is done about it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from tests.compute import chores
from tomoservice.catalog.writer import Progress
from tomoservice.compute.base import Computer, Line, Priority
from tomoservice.compute.local import LocalComputer
from tomoservice.compute.workbench import Workbench
from tomoservice.conductor.errands import DEATHS, Setbacks, WatchedErrand
from tomoservice.conductor.watch import JobWatch
from tomoservice.errors import (
    CancelledError,
    CatalogError,
    ServiceUnavailableError,
    WorkersDiedError,
    WorkersLostError,
)


class IdleWatch:
    """What an errand needs of a watch, without a claim."""

    stopped = False
    priority = Priority.NORMAL

    def __init__(self) -> None:
        self.waited_for: list[str] = []

    def should_stop(self) -> bool:
        return self.stopped

    def report(self, progress: Progress) -> None:
        del progress

    def waits(self, reason: str) -> None:
        self.waited_for.append(reason)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tomoservice.conductor.patience.FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr("tomoservice.conductor.patience.LONGEST_PAUSE_S", 0.05)


@pytest.fixture
def computer() -> Iterator[Computer]:
    with closing(LocalComputer()) as made:
        yield made


@pytest.fixture
def errand(computer: Computer) -> Iterator[WatchedErrand]:
    with closing(WatchedErrand(computer, cast("JobWatch", IdleWatch()))) as made:
        yield made


def unlucky(bench: Workbench, line: Line, notes: str, times: int, kind: type[Exception]) -> str:
    """Fail a few times, as a place of work reports it."""
    chores.note(bench, line, notes, "tried")
    if len(Path(notes).read_text(encoding="ascii").split()) <= times:
        raise kind("bad luck")
    return "done"


def tries(notes: Path) -> int:
    return len(notes.read_text(encoding="ascii").split())


def test_a_service_that_workers_reach_after_a_while(errand: WatchedErrand, tmp_path: Path) -> None:
    assert errand.result(chores.miss_the_service, str(tmp_path / "notes"), 3) == "reached"


def test_a_service_that_workers_cannot_reach(
    errand: WatchedErrand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.conductor.patience.FAULTS_S", 0.2)
    expected = r"no service answers at http://127.0.0.1:1; given up after 0.2 s .*conductor\.uri"
    with pytest.raises(CatalogError, match=expected):
        errand.result(chores.miss_the_service, str(tmp_path / "notes"), 10_000)
    # With pauses between.
    assert tries(tmp_path / "notes") < 15


def test_workers_that_are_lost_are_waited_for(
    errand: WatchedErrand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomoservice.conductor.patience.FAULTS_S", 0.0)
    assert errand.result(unlucky, str(tmp_path / "notes"), 5, WorkersLostError) == "done"


def test_workers_that_died_with_a_task_in_hand(errand: WatchedErrand, tmp_path: Path) -> None:
    assert errand.result(unlucky, str(tmp_path / "some"), DEATHS, WorkersDiedError) == "done"
    with pytest.raises(WorkersDiedError):
        errand.result(unlucky, str(tmp_path / "many"), 10_000, WorkersDiedError)
    assert tries(tmp_path / "many") == DEATHS + 1


def test_deaths_are_counted_for_each_part_of_what_is_done() -> None:
    setbacks = Setbacks(lambda: False)
    for number in range(10):
        setbacks.bear(WorkersDiedError("a"), number, number + 1)
    with pytest.raises(WorkersDiedError):
        setbacks.bear(WorkersDiedError("a"), 9)
    # Success ends the wait for a service, but tells nothing about who died.
    setbacks.forget()
    with pytest.raises(WorkersDiedError):
        setbacks.bear(WorkersDiedError("a"), 9)


@pytest.mark.parametrize("kind", [WorkersLostError, ServiceUnavailableError])
def test_nothing_is_borne_when_it_is_time_to_stop(kind: type[ServiceUnavailableError]) -> None:
    with pytest.raises(CancelledError, match="told to stop while waiting: gone"):
        Setbacks(lambda: True).bear(kind("gone"))


def test_tasks_are_as_urgent_as_the_reconstruction_is_when_they_are_begun(computer: LocalComputer) -> None:
    watch = IdleWatch()
    done: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    def hold(bench: Workbench, line: Line) -> None:
        began.set()
        go_on.wait(20)

    def say(bench: Workbench, line: Line, word: str) -> None:
        done.append(word)

    with closing(WatchedErrand(computer, cast("JobWatch", watch))) as errand:
        tasks = [errand.begin(hold)]
        assert began.wait(20)
        watch.priority = Priority.BACKGROUND
        tasks.append(errand.begin(say, "background"))
        watch.priority = Priority.NORMAL
        tasks.append(errand.begin(say, "normal"))
        go_on.set()
        for task in tasks:
            errand.wait(task)
    assert done == ["normal", "background"]


def test_what_has_ended_is_not_kept(computer: Computer) -> None:
    with closing(computer.errand(Priority.NORMAL)) as errand:
        futures: list[Future[int]] = [errand.submit(chores.add, number) for number in range(3)]
        assert [future.result(20) for future in futures] == [0, 1, 2]
        kept = cast("Callable[[], Any]", lambda: vars(errand)["_futures"])
        errand.submit(chores.add, 1).result(20)
        assert len(kept()) <= 1


def test_nothing_is_begun_once_it_is_given_up(computer: Computer, tmp_path: Path) -> None:
    notes = str(tmp_path / "notes")
    errand = WatchedErrand(computer, cast("JobWatch", IdleWatch()))
    begun = errand.begin(unlucky, notes, 1, WorkersLostError)
    with suppress(WorkersLostError):
        begun.future.result(20)
    errand.close()
    with pytest.raises(CancelledError):
        # It would be tried again, for ever if there were no workers.
        errand.wait(begun)
    assert Path(notes).read_text(encoding="ascii").split() == ["tried"]
    with pytest.raises(CancelledError, match="given up"):
        errand.begin(chores.add, 1, 1)
