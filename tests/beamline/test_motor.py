"""The simulated stage obeys the laws of motion, and says at any time where it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.sim.motor import Move

positions = st.floats(-500, 500)


@given(positions, positions, st.floats(0.1, 1000), st.floats(0, 2))
def test_a_move_is_smooth_and_ends_on_target(
    start: float, target: float, velocity: float, acceleration_s: float
) -> None:
    move = Move(100.0, start, target, velocity, acceleration_s)
    assert move.position(99.0) == start
    assert move.position(100.0 + move.duration + 1e-9) == pytest.approx(target, abs=1e-6)
    times = 100.0 + np.linspace(0.0, move.duration, 200)
    path = np.array([move.position(when) for when in times])
    speed = np.abs(np.diff(path)) / np.maximum(np.diff(times), 1e-12)
    assert np.all(np.diff(path) * np.sign(target - start) >= -1e-6)
    if move.duration > 1e-6:
        assert speed.max() <= velocity * (1 + 1e-3) + 1e-3


def test_a_long_move_holds_its_speed() -> None:
    move = Move(0.0, 0.0, 100.0, velocity=10.0, acceleration_s=1.0)
    assert move.duration == pytest.approx(11.0)
    assert move.position(1.0) == pytest.approx(5.0)
    assert move.position(6.0) - move.position(3.0) == pytest.approx(30.0)


def test_a_short_move_never_reaches_its_speed() -> None:
    move = Move(0.0, 0.0, 0.1, velocity=10.0, acceleration_s=1.0)
    assert move.peak_velocity == pytest.approx(1.0)
    assert move.duration == pytest.approx(0.2)
