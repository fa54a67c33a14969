"""The slab store: what it says exists, exists."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr

from tomoservice.errors import ClaimLostError, OutputError
from tomoservice.store import SlabStore, attempts_with_slabs

SHAPE, CHUNKS = (20, 16, 24), (8, 8, 8)


@dataclass(frozen=True)
class Part:
    index: int
    start: int
    stop: int


SLABS = (Part(0, 0, 8), Part(1, 8, 16), Part(2, 16, 20))


def volume(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def filled(
    folder: Path, pixels: np.ndarray, order: tuple[int, ...] = (0, 1, 2), attempt: int = 1
) -> SlabStore:
    store = SlabStore.create(folder, SHAPE, CHUNKS, attempt=attempt)
    for index in order:
        store.commit(SLABS[index], pixels[SLABS[index].start : SLABS[index].stop])
    return store


def test_a_plain_zarr_reader_sees_the_volume(tmp_path: Path) -> None:
    pixels = volume()
    store = filled(tmp_path / "v", pixels)
    array = zarr.open_array(tmp_path / "v" / "volume.zarr", mode="r")
    assert np.array_equal(array[:], pixels)
    assert array.dtype == np.float32
    assert array.metadata.dimension_names == ("z", "y", "x")
    assert store.missing(SLABS) == ()


def test_slabs_that_do_not_exist_are_missing_and_read_as_nan(tmp_path: Path) -> None:
    store = filled(tmp_path / "v", volume(), order=(1,))
    assert store.present() == {1}
    assert [slab.index for slab in store.missing(SLABS)] == [0, 2]
    assert np.isnan(SlabStore.open(tmp_path / "v").array[:8]).all()


def test_a_slab_of_nothing_but_nan_exists_once_committed(tmp_path: Path) -> None:
    store = SlabStore.create(tmp_path / "v", SHAPE, CHUNKS)
    store.commit(SLABS[0], np.full((8, 16, 24), np.nan, np.float32))
    assert store.present() == {0}
    assert store.broken() == set()


def test_the_checksum_depends_on_pixels_only(tmp_path: Path) -> None:
    pixels = volume()
    reference = filled(tmp_path / "a", pixels).checksum()
    assert filled(tmp_path / "b", pixels, order=(2, 0, 1), attempt=7).checksum() == reference
    pixels[19, 15, 23] = np.nextafter(pixels[19, 15, 23], np.float32(9))
    assert filled(tmp_path / "c", pixels).checksum() != reference


def test_an_incomplete_volume_has_no_checksum(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="16 of 20 layers"):
        filled(tmp_path / "v", volume(), order=(0, 1)).checksum()


def test_damage_is_found(tmp_path: Path) -> None:
    store = filled(tmp_path / "v", volume())
    chunk = next((tmp_path / "v" / "volume.zarr" / "c" / "1").rglob("[0-9]"))
    while chunk.is_dir():
        chunk = next(chunk.iterdir())
    chunk.unlink()
    assert store.broken() == {1}
    store.discard(store.broken())
    assert [slab.index for slab in store.missing(SLABS)] == [1]


def test_a_writer_that_was_overtaken_is_refused(tmp_path: Path) -> None:
    pixels = volume()
    old = filled(tmp_path / "v", pixels, order=(0,), attempt=1)
    new = SlabStore.create(tmp_path / "v", SHAPE, CHUNKS, attempt=2)
    with pytest.raises(ClaimLostError, match="attempt 2; this is attempt 1"):
        old.commit(SLABS[1], pixels[8:16])
    assert new.present() == {0}
    with pytest.raises(ClaimLostError):
        SlabStore.open(tmp_path / "v", attempt=1)


def test_slabs_of_another_identity_are_not_kept(tmp_path: Path) -> None:
    store = SlabStore.create(tmp_path / "v", SHAPE, CHUNKS)
    assert store.keep_only("axis 11.5")
    store.commit(SLABS[0], volume()[:8])
    assert store.keep_only("axis 11.5")
    assert store.present() == {0}
    assert not store.keep_only("axis 12.0")
    assert store.present() == set()
    assert np.isnan(SlabStore.open(tmp_path / "v").array[:]).all()
    assert attempts_with_slabs(tmp_path / "v") == set()


def test_a_writer_that_was_overtaken_discards_nothing(tmp_path: Path) -> None:
    old = filled(tmp_path / "v", volume(), order=(0,), attempt=1)
    assert old.keep_only("axis 11.5") is False
    new = SlabStore.create(tmp_path / "v", SHAPE, CHUNKS, attempt=2)
    new.commit(SLABS[1], volume()[8:16])
    with pytest.raises(ClaimLostError):
        old.keep_only("axis 12.0")
    assert new.present() == {1}
    assert new.keep_only("axis 11.5")
    assert attempts_with_slabs(tmp_path / "v") == {2}


def test_it_is_known_which_machines_computed_it_and_how_long_they_took(tmp_path: Path) -> None:
    pixels = volume()
    store = filled(tmp_path / "v", pixels, order=(0,))
    store.keep_only("axis 11.5")
    store = filled(tmp_path / "v", pixels, order=(2,))
    assert (store.makers(), store.timings_s()) == ([], {})
    # As another attempt, on another host.
    second = SlabStore.create(tmp_path / "v", SHAPE, CHUNKS, attempt=2)
    near, far = {"host": "near", "threads": 2}, {"host": "far", "threads": 64}
    store = SlabStore.create(tmp_path / "v", SHAPE, CHUNKS, attempt=2)
    store.commit(SLABS[0], pixels[:8], 0.5, near)
    store.note_work({"read": 1.0, "reconstruct": 0.25})
    for slab in SLABS[1:]:
        second.commit(slab, pixels[slab.start : slab.stop], 0.5, far)
    second.note_work({"reconstruct": 0.5, "write": 0.1254})
    reader = SlabStore.open(tmp_path / "v")
    assert reader.makers() == [(far, 2), (near, 1)]
    assert reader.timings_s() == {"read": 1.0, "reconstruct": 0.75, "write": 0.125}
    reader.discard([1, 2])
    assert reader.makers() == [(near, 1)]
    second.keep_only("axis 12.0")
    assert (second.makers(), second.timings_s()) == ([], {})


def test_a_machine_whose_description_is_damaged_is_not_known(tmp_path: Path) -> None:
    store = SlabStore.create(tmp_path / "v", SHAPE, CHUNKS)
    store.commit(SLABS[0], volume()[:8], 0.5, {"host": "near"})
    (description,) = (tmp_path / "v" / "machines").iterdir()
    description.write_text("{", "ascii")
    assert store.makers() == []


def test_a_folder_that_is_not_there_has_no_attempts(tmp_path: Path) -> None:
    assert attempts_with_slabs(tmp_path / "nothing") == set()


@pytest.mark.parametrize(
    ("slab", "shape", "message"),
    [
        (Part(0, 0, 4), (4, 16, 24), "one layer of chunks"),
        (Part(1, 0, 8), (8, 16, 24), "one layer of chunks"),
        (Part(2, 16, 24), (8, 16, 24), "one layer of chunks"),
        (Part(0, 0, 8), (8, 16, 16), "expected"),
    ],
)
def test_what_is_not_exactly_one_layer_is_refused(
    tmp_path: Path, slab: Part, shape: tuple[int, int, int], message: str
) -> None:
    store = SlabStore.create(tmp_path / "v", SHAPE, CHUNKS)
    with pytest.raises(OutputError, match=message):
        store.commit(slab, np.zeros(shape, np.float32))


def test_another_volume_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "v", volume())
    with pytest.raises(OutputError, match=r"shape \(20, 16, 24\)"):
        SlabStore.create(tmp_path / "v", (20, 16, 16), CHUNKS)


def test_a_folder_without_a_volume_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no readable volume"):
        SlabStore.open(tmp_path)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    filled(tmp_path / "v", volume(), order=(0,))
    with pytest.raises(OutputError, match="for reading"):
        SlabStore.open(tmp_path / "v").commit(SLABS[1], volume()[8:16])


WRITER = """
import sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from tomoservice.store import SlabStore

