"""How a volume is cut into blocks, and what happens beside the computation."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tomoservice.pipeline.blocks import Groups, SlabWriter, cut_into_blocks, read_ahead
from tomoservice.pipeline.layout import Slab, cut_into_slabs


@given(
    slices=st.integers(1, 300),
    depth=st.integers(1, 64),
    rows=st.integers(1, 200),
    first_rows=st.none() | st.integers(1, 200),
    size=st.integers(1, 16),
    first_row=st.integers(0, 40),
    seed=st.integers(0, 9),
)
def test_blocks_cover_what_is_wanted_once_and_cut_no_group(
    *, slices: int, depth: int, rows: int, first_rows: int | None, size: int, first_row: int, seed: int
) -> None:
    groups = Groups(size, first_row, slices)
    slabs = [
        s for s in cut_into_slabs(slices, depth) if np.random.default_rng([seed, s.index]).random() < 0.7
    ]
    blocks = cut_into_blocks(slabs, rows, groups, first_rows)
    wanted = [z for slab in slabs for z in range(slab.start, slab.stop)]
    assert [z for start, stop in blocks for z in range(start, stop)] == wanted
    edges = {slab.start for slab in slabs} | {slab.stop for slab in slabs}
    limits = [max(first_rows or rows, size)] + [max(rows, size)] * len(blocks)
    for (start, stop), limit in zip(blocks, limits, strict=False):
        assert stop - start <= limit
        for edge in {start, stop} - edges:
            assert (first_row + edge) % size == 0


class TestReadAhead:
    @pytest.mark.parametrize("ahead", [True, False])
    def test_gives_every_block_in_order(self, ahead: bool) -> None:
        blocks = [(0, 3), (3, 6), (6, 7)]
        with read_ahead(blocks, lambda block, _: np.full(1, block[0], np.float32), ahead=ahead) as loaded:
            assert [(block, int(array[0])) for block, array in loaded] == [(b, b[0]) for b in blocks]

    def test_loads_the_next_block_while_one_is_worked_on(self) -> None:
        begun = threading.Event()

        def load(block: tuple[int, int], _: object) -> NDArray[np.float32]:
            if block == (1, 2):
                begun.set()
            return np.zeros(1, np.float32)

        with read_ahead([(0, 1), (1, 2), (2, 3)], load, ahead=True) as loaded:
            next(loaded)
            assert begun.wait(5)

    def test_never_more_than_one_ahead(self) -> None:
        seen: list[tuple[int, int]] = []

        def load(block: tuple[int, int], _: object) -> NDArray[np.float32]:
            seen.append(block)
            return np.zeros(1, np.float32)

        with read_ahead([(i, i + 1) for i in range(5)], load, ahead=True) as loaded:
            next(loaded)
            time.sleep(0.1)
            assert seen == [(0, 1), (1, 2)]

    def test_raises_what_loading_raised(self) -> None:
        def load(block: tuple[int, int], _: object) -> NDArray[np.float32]:
            if block == (1, 2):
                raise OSError("gone")
            return np.zeros(1, np.float32)

        with (
            pytest.raises(OSError, match="gone"),
            read_ahead([(0, 1), (1, 2)], load, ahead=True) as loaded,
        ):
            list(loaded)

    def test_tells_the_loader_when_nobody_wants_the_block_any_longer(self) -> None:
        told = threading.Event()

        def load(block: tuple[int, int], abandoned: object) -> NDArray[np.float32]:
            deadline = time.monotonic() + 5
            while block == (1, 2) and time.monotonic() < deadline:
                if abandoned():  # type: ignore[operator]
                    told.set()
                    break
                time.sleep(0.01)
            return np.zeros(1, np.float32)

        with read_ahead([(0, 1), (1, 2)], load, ahead=True) as loaded:
            next(loaded)
        assert told.is_set()


class TestSlabWriter:
    SHAPE = (2, 3, 3)

    @pytest.mark.parametrize("background", [True, False])
    def test_every_slab_arrives_whole_and_in_order(self, background: bool) -> None:
        arrived: list[tuple[int, float, int]] = []

        def store(slab: Slab, slices: NDArray[np.float32]) -> None:
            time.sleep(0.01)
            arrived.append((slab.index, float(slices.sum()), len(slices)))

        slabs = cut_into_slabs(9, 2)
        with SlabWriter(store, self.SHAPE, background=background) as writer:
            for slab in slabs:
                buffer = writer.buffer()
                buffer[:] = slab.index
                writer.put(slab, buffer)
        assert arrived == [(s.index, 9.0 * s.index * (s.stop - s.start), s.stop - s.start) for s in slabs]

    def test_no_more_than_two_buffers(self) -> None:
        buffers = set()
        with SlabWriter(lambda *_: None, self.SHAPE, background=True) as writer:
            for slab in cut_into_slabs(40, 2):
                buffer = writer.buffer()
                buffers.add(buffer.ctypes.data)
                writer.put(slab, buffer)
        assert len(buffers) <= 2

    @pytest.mark.parametrize("background", [True, False])
    def test_what_storing_raises_stops_the_computation(self, background: bool) -> None:
        def full(slab: Slab, slices: NDArray[np.float32]) -> None:
            raise OSError("disk full")

        computed: list[int] = []

        def compute() -> None:
            with SlabWriter(full, self.SHAPE, background=background) as writer:
                for slab in cut_into_slabs(40, 2):
                    writer.put(slab, writer.buffer())
                    computed.append(slab.index)

        with pytest.raises(OSError, match="disk full"):
            compute()
        assert len(computed) <= 2

    def test_the_last_slab_is_stored_before_the_end(self) -> None:
        arrived: list[int] = []

        def slow(slab: Slab, slices: NDArray[np.float32]) -> None:
            time.sleep(0.1)
            arrived.append(slab.index)

        with SlabWriter(slow, self.SHAPE, background=True) as writer:
            writer.put(Slab(7, 0, 2), writer.buffer())
        assert arrived == [7]
