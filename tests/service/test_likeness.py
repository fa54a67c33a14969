"""Which scans are like each other, and which recipe is proposed: no server needed."""

from __future__ import annotations

import pytest

from tomoservice.catalog.likeness import ScanConditions, compare
from tomoservice.catalog.proposals import propose
from tomoservice.catalog.recipe_records import Acceptance
from tomoservice.recipe import parse_recipe

HERE = ScanConditions(
    beamline="SYRMEP",
    plan_name="tomo_fly",
    sample_name="tooth 7",
    energy_kev=20.0,
    pixel_size_um=1.0,
    distance_mm=150.0,
    rows=1024,
    columns=2048,
    angular_range_deg=180.0,
)


def other(**changes: object) -> ScanConditions:
    return ScanConditions.model_validate({**HERE.model_dump(), **changes})


@pytest.mark.parametrize(
    ("changes", "agreement"),
    [
        ({}, "same energy"),
        ({"energy_kev": 20.15}, "energy within 1 %"),
        ({"energy_kev": 20.9}, "energy within 5 %"),
        ({"pixel_size_um": 1.015}, "pixel size within 2 %"),
        ({"distance_mm": 130.0}, "distance within 14 %"),
        ({"angular_range_deg": 181.0}, "angular range within 1 %"),
        ({"rows": 300}, "same detector width"),
        ({"beamline": "syrmep "}, "same beamline"),
        ({"sample_name": None, "plan_name": "tomo_scan"}, "same detector"),
        ({"energy_kev": None, "beamline": None, "distance_mm": None}, "same pixel size"),
    ],
)
def test_scans_that_are_alike(changes: dict[str, object], agreement: str) -> None:
    there = other(**changes)
    assert compare(HERE, there).alike
    assert agreement in compare(HERE, there).agreements
    assert compare(there, HERE).alike


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"energy_kev": 22.0}, "energy 20 keV, there 22 keV"),
        ({"pixel_size_um": 2.0}, "pixel size 1 um, there 2 um"),
        ({"distance_mm": 10.0}, "distance 150 mm, there 10 mm"),
        ({"columns": 1024}, "2048 detector columns, there 1024"),
        ({"columns": None}, "the detector is not known"),
        ({"angular_range_deg": 360.0}, "angular range 180 degrees, there 360 degrees"),
        ({"beamline": "ID19"}, "beamline SYRMEP, there ID19"),
    ],
)
def test_scans_that_are_not(changes: dict[str, object], difference: str) -> None:
    found = compare(HERE, other(**changes))
    assert not found.alike
    assert found.differences == (difference,)


def accepted(name: str, at: float, content: dict[str, object] | None = None, **changes: object) -> Acceptance:
    recipe = parse_recipe(content or {}).model_copy(update={"name": name})
    return Acceptance(name, 1, recipe, "0123456789ab-rest", "anna", at, other(**changes))


DAY = 86400.0
RATIO = {"method": "delta_beta", "delta_beta": 100.0}


def test_the_last_one_that_is_alike_is_proposed_with_the_reason() -> None:
    proposal = propose(
        other(sample_name="tooth 8"),
        [
            accepted("last", 20 * DAY, energy_kev=20.1),
            accepted("older", 10 * DAY),
            accepted("elsewhere", 30 * DAY, beamline="ID19"),
        ],
    )
    assert proposal.recipe.name == "last"
    assert proposal.reason == (
        "accepted by anna on 1970-01-21 for run 01234567 (sample tooth 7): same beamline, same detector, "
        "same pixel size, energy within 1 %, same distance, same angular range, same plan"
    )
    assert proposal.cautions == ()


def test_the_same_sample_goes_before_the_same_plan_before_the_latest() -> None:
    latest = accepted("latest", 30 * DAY, sample_name="bone", plan_name="tomo_scan")
    same_plan = accepted("plan", 20 * DAY, sample_name="bone")
    same_sample = accepted("sample", 10 * DAY, plan_name="tomo_scan")
    everything = [latest, same_plan, same_sample]
    assert propose(HERE, everything).recipe.name == "sample"
    assert propose(HERE, everything[:2]).recipe.name == "plan"
    assert propose(HERE, everything[:1]).recipe.name == "latest"


def test_what_belongs_to_the_other_scan_is_said() -> None:
    content: dict[str, object] = {
        "rotation_axis": {"method": "value", "value": 1020.5},
        "frames": {"rows": {"start": 10, "stop": 20}, "exclude": [3]},
        "phase": {"method": "paganin", "material": RATIO, "energy_kev": 20.0},
    }
    cautions = propose(HERE, [accepted("mine", 1.0, content)]).cautions
    assert [caution.split()[0] for caution in cautions] == ["the", "frames.rows", "frames.exclude", "phase"]
    assert "column 1020.5" in cautions[0]
    assert "energy_kev" in cautions[-1]


def test_without_any_the_default_is_proposed_and_the_nearest_named() -> None:
    nothing = propose(HERE, [])
    assert nothing.recipe.name == "default"
    assert "yet" in nothing.reason
    far = propose(
        HERE, [accepted("far", 2.0, energy_kev=60.0, columns=512), accepted("near", 1.0, columns=512)]
    )
    assert far.recipe.name == "default"
    assert far.acceptance is None
    assert "The nearest, near, accepted by anna" in far.reason
    assert far.reason.endswith("differs: 2048 detector columns, there 512")
