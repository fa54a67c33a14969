"""One volume by workers that see the raw files and workers that read them through the service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compute.lines import Idle
from tests.service.scans import FOURIER, SLOW
from tomoservice.compute.orders import RunAddress, VolumeOrder
from tomoservice.compute.resolution import Resolution
from tomoservice.compute.tasks import fill, resolve
from tomoservice.compute.workbench import Workbench
from tomoservice.errors import OtherSlabsError
from tomoservice.pipeline import Slab
from tomoservice.service.running import RunningService
from tomoservice.store import SlabStore, keep_resolution, read_resolution


class Colleague:
    """A worker process, with orders of its own."""

    def __init__(self, order: VolumeOrder) -> None:
        self.bench = Workbench()
        self._order = order

    def resolve(self) -> Resolution:
        return resolve(self.bench, Idle(), self._order, decide=True)

    def fill(self, *slabs: int, attempt: int | None) -> tuple[int, ...]:
        return fill(self.bench, Idle(), self._order, slabs, attempt).computed

    def close(self) -> None:
        self.bench.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def order(quiet_service: RunningService, publish_run: Callable[..., str], folder: Path) -> VolumeOrder:
    run = RunAddress(quiet_service.uri, publish_run(SLOW), quiet_service.api_key)
    return VolumeOrder(run, FOURIER, "recipe", str(folder), memory_bytes=2**30)


@pytest.fixture
def seeing(order: VolumeOrder) -> Iterator[Colleague]:
    with closing(Colleague(order)) as worker:
        yield worker


@pytest.fixture
def blind(order: VolumeOrder) -> Iterator[Colleague]:
    with closing(Colleague(replace(order, run=replace(order.run, readable=())))) as worker:
        yield worker


@pytest.mark.parametrize("sees", [True, False])
def test_whoever_decides_they_fill_one_volume(
    seeing: Colleague, blind: Colleague, folder: Path, truth: np.ndarray, sees: bool
) -> None:
    decider, other = (seeing, blind) if sees else (blind, seeing)
    decided = decider.resolve()
    assert bool(decided.scan["files"]) is sees
    store = SlabStore.create(folder, decided.shape, decided.chunks, dtype=decided.dtype, attempt=1)
    store.keep_only(decided.identity)
    for number in range(decided.slabs):
        worker = (other, decider)[number % 2]
        assert worker.fill(number, attempt=1) == (number,)
    assert np.array_equal(store.array[:], truth)

    # Nor does the next attempt throw anything away, by whoever goes on.
    again = other.resolve()
    assert bool(again.scan["files"]) is not sees
    assert replace(again, scan=decided.scan) == decided
    assert SlabStore.open(folder, attempt=2).keep_only(again.identity)
    assert store.present() == set(range(decided.slabs))


def test_what_an_earlier_version_decided_is_decided_anew(
    seeing: Colleague, blind: Colleague, order: VolumeOrder, folder: Path, truth: np.ndarray
) -> None:
    decided = seeing.resolve()
    stored = read_resolution(folder)
    assert stored is not None
    content: dict[str, Any] = json.loads(decided.identity)
    # It counted the raw files.
    frames = content["scan"]
    content["scan"] = [order.run.run_uid, frames["shape"], decided.scan["files"]]
    content["angles"] = frames["angles"]
    earlier = json.dumps(content, sort_keys=True)
    keep_resolution(folder, {**stored, "identity": earlier}, replace=True)
    store = SlabStore.create(folder, decided.shape, decided.chunks, dtype=decided.dtype, attempt=1)
    store.keep_only(earlier)
    layer = (decided.chunks[0], *decided.shape[1:])
    store.commit(Slab(0, 0, layer[0]), np.zeros(layer, np.float32))

    # Whoever only looks discards nothing.
    with pytest.raises(OtherSlabsError):
        blind.fill(1, attempt=None)
    assert store.present() == {0}
    anew = blind.resolve()
    assert anew.identity == decided.identity
    store = SlabStore.open(folder, attempt=2)
    assert not store.keep_only(anew.identity)
    assert seeing.fill(*range(0, anew.slabs, 2), attempt=2)
    assert blind.fill(*range(1, anew.slabs, 2), attempt=2)
    assert np.array_equal(store.array[:], truth)
