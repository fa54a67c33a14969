"""Scans of one sample at several distances become one volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tomoservice.cli import run
from tomoservice.errors import EngineError, GeometryError, InputError, MissingDataError, RecipeError
from tomoservice.phantom import default_phantom
from tomoservice.pipeline import Plan, compute, prepare, slabs
from tomoservice.pipeline.memory import MemoryPlan
from tomoservice.prep.registration import image_shift
from tomoservice.prep.resampling import Axis, resample
from tomoservice.propagation import FreeSpace, propagate
from tomoservice.recipe import parse_recipe
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan

ROWS, COLUMNS, ANGLES = 48, 64, 60
SAMPLES = 4
"""Of the wave, per pixel and direction."""
STRENGTH = 0.05
DELTA_BETA = 2.0
ENERGY_KEV = 20.0
BEAM = 40_000
NEAR, FAR = 50.0, 120.0
AXIS = (COLUMNS - 1) / 2
# Where the far scan shows the sample: in quarters of a pixel, down and to the right.
MOVED = (9, -5)


@pytest.fixture(scope="module")
def integrals() -> NDArray[np.float32]:
    """Return line integrals (angle, row, column), sampled finely, with air on all sides."""
    angles = np.arange(ANGLES) * 180 / ANGLES
    phantom = default_phantom(COLUMNS * SAMPLES, ROWS * SAMPLES)
    return np.float32(STRENGTH) * phantom.line_integrals(angles)


def scan_at(
    integrals: NDArray[np.float32],
    distance_mm: float,
    moved: tuple[int, int] = (0, 0),
    *,
    samples: int = SAMPLES,
    noise: float = 0.0,
) -> TomoScan:
    """Return a scan with pixels of so many samples, the sample moved by so many samples."""
    pixel = 1.0 * samples / SAMPLES
    space = FreeSpace(energy_kev=ENERGY_KEV, distance_mm=distance_mm, pixel_size_um=pixel)
    shifted = np.roll(integrals, moved, axis=(1, 2))
    light = propagate(shifted, DELTA_BETA, space, oversampling=samples)
    light = light + noise * np.random.default_rng(int(distance_mm)).standard_normal(light.shape)
    _, rows, columns = light.shape
    return TomoScan(
        projections=ArrayFrames(np.rint(BEAM * light).clip(0, 65535).astype(np.uint16)),
        angles_deg=np.arange(ANGLES) * 180 / ANGLES,
        origin=ScanOrigin("memory", f"scan at {distance_mm:g} mm"),
        flats=ArrayFrames(np.full((5, rows, columns), BEAM, np.uint16)),
        darks=ArrayFrames(np.zeros((5, rows, columns), np.uint16)),
        pixel_size_um=pixel,
        energy_kev=ENERGY_KEV,
        distance_mm=distance_mm,
    )


def recipe(**phase: Any) -> dict[str, Any]:
    material = {"method": "delta_beta", "delta_beta": DELTA_BETA}
    return {
        "rotation_axis": {"method": "value", "value": AXIS},
        "phase": {"method": "ctf_several", "material": material, "scans": [{"scan": "far"}], **phase},
    }


def planned(near: TomoScan, far: TomoScan, stages: dict[str, Any]) -> Plan:
    return prepare(replace(near, companions={"far": far}), parse_recipe(stages))


def volume_of(plan: Plan, scan: TomoScan) -> NDArray[np.float32]:
    volume = np.full(plan.shape, np.nan, np.float32)
    compute(plan, scan, on_slab=lambda s, a: volume.__setitem__(slice(s.start, s.stop), a))
    return volume


def joined(near: TomoScan, far: TomoScan, stages: dict[str, Any]) -> NDArray[np.float32]:
    return volume_of(planned(near, far, stages), near)


def error(volume: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    inside = np.hypot(*np.mgrid[-AXIS : AXIS + 1, -AXIS : AXIS + 1]) < 0.46 * COLUMNS
    return float(np.sqrt(np.mean((volume - truth)[2:-2, inside] ** 2)) / np.ptp(truth))


@pytest.fixture(scope="module")
def near(integrals: NDArray[np.float32]) -> TomoScan:
    return scan_at(integrals, NEAR)


@pytest.fixture(scope="module")
def far(integrals: NDArray[np.float32]) -> TomoScan:
    return scan_at(integrals, FAR)


@pytest.fixture(scope="module")
def without_propagation(integrals: NDArray[np.float32], near: TomoScan) -> NDArray[np.float32]:
    """Return the volume of a scan whose sample only absorbs."""
    pixels = integrals.reshape(ANGLES, ROWS, SAMPLES, COLUMNS, SAMPLES)
    light = np.exp(-pixels).mean(axis=(2, 4))
    scan = replace(near, projections=ArrayFrames(np.rint(BEAM * light).astype(np.uint16)))
    axis = {"rotation_axis": {"method": "value", "value": AXIS}}
    return volume_of(prepare(scan, parse_recipe(axis)), scan)


def test_show_what_is_there_without_propagation(
    near: TomoScan, far: TomoScan, without_propagation: NDArray[np.float32]
) -> None:
    plan = planned(near, far, recipe())
    together = error(volume_of(plan, near), without_propagation)
    nothing = error(joined(near, far, {**recipe(), "phase": {"method": "none"}}), without_propagation)
    assert nothing > 0.08
    assert together < 0.02
    assert any("from distances of 50, 120 mm" in note for note in plan.notes)


def test_tell_more_than_one_distance_under_noise(
    integrals: NDArray[np.float32], without_propagation: NDArray[np.float32]
) -> None:
    noisy = [scan_at(integrals, distance, noise=0.003) for distance in (NEAR, FAR)]
    alone = {key: value for key, value in recipe()["phase"].items() if key != "scans"} | {"method": "ctf"}
    errors = [error(joined(one, one, {**recipe(), "phase": alone}), without_propagation) for one in noisy]
    assert error(joined(*noisy, recipe()), without_propagation) < 0.85 * min(errors)


@pytest.mark.parametrize("binning", [1, 2])
def test_a_scan_that_is_moved_is_found_and_moved_back(
    integrals: NDArray[np.float32], near: TomoScan, far: TomoScan, binning: int
) -> None:
    moved = scan_at(integrals, FAR, MOVED)
    stages = {**recipe(), "frames": {"binning": binning}}
    plan = planned(near, moved, stages)
    shift = plan.resolved.phase.model_dump()["scans"][0]["shift"]
    np.testing.assert_allclose(shift, np.array(MOVED) / SAMPLES, atol=0.06)
    # Pixels that are binned again show less of the same detail.
    allowed = 0.01 * binning
    assert moved_back(volume_of(plan, near), joined(near, far, stages)) < allowed
    given = recipe(scans=[{"scan": "far", "shift": [MOVED[0] / SAMPLES, MOVED[1] / SAMPLES]}])
    right = joined(near, moved, {**given, "frames": {"binning": binning}})
    assert moved_back(right, joined(near, far, stages)) < allowed


def moved_back(volume: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Return how a volume differs where what was moved out at one end has not come in at the other."""
    return float(np.sqrt(np.mean((volume - wanted)[8:-8] ** 2)) / wanted.max())


