"""Stages that look at neighbouring rows: the same volume however it is cut."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.errors import MemoryBudgetError, RecipeError
from tomoservice.pipeline import Slab, compute, prepare, slabs
from tomoservice.pipeline.layout import cut_into_slabs
from tomoservice.pipeline.memory import MemoryPlan
from tomoservice.recipe import parse_recipe
from tomoservice.scan import TomoScan

AXIS = 33.3
MARGIN = 1e-5
"""Of the largest value: what a margin may cost."""


@pytest.fixture(scope="module")
def tall() -> PhantomScan:
    return phantom_scan(64, 80, 60, rotation_axis=AXIS)


def experiment(sample: PhantomScan, distance_mm: float) -> TomoScan:
    return replace(sample.scan(pixel_size_um=2.0), energy_kev=20.0, distance_mm=distance_mm)


def recipe(**stages: Any) -> dict[str, Any]:
    return {"rotation_axis": {"method": "value", "value": AXIS}, **stages}


def paganin(delta_beta: float = 100.0) -> dict[str, Any]:
    material = {"method": "delta_beta", "delta_beta": delta_beta}
    return {"method": "paganin", "material": material}


def volume_of(
    scan: TomoScan, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch, rows: int | None = None
) -> NDArray[np.float32]:
    plan = prepare(scan, parse_recipe(stages))
    if rows is not None:
        monkeypatch.setattr(slabs, "plan_memory", lambda *_: MemoryPlan(rows, False, 2**20))
    volume = np.full(plan.shape, np.nan, np.float32)

    def keep(slab: Slab, slices: NDArray[np.float32]) -> None:
        volume[slab.start : slab.stop] = slices

    compute(plan, scan, on_slab=keep)
    monkeypatch.undo()
    return volume


@pytest.fixture(scope="module")
def wholes() -> dict[str, NDArray[np.float32]]:
    """Return volumes that were computed in one piece, by the name of their case."""
    return {}


CASES = {
    "stripes": recipe(stripes={"method": "vo_all"}),
    "stripes and phase": recipe(stripes={"method": "sorting"}, phase=paganin()),
    "zingers": recipe(outliers={"method": "zingers", "dimension": "both", "stuck_pixels": True}),
    "double flat field": recipe(flat_field={"method": "standard", "double_flat_field": 2}),
    "dynamic flat field": recipe(flat_field={"method": "dynamic", "components": 2, "smoothing": 1}),
    "air at the borders": recipe(
        flat_field={"method": "standard", "normalisation": {"method": "border", "columns": 3}}
    ),
    "air in a region": recipe(
        flat_field={
            "method": "standard",
            "normalisation": {"method": "region", "rows": {"stop": 70}, "columns": {"stop": 4}},
        }
    ),
    "rings": recipe(rings={"method": "polar"}),
    "fitting": recipe(stripes={"method": "fitting"}),
    "wavelet": recipe(stripes={"method": "fourier_wavelet"}),
    "generalised Paganin": recipe(phase={**paganin(), "method": "generalised_paganin"}),
    "beam hardening": recipe(beam_hardening={"method": "polynomial", "coefficients": [1.0, 0.1]}),
    "phase": recipe(phase=paganin()),
    "unsharp mask": recipe(phase={**paganin(), "unsharp_amount": 0.5, "unsharp_sigma": 1.5}),
    "contrast transfer": recipe(phase={**paganin(), "method": "ctf"}),
    "every kind of dead stripe": recipe(stripes={"method": "dead"}),
    "large stripes": recipe(stripes={"method": "large"}),
    "filtering": recipe(stripes={"method": "filtering"}),
    "Titarenko": recipe(stripes={"method": "titarenko"}),
    "16 bits": recipe(output={"dtype": "uint16", "range": {"method": "fixed", "low": -0.05, "high": 0.1}}),
    "iterations": recipe(reconstruction={"method": "cgls", "iterations": 3}),
    "phase and binning": recipe(phase=paganin(), frames={"binning": 2}),
    "tilt": {"rotation_axis": {"method": "value", "value": AXIS, "tilt_deg": 2.0}},
    "phase and tilt": {
        "rotation_axis": {"method": "value", "value": AXIS, "tilt_deg": -1.0},
        "phase": paganin(),
    },
}


@pytest.mark.parametrize("stages", CASES.values(), ids=CASES)
@pytest.mark.parametrize("rows", [16, 32])
def test_blocks_of_any_size_give_one_volume(
    tall: PhantomScan, stages: dict[str, Any], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = experiment(tall, 20.0)
    whole = volume_of(scan, stages, monkeypatch)
    parts = volume_of(scan, stages, monkeypatch, rows)
    assert np.isfinite(parts).all()
    if prepare(scan, parse_recipe(stages)).chain.margin == 0:
        np.testing.assert_array_equal(parts, whole)
    assert np.abs(parts - whole).max() <= MARGIN * np.abs(whole).max()
    plain = volume_of(scan, {k: v for k, v in stages.items() if k != "phase"}, monkeypatch)
    if "phase" in stages:
        assert np.abs(plain - whole).max() > 0.01 * whole.max()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(CASES)),
    rows=st.integers(16, 90),
    ahead=st.booleans(),
    wanted=st.sets(st.integers(0, 4), min_size=1),
)
def test_any_slabs_from_any_blocks_are_those_of_the_volume(
    tall: PhantomScan,
    wholes: dict[str, NDArray[np.float32]],
    name: str,
    rows: int,
    ahead: bool,
    wanted: set[int],
) -> None:
    scan = experiment(tall, 20.0)
    plan = prepare(scan, parse_recipe(CASES[name]))
    depth = 16
    shallow = replace(plan, chunks=(depth, *plan.chunks[1:]), slabs=cut_into_slabs(plan.shape[0], depth))
    if name not in wholes:
        with pytest.MonkeyPatch.context() as patch:
            wholes[name] = volume_of(scan, CASES[name], patch)
    chosen = [slab for slab in shallow.slabs if slab.index in wanted]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "plan_memory", lambda *_: MemoryPlan(rows, ahead, 2**18))
        found: dict[int, NDArray[np.float32]] = {}
        compute(shallow, scan, slabs=chosen, on_slab=lambda s, a: found.__setitem__(s.index, a.copy()))
    assert sorted(found) == [slab.index for slab in chosen]
    for slab in chosen:
        expected = wholes[name][slab.start : slab.stop]
        assert np.abs(found[slab.index] - expected).max() <= MARGIN * np.abs(wholes[name]).max()


@pytest.mark.parametrize("stages", CASES.values(), ids=CASES)
def test_selected_rows_are_those_of_the_whole(
    tall: PhantomScan, stages: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = experiment(tall, 20.0)
    binning = stages.get("frames", {}).get("binning", 1)
    whole = volume_of(scan, stages, monkeypatch)
    frames = {**stages.get("frames", {}), "rows": {"start": 32, "stop": 64}}
    part = volume_of(scan, {**stages, "frames": frames}, monkeypatch)
    expected = whole[32 // binning : 64 // binning]
    assert np.abs(part - expected).max() <= 2 * MARGIN * np.abs(whole).max()


def test_a_phase_that_reaches_too_far_for_slabs_is_retrieved_on_whole_projections(
    tall: PhantomScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = experiment(tall, 500.0)
    stages = recipe(phase=paganin(1000.0))
    assert prepare(scan, parse_recipe(stages)).problem.margin > 40
    whole = volume_of(scan, stages, monkeypatch)
    used = []
    original = slabs.Preprocessor.whole_frames
    monkeypatch.setattr(
        slabs.Preprocessor, "whole_frames", lambda *a, **k: (used.append(1), original(*a, **k))[1]
    )
    narrow = prepare(scan, parse_recipe(stages))

    def refuse(_reconstructor: Any, problem: Any, _budget: int) -> MemoryPlan:
        if problem.margin:
            raise MemoryBudgetError("too wide")
        return MemoryPlan(16, True, 2**20)

    monkeypatch.setattr(slabs, "plan_memory", refuse)
    volume = np.full(narrow.shape, np.nan, np.float32)
    compute(narrow, scan, on_slab=lambda s, a: volume.__setitem__(slice(s.start, s.stop), a))
    assert used
    assert np.abs(volume - whole).max() <= MARGIN * np.abs(whole).max()


class TestSaysNo:
    def test_to_a_phase_without_the_experiment(self, tall: PhantomScan) -> None:
        with pytest.raises(RecipeError, match=r"phase\.energy_kev.*phase\.distance_mm.*phase\.pixel_size_um"):
            prepare(tall.scan(), parse_recipe(recipe(phase=paganin())))

    def test_to_a_blur_wider_than_the_detector(self, tall: PhantomScan) -> None:
        # Half a metre, given in micrometres.
        with pytest.raises(
            RecipeError, match=r"500000 mm.* averages over \d+ pixels, but the detector has only 80"
        ):
            prepare(experiment(tall, 500_000.0), parse_recipe(recipe(phase=paganin())))

    def test_to_a_phase_of_line_integrals(self, tall: PhantomScan) -> None:
        with pytest.raises(RecipeError, match=r"phase: wants transmissions, but minus_log\.method 'none'"):
            prepare(
                experiment(tall, 20.0), parse_recipe(recipe(phase=paganin(), minus_log={"method": "none"}))
            )


def test_what_the_scan_tells_stands_in_the_resolved_recipe(tall: PhantomScan) -> None:
    stage = {**paganin(), "energy_kev": 25.0}
    resolved = prepare(experiment(tall, 20.0), parse_recipe(recipe(phase=stage))).resolved.phase.model_dump()
    assert [resolved[k] for k in ("energy_kev", "distance_mm", "pixel_size_um")] == [25.0, 20.0, 2.0]
