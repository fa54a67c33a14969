"""The beam of a scan, as the recipe describes it, against a calculation that the pipeline had no part in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.errors import EngineError, InputError, RecipeError
from tomoservice.phantom import Imperfections
from tomoservice.pipeline import compute, prepare
from tomoservice.recipe import parse_recipe
from tomoservice.scan import ArrayFrames, ImageKey, TomoScan

AXIS = 33.3
SAME = 2e-4


@pytest.fixture(scope="module")
def sample() -> PhantomScan:
    return phantom_scan(64, 12, 60, rotation_axis=AXIS)


def volume_of(scan: TomoScan, flat_field: dict[str, Any], **stages: Any) -> NDArray[np.float32]:
    plan = prepare(scan, parse_recipe({**KNOWN, "flat_field": flat_field, **stages}))
    volume = np.full(plan.shape, np.nan, np.float32)
    compute(plan, scan, on_slab=lambda s, a: volume.__setitem__(slice(s.start, s.stop), a))
    return volume


def distance(volume: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(np.abs(volume - other).max() / np.ptp(other))


def dimmed(sample: PhantomScan, factors: NDArray[np.float64]) -> PhantomScan:
    dark = sample.darks.mean(axis=0)
    light = (sample.projections - dark) * factors[:, None, None] + dark
    return replace(sample, projections=np.rint(light).astype(np.uint16))


STANDARD = {"method": "standard"}
KNOWN = {"rotation_axis": {"method": "value", "value": AXIS}}


class TestBadFrames:
    def test_are_left_out_with_a_note(self, sample: PhantomScan) -> None:
        flats, darks = sample.flats.copy(), sample.darks.copy()
        flats[3], darks[7] = sample.darks[0], sample.flats[0]
        flawed = replace(sample, flats=flats, darks=darks)
        notes = prepare(flawed.scan(), parse_recipe(KNOWN)).notes
        assert any(note.startswith("flat 3 ") and note.endswith(": left out") for note in notes)
        assert any(note.startswith("dark 7 ") and note.endswith(": left out") for note in notes)
        clean = volume_of(sample.scan(), STANDARD)
        assert distance(volume_of(flawed.scan(), STANDARD), clean) < SAME
        assert distance(volume_of(flawed.scan(), {**STANDARD, "bad_frames": "keep"}), clean) > 0.01


class TestFlatsOverTime:
    """A beam that loses 20 % during the scan, with flats before and after it."""

    @pytest.fixture(scope="class")
    @classmethod
    def fading(cls, sample: PhantomScan) -> PhantomScan:
        # Flats have places 0 to 4 and 65 to 69 among all frames, projections 5 to 64.
        place = np.arange(5, 65)
        factors = 1 - 0.2 * (place - 2) / 65
        dark = sample.darks.mean(axis=0)
        after = np.rint((sample.flats[5:] - dark) * 0.8 + dark).astype(np.uint16)
        return replace(dimmed(sample, factors), flats=np.concatenate([sample.flats[:5], after]))

    def scan(self, fading: PhantomScan) -> TomoScan:
        kinds = [ImageKey.FLAT] * 5 + [ImageKey.PROJECTION] * 60 + [ImageKey.FLAT] * 5 + [ImageKey.DARK] * 10
        return replace(fading.scan(), image_keys=np.array(kinds, np.int8))

    def test_are_interpolated_where_the_scan_tells_the_order(
        self, sample: PhantomScan, fading: PhantomScan
    ) -> None:
        steady = volume_of(sample.scan(), STANDARD)
        stage = {**STANDARD, "bad_frames": "keep"}
        assert distance(volume_of(self.scan(fading), stage), steady) > 0.01
        linear = volume_of(self.scan(fading), {**stage, "interpolation": "linear"})
        assert distance(linear, steady) < 1e-3

    def test_or_the_recipe(self, fading: PhantomScan) -> None:
        stage = {**STANDARD, "bad_frames": "keep", "interpolation": "linear"}
        told = volume_of(self.scan(fading), stage)
        given = volume_of(fading.scan(), {**stage, "flat_positions": [-3, 62]})
        assert distance(given, told) < SAME

    def test_need_either(self, fading: PhantomScan) -> None:
        stage = {**STANDARD, "interpolation": "nearest"}
        with pytest.raises(
            RecipeError, match=r"flat_field\.flat_positions: is needed for interpolation 'near"
        ):
            volume_of(fading.scan(), stage)


class TestBrightness:
    @pytest.fixture(scope="class")
    @classmethod
    def factors(cls) -> NDArray[np.float64]:
        return np.random.default_rng(4).uniform(0.7, 1.0, 60)

    def test_by_a_region_of_air(self, sample: PhantomScan, factors: NDArray[np.float64]) -> None:
        steady = volume_of(sample.scan(), STANDARD)
        flicker = dimmed(sample, factors).scan()
        assert distance(volume_of(flicker, STANDARD), steady) > 0.02
        region = {"method": "region", "rows": {"start": 0, "stop": 12}, "columns": {"start": 62, "stop": 64}}
        assert distance(volume_of(flicker, {**STANDARD, "normalisation": region}), steady) < 2e-3

    def test_by_a_monitor(self, sample: PhantomScan, factors: NDArray[np.float64]) -> None:
        steady = volume_of(sample.scan(), STANDARD)
        flicker = dimmed(sample, factors).scan()
        monitor = {"method": "monitor", "values": (5 * factors).tolist(), "flat_value": 5.0}
        angles = {"frames": {"angles": {"start": 3, "step": 2}}}
        half = volume_of(sample.scan(), STANDARD, **angles)
        assert distance(volume_of(flicker, {**STANDARD, "normalisation": monitor}), steady) < 2e-3
        assert distance(volume_of(flicker, {**STANDARD, "normalisation": monitor}, **angles), half) < 2e-3

    def test_by_what_the_scan_recorded_of_a_monitor(
        self, sample: PhantomScan, factors: NDArray[np.float64]
    ) -> None:
        steady, flicker = volume_of(sample.scan(), STANDARD), dimmed(sample, factors).scan()
        # Flat 1 was taken with the shutter closed, and is left out; so is its reading.
        flats, at_flats = sample.flats.copy(), np.full(len(sample.flats), 5.0)
        flats[1], at_flats[1] = sample.darks[0], 0.1
        recorded = replace(flicker, flats=ArrayFrames(flats), monitor=5 * factors, flat_monitor=at_flats)
        by_monitor = {**STANDARD, "normalisation": {"method": "monitor"}}
        assert distance(volume_of(recorded, by_monitor), steady) < 2e-3
        every_other = {"frames": {"angles": {"start": 3, "step": 2}}}
        half = volume_of(sample.scan(), STANDARD, **every_other)
        assert distance(volume_of(recorded, by_monitor, **every_other), half) < 2e-3
        notes = prepare(recorded, parse_recipe({"flat_field": by_monitor, **KNOWN})).notes
        low, high = 100 * factors.min(), 100 * factors.max()
        said = f"the beam monitor read {low:.1f} to {high:.1f} % of what it read at the flats"
        assert said in notes

    def test_by_a_monitor_beside_flats_over_time(
        self, sample: PhantomScan, factors: NDArray[np.float64]
    ) -> None:
        """Flats before and after in a beam that has become weaker, all of it told by the monitor."""
        steady = volume_of(sample.scan(), STANDARD)
        count, dark = len(sample.flats), sample.darks.mean(axis=0)
        weaker = np.repeat([1.0, 0.8], [count // 2, count - count // 2])
        flats = np.rint((sample.flats - dark) * weaker[:, None, None] + dark).astype(np.uint16)
        keys = np.repeat([1, 0, 1], [count // 2, 60, count - count // 2]).astype(np.int8)
        recorded = replace(
            dimmed(sample, factors).scan(),
            flats=ArrayFrames(flats),
            image_keys=keys,
            monitor=7 * factors,
            flat_monitor=7 * weaker,
        )
        by_monitor = {**STANDARD, "interpolation": "linear", "normalisation": {"method": "monitor"}}
        assert distance(volume_of(recorded, by_monitor), steady) < 2e-3

    def test_says_what_a_scan_does_not_tell_of_its_monitor(self, sample: PhantomScan) -> None:
        scan = sample.scan()
        by_monitor = {**STANDARD, "normalisation": {"method": "monitor"}}
        with pytest.raises(
            RecipeError, match=r"normalisation\.values: are needed: the scan holds no readings"
        ):
            volume_of(scan, by_monitor)
        told = replace(scan, monitor=np.ones(60))
        with pytest.raises(RecipeError, match=r"normalisation\.flat_value: is needed: the scan holds no"):
            volume_of(told, by_monitor)
        given = {**STANDARD, "normalisation": {"method": "monitor", "flat_value": 1.0}}
        assert distance(volume_of(told, given), volume_of(scan, STANDARD)) < 1e-6
        dead = np.ones(60)
        dead[[7, 9]] = 0.0, np.nan
        with pytest.raises(EngineError, match=r"the monitor reads 0\.0 at projection 7 \(2 such\)"):
            volume_of(replace(scan, monitor=dead), given)
        with pytest.raises(RecipeError, match="flat_value must be given with values"):
            volume_of(scan, {**STANDARD, "normalisation": {"method": "monitor", "values": [1.0] * 60}})
        with pytest.raises(
            InputError, match=r"60 projections but readings of the beam monitor of shape \(59,\)"
        ):
            replace(scan, monitor=np.ones(59))

    def test_by_the_borders(self, sample: PhantomScan, factors: NDArray[np.float64]) -> None:
        steady = volume_of(sample.scan(), STANDARD)
        flicker = dimmed(sample, factors).scan()
        border = {"method": "border", "columns": 2}
        assert distance(volume_of(flicker, {**STANDARD, "normalisation": border}), steady) < 2e-3

    def test_says_no_to_what_does_not_fit(self, sample: PhantomScan) -> None:
        monitor = {"method": "monitor", "values": [1.0, 2.0], "flat_value": 5.0}
        with pytest.raises(RecipeError, match=r"normalisation\.values: got 2 readings, but the scan has 60"):
            volume_of(sample.scan(), {**STANDARD, "normalisation": monitor})
        region = {"method": "region", "rows": {"start": 0, "stop": 13}, "columns": {"start": 0, "stop": 2}}
        with pytest.raises(
            RecipeError, match=r"normalisation\.rows: got 0 to 13, but the detector has 12 rows"
        ):
            volume_of(sample.scan(), {**STANDARD, "normalisation": region})


def test_a_dynamic_flat_field_follows_a_beam_that_moves() -> None:
    sample = phantom_scan(96, 48, 60, rotation_axis=47.5, imperfections=Imperfections(noise=0.003))
    rows, columns = np.mgrid[:48, :96]

    def beam(shift: float) -> NDArray[np.float64]:
        return 0.75 + 0.2 * np.sin((rows + shift) / 3.0) * np.cos(columns / 7)

    random = np.random.default_rng(5)
    dark = sample.darks.mean(axis=0)
    flats = [(sample.flats[i % 10] - dark) * beam(random.normal(0, 3)) + dark for i in range(25)]
    moved = np.array([beam(random.normal(0, 3)) for _ in range(60)])
    light = (sample.projections - dark) * moved + dark
    scan = replace(
        sample, flats=np.rint(flats).astype(np.uint16), projections=np.rint(light).astype(np.uint16)
    ).scan()
    axis = {"rotation_axis": {"method": "value", "value": 47.5}}
    clean = volume_of(sample.scan(), STANDARD, **axis)

    def error(flat_field: dict[str, Any], **stages: Any) -> float:
        volume = volume_of(scan, {"bad_frames": "keep", **flat_field}, **axis, **stages)
        return float(np.sqrt(np.mean((volume - clean) ** 2)))

    assert error({"method": "dynamic"}) < 0.4 * error(STANDARD)
    # The components are smoothed across rows: a part has to be as the whole.
    whole = volume_of(scan, {"method": "dynamic", "bad_frames": "keep"}, **axis)
    frames = {"rows": {"start": 16, "stop": 32}}
    part = volume_of(scan, {"method": "dynamic", "bad_frames": "keep"}, **axis, frames=frames)
    assert distance(part, whole[16:32]) < 1e-5


def test_a_double_flat_field_takes_away_what_stands_still() -> None:
    sample = phantom_scan(128, 8, 180, rotation_axis=AXIS + 30)
    stripes = 1 - 0.1 * np.random.default_rng(6).random((8, 128))
    dirty = replace(
        sample, projections=np.rint(np.clip(sample.projections * stripes, 0, 65535)).astype(np.uint16)
    )
    axis = {"rotation_axis": {"method": "value", "value": AXIS + 30}}
    clean = volume_of(sample.scan(), STANDARD, **axis)

    def error(flat_field: dict[str, Any]) -> float:
        return float(np.sqrt(np.mean((volume_of(dirty.scan(), flat_field, **axis) - clean) ** 2)))

    assert error({**STANDARD, "double_flat_field": 2.0}) < 0.5 * error(STANDARD)


@pytest.mark.parametrize("dimension", ["frame", "angle", "both"])
def test_zingers_are_removed(sample: PhantomScan, dimension: str) -> None:
    random = np.random.default_rng(7)
    struck = sample.projections.copy()
    struck[random.integers(0, 60, 300), random.integers(0, 12, 300), random.integers(0, 64, 300)] = 65535
    flawed = replace(sample, projections=struck).scan()
    clean = volume_of(sample.scan(), STANDARD)

    def error(**stages: Any) -> float:
        return float(np.sqrt(np.mean((volume_of(flawed, STANDARD, **stages) - clean) ** 2)))

    assert error(outliers={"method": "zingers", "dimension": dimension}) < 0.4 * error()
