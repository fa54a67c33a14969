"""Every kind of damage is an error that names file, data set and cause."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.sources.documents import random_frames
from tests.sources.test_files import dxchange, nxtomo
from tomoservice.errors import InputError, MissingDataError, UnknownFormatError
from tomoservice.sources import open_dxchange, open_nxtomo, open_scan

DETECTOR = "entry1/tomo_entry/instrument/detector"


def replace(path: Path, name: str, value: object) -> Path:
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value
    return path


def message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_scan(path).close()
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"none\.h5: no such file"):
        open_scan(tmp_path / "none.h5")


@pytest.mark.parametrize("opener", [open_dxchange, open_nxtomo])
def test_no_hdf5_file(tmp_path: Path, opener: Callable[[Path], object]) -> None:
    path = tmp_path / "text.h5"
    path.write_text("not an HDF5 file")
    with pytest.raises(InputError, match=r"text\.h5: is not an HDF5 file"):
        opener(path)
    with pytest.raises(InputError, match="no such file"):
        opener(tmp_path / "none.h5")
    with pytest.raises(InputError, match="directory"):
        opener(tmp_path)


def test_unknown_content_says_what_was_looked_for(tmp_path: Path) -> None:
    text, empty, other = tmp_path / "scan.nxs", tmp_path / "empty", tmp_path / "other.h5"
    text.write_text("hello")
    empty.mkdir()
    with h5py.File(other, "w") as file:
        file["stuff"] = 1
    for path in (text, empty, other):
        with pytest.raises(UnknownFormatError):
            open_scan(path)
    assert "/exchange/data" in message(other)
    assert "NXtomo" in message(other)
    assert "stuff" in message(other)
    with pytest.raises(UnknownFormatError, match="Known are auto, dxchange, nxtomo, tiff"):
        open_scan(other, format="dicom")


def test_truncated_file(tmp_path: Path) -> None:
    path = dxchange(tmp_path / "scan.h5", 200)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2)
    assert f"truncated: {size // 2} of {size} bytes" in message(path)


def test_missing_and_wrong_data_sets(tmp_path: Path) -> None:
    assert "/exchange/theta: the file holds no angles" in message(
        replace(dxchange(tmp_path / "a.h5"), "exchange/theta", None)
    )
    assert "must be (angle, row, column), has shape (6, 9)" in message(
        replace(dxchange(tmp_path / "b.h5"), "exchange/data", random_frames(1, 1)[0])
    )
    assert "is a group, not a data set" in message(
        replace(replace(dxchange(tmp_path / "c.h5"), "exchange/data", None), "exchange/data/x", 1)
    )
    assert "angle 2 is nan, 1 of 8 are not finite" in message(
        replace(dxchange(tmp_path / "d.h5"), "exchange/theta", [0, 1, np.nan, 3, 4, 5, 6, 7])
    )
    assert "flats are 6 x 8 pixels, projections 6 x 9" in message(
        replace(dxchange(tmp_path / "e.h5"), "exchange/data_white", random_frames(1, 2, 6, 8))
    )
    assert f"/{DETECTOR}/data" not in message(replace(nxtomo(tmp_path / "f.nxs"), f"{DETECTOR}/data", None))
    assert "rotation_angle: the entry holds no angles" in message(
        replace(nxtomo(tmp_path / "g.nxs"), "entry1/tomo_entry/sample/rotation_angle", None)
    )
    assert "no frame has image key 0" in message(
        replace(nxtomo(tmp_path / "h.nxs"), f"{DETECTOR}/image_key", np.ones(14, int))
    )


def test_axes_in_another_order(tmp_path: Path) -> None:
    path = dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        file["exchange/data"].attrs["axes"] = "y:theta:x"
    assert "expected theta:y:x" in message(path)


@pytest.mark.parametrize(
    ("link", "cause"),
    [
        (h5py.SoftLink("/nowhere"), "soft link to /nowhere, which does not exist"),
        (h5py.ExternalLink("gone.h5", "/data"), "external link to gone.h5, which does not exist"),
        (h5py.ExternalLink("other.h5", "/gone"), "other.h5: /gone, which cannot be read there"),
        (h5py.ExternalLink("text.h5", "/data"), "text.h5: /data, which cannot be read there"),
    ],
)
def test_links_that_dangle(tmp_path: Path, link: object, cause: str) -> None:
    (tmp_path / "text.h5").write_text("not HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = 1
    found = message(replace(nxtomo(tmp_path / "scan.nxs"), f"{DETECTOR}/data", link))
    assert cause in found
    assert f"/{DETECTOR}/data" in found
    assert cause in message(replace(dxchange(tmp_path / "scan.h5"), "exchange/theta", link))


def virtual(path: Path, source: str, frames: int, needed: int) -> Path:
    """Make the projections a virtual data set over `frames` frames, `needed` of which are mapped."""
    data = random_frames(4, 8)
    with h5py.File(path.parent / "source.h5", "w") as file:
        file["data"] = data[:frames]
    with h5py.File(path, "a") as file:
        del file["exchange/data"]
        layout = h5py.VirtualLayout(data.shape, data.dtype)
        layout[:] = h5py.VirtualSource(source, "data", (needed, *data.shape[1:]))[:8]
        file.create_virtual_dataset("exchange/data", layout)
    return path


def test_virtual_sources_that_would_read_as_zeros(tmp_path: Path) -> None:
    path = virtual(dxchange(tmp_path / "scan.h5"), "lost.h5", 8, 8)
    with h5py.File(path) as file:
        assert not file["exchange/data"][:].any(), "HDF5 itself gives zeros and no error"
    found = message(path)
    assert "1 of whose 1 sources cannot be read and would silently be zeros: lost.h5 does not exist" in found
    assert "/exchange/data" in found


def test_virtual_source_with_too_few_frames(tmp_path: Path) -> None:
    found = message(virtual(dxchange(tmp_path / "scan.h5"), "source.h5", 5, 8))
    assert "source.h5: data has shape (5, 6, 9), (8, 6, 9) is needed" in found


def test_virtual_source_with_too_few_columns(tmp_path: Path) -> None:
    path = virtual(dxchange(tmp_path / "scan.h5"), "source.h5", 8, 8)
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["data"] = random_frames(4, 8)[:, :, :5]
    assert "source.h5: data has shape (8, 6, 5), (8, 6, 9) is needed" in message(path)
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["data"] = random_frames(4, 8)[0]
    assert "source.h5: data has 2 axes, 3 are needed" in message(path)


def test_virtual_source_that_grows_needs_its_rows_and_columns(tmp_path: Path) -> None:
    path, data = dxchange(tmp_path / "scan.h5"), random_frames(4, 8)
    with h5py.File(path, "a") as file:
        del file["exchange/data"]
        layout = h5py.VirtualLayout(data.shape, data.dtype, maxshape=(None, 6, 9))
        source = h5py.VirtualSource("source.h5", "data", data.shape, data.dtype, maxshape=(None, 6, 9))
        layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
        file.create_virtual_dataset("exchange/data", layout)
    for columns in (9, 5):
        with h5py.File(tmp_path / "source.h5", "w") as file:
            file.create_dataset("data", data=data[:, :, :columns], maxshape=(None, 6, columns))
        if columns == 9:
            with open_scan(path) as scan:
                np.testing.assert_array_equal(scan.projections[:], data)
        else:
            assert "source.h5: data has shape (8, 6, 5), (8, 6, 9) is needed" in message(path)


def test_source_that_was_moved_next_to_the_file_is_not_found_by_hdf5(tmp_path: Path) -> None:
    path = virtual(dxchange(tmp_path / "scan.h5"), "parts/source.h5", 8, 8)
    with h5py.File(path) as file:
        assert not file["exchange/data"][:].any(), "HDF5 itself gives zeros and no error"
    assert "parts/source.h5 does not exist" in message(path)
    path = virtual(dxchange(tmp_path / "other.h5"), "/gone/source.h5", 8, 8)
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.projections[:], random_frames(4, 8))


@pytest.mark.parametrize(
    ("link", "cause"),
    [
        (h5py.ExternalLink("gone.h5", "/entry0000"), "external link to gone.h5, which does not exist"),
        (h5py.SoftLink("/nowhere"), "soft link to /nowhere, which does not exist"),
    ],
)
def test_an_entry_behind_a_link_that_dangles(tmp_path: Path, link: object, cause: str) -> None:
    path = tmp_path / "master.h5"
    with h5py.File(path, "w") as file:
        file["entry0000"] = link
    found = message(path)
    assert f"{path}: /entry0000: {cause}" in found
    with h5py.File(nxtomo(tmp_path / "scan.nxs"), "a") as file:
        file["another"] = link
    with open_scan(tmp_path / "scan.nxs") as scan:
        assert scan.origin.kind == "nxtomo"


def test_virtual_source_that_is_virtual_itself(tmp_path: Path) -> None:
    path = virtual(dxchange(tmp_path / "scan.h5"), "source.h5", 8, 8)
    with h5py.File(tmp_path / "source.h5", "w") as file:
        layout = h5py.VirtualLayout((8, 6, 9), np.uint16)
        layout[:] = h5py.VirtualSource("deeper.h5", "data", (8, 6, 9))
        file.create_virtual_dataset("data", layout)
    assert "deeper.h5 does not exist" in message(path)


def test_a_filter_that_is_not_installed(tmp_path: Path) -> None:
    path = dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        del file["exchange/data"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, 6, 9))
        # 400 is in no registry; optional, so that HDF5 lets it be written.
        properties.set_filter(400, h5py.h5z.FLAG_OPTIONAL, (1,))
        h5py.h5d.create(
            file["exchange"].id, b"data", h5py.h5t.STD_U16LE, h5py.h5s.create_simple((8, 6, 9)), properties
        )
    assert "filter 400" in message(path)


def test_filters_of_detectors_are_there(tmp_path: Path) -> None:
    import hdf5plugin

    path = dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        data = file["exchange/data"][:]
        del file["exchange/data"]
        file.create_dataset("exchange/data", data=data, chunks=(1, 6, 9), **hdf5plugin.Bitshuffle())
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.projections[:], data)


WRITER = """
import sys, h5py, numpy as np
file = h5py.File(sys.argv[1], "w", libver="latest")
file.create_dataset("exchange/data", (3, 6, 9), "u2", chunks=(1, 6, 9), maxshape=(None, 6, 9))[:] = 7
file["exchange/theta"] = np.arange(3.0)
if sys.argv[2] == "swmr":
    file.swmr_mode = True
file.flush()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("mode", ["swmr", "plain"])
def test_a_file_that_is_still_being_written(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "growing.h5"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        if mode == "swmr":
            with open_scan(path) as scan:
                assert scan.shape == (3, 6, 9)
                assert (scan.projections[:] == 7).all()
        else:
            assert "still open for writing" in message(path)
        writer.communicate()


def test_damage_that_shows_only_when_read(tmp_path: Path) -> None:
    path = dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        del file["exchange/data"]
        data = file.create_dataset(
            "exchange/data", data=random_frames(4, 8), chunks=(1, 6, 9), fletcher32=True
        )
        offset = data.id.get_chunk_info(5).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\0\1\2\3\4\5")
    with open_scan(path) as scan:
        scan.projections[:5]
        with pytest.raises(InputError, match=r"scan\.h5: /exchange/data: frames 5 to 7 cannot be read"):
            scan.projections[5:]


def test_files_are_closed_after_an_error(tmp_path: Path) -> None:
    path = replace(dxchange(tmp_path / "scan.h5"), "exchange/theta", None)
    message(path)
    with h5py.File(path, "a") as file:
        assert file.id.valid
