"""Lazily read frames are what NumPy makes of the same array and index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tomoservice.errors import InputError
from tomoservice.sources.frames import LazyFrames, join, leading_selections, shorten, take
from tomoservice.sources.hdf5 import find_dataset, open_frames, open_hdf5
from tomoservice.sources.tiff import tiff_frames

SHAPE = (12, 5, 7)
PIXELS = np.random.default_rng(7).integers(0, 60_000, SHAPE, dtype=np.uint16)


def index(size: int) -> st.SearchStrategy[Any]:
    bound = st.none() | st.integers(-size - 3, size + 3)
    slices = st.builds(slice, bound, bound, st.none() | st.integers(1, 4))
    return st.integers(-size, size - 1) | slices


keys = st.one_of(
    index(SHAPE[0]),
    st.tuples(index(SHAPE[0]), index(SHAPE[1])),
    st.tuples(*(index(size) for size in SHAPE)),
    st.tuples(st.just(...), index(SHAPE[2])),
    st.tuples(index(SHAPE[0]), st.just(...)),
    st.just(...),
)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the same pixels in every kind of storage."""
    folder = tmp_path_factory.mktemp("stacks")
    with h5py.File(folder / "stacks.h5", "w") as file:
        file.create_dataset("contiguous", data=PIXELS)
        file.create_dataset("chunked", data=PIXELS, chunks=(5, 2, 3), compression="gzip")
        file.create_dataset("big_endian", data=PIXELS.astype(">u2"))
        file.create_dataset("events", data=PIXELS.reshape(4, 3, 5, 7))
        file.create_dataset("one_event", data=PIXELS[np.newaxis])
        file.create_dataset("one_frame_each", data=PIXELS[:, np.newaxis])
        file.create_dataset("reversed", data=PIXELS[::-1])
    for number, frame in enumerate(PIXELS):
        tifffile.imwrite(folder / f"plain_{number}.tif", frame, byteorder=">")
        tifffile.imwrite(folder / f"packed_{number}.tif", frame, compression="zlib")
    tifffile.imwrite(folder / "pages.tif", PIXELS, photometric="minisblack")
    with h5py.File(folder / "stacks.h5") as file:
        opened = {name: open_frames(file[name], max_axes=4) for name in file}
        opened["taken"] = take(opened.pop("reversed"), np.arange(12)[::-1].copy())
        opened["joined"] = join([shorten(opened["chunked"], 5), _rest(opened["contiguous"], 5)], "here")
        for name in ("plain", "packed"):
            opened[name] = tiff_frames([folder / f"{name}_{number}.tif" for number in range(12)])
        opened["pages"] = tiff_frames([folder / "pages.tif"])
        yield opened


def _rest(frames: LazyFrames, first: int) -> LazyFrames:
    return take(frames, np.arange(first, frames.shape[0]))


STORES = (
    "contiguous",
    "chunked",
    "big_endian",
    "events",
    "one_event",
    "one_frame_each",
    "taken",
    "joined",
    "plain",
    "packed",
    "pages",
)


@pytest.mark.parametrize("store", STORES)
@settings(deadline=None, max_examples=60)
@given(key=keys)
def test_every_index_reads_what_numpy_reads(stacks: dict[str, LazyFrames], store: str, key: Any) -> None:
    frames = stacks[store]
    assert frames.shape == SHAPE
    block = frames[key]
    assert block.dtype == np.dtype(np.uint16)
    assert block.dtype.isnative
    np.testing.assert_array_equal(block, PIXELS[key])


@settings(deadline=None, max_examples=100)
@given(
    indices=st.lists(st.integers(0, SHAPE[0] - 1), min_size=1, max_size=20),
    data=st.data(),
)
def test_frames_by_number_in_any_order(
    stacks: dict[str, LazyFrames], indices: list[int], data: st.DataObject
) -> None:
    chosen = np.asarray(indices, np.int64)
    key = data.draw(st.tuples(index(len(indices)), index(SHAPE[1])))
    np.testing.assert_array_equal(take(stacks["contiguous"], chosen)[key], PIXELS[chosen][key])


