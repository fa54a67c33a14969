"""Angles: units, lists in files, and counts that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tomoservice.errors import InputError, MissingDataError
from tomoservice.sources.angles import angles_from_file, angles_from_values, match_counts
from tomoservice.sources.summary import describe_angles
from tomoservice.sources.units import Quantity, factor


@pytest.mark.parametrize(
    ("unit", "quantity", "expected"),
    [
        ("m", Quantity.LENGTH_UM, 1e6),
        ("mm", Quantity.LENGTH_UM, 1e3),
        ("µm", Quantity.LENGTH_UM, 1.0),
        ("Microns", Quantity.LENGTH_UM, 1.0),
        ("nm", Quantity.LENGTH_UM, 1e-3),
        ("m", Quantity.DISTANCE_MM, 1e3),
        ("cm", Quantity.DISTANCE_MM, 10.0),
        ("eV", Quantity.ENERGY_KEV, 1e-3),
        ("keV", Quantity.ENERGY_KEV, 1.0),
        ("rad", Quantity.ANGLE_DEG, 180 / np.pi),
        ("furlong", Quantity.LENGTH_UM, None),
    ],
)
def test_units(unit: str, quantity: Quantity, expected: float | None) -> None:
    assert factor(unit, quantity) == (None if expected is None else pytest.approx(expected))


def test_values() -> None:
    np.testing.assert_allclose(angles_from_values([[0], [np.pi]], "x", "a", unit="rad"), [0, 180])
    with pytest.raises(InputError, match="furlong"):
        angles_from_values([0], "x", "a", unit="furlong")
    with pytest.raises(InputError, match="angle 1 is inf"):
        angles_from_values([0, np.inf], "x", "a")
    with pytest.raises(InputError, match="no numbers"):
        angles_from_values(["north"], "x", "a")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "angles.txt"
    for text in ("# deg\n0\n 1.5 # here\n\n3", "0,1.5,3", "0 1.5 3\n"):
        path.write_text(text)
        np.testing.assert_array_equal(angles_from_file(path), [0, 1.5, 3])
    np.save(tmp_path / "angles.npy", [1.0, 2.0])
    np.testing.assert_array_equal(angles_from_file(tmp_path / "angles.npy"), [1, 2])
    for text, cause in (("0 1\n2 3", "one angle per line"), ("zero", "cannot be read"), ("# no", "no angle")):
        path.write_text(text)
        with pytest.raises(InputError, match=cause):
            angles_from_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        angles_from_file(tmp_path / "none.txt")


def test_angles_of_flats_and_darks_at_the_ends_are_left_out() -> None:
    moving = np.linspace(-90, 90, 19)
    listed = np.concatenate([np.full(5, -90.0002), moving, np.full(3, 90.0)])
    count, angles, notes = match_counts(19, listed, "scan")
    assert count == 19
    np.testing.assert_allclose(angles, moving, atol=1e-3)
    assert "8 of 27 angles" in notes[0]


def test_any_other_difference_is_cut_to_the_smaller_number() -> None:
    angles = np.arange(10.0)
    count, kept, notes = match_counts(8, angles, "scan")
    assert (count, kept.tolist()) == (8, angles[:8].tolist())
    assert notes == ["8 projections but 10 angles: the first 8 of both are used"]
    count, kept, _ = match_counts(12, angles, "scan")
    assert (count, kept.size) == (10, 10)
    assert match_counts(10, angles, "scan")[2] == []
    for frames, values in ((0, angles), (3, angles[:0])):
        with pytest.raises(MissingDataError):
            match_counts(frames, values, "scan")


def test_summary_of_angles() -> None:
    regular = describe_angles(np.arange(180.0)[::-1])
    assert (regular.regular, regular.ordered) == (True, True)
    assert (regular.first_deg, regular.last_deg, regular.step_deg) == (179, 0, 1)
    golden = describe_angles(np.mod(np.arange(50.0) * 111.246, 180.0))
    assert (golden.regular, golden.ordered) == (False, False)
    assert describe_angles(np.zeros(1)).range_deg == 0


class TestSeveralFramesAtEachAngle:
    @pytest.mark.parametrize("noise", [0.0, 0.003])
    def test_are_one_view(self, noise: float) -> None:
        random = np.random.default_rng(3)
        angles = np.repeat(np.arange(0, 180, 2.0), 3) + noise * random.standard_normal(270)
        found = describe_angles(angles)
        assert (found.views, found.frames_per_view, found.regular, found.ordered) == (90, 3, True, True)
        assert found.step_deg == pytest.approx(2, abs=0.01)
        assert found.range_deg == pytest.approx(180, abs=0.05)

    def test_in_different_numbers(self) -> None:
        angles = np.concatenate([np.arange(0, 180, 2.0), [0.0, 4.001]])
        found = describe_angles(angles)
        assert (found.views, found.frames_per_view, found.regular, found.ordered) == (90, None, True, False)

    def test_and_one_frame_at_each(self) -> None:
        for angles in (np.arange(0, 180, 2.0), np.mod(np.arange(200) * 137.50776, 180)):
            found = describe_angles(angles)
            assert (found.views, found.frames_per_view) == (angles.size, 1)
        assert describe_angles(np.zeros(3)).frames_per_view == 3
        assert describe_angles(np.zeros(1)).range_deg == 0
