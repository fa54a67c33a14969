"""Every field of the recipe changes the volume as its help text says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice import axis
from tomoservice.errors import MissingDataError
from tomoservice.pipeline import Plan, Slab, compute, prepare
from tomoservice.provenance import make_record
from tomoservice.recipe import Recipe, parse_recipe
from tomoservice.recon import FilterName, Padding, ReconstructionOptions, get_reconstructor, reconstruct
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan

AXIS = 20.4
# Between the pipeline and a calculation in double precision, and what counts as another volume.
SAME, DIFFERENT = 2e-4, 5e-3


@pytest.fixture(scope="module")
def sample() -> PhantomScan:
    """Return a scan of a sample that is wider than the detector, so that padding matters."""
    whole = phantom_scan(64, 9, 60, rotation_axis=AXIS + 11)
    kept = slice(11, 53)
    return replace(
        whole,
        rotation_axis=AXIS,
        projections=whole.projections[..., kept],
        flats=whole.flats[..., kept],
        darks=whole.darks[..., kept],
    )


@pytest.fixture(scope="module")
def full_turn() -> PhantomScan:
    return phantom_scan(64, 8, 240, rotation_axis=33.3, range_deg=360.0)


def known(**stages: Any) -> Recipe:
    return parse_recipe({"rotation_axis": {"method": "value", "value": AXIS}, **stages})


def volume_of(scan: TomoScan, recipe: Recipe) -> NDArray[np.float32]:
    plan = prepare(scan, recipe)
    volume = np.full(plan.shape, np.nan, np.float32)

    def keep(slab: Slab, slices: NDArray[np.float32]) -> None:
        volume[slab.start : slab.stop] = slices

    compute(plan, scan, on_slab=keep)
    return volume


def transmission(
    sample: PhantomScan,
    flat: NDArray[np.float64] | None = None,
    dark: NDArray[np.float64] | float | None = None,
) -> NDArray[np.float64]:
    flat = sample.flats.mean(axis=0) if flat is None else flat
    dark = sample.darks.mean(axis=0) if dark is None else dark
    return (sample.projections - dark) / (flat - dark)


def expected(
    sample: PhantomScan,
    integrals: NDArray[np.float64] | None = None,
    *,
    method: str = "fourier",
    angles_deg: NDArray[np.float64] | None = None,
    rotation_axis: float = AXIS,
    **options: Any,
) -> NDArray[np.float32]:
    """Call the engine with line integrals (angle, row, column) that the pipeline had no part in."""
    if integrals is None:
        integrals = -np.log(np.maximum(transmission(sample), 1e-4))
    return reconstruct(
        get_reconstructor(method),
        np.ascontiguousarray(integrals.transpose(1, 0, 2), np.float32),
        sample.angles_deg if angles_deg is None else angles_deg,
        rotation_axis,
        ReconstructionOptions(**options),
    )


def distance(volume: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the largest difference as a fraction of the range of `other`."""
    assert volume.shape == other.shape
    return float(np.abs(volume - other).max() / np.ptp(other))


