"""The form of the volume: its type, its part of the slice, its width."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.cli import run
from tomoservice.errors import GeometryError, RecipeError
from tomoservice.pipeline import Plan, Slab, compute, prepare
from tomoservice.recipe import parse_recipe
from tomoservice.scan import TomoScan

AXIS = 33.3


@pytest.fixture(scope="module")
def sample() -> PhantomScan:
    return phantom_scan(64, 21, 90, rotation_axis=AXIS)


def recipe(**stages: Any) -> dict[str, Any]:
    return {"rotation_axis": {"method": "value", "value": AXIS}, **stages}


def volume_of(scan: TomoScan, stages: dict[str, Any], **options: Any) -> tuple[Plan, NDArray[Any]]:
    plan = prepare(scan, parse_recipe(stages))
    volume = np.zeros(plan.shape, plan.dtype)

    def keep(slab: Slab, slices: NDArray[Any]) -> None:
        assert slices.dtype == plan.dtype
        volume[slab.start : slab.stop] = slices

    compute(plan, scan, on_slab=keep, **options)
    return plan, volume


class TestWholeNumbers:
    @pytest.mark.parametrize(("dtype", "levels"), [("uint16", 65535), ("uint8", 255)])
    def test_stand_for_the_grey_values(self, sample: PhantomScan, dtype: str, levels: int) -> None:
        _, grey = volume_of(sample.scan(), recipe())
        plan, numbers = volume_of(sample.scan(), recipe(output={"dtype": dtype}))
        restored = numbers * plan.scaling["slope"] + plan.scaling["offset"]
        low, high = plan.scaling["offset"], plan.scaling["offset"] + levels * plan.scaling["slope"]
        assert np.abs(restored - np.clip(grey, low, high)).max() <= 0.51 * plan.scaling["slope"]
        # The range covers nearly everything, and not much more.
        assert low <= np.percentile(grey, 1)
        assert high >= np.percentile(grey, 99)
        assert high - low < 1.5 * np.ptp(grey)

    def test_a_resolved_recipe_gives_the_same_numbers(self, sample: PhantomScan) -> None:
        stages = recipe(output={"dtype": "uint8", "range": {"method": "percentile", "low": 1, "high": 99}})
        plan, numbers = volume_of(sample.scan(), stages)
        assert plan.resolved.output.range.method == "fixed"
        again = prepare(sample.scan(), plan.resolved)
        repeated = np.zeros(again.shape, again.dtype)
        compute(again, sample.scan(), on_slab=lambda s, a: repeated.__setitem__(slice(s.start, s.stop), a))
        np.testing.assert_array_equal(repeated, numbers)

    def test_of_a_given_range_are_the_same_for_every_scan(self, sample: PhantomScan) -> None:
        fixed = {"method": "fixed", "low": -0.01, "high": 0.1}
        plan, _ = volume_of(sample.scan(), recipe(output={"dtype": "uint16", "range": fixed}))
        assert plan.scaling == {"slope": pytest.approx(0.11 / 65535), "offset": -0.01}

    @pytest.mark.parametrize("ending", [".h5", ".zarr", ".tiff"])
    def test_are_written_with_their_slope_and_offset(
        self, sample: PhantomScan, tmp_path: Path, ending: str
    ) -> None:
        scan = sample.write_dxchange(tmp_path / "scan.h5")
        (tmp_path / "r.yml").write_text(
            "rotation_axis: {method: value, value: 33.3}\noutput: {dtype: uint16}\n"
        )
        out = tmp_path / f"volume{ending}"
        assert run(["reconstruct", str(scan), "-o", str(out), "--recipe", str(tmp_path / "r.yml")]) == 0
        if ending == ".h5":
            with h5py.File(out) as file:
                data = file["entry/data/data"]
                numbers, scaling = data[()], dict(data.attrs)
        elif ending == ".zarr":
            array = zarr.open_array(out, mode="r")
            numbers, scaling = array[:], dict(array.attrs)
        else:
            with tifffile.TiffFile(out / "slice_00000.tiff") as file:
                scaling = file.shaped_metadata[0]
            numbers = np.stack([tifffile.imread(path) for path in sorted(out.glob("*.tiff"))])
        assert numbers.dtype == np.uint16
        _, grey = volume_of(sample.scan(), recipe())
        restored = numbers * scaling["scale_factor"] + scaling["add_offset"]
        assert np.abs(restored - grey).mean() < 1e-3 * np.ptp(grey)


class TestCrop:
    CROP: ClassVar = {"rows": {"start": 5, "stop": 40}, "columns": {"start": 12}}

    @pytest.mark.parametrize("memory", [None, 10 * 2**20])
    def test_is_a_part_of_every_slice(self, sample: PhantomScan, memory: int | None) -> None:
        _, whole = volume_of(sample.scan(), recipe())
        plan, part = volume_of(sample.scan(), recipe(output={"crop": self.CROP}), memory_bytes=memory)
        assert plan.shape == (21, 35, 52)
        np.testing.assert_array_equal(part, whole[:, 5:40, 12:])
        assert plan.geometry["axis_pixel"] == [31.5 - 5, 31.5 - 12]

    def test_keeps_positions_in_files(self, sample: PhantomScan, tmp_path: Path) -> None:
        scan = sample.write_dxchange(tmp_path / "scan.h5")
        text = "rotation_axis: {method: value, value: 33.3}\noutput: {crop: {rows: {start: 5}}}\n"
        (tmp_path / "r.yml").write_text(text)
        out = tmp_path / "volume.h5"
        assert run(["reconstruct", str(scan), "-o", str(out), "--recipe", str(tmp_path / "r.yml")]) == 0
        with h5py.File(out) as file:
            assert file["entry/data/y"][0] == 31.5 - 5
            assert file["entry/data/x"][0] == -31.5

    def test_of_more_than_there_is_is_refused(self, sample: PhantomScan) -> None:
        wish = recipe(output={"crop": {"columns": {"start": 10, "stop": 65}}})
        with pytest.raises(
            RecipeError, match=r"output\.crop\.columns: got 10 to 65, but a slice has 64 columns"
        ):
            prepare(sample.scan(), parse_recipe(wish))


@pytest.fixture(scope="module", params=["left", "right"])
def offset(request: pytest.FixtureRequest) -> PhantomScan:
    # The sample is 128 columns wide; the detector 80.
    whole = phantom_scan(128, [30, 40], 360, rotation_axis=63.5, range_deg=360.0)
    kept = slice(48, 128) if request.param == "left" else slice(0, 80)
    return PhantomScan(
        whole.phantom,
        whole.rows,
        63.5 - kept.start,
        whole.angles_deg,
        whole.projections[..., kept],
        whole.flats[..., kept],
        whole.darks[..., kept],
    )


class TestHalfAcquisition:
    """A detector that sees little more than half of the sample, and a whole turn."""

    @pytest.mark.parametrize("method", ["fourier", "finufft", "astra_fbp"])
    def test_shows_the_whole_sample(self, offset: PhantomScan, method: str) -> None:
        axis = {"method": "value", "value": offset.rotation_axis}
        plan, volume = volume_of(offset.scan(), {"rotation_axis": axis, "reconstruction": {"method": method}})
        assert plan.resolved.reconstruction.half_acquisition == "on"
        assert plan.shape == (2, 128, 128)
        inside = np.hypot(*np.mgrid[-63.5:64, -63.5:64]) < 60
        error = np.sqrt(np.mean((volume - offset.truth)[:, inside] ** 2))
        assert error < 0.04 * offset.truth.max()

    def test_can_be_turned_off(self, offset: PhantomScan) -> None:
        axis = {"method": "value", "value": offset.rotation_axis}
        off = {"method": "fourier", "half_acquisition": "off"}
        plan = prepare(offset.scan(), parse_recipe({"rotation_axis": axis, "reconstruction": off}))
        assert plan.shape == (2, 80, 80)

    def test_needs_a_whole_turn(self, sample: PhantomScan) -> None:
        on = {"method": "fourier", "half_acquisition": "on"}
        with pytest.raises(GeometryError, match="360 degrees"):
            prepare(sample.scan(), parse_recipe(recipe(reconstruction=on)))

    def test_is_off_by_itself_where_the_axis_is_in_the_middle(self) -> None:
        turn = phantom_scan(64, 2, 120, rotation_axis=32.0, range_deg=360.0)
        plan = prepare(turn.scan(), parse_recipe({"rotation_axis": {"method": "value", "value": 32.0}}))
        assert plan.resolved.reconstruction.half_acquisition == "off"
