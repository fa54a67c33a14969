"""Volumes on disk written once more: every source into every format, parts, whole numbers, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import yaozarrs
import zarr
from numpy.typing import NDArray

from tests.export.test_formats import RECORD
from tomoservice.cli import run
from tomoservice.errors import CancelledError, GeometryError, InputError, OutputError
from tomoservice.export import ExportOptions, VolumeForm, export_volume, open_volume, volume_output
from tomoservice.export.ome import Placement
from tomoservice.export.pyramid import PyramidJob, publish_pyramid
from tomoservice.export.zarr_store import record_attributes
from tomoservice.pipeline import Slab
from tomoservice.recipe.stages.output import FixedRange, PercentileRange
from tomoservice.store import VOLUME, SlabStore

SHAPE = (20, 70, 90)
FORM = VolumeForm(SHAPE, (8, 64, 64), 2.0, "1/cm")
FORMATS = ("v.h5", "v.zarr", "v.ome.zarr", "v.tiff")


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(0.5, 0.1, SHAPE).astype(np.float32)


def store(folder: Path, pixels: NDArray[np.float32]) -> SlabStore:
    made = SlabStore.create(folder, SHAPE, (8, 64, 64))
    for index, start in enumerate(range(0, SHAPE[0], 8)):
        stop = min(start + 8, SHAPE[0])
        made.commit(Slab(index, start, stop), pixels[start:stop])
    return made


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, pixels: NDArray[np.float32]) -> dict[str, Path]:
    """The same volume in every form that can be read."""
    folder = tmp_path_factory.mktemp("sources")
    record = {**RECORD, "geometry": FORM.geometry}
    found = {}
    for name in ("s.h5", "s.zarr", "s.ome.zarr"):
        with volume_output(folder / name, FORM) as writer:
            for start in range(0, SHAPE[0], 8):
                writer.write(start, pixels[start : start + 8])
            writer.finish(record)
        found[name] = folder / name
    made = store(folder / "reconstruction", pixels)
    job = PyramidJob(made.folder, VOLUME, made.checksum())
    publish_pyramid(job, "tooth", Placement(2.0), record_attributes(record))
    return {**found, "folder": made.folder, "array": made.path}


def read(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return the pixels and the record of an exported volume."""
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["entry/data/data"][()], json.loads(file["entry/reconstruction/record"].asstr()[()])
    if path.suffix == ".tiff":
        images = [tifffile.imread(name) for name in sorted(path.glob("slice_*.tiff"))]
        return np.stack(images), json.loads((path / "record.json").read_text("utf-8"))
    node = zarr.open(path, mode="r")
    array = node if isinstance(node, zarr.Array) else node["0"]
    return np.asarray(array[:]), dict(node.attrs)["tomoservice"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("source", ["s.h5", "s.zarr", "s.ome.zarr", "folder", "array"])
def test_a_part_of_every_source_in_every_format(
    tmp_path: Path, sources: dict[str, Path], pixels: NDArray[np.float32], source: str, name: str
) -> None:
    told: list[int] = []
    with open_volume(sources[source]) as volume:
        options = ExportOptions(z=(3, 14), y=(5, None), x=(0, 66))
        form = export_volume(volume, tmp_path / name, options, advance=told.append)
    made, record = read(tmp_path / name)
    assert made.dtype == np.float32
    assert np.array_equal(made, pixels[3:14, 5:, :66])
    assert (form.voxel_size_um, form.units) == (2.0, "1/cm")
    assert record["recipe"] == RECORD["recipe"]
    assert record["export"]["z"] == [3, 14]
    assert record["export"]["source"]
    assert sum(told) == 11
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


class TestWholeNumbers:
    def test_a_fixed_range_and_back(
        self, tmp_path: Path, sources: dict[str, Path], pixels: NDArray[np.float32]
    ) -> None:
        fixed = FixedRange(low=0.0, high=1.0)
        with open_volume(sources["folder"]) as volume:
            export_volume(volume, tmp_path / "v.h5", ExportOptions("uint16", fixed))
        with h5py.File(tmp_path / "v.h5") as file:
            data = file["entry/data/data"]
            assert data.dtype == np.uint16
            slope, offset = data.attrs["scale_factor"], data.attrs["add_offset"]
            assert (data.attrs["scaling"], data.attrs["offset"]) == (slope, offset)
            assert np.abs(data[()] * slope + offset - pixels).max() <= 0.5001 / 65535
        # What was whole numbers becomes grey values again, by the slope that the file tells.
        with open_volume(tmp_path / "v.h5") as volume:
            export_volume(volume, tmp_path / "back.zarr", ExportOptions("float32"))
            export_volume(volume, tmp_path / "same.ome.zarr")
        back, record = read(tmp_path / "back.zarr")
        assert np.abs(back - pixels).max() <= 0.51 / 65535
        assert "slope" not in record["geometry"]
        numbers, record = read(tmp_path / "same.ome.zarr")
        assert numbers.dtype == np.uint16
        assert record["geometry"]["slope"] == pytest.approx(1 / 65535)
        yaozarrs.validate_zarr_store(str(tmp_path / "same.ome.zarr"))

    def test_percentiles_cut_what_is_rare(
        self, tmp_path: Path, sources: dict[str, Path], pixels: NDArray[np.float32]
    ) -> None:
        with open_volume(sources["s.zarr"]) as volume:
            options = ExportOptions("uint8", PercentileRange(low=5, high=95))
            form = export_volume(volume, tmp_path / "v.tiff", options)
        low, high = np.percentile(pixels, (5, 95))
        assert form.offset == pytest.approx(low, abs=0.005)
        assert form.offset + 255 * form.slope == pytest.approx(high, abs=0.005)
        numbers, _ = read(tmp_path / "v.tiff")
        assert np.mean(numbers == 0) == pytest.approx(0.05, abs=0.01)
        with tifffile.TiffFile(tmp_path / "v.tiff" / "slice_00000.tiff") as file:
            told = json.loads(file.pages[0].description)
        assert (told["scale_factor"], told["add_offset"]) == (form.slope, form.offset)


def test_voxels_of_a_part_stay_where_they_are(tmp_path: Path, sources: dict[str, Path]) -> None:
    with open_volume(sources["s.h5"]) as volume:
        export_volume(volume, tmp_path / "whole.h5")
        part = ExportOptions(z=(4, 12), y=(10, 20), x=(30, 50))
        export_volume(volume, tmp_path / "part.h5", part)
        export_volume(volume, tmp_path / "part.ome.zarr", part)
    # A part of a part, too.
    with open_volume(tmp_path / "part.h5") as volume:
        export_volume(volume, tmp_path / "less.h5", ExportOptions(z=(2, 4), y=(3, 5), x=(1, 9)))
    with h5py.File(tmp_path / "whole.h5") as whole, h5py.File(tmp_path / "less.h5") as less:
        for name, first, last in (("z", 6, 8), ("y", 13, 15), ("x", 31, 39)):
            expected = whole[f"entry/data/{name}"][first:last]
            np.testing.assert_allclose(less[f"entry/data/{name}"][()], expected)
    (image,) = dict(zarr.open_group(tmp_path / "part.ome.zarr", mode="r").attrs)["ome"]["multiscales"]
    _, translation = image["datasets"][0]["coordinateTransformations"]
    assert translation["translation"] == [8.0, 20.0, 60.0]


def test_hdf5_has_what_the_definition_asks_for(tmp_path: Path, sources: dict[str, Path]) -> None:
    with open_volume(sources["folder"]) as volume:
        export_volume(volume, tmp_path / "v.nxs")
    required = {
        "entry": "NXentry",
        "entry/instrument": "NXinstrument",
        "entry/instrument/source": "NXsource",
        "entry/sample": "NXsample",
        "entry/reconstruction": "NXprocess",
        "entry/reconstruction/parameters": "NXparameters",
        "entry/data": "NXdata",
    }
    fields = (
        *(f"entry/{name}" for name in ("title", "definition", "sample/name")),
        *(f"entry/instrument/source/{name}" for name in ("type", "name", "probe")),
        *(f"entry/reconstruction/{name}" for name in ("program", "version", "date", "parameters/raw_file")),
    )
    with h5py.File(tmp_path / "v.nxs") as file:
        assert {name: file[name].attrs["NX_class"] for name in required} == required
        assert all(file[name].asstr()[()] for name in fields)
        assert file["entry/instrument/source/probe"].asstr()[()] == "x-ray"
        assert {"transform", "scaling", "offset"} <= set(file["entry/data/data"].attrs)
        # What a viewer follows to what it shows first.
        shown = file[file.attrs["default"]]
        shown = shown[shown.attrs["default"]]
        assert shown[shown.attrs["signal"]].shape == SHAPE
        assert [shown[name].shape for name in shown.attrs["axes"]] == [(size,) for size in SHAPE]


class TestRefusals:
    def test_something_stands_there(self, tmp_path: Path, sources: dict[str, Path]) -> None:
        out = tmp_path / "v.ome.zarr"
        with open_volume(sources["s.zarr"]) as volume:
            export_volume(volume, out)
            with pytest.raises(OutputError, match="exists already"):
                export_volume(volume, out)
            export_volume(volume, out, ExportOptions("uint8", overwrite=True))
            assert read(out)[0].dtype == np.uint8
            with pytest.raises(OutputError, match="input"):
                export_volume(volume, sources["s.zarr"], ExportOptions(overwrite=True))

    def test_parts_that_are_none(self, tmp_path: Path, sources: dict[str, Path]) -> None:
        wrong = ExportOptions(y=(60, 80))
        told = "y 60 to 80 is no part of a volume with 70 voxels"
        with open_volume(sources["s.zarr"]) as volume, pytest.raises(GeometryError, match=told):
            export_volume(volume, tmp_path / "v.h5", wrong)
        assert list(tmp_path.glob("*v*")) == []

    def test_volumes_that_are_not_complete(self, tmp_path: Path, pixels: NDArray[np.float32]) -> None:
        made = store(tmp_path / "reconstruction", pixels)
        made.discard([1])
        with pytest.raises(InputError, match="12 of 20 layers exist"), open_volume(made.folder):
            pass

    @pytest.mark.parametrize("name", ["nothing", "other.h5", "text.h5", "other.zarr"])
    def test_what_is_no_volume(self, tmp_path: Path, name: str) -> None:
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file["data"] = 1
        (tmp_path / "text.h5").write_text("text")
        zarr.create_group(tmp_path / "other.zarr")
        with pytest.raises(InputError, match=name), open_volume(tmp_path / name):
            pass

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_wish_to_stop_leaves_nothing(self, tmp_path: Path, sources: dict[str, Path], name: str) -> None:
        with open_volume(sources["s.zarr"]) as volume:
            wished: list[int] = []
            with pytest.raises(CancelledError):
                export_volume(
                    volume,
                    tmp_path / name,
                    advance=wished.append,
                    cancelled=lambda: name != "v.ome.zarr" or bool(wished),
                )
        assert list(tmp_path.glob("*v*")) == []


def test_a_store_that_says_nothing_of_itself(tmp_path: Path, pixels: NDArray[np.float32]) -> None:
    made = store(tmp_path / "reconstruction", pixels)
    with open_volume(made.folder) as volume:
        form = export_volume(volume, tmp_path / "v.tiff")
    assert form.voxel_size_um is None
    assert np.array_equal(read(tmp_path / "v.tiff")[0], pixels)


class TestCommand:
    def test_a_part_in_eight_bits(
        self, tmp_path: Path, sources: dict[str, Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "v.tiff"
        words = ["--dtype", "uint8", "--range", "-0.5", "1", "--z", "2:5", "--x", ":10"]
        assert run(["export", str(sources["folder"]), str(out), *words]) == 0
        assert read(out)[0].shape == (3, 70, 10)
        assert "3 x 70 x 10 (z, y, x), uint8; grey value in 1/cm = 0.00588235 x number - 0.5" in (
            capsys.readouterr().out
        )

    @pytest.mark.parametrize(
        ("words", "status", "told"),
        [
            (["nowhere", "v.h5"], 2, "give its address by --uri"),
            (["SOURCE", "v.xyz"], 2, "no format is known"),
            (["SOURCE", "v.h5", "--range", "0", "1"], 2, "need --dtype"),
            (["SOURCE", "v.h5", "--dtype", "uint8", "--range", "2", "1"], 2, "must be less than high"),
            (
                ["SOURCE", "v.h5", "--dtype", "uint8", "--percentiles", "2", "101"],
                2,
                "less than or equal to 100",
            ),
            (["SOURCE", "v.h5", "--z", "0:99"], 1, "no part of a volume with 20"),
        ],
    )
    def test_what_cannot_be_done(  # noqa: PLR0917
        self,
        tmp_path: Path,
        sources: dict[str, Path],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        words: list[str],
        status: int,
        told: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        given = [str(sources["s.zarr"]) if word == "SOURCE" else word for word in words]
        assert run(["export", *given]) == status
        assert told in capsys.readouterr().err
        assert list(tmp_path.glob("*v*")) == []