@dataclass
class Part:
    index: int
    start: int
    stop: int

folder, attempt = Path(sys.argv[1]), int(sys.argv[2])
pixels = np.load(folder.parent / "pixels.npy", mmap_mode="r")
store = SlabStore.create(folder, pixels.shape, (8, 64, 64), attempt=attempt)
print("ready", flush=True)
for slab in store.missing([Part(i, 8 * i, 8 * i + 8) for i in range(len(pixels) // 8)]):
    store.commit(slab, pixels[slab.start : slab.stop])
"""


@pytest.mark.parametrize("kills", [5, pytest.param(40, marks=pytest.mark.long)])
def test_no_marker_without_its_pixels_after_kill_9(kills: int, tmp_path: Path) -> None:
    rng = random.Random(20)
    pixels = np.random.default_rng(1).normal(size=(80 * kills, 128, 128)).astype(np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    folder = tmp_path / "v"
    counts = [0]
    for attempt in range(1, kills + 1):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(attempt)], stdout=subprocess.PIPE, text=True
        )
        with writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            # Not by the clock alone: how much is written in a second depends on the machine.
            while len(list((folder / "slabs").glob("*.json"))) < 7 * attempt:
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.005))
            writer.send_signal(signal.SIGKILL)
        store = SlabStore.open(folder)
        counts.append(len(store.present()))
        assert store.broken() == set()
    # The instants were instants of writing: something was done each time, and never everything.
    assert counts[0] < counts[1] < counts[-1] < 10 * kills
    subprocess.run([sys.executable, "-c", WRITER, str(folder), "99"], check=True, capture_output=True)
    assert np.array_equal(SlabStore.open(folder).array[:], pixels)
    assert {marker.attempt for marker in SlabStore.open(folder).markers().values()} > {1, 99}
