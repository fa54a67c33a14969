"""Cropping and binning leave the physical rotation axis where it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomoservice.errors import GeometryError
from tomoservice.geometry import (
    angular_range_deg,
    axis_from_selection,
    axis_to_selection,
    check_angles,
)

axes = st.floats(-500, 5000, allow_nan=False)


@given(axis=axes, first=st.integers(0, 4000), binning=st.integers(1, 16))
def test_round_trip(axis: float, first: int, binning: int) -> None:
    there = axis_to_selection(axis, first, binning)
    assert axis_from_selection(there, first, binning) == pytest.approx(axis, abs=1e-9)


@given(
    axis=st.integers(0, 40),
    first=st.integers(0, 15),
    binning=st.integers(1, 4),
)
def test_the_centre_of_mass_of_a_profile_moves_as_the_axis_does(axis: int, first: int, binning: int) -> None:
    """A symmetric profile around the axis is cropped and binned as an array."""
    columns = np.arange(64)
    kept = columns[first : first + (64 - first) // binning * binning]
    profile = np.exp(-0.5 * ((kept - axis) / 2.0) ** 2)
    if axis - 12 < kept[0] or axis + 12 > kept[-1]:
        return
    binned = profile.reshape(-1, binning).mean(axis=1)
    centre = float((binned * np.arange(binned.size)).sum() / binned.sum())
    assert axis_to_selection(axis, first, binning) == pytest.approx(centre, abs=5e-3)


@given(axis=axes, first=st.integers(0, 100), one=st.integers(1, 4), other=st.integers(1, 4))
def test_binning_twice_is_binning_by_the_product(axis: float, first: int, one: int, other: int) -> None:
    twice = axis_to_selection(axis_to_selection(axis, first, one), 0, other)
    assert twice == pytest.approx(axis_to_selection(axis, first, one * other), abs=1e-9)


def test_range_includes_a_step() -> None:
    assert angular_range_deg(np.arange(180.0)) == pytest.approx(180)
    assert angular_range_deg(np.arange(180.0)[::-1]) == pytest.approx(180)
    assert angular_range_deg(np.zeros(1)) == 0


def test_angles_that_are_none() -> None:
    check_angles(np.arange(3.0))
    with pytest.raises(GeometryError, match="angle 1 is nan"):
        check_angles(np.array([0, np.nan, 2]))
    with pytest.raises(GeometryError, match="one-dimensional"):
        check_angles(np.zeros((2, 2)))