def test_a_scan_with_smaller_pixels_is_reduced(
    integrals: NDArray[np.float32], near: TomoScan, without_propagation: NDArray[np.float32]
) -> None:
    finer = scan_at(integrals, FAR, MOVED, samples=SAMPLES // 2)
    plan = planned(near, finer, recipe())
    other = plan.resolved.phase.model_dump()["scans"][0]
    assert other["magnification"] == 2
    np.testing.assert_allclose(other["shift"], np.array(MOVED) / (SAMPLES // 2), atol=0.12)
    assert error(volume_of(plan, near), without_propagation) < 0.025


def test_angles_in_another_order_and_more_of_them(
    integrals: NDArray[np.float32], near: TomoScan, far: TomoScan
) -> None:
    order = np.random.default_rng(2).permutation(ANGLES)
    shuffled = replace(
        far, projections=ArrayFrames(far.projections[:][order]), angles_deg=far.angles_deg[order]
    )
    stages = {**recipe(scans=[{"scan": "far", "shift": [0, 0]}]), "frames": {"angles": {"step": 2}}}
    np.testing.assert_array_equal(joined(near, shuffled, stages), joined(near, far, stages))


def test_several_frames_at_each_angle(near: TomoScan, far: TomoScan) -> None:
    random = np.random.default_rng(6)

    def repeated(scan: TomoScan) -> TomoScan:
        angles = np.repeat(scan.angles_deg, 2) + 1e-3 * random.standard_normal(2 * ANGLES)
        return replace(
            scan, projections=ArrayFrames(np.repeat(scan.projections[:], 2, axis=0)), angles_deg=angles
        )

    stages = recipe(scans=[{"scan": "far", "shift": [0, 0]}])
    twice, once = joined(repeated(near), repeated(far), stages), joined(near, far, stages)
    assert np.abs(twice - once).max() < 1e-3 * once.max()


class TestHoweverItIsCut:
    STAGES = ("outliers", {"method": "zingers"}), ("stripes", {"method": "sorting"})

    @pytest.mark.parametrize("rows", [16, 48])
    def test_blocks_and_whole_frames_give_the_same(
        self, integrals: NDArray[np.float32], near: TomoScan, monkeypatch: pytest.MonkeyPatch, rows: int
    ) -> None:
        moved = scan_at(integrals, FAR, MOVED)
        scans = [{"scan": "far", "shift": [2.25, -1.25]}]
        plan = planned(near, moved, {**recipe(scans=scans), **dict(self.STAGES)})
        whole = volume_of(plan, near)
        monkeypatch.setattr(slabs, "plan_memory", lambda *_: MemoryPlan(rows, False, 2**18))
        cut = volume_of(plan, near)
        assert np.abs(cut - whole).max() <= 1e-5 * np.abs(whole).max()

    def test_the_resolved_recipe_gives_the_same_plan(
        self, integrals: NDArray[np.float32], near: TomoScan
    ) -> None:
        moved = scan_at(integrals, FAR, MOVED)
        flats = moved.flats[:].copy() if moved.flats is not None else np.empty(0)
        flats[2] = 0
        moved = replace(moved, flats=ArrayFrames(flats))
        first = planned(near, moved, recipe())
        second = planned(near, moved, first.resolved.dump())
        assert first.resolved.phase.model_dump()["scans"][0]["exclude_flats"] == (2,)
        assert second.resolved.hash == first.resolved.hash
        np.testing.assert_array_equal(volume_of(first, near), volume_of(second, near))


class TestSaysNo:
    def test_to_a_scan_that_is_not_open(self, near: TomoScan) -> None:
        with pytest.raises(InputError, match=r"phase\.scans names 'far', which has not been opened"):
            prepare(near, parse_recipe(recipe()))

    def test_to_other_angles(self, near: TomoScan, far: TomoScan) -> None:
        with pytest.raises(GeometryError, match="has no projection at 0 degrees, the nearest is at 1"):
            planned(near, replace(far, angles_deg=far.angles_deg + 1), recipe())

    def test_to_an_unknown_distance(self, near: TomoScan, far: TomoScan) -> None:
        with pytest.raises(RecipeError, match="the distance of 'far' is needed"):
            planned(near, replace(far, distance_mm=None), recipe())

    def test_to_pixels_that_do_not_compare(self, near: TomoScan, far: TomoScan) -> None:
        with pytest.raises(RecipeError, match=r"'far' has pixels of 9\.0 um, this scan of 1 um"):
            planned(near, replace(far, pixel_size_um=9.0), recipe())

    def test_to_a_scan_without_flats(self, near: TomoScan, far: TomoScan) -> None:
        with pytest.raises(MissingDataError, match="scan at 120 mm: the scan has no flats"):
            planned(near, replace(far, flats=None), recipe())

    def test_to_readings_of_one_monitor(self, near: TomoScan, far: TomoScan) -> None:
        monitor = {"method": "monitor", "values": [1.0] * ANGLES, "flat_value": 1.0}
        flat_field = {"method": "standard", "normalisation": monitor}
        with pytest.raises(RecipeError, match="belong to one scan"):
            planned(near, far, {**recipe(), "flat_field": flat_field})

    def test_to_a_scan_that_is_named_twice(self) -> None:
        with pytest.raises(RecipeError, match="scans names 'far' twice"):
            parse_recipe(recipe(scans=[{"scan": "far"}, {"scan": "far", "distance_mm": 3}]))


def test_a_part_that_the_other_scan_lacks_is_mentioned(near: TomoScan, far: TomoScan) -> None:
    plan = planned(near, far, recipe(scans=[{"scan": "far", "shift": [0, 16]}]))
    assert any("far: shows only 75% of the pixels" in note for note in plan.notes)


def test_from_files_on_the_command_line(near: TomoScan, far: TomoScan, tmp_path: Path) -> None:
    for name, scan in (("near.h5", near), ("far.h5", far)):
        with h5py.File(tmp_path / name, "w") as file:
            file["exchange/data"] = scan.projections[:]
            file["exchange/theta"] = scan.angles_deg
            file["exchange/data_white"] = scan.flats[:] if scan.flats is not None else []
            file["exchange/data_dark"] = scan.darks[:] if scan.darks is not None else []
    stages = recipe(
        scans=[{"scan": "far.h5", "distance_mm": FAR, "shift": [0, 0]}],
        distance_mm=NEAR,
        energy_kev=ENERGY_KEV,
        pixel_size_um=1.0,
    )
    (tmp_path / "recipe.json").write_text(parse_recipe(stages).to_json(), "utf-8")
    arguments = ["reconstruct", str(tmp_path / "near.h5"), "-o", str(tmp_path / "volume.h5")]
    assert run([*arguments, "--recipe", str(tmp_path / "recipe.json")]) == 0
    with h5py.File(tmp_path / "volume.h5") as file:
        volume = file["entry/data/data"][:] if "entry/data/data" in file else None
        files: list[str] = []
        file.visit(files.append)
    assert volume is not None, files
    wanted = joined(near, far, recipe(scans=[{"scan": "far", "shift": [0, 0]}]))
    np.testing.assert_allclose(volume, wanted, atol=1e-6)
    (tmp_path / "far.h5").unlink()
    assert run([*arguments, "--recipe", str(tmp_path / "recipe.json"), "--overwrite"]) == 1


class TestResampling:
    def test_what_is_not_moved_stays_as_it_is(self) -> None:
        frames = np.random.default_rng(0).random((9, 3, 12)).astype(np.float32)
        same = resample(frames, 0, Axis(0, 1, 9), Axis(0, 1, 12), (0, 9, 12))
        np.testing.assert_array_equal(same, frames)
        moved = resample(frames, 0, Axis(2, 1, 9), Axis(-3, 1, 12), (0, 9, 12))
        np.testing.assert_array_equal(moved[:7, :, 3:], frames[2:, :, :9])
        np.testing.assert_array_equal(moved[8], np.roll(moved[6], 0, axis=-1))

    @pytest.mark.parametrize("step", [0.6, 1.0, 1.7])
    def test_a_smooth_picture_is_where_it_belongs(self, step: float) -> None:
        def picture(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
            return 1 + 0.5 * np.sin(rows / 4)[:, None, None] * np.cos(columns / 5)

        frames = picture(np.arange(80.0), np.arange(90.0)).astype(np.float32)
        rows, columns = Axis(11.3, step, 80), Axis(9.6, step, 90)
        result = resample(frames, 0, rows, columns, (0, 30, 30))
        wanted = picture(11.3 + step * np.arange(30), 9.6 + step * np.arange(30))
        assert np.abs(result - wanted).max() < 2e-3
        low, high = rows.needed(10, 20)
        part = resample(frames[low:high], low, rows, columns, (10, 20, 30))
        np.testing.assert_array_equal(part, result[10:20])

    def test_rows_that_are_missing_are_named(self) -> None:
        with pytest.raises(GeometryError, match="need rows 3 to 14"):
            resample(np.zeros((5, 1, 4), np.float32), 5, Axis(6.5, 1, 40), Axis(0, 1, 4), (0, 4, 4))


class TestRegistration:
    @pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -7.0), (-2.4, 5.3)])
    def test_of_a_picture_with_noise(self, shift: tuple[float, float]) -> None:
        random = np.random.default_rng(4)
        spots = random.uniform(15, 65, (40, 2)), random.uniform(0.2, 1, 40)

        def picture(moved: tuple[float, float]) -> NDArray[np.float64]:
            rows, columns = np.mgrid[:80, :90]
            image = np.zeros((80, 90))
            for (row, column), height in zip(*spots, strict=True):
                apart = (rows - row - moved[0]) ** 2 + (columns - column - moved[1]) ** 2
                image += height * np.exp(-apart / 8)
            return image + 0.02 * random.standard_normal(image.shape)

        found = image_shift(picture((0.0, 0.0)), picture(shift))
        np.testing.assert_allclose(found, shift, atol=0.15)

    def test_says_no(self) -> None:
        with pytest.raises(GeometryError, match="cannot be compared"):
            image_shift(np.ones((3, 4)), np.ones((4, 3)))
        with pytest.raises(EngineError, match="nothing is to be seen"):
            image_shift(np.ones((8, 8)), np.ones((8, 8)))
