"""Chunks are written as Zarr itself writes them, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from tomoservice.chunks import write_layer
from tomoservice.export import VolumeForm, volume_output
from tomoservice.store import create_array

SHAPE, CHUNKS = (20, 100, 70), (8, 64, 32)


def volume(dtype: str) -> np.ndarray:
    """Return pixels of which some chunks hold nothing but the fill value."""
    pixels = (np.random.default_rng(0).normal(size=SHAPE) * 20 + 100).astype(dtype)
    fill = np.nan if np.dtype(dtype).kind == "f" else 0
    pixels[:8, :64, 32:64] = pixels[8:16, 64:] = fill
    # One pixel makes a difference, and so does the other zero.
    pixels[16:, :64, :32] = fill
    pixels[19, 63, 31] = 1 if fill == 0 else -0.0
    return pixels


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8"])
def test_every_byte_is_what_zarr_writes(dtype: str, durable: bool, tmp_path: Path) -> None:
    pixels = volume(dtype)
    create_array(tmp_path / "zarr", SHAPE, CHUNKS, dtype)[:] = pixels
    ours = create_array(tmp_path / "ours", SHAPE, CHUNKS, dtype)
    # One layer, and then two at once, the last of which is shorter; from memory with gaps.
    for start, stop in ((0, 8), (8, 20)):
        write_layer(ours, start, np.repeat(pixels[start:stop], 2, axis=2)[:, :, ::2], durable=durable)
    assert files(tmp_path / "ours") == files(tmp_path / "zarr")
    assert len(files(tmp_path / "ours")) == 1 + 3 * 2 * 3 - 1 - 3


def test_what_was_written_before_is_replaced(tmp_path: Path) -> None:
    array = create_array(tmp_path / "v", SHAPE, CHUNKS)
    write_layer(array, 0, np.ones((8, 100, 70), np.float32))
    pixels = volume("float32")[:8]
    write_layer(array, 0, pixels)
    np.testing.assert_array_equal(array[:8], pixels)
    assert not (tmp_path / "v/c/0/0/1").exists()


@pytest.mark.parametrize(
    ("start", "shape"), [(4, (8, 100, 70)), (0, (4, 100, 70)), (16, (8, 100, 70)), (0, (8, 70, 70))]
)
def test_parts_of_layers_are_refused(start: int, shape: tuple[int, int, int], tmp_path: Path) -> None:
    array = create_array(tmp_path / "v", SHAPE, CHUNKS)
    with pytest.raises(ValueError, match="are not whole layers of 8"):
        write_layer(array, start, np.zeros(shape, np.float32))
    assert list(files(tmp_path / "v")) == ["zarr.json"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    array = create_array(tmp_path / "v", SHAPE, CHUNKS)
    # In the way of a chunk.
    (tmp_path / "v/c/0/0/1/x").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_layer(array, 0, np.ones((8, 100, 70), np.float32))
    assert all(Path(name).name.isdigit() or name == "zarr.json" for name in files(tmp_path / "v"))


def test_a_power_cut_finds_content_before_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = create_array(tmp_path / "v", SHAPE, CHUNKS)
    synced, really = [], os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(tmp_path / "v"))
        really(descriptor)

    monkeypatch.setattr("os.fsync", note)
    write_layer(array, 0, np.ones((8, 100, 70), np.float32), durable=True)
    chunks = [path for path in synced if path.name.startswith(".")]
    assert sorted({(path.parent, path.name.split(".")[1]) for path in chunks}) == [
        (Path(f"c/0/{y}"), str(x)) for y in range(2) for x in range(3)
    ]
    for y in range(2):
        folder = Path(f"c/0/{y}")
        assert synced.index(folder) > max(i for i, path in enumerate(synced) if path.parent == folder)
    assert synced[-3:] == [Path("c/0"), Path("c"), Path()]


@pytest.mark.parametrize("name", ["v.zarr", "v.ome.zarr"])
def test_an_export_may_come_in_parts_of_layers(name: str, tmp_path: Path) -> None:
    pixels = volume("float32")
    record = {"recipe": {}, "scan": {"location": "memory"}}
    with volume_output(tmp_path / name, VolumeForm(SHAPE, CHUNKS, None, "1/pixel")) as writer:
        for start, stop in ((0, 8), (8, 13), (13, 20)):
            writer.write(start, pixels[start:stop])
        writer.finish(record)
    array = zarr.open_array(tmp_path / name / ("0" if "ome" in name else ""), mode="r")
    np.testing.assert_array_equal(array[:], pixels)
