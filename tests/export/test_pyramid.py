"""Volumes at several resolutions: numbers against NumPy, metadata and pixels by other people's readers."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tomoservice.errors import CancelledError, GeometryError, MemoryBudgetError
from tomoservice.export.ome import Placement, plan_levels
from tomoservice.export.pyramid import PyramidJob, build_levels, publish_pyramid
from tomoservice.pipeline import Slab
from tomoservice.recon.binning import bin_volume
from tomoservice.store import VOLUME, SlabStore

SHAPE = (70, 133, 150)
CHUNKS = (16, 64, 64)


def binned(volume: NDArray[Any], factors: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the means of blocks (z, y, x) as NumPy's own nanmean gives them."""
    pads = [(0, -size % factor) for size, factor in zip(volume.shape, factors, strict=True)]
    padded = np.pad(volume.astype(np.float64), pads, constant_values=np.nan)
    cut = [
        part for size, factor in zip(padded.shape, factors, strict=True) for part in (size // factor, factor)
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        means: NDArray[np.float64] = np.nanmean(padded.reshape(cut), axis=(1, 3, 5))
    return means


@pytest.fixture(scope="module")
def volume() -> NDArray[np.float32]:
    made = np.random.default_rng(5).normal(1, 0.2, SHAPE).astype(np.float32)
    made[:, :20, :20] = np.nan
    made[40, 50, 60] = np.nan
    return made


def fill(folder: Path, volume: NDArray[Any]) -> SlabStore:
    z, y, x = volume.shape
    store = SlabStore.create(folder, (z, y, x), CHUNKS, dtype=str(volume.dtype))
    for index, start in enumerate(range(0, z, CHUNKS[0])):
        stop = min(start + CHUNKS[0], z)
        store.commit(Slab(index, start, stop), volume[start:stop])
    return store


def job(store: SlabStore, **options: Any) -> PyramidJob:
    return PyramidJob(store.folder, VOLUME, store.checksum(), **options)


class TestBinning:
    @settings(deadline=None, max_examples=40)
    @given(
        arrays.arrays(
            np.float32,
            arrays.array_shapes(min_dims=3, max_dims=3, max_side=9),
            elements=st.floats(-100, 100, width=32) | st.just(np.nan),
        ),
        st.tuples(*[st.integers(1, 3)] * 3),
    )
    def test_blocks_become_the_mean_of_what_is_not_nan(
        self, volume: NDArray[np.float32], factors: tuple[int, int, int]
    ) -> None:
        made = bin_volume(volume, factors)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, binned(volume, factors), rtol=1e-6, atol=1e-5)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_whole_numbers_are_rounded_and_do_not_overflow(self, dtype: type[np.unsignedinteger]) -> None:
        top = np.iinfo(dtype).max
        numbers = np.random.default_rng(1).integers(top - 9, top, (5, 6, 7), dtype, endpoint=True)
        made = bin_volume(numbers, (2, 2, 2))
        assert made.dtype == dtype
        assert np.array_equal(made, np.floor(binned(numbers, (2, 2, 2)) + 0.5))

    def test_what_makes_no_sense_is_refused(self) -> None:
        with pytest.raises(GeometryError, match=r"\(4, 4\)"):
            bin_volume(np.zeros((4, 4), np.float32), (2, 2, 2))
        with pytest.raises(GeometryError, match=r"\(0, 1, 1\)"):
            bin_volume(np.zeros((4, 4, 4), np.float32), (0, 1, 1))


@pytest.mark.parametrize(
    ("shape", "shapes"),
    [
        ((64, 64, 64), [(64, 64, 64)]),
        ((3, 65, 20), [(3, 65, 20), (2, 33, 10)]),
        ((1, 200, 100), [(1, 200, 100), (1, 100, 50), (1, 50, 25)]),
    ],
)
def test_levels_halve_until_they_are_small(
    shape: tuple[int, int, int], shapes: list[tuple[int, int, int]]
) -> None:
    levels = plan_levels(shape, "volume.zarr")
    assert [level.shape for level in levels] == shapes
    assert [level.path for level in levels] == ["volume.zarr", "1", "2"][: len(shapes)]
    assert levels[-1].factors == (1 if shape[0] == 1 else 2 ** (len(shapes) - 1), *levels[-1].factors[1:])


def test_other_peoples_reader_opens_the_folder_of_a_volume(
    tmp_path: Path, volume: NDArray[np.float32]
) -> None:
    store = fill(tmp_path / "volume", volume)
    before = sorted((store.path / "c").rglob("*"))
    publish_pyramid(job(store), "tooth", Placement(1.5), {"units": "1/cm"})
    group = yaozarrs.validate_zarr_store(str(store.folder))
    image = group.ome_metadata()
    assert isinstance(image, yaozarrs.v05.Image)
    (scales,) = image.multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in scales.axes] == [
        (name, "space", "micrometer") for name in "zyx"
    ]
    assert [dataset.path for dataset in scales.datasets] == ["volume.zarr", "1", "2"]
    # Nothing was copied.
    assert sorted((store.path / "c").rglob("*")) == before
    expected = volume
    for number, dataset in enumerate(scales.datasets):
        level = group[dataset.path].to_zarr_python()
        np.testing.assert_allclose(level[:], expected, rtol=1e-6)
        assert dataset.scale_transform.scale == [1.5 * 2**number] * 3
        assert dataset.translation_transform is not None
        # Half a voxel of the finest level less than half a voxel of this one.
        assert dataset.translation_transform.translation == [1.5 * (2**number - 1) / 2] * 3
        expected = binned(expected, (2, 2, 2))
    window = image.omero.channels[0].window
    assert window.min <= window.start < 1 < window.end <= window.max
    assert dict(zarr.open_group(store.folder, mode="r").attrs)["units"] == "1/cm"


