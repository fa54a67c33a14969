"""A resolved recipe gives the plan that it came from, so that any worker can go on with a reconstruction."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.phantom import Imperfections
from tomoservice.pipeline import Plan, prepare
from tomoservice.pipeline.beam import Beam
from tomoservice.pipeline.prepare import Known
from tomoservice.prep.flat_components import FlatComponents
from tomoservice.recipe import parse_recipe
from tomoservice.scan import TomoScan

COLUMNS, ROWS = 48, 20
SEARCHES = {"finding the rotation axis", "choosing the range of grey values"}
# What a plan tells of how it came about, and what it was asked for.
ACCOUNT = {(Plan, "recipe"), (Plan, "axis"), (Plan, "notes"), (Beam, "recipe"), (Beam, "references")}
ACCOUNT |= {(FlatComponents, "options")}


def experiment(sample: PhantomScan, **change: Any) -> TomoScan:
    told = {"pixel_size_um": 2.0, "energy_kev": 20.0, "distance_mm": 5.0}
    return replace(sample.scan(), **told, **change)


def imperfect() -> TomoScan:
    """Return a scan that lost two projections, with flats and darks of which some are none."""
    sample = phantom_scan(
        COLUMNS, ROWS, 60, rotation_axis=24.4, imperfections=Imperfections(noise=0.01, stripes=0.03)
    )
    projections, flats, darks = sample.projections.copy(), sample.flats.copy(), sample.darks.copy()
    projections[[7, 31]] = 0
    flats[3], darks[4] = sample.darks[0], sample.flats[0]
    return experiment(replace(sample, projections=projections, flats=flats, darks=darks))


@pytest.fixture(scope="module")
def scans() -> dict[str, TomoScan]:
    """Return scans, by what is special about them."""
    plain = phantom_scan(COLUMNS, ROWS, 60, rotation_axis=24.4, imperfections=Imperfections(noise=0.01))
    offset = phantom_scan(COLUMNS, ROWS, 90, rotation_axis=36.2, range_deg=360.0, sample_columns=56)
    return {
        "plain": experiment(plain),
        "imperfect": imperfect(),
        "offset": experiment(offset),
        "without flats": experiment(plain, flats=None, darks=None),
    }


def one_of(*choices: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(choices)


AXES = one_of(
    {"method": "auto"},
    {"method": "fourier", "search": [18, 40]},
    {"method": "auto", "tilt": True},
    {"method": "value", "value": 24.3},
    {"method": "value", "value": 24.1, "tilt_deg": 0.3},
)
FRAMES = one_of(
    {},
    {"binning": 2},
    {"rows": {"start": 3, "stop": 17}, "columns": {"start": 2}},
    {"angles": {"stop": 58}, "exclude": [12, 3]},
)
FLAT_FIELDS = one_of(
    {"method": "standard"},
    {"method": "standard", "combine": "median", "exclude_flats": [1], "bad_pixels": "keep"},
    {"method": "standard", "interpolation": "linear", "flat_positions": [0, 60], "bad_frames": "keep"},
    {"method": "standard", "normalisation": {"method": "border", "columns": 2}, "double_flat_field": 3.0},
    {
        "method": "standard",
        "normalisation": {"method": "region", "rows": {"stop": 9}, "columns": {"start": 0, "stop": 2}},
    },
    {"method": "dynamic", "downsampling": 2},
)
PHASES = one_of(
    {"method": "none"},
    {"method": "paganin", "material": {"method": "compound", "formula": "SiO2", "density_g_cm3": 2.2}},
    {"method": "ctf", "material": {"method": "tomopy_alpha", "alpha": 1e-3}, "energy_kev": 25.0},
)
RECONSTRUCTIONS = one_of(
    {"method": "fourier"},
    {"method": "finufft", "half_acquisition": "off", "circular_mask": False},
    {"method": "cgls", "iterations": 2},
)
OUTPUTS = one_of(
    {},
    {"units": "per_cm", "crop": {"rows": {"start": 3}}},
    {"dtype": "uint16"},
    {"dtype": "uint8", "range": {"method": "percentile", "low": 1, "high": 98}},
)
RECIPES = st.fixed_dictionaries(
    {
        "frames": FRAMES,
        "flat_field": FLAT_FIELDS,
        "outliers": one_of({"method": "none"}, {"method": "zingers"}),
        "stripes": one_of({"method": "none"}, {"method": "sorting"}),
        "phase": PHASES,
        "rotation_axis": AXES,
        "reconstruction": RECONSTRUCTIONS,
        "rings": one_of({"method": "none"}, {"method": "polar"}),
        "output": OUTPUTS,
    }
)


def assert_same(one: object, other: object, where: str = "plan") -> None:
    """Compare values that may hold arrays."""
    assert type(one) is type(other), where
    if isinstance(one, np.ndarray):
        np.testing.assert_array_equal(one, other, err_msg=where)
    elif isinstance(one, tuple):
        assert isinstance(other, tuple)
        assert len(one) == len(other), where
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{number}]")
    elif hasattr(one, "__dataclass_fields__") and not isinstance(one, TomoScan):
        for field in fields(one):
            if (type(one), field.name) not in ACCOUNT:
                assert_same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    else:
        assert one == other, where


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["plain", "imperfect", "offset", "without flats"]),
    stages=RECIPES,
    again=st.booleans(),
)
def test_a_resolved_recipe_gives_the_same_plan_and_searches_nothing(
    scans: dict[str, TomoScan], kind: str, stages: dict[str, Any], again: bool
) -> None:
    scan = scans[kind]
    if kind == "without flats":
        stages = {**stages, "flat_field": {"method": "standard", "missing_flats": "ignore"}}
    first = prepare(scan, parse_recipe(stages))
    # As a worker finds it in the catalogue.
    stored = parse_recipe(first.resolved.dump())
    told: list[str] = []
    second = prepare(scan, stored, progress=told.append, known=Known(checked=again))
    assert not SEARCHES & set(told)
    assert second.resolved.hash == stored.hash == first.resolved.hash
    assert_same(first, second)
    np.testing.assert_array_equal(second.beam.references.flats, first.beam.references.flats)
    np.testing.assert_array_equal(second.beam.references.darks, first.beam.references.darks)
    assert second.geometry == first.geometry
    assert second.scaling == first.scaling


def test_what_was_found_out_stands_in_the_resolved_recipe(scans: dict[str, TomoScan]) -> None:
    known = {"rotation_axis": {"method": "value", "value": 24.4}}
    resolved = prepare(scans["imperfect"], parse_recipe(known)).resolved
    assert resolved.frames.exclude == (7, 31)
    flat_field = resolved.flat_field.model_dump()
    assert (flat_field["exclude_flats"], flat_field["exclude_darks"]) == ((3,), (4,))
    assert flat_field["bad_frames"] == "keep"
    without = {**known, "flat_field": {"method": "standard", "missing_flats": "ignore"}}
    resolved = prepare(scans["without flats"], parse_recipe(without)).resolved
    brightest = float(scans["without flats"].projections[0].max())
    assert resolved.flat_field.model_dump()["open_beam"] == pytest.approx(brightest, rel=0.05)


def test_a_scan_that_is_known_is_not_looked_at_again(scans: dict[str, TomoScan]) -> None:
    known = parse_recipe({"rotation_axis": {"method": "value", "value": 24.4}})
    assert any("lost" in note for note in prepare(scans["imperfect"], known).notes)
    plan = prepare(scans["imperfect"], known, known=Known(checked=True))
    assert not any("lost" in note for note in plan.notes)
    assert plan.selection.angles_deg.size == 60
