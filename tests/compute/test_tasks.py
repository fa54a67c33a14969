"""Slabs that are written by several at once: whoever only looks, and claims that follow each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tests.compute.lines import Idle
from tomoservice.compute import tasks
from tomoservice.compute.orders import RunAddress, VolumeOrder
from tomoservice.compute.tasks import HALVINGS, _open, _Sink, _with_less_memory
from tomoservice.compute.workbench import Planned, Workbench
from tomoservice.errors import (
    ClaimLostError,
    FaultError,
    InputError,
    MemoryBudgetError,
    OtherSlabsError,
)
from tomoservice.pipeline import ResidualLog, Slab
from tomoservice.store import SlabStore, highest_attempt, keep_resolution, read_resolution, set_aside

SHAPE, CHUNKS = (16, 8, 8), (8, 8, 8)
MACHINE = {"host": "here"}
FIRST, SECOND = Slab(0, 0, 8), Slab(1, 8, 16)


def order(folder: Path) -> VolumeOrder:
    return VolumeOrder(RunAddress("http://nowhere", "run"), {}, "recipe", str(folder))


def pixels(value: float) -> np.ndarray:
    return np.full((8, 8, 8), value, np.float32)


def reader(folder: Path, identity: str) -> _Sink:
    store = SlabStore.create(folder, SHAPE, CHUNKS, attempt=0)
    store.belong_to(identity)
    return _Sink(store, order(folder), None, identity, MACHINE)


def test_a_reader_goes_on_in_the_name_of_whoever_claims(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    sink = reader(folder, "same")
    SlabStore.create(folder, SHAPE, CHUNKS, attempt=1).keep_only("same")
    sink(FIRST, pixels(1.0))
    assert SlabStore.open(folder).markers()[0].attempt == 1
    assert SlabStore.open(folder).makers() == [(MACHINE, 1)]


def test_a_reader_opens_the_store_while_it_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "volume"
    SlabStore.create(folder, SHAPE, CHUNKS, attempt=0).keep_only("same")
    plan = SimpleNamespace(shape=SHAPE, chunks=CHUNKS, dtype="float32")
    planned: Any = SimpleNamespace(plan=plan, identity="same")
    looks: list[int] = []

    def look(path: Path) -> int:
        looks.append(highest_attempt(path))
        if len(looks) == 1:
            SlabStore.open(path, attempt=1)
        return looks[-1]

    monkeypatch.setattr(tasks, "highest_attempt", look)
    store = _open(order(folder), planned, None)
    store.commit(FIRST, pixels(1.0))
    assert looks == [0, 1]
    assert store.markers()[0].attempt == 1


def test_a_claim_between_opening_the_store_and_looking_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "volume"
    plan = SimpleNamespace(shape=SHAPE, chunks=CHUNKS, dtype="float32")
    planned: Any = SimpleNamespace(plan=plan, identity="same")
    belong_to, claims = SlabStore.belong_to, [1, 2]

    def claimed_first(store: SlabStore, identity: str) -> None:
        if claims:
            SlabStore.create(folder, SHAPE, CHUNKS, attempt=claims.pop(0))
        belong_to(store, identity)

    monkeypatch.setattr(SlabStore, "belong_to", claimed_first)
    store = _open(order(folder), planned, None)
    assert claims == []
    sink = _Sink(store, order(folder), None, "same", MACHINE)
    # once while its pixels were computed, and again while it opens the store anew
    SlabStore.open(folder, attempt=3)
    claims.append(4)
    sink(FIRST, pixels(1.0))
    assert SlabStore.open(folder).markers()[0].attempt == 4


def test_a_readers_slab_never_lands_in_another_volume(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    sink = reader(folder, "old")
    SlabStore.create(folder, SHAPE, CHUNKS, attempt=1).keep_only("new")
    with pytest.raises(OtherSlabsError):
        sink(FIRST, pixels(666.0))
    assert SlabStore.open(folder).present() == set()


def test_nor_does_that_of_a_worker_with_an_older_plan(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    store = SlabStore.create(folder, SHAPE, CHUNKS, attempt=1)
    store.keep_only("old")
    SlabStore.open(folder, attempt=1).keep_only("new")
    with pytest.raises(OtherSlabsError):
        store.commit(FIRST, pixels(666.0))
    later = SlabStore.open(folder, attempt=1)
    with pytest.raises(OtherSlabsError):
        later.belong_to("old")
    assert later.present() == set()


def test_a_worker_of_an_overtaken_claim_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    store = SlabStore.create(folder, SHAPE, CHUNKS, attempt=1)
    store.keep_only("same")
    sink = _Sink(store, order(folder), 1, "same", MACHINE)
    SlabStore.open(folder, attempt=2)
    with pytest.raises(ClaimLostError):
        sink(SECOND, pixels(1.0))


def test_the_first_decision_counts(tmp_path: Path) -> None:
    assert keep_resolution(tmp_path, {"axis": 1.0}) == {"axis": 1.0}
    assert keep_resolution(tmp_path, {"axis": 2.0}) == {"axis": 1.0}
    assert (
        keep_resolution(tmp_path, {"axis": 3.0}, replace=True) == read_resolution(tmp_path) == {"axis": 3.0}
    )
    assert list(tmp_path.glob("*.part")) == []


def test_what_is_left_over_is_set_aside_once(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "volume"
    SlabStore.create(folder, SHAPE, CHUNKS, attempt=5)
    assert not set_aside(folder, lambda: False)
    assert folder.exists()
    assert set_aside(folder, lambda: True)
    assert not folder.exists()
    assert not set_aside(folder, lambda: True)
    assert [path.name for path in folder.parent.iterdir()] == [".volume.lock"]


class _Line:
    """Hears what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def should_stop(self) -> bool:
        return False

    def tell(self, stage: str) -> None:
        self.told.append(stage)