@settings(deadline=None)
@given(
    lead=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    first=st.integers(0, 24),
    count=st.integers(1, 25),
    step=st.integers(1, 4),
)
def test_flattened_leading_axes(lead: tuple[int, int], first: int, count: int, step: int) -> None:
    numbers = np.arange(lead[0] * lead[1]).reshape(lead)
    frames = range(min(first, numbers.size - 1), numbers.size, step)[:count]
    read = np.concatenate([numbers[index].reshape(n) for index, n in leading_selections(lead, frames)])
    np.testing.assert_array_equal(read, numbers.reshape(-1)[frames])


@pytest.mark.parametrize("key", [slice(None, None, -1), (0, 0, 0, 0), 12, (0, 5), (..., ...)])
def test_an_index_that_is_not_basic_is_refused(stacks: dict[str, LazyFrames], key: Any) -> None:
    with pytest.raises(IndexError):
        stacks["contiguous"][key]


class Counting:
    """A reader that keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[range] = []

    def read(self, frames: range, rows: slice, columns: slice) -> NDArray[Any]:
        self.asked.append(frames)
        return PIXELS[frames.start : frames.stop : frames.step, rows, columns]


def test_consecutive_numbers_are_read_in_one_go() -> None:
    reader = Counting()
    frames = LazyFrames(reader, SHAPE, np.dtype(np.uint16))
    taken = take(frames, np.array([1, 2, 3, 7, 8, 0], np.int64))
    np.testing.assert_array_equal(taken[:], PIXELS[[1, 2, 3, 7, 8, 0]])
    assert reader.asked == [range(1, 4), range(7, 9), range(1)]


def test_a_row_slab_of_a_contiguous_file_does_not_read_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "sparse.h5"
    rows, columns = 2000, 2000
    with h5py.File(path, "w") as file:
        space = h5py.h5s.create_simple((100, rows, columns))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        dataset = h5py.Dataset(h5py.h5d.create(file.id, b"data", h5py.h5t.STD_U16LE, space, properties))
        dataset[:, 1000] = np.arange(columns, dtype=np.uint16)
        before = _bytes_read()
        slab = open_frames(dataset)[:, 1000:1016]
        assert _bytes_read() - before < 3 * slab.nbytes, "of 2000 rows"
    np.testing.assert_array_equal(slab[99, 0], np.arange(columns))


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(lines[0].split(":")[1])


def test_parts_of_different_sizes_are_not_joined(stacks: dict[str, LazyFrames]) -> None:
    other = LazyFrames(Counting(), (3, 5, 6), np.dtype(np.uint16))
    with pytest.raises(InputError, match="differ"):
        join([stacks["contiguous"], other], "here")


@pytest.mark.parametrize("make", [lambda: np.zeros((3, 4, 5), np.complex64), lambda: np.zeros(3)])
def test_what_is_no_stack_of_numbers_is_refused(tmp_path: Path, make: Callable[[], NDArray[Any]]) -> None:
    with h5py.File(tmp_path / "no.h5", "w") as file, pytest.raises(InputError, match=r"no\.h5"):
        open_frames(file.create_dataset("data", data=make()))


@pytest.mark.parametrize(
    ("chunks", "compression", "kept"),
    [((1, 8, 16), None, False), ((2, 4, 16), None, False), ((2, 4, 16), "gzip", True), (None, None, True)],
)
def test_chunks_are_kept_only_where_they_have_to_be_read_wholly(
    tmp_path: Path, chunks: tuple[int, ...] | None, compression: str | None, kept: bool
) -> None:
    frames = np.arange(6 * 8 * 16, dtype=np.uint16).reshape(6, 8, 16)
    with h5py.File(tmp_path / "inner.h5", "w") as file:
        file.create_dataset("entry/data", data=frames, chunks=chunks, compression=compression)
    with h5py.File(tmp_path / "outer.h5", "w") as file:
        file["link"] = h5py.ExternalLink("inner.h5", "/entry/data")
    for name, path in (("inner.h5", "entry/data"), ("outer.h5", "link")):
        with open_hdf5(tmp_path / name) as file:
            for _ in range(2):
                found = find_dataset(file, path)
                assert (found.id.get_access_plist().get_chunk_cache()[1] > 0) is kept
                assert np.array_equal(open_frames(found)[1:5, 3:7], frames[1:5, 3:7])
