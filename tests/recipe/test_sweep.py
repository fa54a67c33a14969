"""Sweeps: recipes that differ in one thing."""

from __future__ import annotations

from typing import Any

import pytest

from tomoservice.errors import RecipeError
from tomoservice.recipe import parse_sweep


def test_the_axis_by_its_columns() -> None:
    sweep = parse_sweep({"parameter": "rotation_axis", "values": [10, 10.5, 11]})
    assert sweep.labels == [10.0, 10.5, 11.0]
    assert [recipe.rotation_axis.value for recipe in sweep.recipes()] == [10, 10.5, 11]  # type: ignore[union-attr]


def test_another_column_keeps_the_tilt() -> None:
    base = {"rotation_axis": {"method": "value", "value": 5.0, "tilt_deg": 0.5}}
    [recipe] = parse_sweep({"recipe": base, "parameter": "rotation_axis.value", "values": [6.0]}).recipes()
    assert recipe.dump()["rotation_axis"] == {"method": "value", "value": 6.0, "tilt_deg": 0.5}


def test_a_field_of_a_stage() -> None:
    sweep = parse_sweep({"parameter": "reconstruction.filter_cutoff", "values": [0.5, 1.0]})
    assert [recipe.dump()["reconstruction"]["filter_cutoff"] for recipe in sweep.recipes()] == [0.5, 1.0]


def test_a_choice() -> None:
    sweep = parse_sweep({"parameter": "reconstruction.filter", "values": ["ramp", "hann"]})
    assert sweep.labels == ["ramp", "hann"]


def test_stages_side_by_side() -> None:
    stages: list[dict[str, Any]] = [{"method": "none"}, {"method": "sorting"}, {"method": "fourier_wavelet"}]
    sweep = parse_sweep({"parameter": "stripes", "values": stages})
    assert sweep.labels == ["none", "sorting", "fourier_wavelet"]
    assert [recipe.stripes.method for recipe in sweep.recipes()] == ["none", "sorting", "fourier_wavelet"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"parameter": "filter", "values": [1]}, r"there is no filter; a recipe has .*rotation_axis"),
        (
            {"parameter": "phase.delta_beta", "values": [1]},
            r"no phase.delta_beta; phase with method 'none' has",
        ),
        (
            {"parameter": "reconstruction.filter_cutoff", "values": [0.5, 7.0]},
            r"reconstruction.filter_cutoff = 7: reconstruction.*filter_cutoff",
        ),
        ({"parameter": "stripes", "values": [{"method": "sorting"}, {"method": "sorting"}]}, "given once"),
        ({"parameter": "stripes", "values": []}, "values"),
        ({"values": [1]}, "parameter"),
        ({"parameter": "rotation_axis", "values": [1], "recipe": {"filtr": 1}}, "filtr"),
        ({"parameter": "rotation_axis", "values": [1], "colour": 1}, "colour"),
        ("axis", "a sweep is a mapping, got str"),
    ],
)
def test_what_is_wrong_is_said(content: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse_sweep(content)


def test_the_hash_counts_what_determines_the_pictures() -> None:
    one = parse_sweep({"parameter": "rotation_axis", "values": [1.0, 2.0]})
    other = parse_sweep({"parameter": "rotation_axis", "values": [1.0, 3.0]})
    assert one.hash != other.hash
    assert one.hash == parse_sweep(one.model_dump(mode="json")).hash
