"""What a volume will look like is known before a frame is read, and is what it then looks like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.phantom_scans import phantom_scan
from tomoservice.errors import RecipeError
from tomoservice.pipeline import outline, prepare
from tomoservice.recipe import parse_recipe
from tomoservice.scan import TomoScan

HALF = {"rotation_axis": {"method": "value", "value": 25.0}}
SIDE = {"rotation_axis": {"method": "value", "value": 6.0}}


def scan(range_deg: float) -> TomoScan:
    return phantom_scan(48, 40, 36, rotation_axis=25.0, range_deg=range_deg).scan()


@pytest.mark.parametrize(
    ("recipe", "range_deg"),
    [
        (HALF, 180.0),
        ({}, 180.0),
        ({**HALF, "frames": {"binning": 2, "rows": {"start": 4, "stop": 31}}}, 180.0),
        ({**HALF, "output": {"dtype": "uint8", "crop": {"rows": {"start": 5, "stop": 20}}}}, 180.0),
        ({**HALF, "reconstruction": {"method": "sirt", "iterations": 1}}, 180.0),
        (SIDE, 360.0),
        ({"reconstruction": {"method": "fourier", "half_acquisition": "off"}}, 360.0),
    ],
)
def test_it_is_what_the_plan_says(recipe: dict[str, Any], range_deg: float) -> None:
    asked = parse_recipe(recipe)
    found = outline(scan(range_deg), asked)
    plan = prepare(scan(range_deg), asked)
    assert found is not None
    assert (found.shape, found.chunks, found.dtype) == (plan.shape, plan.chunks, plan.dtype)


def test_lost_projections_change_nothing_about_it() -> None:
    whole = phantom_scan(48, 40, 36, rotation_axis=25.0)
    whole.projections[3:5] = 0
    asked = parse_recipe(HALF)
    found, plan = outline(whole.scan(), asked), prepare(whole.scan(), asked)
    assert found is not None
    assert plan.selection.angles_deg.size == 34
    assert found.chunks == plan.chunks
    # Nor does it matter who goes on, and with which recipe.
    again = prepare(whole.scan(), plan.resolved, depth=plan.chunks[0])
    assert (again.shape, again.chunks) == (plan.shape, plan.chunks)
    assert np.array_equal(again.selection.angles_deg, plan.selection.angles_deg)


def test_a_whole_turn_wants_the_axis_first() -> None:
    assert outline(scan(360.0), parse_recipe({})) is None


def test_an_axis_beside_the_detector_is_refused() -> None:
    with pytest.raises(RecipeError, match="rotation_axis: got 400"):
        outline(scan(180.0), parse_recipe({"rotation_axis": {"method": "value", "value": 400.0}}))
