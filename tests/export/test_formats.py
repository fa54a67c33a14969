"""Volumes in files, read back with the libraries that other people use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import yaml
import zarr
from numpy.typing import NDArray
from PIL import Image

from tests.phantom_scans import phantom_scan
from tomoservice.export import VolumeForm, volume_output
from tomoservice.phantom import Ellipsoid, Phantom
from tomoservice.pipeline import compute, prepare
from tomoservice.png import grey_window, write_png
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan

VOXEL_UM = 2.5
SHAPE = (5, 6, 8)
RECORD: dict[str, Any] = {
    "recipe": {**Recipe().dump(), "name": "größe"},
    "scan": {"location": "/data/scan.h5", "sample_name": "tooth"},
    "rotation_axis": {"value": 12.5, "method": "auto", "confidence": 0.625},
    "geometry": {"units": "1/pixel"},
}
NAMES = ["v.h5", "v.nxs", "v.zarr", "v.tiff", "slices"]


@pytest.fixture
def volume() -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)


def write(
    path: Path, volume: NDArray[np.float32], voxel_size_um: float | None = VOXEL_UM, units: str = "1/pixel"
) -> Path:
    form = VolumeForm(SHAPE, (2, 4, 4), voxel_size_um, units)
    with volume_output(path, form) as writer:
        # Not in order, and the last slab is thinner.
        for start in (2, 0, 4):
            writer.write(start, volume[start : start + 2])
        writer.finish(RECORD)
    return path


def read(path: Path) -> NDArray[np.float32]:
    if path.suffix in {".h5", ".nxs"}:
        with h5py.File(path) as file:
            return np.asarray(file["entry/data/data"][()])
    if path.suffix == ".zarr":
        return np.asarray(zarr.open_array(path, mode="r")[:])
    return np.stack([tifffile.imread(name) for name in sorted(path.glob("slice_*.tiff"))])


def stored_record(path: Path) -> Any:
    if path.suffix in {".h5", ".nxs"}:
        with h5py.File(path) as file:
            return json.loads(file["entry/reconstruction/record"].asstr()[()])
    if path.suffix == ".zarr":
        return dict(zarr.open_array(path, mode="r").attrs)["tomoservice"]
    return json.loads((path / "record.json").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_back_every_bit_and_the_record(
    tmp_path: Path, volume: NDArray[np.float32], name: str
) -> None:
    path = write(tmp_path / name, volume)
    back = read(path)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, volume)
    assert stored_record(path) == RECORD
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["home", name])


class TestHdf5:
    def test_coordinates_are_centred_and_y_points_up(
        self, tmp_path: Path, volume: NDArray[np.float32]
    ) -> None:
        with h5py.File(write(tmp_path / "v.h5", volume)) as file:
            data = file["entry/data"]
            z, y, x = (data[name][()] for name in "zyx")
            units = [data[name].attrs["units"] for name in "zyx"]
        np.testing.assert_allclose(x, [-8.75, -6.25, -3.75, -1.25, 1.25, 3.75, 6.25, 8.75])
        np.testing.assert_allclose(y, [6.25, 3.75, 1.25, -1.25, -3.75, -6.25])
        np.testing.assert_allclose(z, [-5, -2.5, 0, 2.5, 5])
        assert units == ["um", "um", "um"]

    def test_coordinates_are_pixels_where_their_size_is_unknown(
        self, tmp_path: Path, volume: NDArray[np.float32]
    ) -> None:
        with h5py.File(write(tmp_path / "v.h5", volume, voxel_size_um=None)) as file:
            data = file["entry/data"]
            np.testing.assert_allclose(data["y"][()], [2.5, 1.5, 0.5, -0.5, -1.5, -2.5])
            assert data["y"].attrs["units"] == "pixel"

    def test_what_a_nexus_reader_looks_for(self, tmp_path: Path, volume: NDArray[np.float32]) -> None:
        with h5py.File(write(tmp_path / "v.h5", volume, units="1/cm")) as file:
            entry = file["entry"]
            assert entry.attrs["NX_class"] == "NXentry"
            assert entry["definition"].asstr()[()] == "NXtomoproc"
            assert entry["data"].attrs["NX_class"] == "NXdata"
            assert entry["data"].attrs["signal"] == "data"
            assert list(entry["data"].attrs["axes"]) == ["z", "y", "x"]
            assert entry["data/data"].attrs["units"] == "1/cm"
            assert entry["sample/name"].asstr()[()] == "tooth"
            parameters = entry["reconstruction/parameters"]
            assert parameters["raw_file"].asstr()[()] == "/data/scan.h5"
            assert json.loads(parameters["recipe"].asstr()[()]) == RECORD["recipe"]

    def test_a_bead_lies_where_the_coordinates_say(self, tmp_path: Path) -> None:
        bead = Ellipsoid(x=9.0, y=5.0, z=3.0, a=3.0, b=3.0, c=20.0, phi_deg=0.0, attenuation=0.1)
        angles = np.arange(0, 180, 2.0)
        scan = TomoScan(
            projections=ArrayFrames(Phantom(40, SHAPE[0], (bead,)).line_integrals(angles)),
            angles_deg=angles,
            origin=ScanOrigin("memory", "bead"),
            pixel_size_um=VOXEL_UM,
        )
        nothing = {"method": "none"}
        stage = {"method": "value", "value": 19.5}
        recipe = parse_recipe({"rotation_axis": stage, "flat_field": nothing, "minus_log": nothing})
        plan = prepare(scan, recipe)
        path = tmp_path / "bead.h5"
        with volume_output(path, VolumeForm.of(plan)) as writer:
            compute(plan, scan, on_slab=lambda slab, slices: writer.write(slab.start, slices))
            writer.finish(RECORD)
        with h5py.File(path) as file:
            data = file["entry/data"]
            grey = np.clip(data["data"][2] - 0.05, 0, None)
            x = float((grey * data["x"][()]).sum() / grey.sum())
            y = float((grey * data["y"][()][:, None]).sum() / grey.sum())
        assert x == pytest.approx(9 * VOXEL_UM, abs=0.1 * VOXEL_UM)
        assert y == pytest.approx(5 * VOXEL_UM, abs=0.1 * VOXEL_UM)


class TestTiff:
    def test_resolution_is_pixels_per_centimetre(self, tmp_path: Path, volume: NDArray[np.float32]) -> None:
        path = write(tmp_path / "v.tiff", volume)
        for name in sorted(path.glob("slice_*.tiff")):
            with tifffile.TiffFile(name) as file:
                tags = file.pages[0].tags
                assert tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
                for direction in ("XResolution", "YResolution"):
                    numerator, denominator = tags[direction].value
                    # 1 cm holds 4000 pixels of 2.5 um.
                    assert numerator / denominator == pytest.approx(4000)
                assert tags["SampleFormat"].value == tifffile.SAMPLEFORMAT.IEEEFP

    def test_no_resolution_is_made_up(self, tmp_path: Path, volume: NDArray[np.float32]) -> None:
        path = write(tmp_path / "v.tiff", volume, voxel_size_um=None)
        with tifffile.TiffFile(path / "slice_00000.tiff") as file:
            assert file.pages[0].tags["ResolutionUnit"].value == tifffile.RESUNIT.NONE

    def test_files_are_numbered_by_slice_and_tell_the_recipe(
        self, tmp_path: Path, volume: NDArray[np.float32]
    ) -> None:
        path = write(tmp_path / "v.tiff", volume)
        slices = [f"slice_{z:05d}.tiff" for z in range(SHAPE[0])]
        assert sorted(entry.name for entry in path.iterdir()) == ["recipe.yml", "record.json", *slices]
        np.testing.assert_array_equal(tifffile.imread(path / "slice_00003.tiff"), volume[3])
        assert yaml.safe_load((path / "recipe.yml").read_text("utf-8")) == RECORD["recipe"]


def test_zarr_tells_axes_units_and_size(tmp_path: Path, volume: NDArray[np.float32]) -> None:
    array = zarr.open_array(write(tmp_path / "v.zarr", volume, units="1/cm"), mode="r")
    attributes = dict(array.attrs)
    assert attributes["axes"] == ["z", "y", "x"]
    assert (attributes["units"], attributes["voxel_size_um"]) == ("1/cm", VOXEL_UM)
    assert array.chunks == (2, 4, 4)


class TestPng:
    def test_grey_values_become_shades_within_the_window(self, tmp_path: Path) -> None:
        image = np.array([[-1, 0, 1, 2, 3], [np.nan, np.inf, -np.inf, 0.5, 1.5]], np.float32)
        write_png(tmp_path / "p.png", image, (0.0, 2.0))
        with Image.open(tmp_path / "p.png") as picture:
            shades = np.asarray(picture)
        np.testing.assert_array_equal(shades, [[0, 0, 128, 255, 255], [0, 255, 0, 64, 191]])

    def test_the_window_holds_nearly_all_values(self) -> None:
        specimen = phantom_scan(64, 4, 2).truth[1]
        spoilt = specimen.copy()
        spoilt[0, :3] = (1e6, np.nan, -np.inf)
        low, high = grey_window(spoilt)
        assert low <= np.percentile(specimen, 1)
        assert np.percentile(specimen, 99) <= high < 1e3
        assert grey_window(np.full((2, 2), 7, np.float32)) == (7.0, 8.0)
        assert grey_window(np.full((2, 2), np.nan, np.float32)) == (0.0, 1.0)