@pytest.mark.parametrize("method", ["fourier", "astra_fbp"])
@pytest.mark.parametrize(
    ("fields", "options", "base"),
    [
        *(({"filter": name.value}, {"filter_name": name}, {}) for name in FilterName if name != "ramp"),
        ({"filter_cutoff": 0.4}, {"filter_cutoff": 0.4}, {}),
        (
            {"filter": "hann", "filter_cutoff": 0.5},
            {"filter_name": FilterName.HANN, "filter_cutoff": 0.5},
            {"filter": "hann"},
        ),
        (
            {"filter": "butterworth", "filter_cutoff": 0.4, "filter_order": 9},
            {"filter_name": FilterName.BUTTERWORTH, "filter_cutoff": 0.4, "butterworth_order": 9},
            {"filter": "butterworth", "filter_cutoff": 0.4},
        ),
        ({"padding": "edge"}, {"padding": Padding.EDGE}, {}),
        ({"circular_mask": False}, {"mask_circle": False}, {}),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value,
)
def test_a_field_of_the_reconstruction_reaches_the_engine(
    sample: PhantomScan, method: str, fields: dict[str, Any], options: dict[str, Any], base: dict[str, Any]
) -> None:
    # The recipe's default order, where a case does not set another.
    wanted = expected(sample, method=method, **{"butterworth_order": 2, **options})
    volume = volume_of(sample.scan(), known(reconstruction={"method": method, **fields}))
    assert distance(volume, wanted) < SAME
    without = volume_of(sample.scan(), known(reconstruction={"method": method, **base}))
    assert distance(without, wanted) > DIFFERENT


def test_the_method_of_reconstruction_is_the_one_that_is_named(sample: PhantomScan) -> None:
    volumes = {name: expected(sample, method=name) for name in ("fourier", "astra_fbp")}
    for name, wanted in volumes.items():
        assert distance(volume_of(sample.scan(), known(reconstruction={"method": name})), wanted) < SAME
    assert distance(volumes["fourier"], volumes["astra_fbp"]) > DIFFERENT


class TestMinusLog:
    def test_minimum_transmission(self, sample: PhantomScan) -> None:
        least = 0.7
        assert transmission(sample).min() < least
        wanted = expected(sample, -np.log(np.maximum(transmission(sample), least)))
        stage = {"method": "standard", "minimum_transmission": least}
        assert distance(volume_of(sample.scan(), known(minus_log=stage)), wanted) < SAME
        assert distance(volume_of(sample.scan(), known()), wanted) > DIFFERENT

    def test_none(self, sample: PhantomScan) -> None:
        wanted = expected(sample, transmission(sample))
        assert distance(volume_of(sample.scan(), known(minus_log={"method": "none"})), wanted) < SAME


class TestFlatField:
    @pytest.mark.parametrize("bad", ["flats", "darks"])
    def test_the_median_withstands_a_bad_frame_and_the_mean_does_not(
        self, sample: PhantomScan, bad: str
    ) -> None:
        frames = getattr(sample, bad).copy()
        frames[3, :, ::2] = 20000
        flawed = replace(sample, **{bad: frames})
        clean = expected(sample)
        for combine in ("mean", "median"):
            reduce = getattr(np, combine)
            flat, dark = reduce(flawed.flats, axis=0), reduce(flawed.darks, axis=0)
            wanted = expected(sample, -np.log(np.maximum(transmission(sample, flat, dark), 1e-4)))
            stage = {"method": "standard", "combine": combine, "bad_frames": "keep"}
            volume = volume_of(flawed.scan(), known(flat_field=stage))
            assert distance(volume, wanted) < SAME
            assert (distance(volume, clean) > DIFFERENT) == (combine == "mean")

    def test_missing_darks(self, sample: PhantomScan) -> None:
        raised = replace(
            sample,
            darks=(sample.darks + 2000).astype(np.uint16),
            flats=(sample.flats + 2000).astype(np.uint16),
            projections=(sample.projections + 2000).astype(np.uint16),
        )
        wanted = expected(raised, -np.log(transmission(raised, dark=0.0)))
        stage = {"method": "standard", "missing_darks": "ignore"}
        assert distance(volume_of(raised.scan(darks=False), known(flat_field=stage)), wanted) < SAME
        assert distance(volume_of(raised.scan(), known(flat_field=stage)), wanted) > DIFFERENT
        strict = known(flat_field={"method": "standard", "missing_darks": "error"})
        with pytest.raises(MissingDataError, match="has no darks"):
            prepare(raised.scan(darks=False), strict)
        prepare(raised.scan(), strict)

    def test_missing_flats(self, sample: PhantomScan) -> None:
        with pytest.raises(MissingDataError, match="has no flats"):
            prepare(sample.scan(flats=False), known(flat_field={"method": "standard"}))
        dim = replace(sample, projections=sample.projections // 2)
        # The brightest that is seen becomes the beam, however bright it is.
        stage = {"method": "standard", "missing_flats": "ignore", "missing_darks": "ignore"}
        volumes = [
            volume_of(one.scan(flats=False, darks=False), known(flat_field=stage)) for one in (sample, dim)
        ]
        assert distance(volumes[0], volumes[1]) < DIFFERENT

    def test_none(self, sample: PhantomScan) -> None:
        scan = TomoScan(
            projections=ArrayFrames(transmission(sample).astype(np.float32)),
            angles_deg=sample.angles_deg,
            origin=ScanOrigin("memory", "transmissions"),
            flats=ArrayFrames(sample.flats),
            darks=ArrayFrames(sample.darks),
        )
        volume = volume_of(scan, known(flat_field={"method": "none"}))
        assert distance(volume, expected(sample)) < SAME


class TestFrames:
    @pytest.mark.parametrize(
        ("angles", "kept"),
        [
            ({"start": 7}, slice(7, None)),
            ({"stop": 41}, slice(0, 41)),
            ({"step": 3}, slice(0, None, 3)),
            ({"start": 7, "stop": 52, "step": 4}, slice(7, 52, 4)),
        ],
    )
    def test_angles(self, sample: PhantomScan, angles: dict[str, int], kept: slice) -> None:
        integrals = -np.log(transmission(sample)[kept])
        wanted = expected(sample, integrals, angles_deg=sample.angles_deg[kept])
        recipe = known(frames={"angles": angles})
        assert distance(volume_of(sample.scan(), recipe), wanted) < SAME
        assert distance(expected(sample), wanted) > DIFFERENT
        plan = prepare(sample.scan(), recipe)
        indices = range(60)[kept]
        assert plan.geometry["projections"] == len(indices)
        assert plan.geometry["first_angle_deg"] == sample.angles_deg[indices[0]]
        assert plan.geometry["last_angle_deg"] == sample.angles_deg[indices[-1]]

    def test_rows(self, sample: PhantomScan) -> None:
        volume = volume_of(sample.scan(), known(frames={"rows": {"start": 2, "stop": 5}}))
        assert distance(volume, expected(sample)[2:5]) < SAME
        assert distance(volume, expected(sample)[3:6]) > DIFFERENT

    def test_columns(self, sample: PhantomScan) -> None:
        kept = slice(5, 38)
        wanted = expected(sample, -np.log(transmission(sample)[..., kept]), rotation_axis=AXIS - 5)
        volume = volume_of(sample.scan(), known(frames={"columns": {"start": 5, "stop": 38}}))
        assert distance(volume, wanted) < SAME

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(binning=st.integers(2, 4), first_row=st.integers(0, 4), first_column=st.integers(0, 9))
    def test_binning_of_a_part(
        self, sample: PhantomScan, binning: int, first_row: int, first_column: int
    ) -> None:
        columns, rows = (42 - first_column) // binning, (9 - first_row) // binning
        kept = transmission(sample)[:, first_row:, first_column:]
        kept = kept[:, : rows * binning, : columns * binning]
        binned = kept.reshape(60, rows, binning, columns, binning).mean(axis=(2, 4))
        # A binned column's centre is the mean of its columns' centres.
        axis_binned = (AXIS - first_column - (binning - 1) / 2) / binning
        wanted = expected(sample, -np.log(binned), rotation_axis=axis_binned)
        frames = {"binning": binning, "columns": {"start": first_column}, "rows": {"start": first_row}}
        assert distance(volume_of(sample.scan(), known(frames=frames)), wanted) < SAME

    def test_slices_are_grouped_by_binned_rows_of_the_detector(self) -> None:
        noisy = phantom_scan(64, 40, 60, rotation_axis=AXIS)
        whole = volume_of(noisy.scan(), known(frames={"binning": 2}))
        part = volume_of(noisy.scan(), known(frames={"binning": 2, "rows": {"start": 6}}))
        assert distance(part, whole[3:]) < SAME
        # The second group is complete in both.
        np.testing.assert_array_equal(part[13:], whole[16:])


def test_units_are_those_of_a_binned_pixel(sample: PhantomScan) -> None:
    scan = sample.scan(pixel_size_um=4.0)
    per_pixel = volume_of(scan, known(frames={"binning": 2}))
    per_cm = volume_of(scan, known(frames={"binning": 2}, output={"units": "per_cm"}))
    np.testing.assert_allclose(per_cm, per_pixel * (1e4 / 8), rtol=1e-5)
    plan = prepare(scan, known(frames={"binning": 2}, output={"units": "per_cm"}))
    assert (plan.units, plan.voxel_size_um) == ("1/cm", 8.0)


class TestRotationAxis:
    def test_value(self, sample: PhantomScan) -> None:
        moved = known(rotation_axis={"method": "value", "value": AXIS + 2})
        volume = volume_of(sample.scan(), moved)
        assert distance(volume, expected(sample, rotation_axis=AXIS + 2)) < SAME
        assert distance(volume, expected(sample)) > DIFFERENT

    @pytest.mark.parametrize("method", ["fourier", "phase_correlation", "auto"])
    @pytest.mark.parametrize(
        "frames",
        [{}, {"columns": {"start": 6}}, {"binning": 2}, {"angles": {"start": 7, "step": 3}}],
        ids=lambda frames: "-".join(frames) or "whole",
    )
    def test_every_method_finds_it_in_the_full_frame(
        self, full_turn: PhantomScan, method: str, frames: dict[str, Any]
    ) -> None:
        recipe = parse_recipe({"rotation_axis": {"method": method}, "frames": frames})
        plan = prepare(full_turn.scan(), recipe)
        assert plan.axis is not None
        assert plan.axis.method == method
        assert abs(plan.rotation_axis - full_turn.rotation_axis) < 0.25

    def test_phase_correlation_registers_the_projections_that_are_kept(self, full_turn: PhantomScan) -> None:
        stage = {"rotation_axis": {"method": "phase_correlation"}}
        for angles in ({"start": 7, "step": 3}, {"start": 31, "stop": 200}, {"step": 2}):
            recipe = parse_recipe({**stage, "frames": {"angles": angles}})
            found = prepare(full_turn.scan(), recipe).axis
            kept = slice(angles.get("start", 0), angles.get("stop"), angles.get("step", 1))
            pair = axis.opposite_pair(full_turn.angles_deg[kept])
            assert pair is not None
            views = -np.log(np.maximum(transmission(full_turn)[kept][list(pair)], 1e-4)).astype(np.float32)
            wanted = axis.phase_correlation(views[0], views[1])
            assert found is not None
            assert found.rotation_axis == pytest.approx(wanted.rotation_axis, abs=0.02)
            assert found.confidence == pytest.approx(wanted.confidence, abs=0.01)
            np.testing.assert_allclose(found.metric, wanted.metric, atol=1e-3)

    @pytest.mark.parametrize("method", ["fourier", "auto"])
    def test_only_the_search_window_is_searched(self, full_turn: PhantomScan, method: str) -> None:
        def found(low: float, high: float) -> axis.AxisResult:
            stage = {"method": method, "search": [low, high]}
            result = prepare(full_turn.scan(), parse_recipe({"rotation_axis": stage})).axis
            assert result is not None
            # The curve covers the window and no more, to within a step.
            assert result.candidates.min() == pytest.approx(low, abs=0.5)
            assert result.candidates.max() == pytest.approx(high, abs=0.5)
            return result

        assert found(30, 37).rotation_axis == pytest.approx(full_turn.rotation_axis, abs=0.25)
        assert 18 <= found(18, 26).rotation_axis <= 26
        assert 40 <= found(40, 46).rotation_axis <= 46


class TestRecord:
    def record(self, scan: TomoScan, stage: dict[str, Any]) -> tuple[Plan, dict[str, Any]]:
        plan = prepare(scan, parse_recipe({"rotation_axis": stage}))
        record = make_record(plan, scan, started=datetime.now(UTC), timings_s={})
        return plan, record["rotation_axis"]

    def test_tells_how_the_axis_was_found_and_how_sure_that_is(self, full_turn: PhantomScan) -> None:
        plan, sure = self.record(full_turn.scan(), {"method": "auto"})
        assert plan.axis is not None
        assert sure["confidence"] == plan.axis.confidence > 0.8
        assert sure["value"] == plan.rotation_axis
        assert (sure["method"], sure["at_window_edge"]) == ("auto", False)
        plan, lost = self.record(full_turn.scan(), {"method": "auto", "search": [35, 44]})
        assert plan.axis is not None
        assert lost["confidence"] == plan.axis.confidence < 0.5
        assert lost["at_window_edge"] is True
        assert lost["note"] == plan.axis.note

    def test_of_a_given_axis_claims_no_confidence(self, full_turn: PhantomScan) -> None:
        _, given = self.record(full_turn.scan(), {"method": "value", "value": 31.5})
        assert given == {"value": 31.5, "method": "value"}