def test_a_ramp_stays_where_it_is(tmp_path: Path) -> None:
    z, y, x = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij", copy=False)
    ramp = (z + 2 * y + 3 * x).astype(np.float32)
    store = fill(tmp_path / "ramp", ramp)
    made = publish_pyramid(job(store), "ramp", Placement(None, (10, 20, 30)), {})
    for dataset in made.ome["multiscales"][0]["datasets"]:
        scale, translation = dataset["coordinateTransformations"]
        level = zarr.open_array(store.folder / dataset["path"], mode="r")
        # What the coordinates of a voxel say it is; at the far edge, blocks may be cut.
        index = [15, 16, 17]
        place = np.multiply(index, scale["scale"]) + translation["translation"] - [10, 20, 30]
        assert level[tuple(index)] == pytest.approx(place @ [1, 2, 3])
    assert "unit" not in made.ome["multiscales"][0]["axes"][0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_whole_numbers_stay_whole(tmp_path: Path, dtype: str) -> None:
    numbers = np.random.default_rng(2).integers(0, 200, SHAPE).astype(dtype)
    store = fill(tmp_path / "numbers", numbers)
    made = publish_pyramid(job(store), "numbers", Placement(None), {})
    yaozarrs.validate_zarr_store(str(store.folder))
    assert zarr.open_array(store.folder / "1", mode="r").dtype == dtype
    window = made.ome["omero"]["channels"][0]["window"]
    assert (window["min"], window["max"]) == (0, np.iinfo(dtype).max)


def test_little_memory_gives_the_same_levels(tmp_path: Path, volume: NDArray[np.float32]) -> None:
    store, other = fill(tmp_path / "one", volume), fill(tmp_path / "other", volume)
    levels = build_levels(job(store))
    # A chunk of the first level takes 16 x 64 x 64 x 2 x 4 x 9 bytes.
    assert build_levels(job(other, memory_bytes=5 * 2**20)) == levels
    for level in levels[1:]:
        one, same = (zarr.open_array(one.folder / level.path, mode="r")[:] for one in (store, other))
        assert np.array_equal(one, same, equal_nan=True)
    with pytest.raises(MemoryBudgetError, match="budget is 1 MiB"):
        build_levels(job(fill(tmp_path / "third", volume), memory_bytes=2**20))


def stop_after(looks: int) -> Callable[[], bool]:
    """Return a wish to stop that comes with the n-th look."""
    seen: list[int] = []

    def wished() -> bool:
        seen.append(1)
        return len(seen) > looks

    return wished


def test_a_wish_to_stop_leaves_nothing_that_looks_complete(
    tmp_path: Path, volume: NDArray[np.float32]
) -> None:
    store = fill(tmp_path / "volume", volume)
    entries = {entry.name for entry in store.folder.iterdir()}
    small = 5 * 2**20
    with pytest.raises(CancelledError):
        publish_pyramid(job(store, memory_bytes=small, cancelled=stop_after(2)), "x", Placement(1.0), {})
    assert {entry.name for entry in store.folder.iterdir()} == entries
    # Stopped in the second level, after the 3 x 2 x 2 chunks of the first, which stays and is used.
    pieces = 12
    with pytest.raises(CancelledError):
        publish_pyramid(job(store, memory_bytes=small, cancelled=stop_after(pieces)), "x", Placement(1.0), {})
    assert {entry.name for entry in store.folder.iterdir()} == entries | {"1"}
    made = (store.folder / "1" / "zarr.json").stat().st_mtime_ns
    publish_pyramid(job(store), "x", Placement(1.0), {})
    assert (store.folder / "1" / "zarr.json").stat().st_mtime_ns == made
    yaozarrs.validate_zarr_store(str(store.folder))


def test_levels_of_other_pixels_are_made_anew(tmp_path: Path, volume: NDArray[np.float32]) -> None:
    store = fill(tmp_path / "volume", volume)
    store.keep_only("first")
    publish_pyramid(job(fill(tmp_path / "volume", volume)), "x", Placement(1.0), {})
    store = SlabStore.open(tmp_path / "volume", attempt=2)
    assert not store.keep_only("second")
    # As soon as a slab is missing, the folder is no image any more.
    assert not (store.folder / "zarr.json").exists()
    shutil.rmtree(tmp_path / "volume" / "attempts")
    store = fill(tmp_path / "volume", volume * 2)
    (tmp_path / "volume" / ".1.dead" / "c").mkdir(parents=True)
    publish_pyramid(job(store), "x", Placement(1.0), {})
    level = zarr.open_array(store.folder / "1", mode="r")[:]
    np.testing.assert_allclose(level, binned(volume * 2, (2, 2, 2)), rtol=1e-6)
    assert not list(store.folder.glob(".*"))
    content = json.loads((store.folder / "zarr.json").read_text())
    assert content["node_type"] == "group"
