"""Scans in files: real ones, and the variants that facilities write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile

from tests.sources.documents import random_frames
from tomoservice.errors import InputError, MissingDataError, UnknownFormatError
from tomoservice.scan import ImageKey
from tomoservice.sources import ScanFormat, check_frames, describe, detect_format, open_scan
from tomoservice.sources.tiff import Kind, kind_of, numeric_key


def test_tooth(data_dir: Path) -> None:
    path = data_dir / "tooth" / "tooth.h5"
    with open_scan(path) as scan, h5py.File(path) as file:
        assert scan.origin.kind == "dxchange"
        assert scan.shape == (181, 2, 640)
        assert scan.flats is not None
        assert scan.darks is not None
        np.testing.assert_array_equal(scan.projections[:], file["exchange/data"])
        np.testing.assert_array_equal(scan.flats[:], file["exchange/data_white"])
        np.testing.assert_array_equal(
            scan.darks[2:7, 1:, 30:600:7], file["exchange/data_dark"][2:7, 1:, 30:600:7]
        )
        np.testing.assert_array_equal(scan.angles_deg, file["exchange/theta"])
        assert scan.sample_name == "Tooth"
        assert check_frames(scan) == []
        summary = describe(scan)
    assert summary.angles.range_deg == pytest.approx(180.0, abs=0.01)
    assert summary.angles.regular
    assert summary.size_bytes == (181 + 10 + 10) * 2 * 640 * 4


def test_the_same_scan_as_nxtomo_and_as_tiff(data_dir: Path) -> None:
    folder = data_dir / "savu_24737"
    with open_scan(folder / "24737.nxs") as nexus, open_scan(folder / "tiff") as tiff:
        assert (nexus.origin.kind, tiff.origin.kind) == ("nxtomo", "tiff")
        assert nexus.shape == tiff.shape == (91, 135, 160)
        np.testing.assert_array_equal(nexus.projections[:], tiff.projections[:])
        # The two lists were rounded differently.
        np.testing.assert_allclose(nexus.angles_deg, tiff.angles_deg, atol=5e-4)
        for one, other in ((nexus.flats, tiff.flats), (nexus.darks, tiff.darks)):
            assert one is not None
            assert other is not None
            # The NXtomo file holds the same flat before and after the projections.
            for frame in one[:]:
                np.testing.assert_array_equal(frame, other[0])
        assert check_frames(nexus) == check_frames(tiff) == []
        stack = describe(nexus).flats
        assert stack is not None
        assert stack.positions == ("before", "after")
        assert any("20 of 111 angles" in note for note in tiff.notes)


def nxtomo(path: Path, entry: str = "entry1/tomo_entry", **more: Any) -> Path:
    """Write 2 darks, 2 flats, 3 projections, 1 alignment, 3 projections, 1 invalid, 2 flats."""
    keys = np.array([2, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 3, 1, 1])
    control = keys.copy()
    control[7] = -1
    with h5py.File(path, "w") as file:
        file[f"{entry}/definition"] = "NXtomo"
        detector = file.create_group(f"{entry}/instrument/detector")
        detector["data"] = random_frames(3, keys.size)
        detector["image_key"] = keys
        detector["image_key_control"] = control
        detector["x_pixel_size"] = 6.5e-6
        detector["x_pixel_size"].attrs["units"] = "m"
        detector["distance"] = [0.25]
        detector["distance"].attrs["units"] = "m"
        detector["field_of_view"] = "Half"
        beam = file.create_group(f"{entry}/beam")
        beam["energy"] = 19_500.0
        beam["energy"].attrs["units"] = b"eV"
        angles = np.deg2rad(np.arange(keys.size) * 10.0)
        file[f"{entry}/sample/rotation_angle"] = angles
        file[f"{entry}/sample/rotation_angle"].attrs["units"] = "rad"
        file[f"{entry}/sample/name"] = "stone"
    return path


@pytest.mark.parametrize("entry", ["entry1/tomo_entry", "entry0000"])
def test_nxtomo_with_everything(tmp_path: Path, entry: str) -> None:
    frames = random_frames(3, 14)
    with open_scan(nxtomo(tmp_path / "scan.nxs", entry)) as scan:
        assert scan.origin.kind == "nxtomo"
        np.testing.assert_array_equal(scan.projections[:], frames[[4, 5, 6, 8, 9, 10]])
        assert scan.flats is not None
        assert scan.darks is not None
        np.testing.assert_array_equal(scan.flats[:], frames[[2, 3, 12, 13]])
        np.testing.assert_array_equal(scan.darks[:, 1:3], frames[:2, 1:3])
        np.testing.assert_allclose(scan.angles_deg, [40, 50, 60, 80, 90, 100], atol=1e-12)
        assert scan.image_keys is not None
        assert scan.image_keys.tolist() == [2, 2, 1, 1, 0, 0, 0, 3, 0, 0, 0, 3, 1, 1]
        assert scan.pixel_size_um == pytest.approx(6.5)
        assert scan.distance_mm == pytest.approx(250)
        assert scan.energy_kev == pytest.approx(19.5)
        assert scan.sample_name == "stone"
        assert "field of view: Half" in scan.notes
        assert "1 alignment projections (image key -1) are left out" in scan.notes


def test_nxtomo_with_a_beam_monitor(tmp_path: Path) -> None:
    path, place = nxtomo(tmp_path / "scan.nxs"), "entry1/tomo_entry/control/data"
    readings = np.arange(14) + 100

    def replaced(values: Any) -> None:
        with h5py.File(path, "a") as file:
            if place in file:
                del file[place]
            file[place] = values

    replaced(readings)
    with open_scan(path) as scan:
        assert scan.monitor is not None
        assert scan.flat_monitor is not None
        np.testing.assert_array_equal(scan.monitor, readings[[4, 5, 6, 8, 9, 10]])
        np.testing.assert_array_equal(scan.flat_monitor, readings[[2, 3, 12, 13]])
        assert scan.monitor.dtype == np.float64
        assert describe(scan).datasets["monitor"] == f"/{place}"
    replaced(readings[:6])
    with open_scan(path) as scan:
        assert scan.monitor is not None
        np.testing.assert_array_equal(scan.monitor, readings[:6])
        assert scan.flat_monitor is None
    for values, said in ((readings[:5], "has 5 readings for 14 frames"), ([b"a"] * 14, "holds no numbers")):
        replaced(values)
        with open_scan(path) as scan:
            assert scan.monitor is scan.flat_monitor is None
            assert any(f"/{place} {said}: no beam monitor" in note for note in scan.notes)


def test_nxtomo_with_external_link_and_virtual_data(tmp_path: Path) -> None:
    path = nxtomo(tmp_path / "scan.nxs")
    parts = tmp_path / "parts"
    parts.mkdir()
    frames = random_frames(3, 14)
    with h5py.File(parts / "a.h5", "w") as file:
        file["entry/data"] = frames[:6]
    with h5py.File(parts / "b.h5", "w") as file:
        file["entry/data"] = frames[6:]
    with h5py.File(tmp_path / "virtual.h5", "w", libver="latest") as file:
        layout = h5py.VirtualLayout(frames.shape, frames.dtype)
        layout[:6] = h5py.VirtualSource("parts/a.h5", "entry/data", (6, *frames.shape[1:]))
        layout[6:] = h5py.VirtualSource("parts/b.h5", "entry/data", (8, *frames.shape[1:]))
        file.create_virtual_dataset("all", layout)
    with h5py.File(path, "a") as file:
        detector = file["entry1/tomo_entry/instrument/detector"]
        del detector["data"]
        detector["data"] = h5py.ExternalLink("virtual.h5", "/all")
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.projections[:], frames[[4, 5, 6, 8, 9, 10]])
        names = [Path(file).name for file in scan.origin.files]
    assert names == ["scan.nxs", "virtual.h5", "a.h5", "b.h5"]


def test_angles_of_projections_only(tmp_path: Path) -> None:
    path = nxtomo(tmp_path / "scan.nxs")
    with h5py.File(path, "a") as file:
        sample = file["entry1/tomo_entry/sample"]
        del sample["rotation_angle"], file["entry1/tomo_entry/instrument/detector/image_key_control"]
        sample["rotation_angle"] = np.arange(7) * 30.0
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.angles_deg, np.arange(7) * 30.0)
    with open_scan(path, angles=np.linspace(0, 1, 7)) as scan:
        np.testing.assert_array_equal(scan.angles_deg, np.linspace(0, 1, 7))


def dxchange(path: Path, count: int = 8) -> Path:
    with h5py.File(path, "w") as file:
        file["exchange/data"] = random_frames(4, count)
        file["exchange/data_white"] = random_frames(5, 3)
        file["exchange/data_dark"] = random_frames(6, 2)
        file["exchange/theta"] = np.linspace(0, 180, count, endpoint=False)
        instrument = file.create_group("measurement/instrument")
        for name, value, unit in (
            ("detection_system/objective/resolution", 3.45, "microns"),
            ("monochromator/energy", 27.4, "keV"),
            ("camera_motor_stack/setup/camera_distance", 60.0, "mm"),
        ):
            instrument[name] = [value]
            instrument[name].attrs["units"] = unit
    return path


def test_dxchange_metadata_and_units(tmp_path: Path) -> None:
    with open_scan(dxchange(tmp_path / "scan.h5")) as scan:
        assert scan.pixel_size_um == pytest.approx(3.45)
        assert scan.energy_kev == pytest.approx(27.4)
        assert scan.distance_mm == pytest.approx(60)
        assert scan.notes == ()


def test_pixel_size_at_the_sample_goes_before_that_of_the_detector(tmp_path: Path) -> None:
    path = dxchange(tmp_path / "scan.h5")
    place = "measurement/instrument/detector"
    with h5py.File(path, "a") as file:
        del file["measurement/instrument/detection_system"]
        for name, value in (("pixel_size_x", 6.5), ("actual_pixel_size_x", 0.65)):
            file[f"{place}/{name}"] = value
            file[f"{place}/{name}"].attrs["units"] = "um"
    with open_scan(path) as scan:
        assert scan.pixel_size_um == pytest.approx(0.65)
        assert scan.notes == ()
    with h5py.File(path, "a") as file:
        del file[f"{place}/actual_pixel_size_x"]
    with open_scan(path) as scan:
        assert scan.pixel_size_um == pytest.approx(6.5)
        assert any("6.5 um, is that of the detector's own pixels" in note for note in scan.notes)


@pytest.mark.parametrize(
    "units", ["", " ", b"", h5py.Empty("S1"), np.empty(0, "S1")], ids=["text", "space", "bytes", "empty", "0"]
)
def test_empty_units_are_no_units(tmp_path: Path, units: object) -> None:
    path = dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        file["exchange/theta"].attrs["units"] = units
        file["measurement/instrument/monochromator/energy"].attrs["units"] = units
        expected = file["exchange/theta"][:]
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.angles_deg, expected)
        assert scan.energy_kev is None
        assert any("has no units" in note for note in scan.notes)


@pytest.mark.parametrize("kind", ["external", "soft", "nested"])
def test_nxtomo_entry_behind_a_link(tmp_path: Path, kind: str) -> None:
    """A master file links to the entry that another program has written."""
    folder = tmp_path / "raw"
    folder.mkdir()
    nxtomo(folder / "nx.h5", "entry0000")
    path = tmp_path / "master.h5"
    with h5py.File(path, "w") as file:
        match kind:
            case "external":
                file["entry0000"] = h5py.ExternalLink("raw/nx.h5", "/entry0000")
            case "soft":
                file["default"] = h5py.SoftLink("/scan")
                file["scan"] = h5py.ExternalLink("raw/nx.h5", "/entry0000")
                file["round"] = h5py.SoftLink("/")
            case _:
                file["scans/all"] = h5py.ExternalLink("raw/nx.h5", "/")
    assert detect_format(path) is ScanFormat.NXTOMO
    with open_scan(path) as scan:
        np.testing.assert_array_equal(scan.projections[:], random_frames(3, 14)[[4, 5, 6, 8, 9, 10]])
        assert scan.origin.location == str(path)
        assert [Path(file).name for file in scan.origin.files] == ["master.h5", "nx.h5"]
        assert not any("also has" in note for note in scan.notes)
    with pytest.raises(InputError, match="closed"):
        scan.projections[0]
    with h5py.File(folder / "nx.h5", "a") as file:
        assert file.id.valid, "closing the scan closes the file behind the link"


def test_a_soft_link_to_an_entry_is_no_second_one(tmp_path: Path) -> None:
    path = nxtomo(tmp_path / "scan.nxs", "entry0000")
    with h5py.File(path, "a") as file:
        file["default"] = h5py.SoftLink("/entry0000")
    with open_scan(path) as scan:
        assert not any("also has" in note for note in scan.notes)
        assert scan.origin.datasets["projections"].startswith("/entry0000")


def test_a_value_without_units_is_not_guessed(tmp_path: Path) -> None:
    path = dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        del file["measurement/instrument/monochromator/energy"].attrs["units"]
        file["measurement/instrument/detection_system/objective/resolution"].attrs["units"] = "furlong"
    with open_scan(path) as scan:
        assert scan.energy_kev is None
        assert scan.pixel_size_um is None
        assert any("no units" in note for note in scan.notes)
        assert any("furlong" in note for note in scan.notes)


def test_counts_that_differ_are_cut_to_the_smaller_and_said(tmp_path: Path) -> None:
    path = dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        theta = file["exchange/theta"][:6]
        del file["exchange/theta"]
        file["exchange/theta"] = theta
    with open_scan(path) as scan:
        assert scan.shape[0] == 6
        assert scan.notes == ("8 projections but 6 angles: the first 6 of both are used",)


def test_flats_that_are_missing_are_none_and_said(tmp_path: Path) -> None:
    path = dxchange(tmp_path / "scan.h5")
    with h5py.File(path, "a") as file:
        del file["exchange/data_white"]
    with open_scan(path) as scan:
        assert scan.flats is None
        assert any("no flats" in note for note in scan.notes)


def test_closing_ends_reading(tmp_path: Path) -> None:
    scan = open_scan(dxchange(tmp_path / "scan.h5"))
    scan.close()
    with pytest.raises(InputError, match="closed"):
        scan.projections[0]


def tiff_folder(folder: Path, names: str = "proj_{}.tif", count: int = 11) -> Path:
    folder.mkdir()
    for number, frame in enumerate(random_frames(8, count)):
        target = folder / names.format(number)
        target.parent.mkdir(exist_ok=True)
        tifffile.imwrite(target, frame)
    (folder / "angles.txt").write_text("# degrees\n" + "\n".join(str(3.0 * i) for i in range(count)))
    return folder


@pytest.mark.parametrize("names", ["proj_{}.tif", "TOMO_{}.TIFF", "projections/im{}.tif", "scan_{}.tif"])
def test_tiff_names_are_sorted_by_number(tmp_path: Path, names: str) -> None:
    folder = tiff_folder(tmp_path / "scan", names)
    tifffile.imwrite(folder / "dark_1.tif", random_frames(9, 1)[0])
    (folder / "white").mkdir()
    tifffile.imwrite(folder / "white" / "1.tif", random_frames(10, 1)[0])
    with open_scan(folder) as scan:
        np.testing.assert_array_equal(scan.projections[:], random_frames(8, 11))
        assert scan.flats is not None
        assert scan.darks is not None
        np.testing.assert_array_equal(scan.flats[0], random_frames(10, 1)[0])
        np.testing.assert_array_equal(scan.darks[0], random_frames(9, 1)[0])
        np.testing.assert_array_equal(scan.angles_deg, 3.0 * np.arange(11))


def test_tiff_without_angles(tmp_path: Path) -> None:
    folder = tiff_folder(tmp_path / "scan")
    listed = tmp_path / "mine.csv"
    (folder / "angles.txt").rename(listed)
    with pytest.raises(MissingDataError, match=r"angles\.txt"):
        open_scan(folder)
    with open_scan(folder, angles=listed) as scan:
        assert scan.angles_deg[-1] == 30.0


def test_tiff_frame_that_differs_is_named(tmp_path: Path) -> None:
    folder = tiff_folder(tmp_path / "scan")
    tifffile.imwrite(folder / "proj_7.tif", np.zeros((3, 3), np.uint16))
    with open_scan(folder) as scan, pytest.raises(InputError, match=r"proj_7\.tif.*\(3, 3\)"):
        scan.projections[:]


def test_tiff_that_is_cut_short_is_named(tmp_path: Path) -> None:
    folder = tiff_folder(tmp_path / "scan")
    path = folder / "proj_4.tif"
    path.write_bytes(path.read_bytes()[:-20])
    with open_scan(folder) as scan, pytest.raises(InputError, match=r"proj_4\.tif"):
        scan.projections[:, 4:]


def test_several_series_that_could_be_projections(tmp_path: Path) -> None:
    folder = tiff_folder(tmp_path / "scan", "first_{}.tif")
    tifffile.imwrite(folder / "second_1.tif", random_frames(8, 1)[0])
    with pytest.raises(UnknownFormatError, match=r"first_#\.tif, second_#\.tif"):
        open_scan(folder)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("raw_00001.tiff", Kind.PROJECTION),
        ("flat_00001.tiff", Kind.FLAT),
        ("Dark0007.tif", Kind.DARK),
        ("flats/proj_1.tif", Kind.FLAT),
        ("inflated_1.tif", Kind.OTHER),
        ("sample.tif", Kind.OTHER),
    ],
)
def test_names_tell_what_a_file_shows(name: str, kind: Kind) -> None:
    assert kind_of(name) is kind


def test_numbers_sort_as_numbers() -> None:
    assert sorted(["p10", "p9", "p1"], key=numeric_key) == ["p1", "p9", "p10"]


def test_format_is_found_by_content_not_by_name(tmp_path: Path) -> None:
    assert detect_format(dxchange(tmp_path / "scan.nxs")) is ScanFormat.DXCHANGE
    assert detect_format(nxtomo(tmp_path / "scan.dat")) is ScanFormat.NXTOMO
    assert detect_format(tiff_folder(tmp_path / "folder")) is ScanFormat.TIFF


def test_image_keys_are_those_of_nxtomo() -> None:
    assert [key.value for key in ImageKey] == [0, 1, 2, 3]