class _Planned:
    """A plan whose computation runs out of memory above some budget, after `before` was called."""

    memory_bytes = 2**30

    def __init__(self, enough: int, before: Callable[[], object] = lambda: None) -> None:
        self._enough = enough
        self._before = before
        self.budgets: list[int] = []

    @contextmanager
    def computation(self, memory_bytes: int) -> Iterator[_Planned]:
        self.budgets.append(memory_bytes)
        yield self

    def run(self, slabs: Sequence[Slab], sink: _Sink, **_: object) -> dict[str, float]:
        self._before()
        if self.budgets[-1] > self._enough:
            raise MemoryError
        for slab in slabs:
            sink(slab, pixels(1.0))
        return {"reconstruct": 1.0}


def less_memory(planned: _Planned, line: _Line, sink: _Sink) -> dict[str, float]:
    return _with_less_memory(cast("Planned", planned), line, [FIRST, SECOND], sink, ResidualLog())


def test_out_of_memory_it_goes_on_with_half(tmp_path: Path) -> None:
    planned, line = _Planned(2**28), _Line()
    sink = reader(tmp_path / "volume", "same")
    assert less_memory(planned, line, sink) == {"reconstruct": 1.0}
    assert planned.budgets == [2**30, 2**29, 2**28]
    assert line.told == ["out of memory; going on with 512 MiB", "out of memory; going on with 256 MiB"]
    assert sink.store.present() == {0, 1}


def test_out_of_memory_while_others_finish_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    sink, other = reader(folder, "same"), reader(folder, "same")

    def others() -> None:
        for slab in (FIRST, SECOND):
            other(slab, pixels(2.0))

    planned = _Planned(0, others)
    assert less_memory(planned, _Line(), sink) == {}
    # Nothing was left for a second try.
    assert planned.budgets == [2**30]
    assert np.array_equal(sink.store.array[:8], pixels(2.0))


def test_out_of_memory_for_good(tmp_path: Path) -> None:
    planned = _Planned(0)
    with pytest.raises(MemoryBudgetError, match="no memory left for a slab, even in smaller parts"):
        less_memory(planned, _Line(), reader(tmp_path / "volume", "same"))
    assert len(planned.budgets) == HALVINGS


def test_a_raw_file_that_is_away_may_come_back(tmp_path: Path) -> None:
    away = str(tmp_path / "away.h5")
    with closing(Workbench()) as bench:
        with pytest.raises(FaultError, match="for their checksums"):
            tasks.checksums(bench, Idle(), [away])
        # A rerun wants to know now.
        with pytest.raises(InputError, match="cannot be read"):
            tasks.checksums(bench, Idle(), [away], anew=True)
