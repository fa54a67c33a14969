"""Every method of reconstruction through the pipeline, and what is said of rings and residuals."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.errors import CancelledError
from tomoservice.phantom import Imperfections
from tomoservice.pipeline import Plan, ResidualLog, compute, prepare, score_rings
from tomoservice.recipe import parse_recipe
from tomoservice.recon import METHODS

AXIS = 30.3


@pytest.fixture(scope="module")
def sample() -> PhantomScan:
    return phantom_scan(64, 4, 60, rotation_axis=AXIS)


def plan_of(sample: PhantomScan, **stages: Any) -> Plan:
    axis = {"method": "value", "value": sample.rotation_axis}
    return prepare(sample.scan(), parse_recipe({"rotation_axis": axis, **stages}))


def volume_of(sample: PhantomScan, plan: Plan, **options: Any) -> NDArray[np.float32]:
    volume = np.full(plan.shape, np.nan, np.float32)
    compute(
        plan, sample.scan(), on_slab=lambda s, a: volume.__setitem__(slice(s.start, s.stop), a), **options
    )
    return volume


@pytest.mark.parametrize("method", [each().name for each in METHODS])
def test_every_method_shows_the_same_sample(sample: PhantomScan, method: str) -> None:
    if method == "tomopy" and find_spec("tomopy") is None:
        pytest.skip("TomoPy is not installed: it exists on conda-forge only")
    reference = volume_of(sample, plan_of(sample))
    volume = volume_of(sample, plan_of(sample, reconstruction={"method": method}))
    inside = np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 28
    assert np.corrcoef(reference[:, inside].ravel(), volume[:, inside].ravel())[0, 1] > 0.95
    assert volume[:, inside].mean() == pytest.approx(reference[:, inside].mean(), rel=0.05)


class TestIterations:
    STAGE = {"method": "sirt", "iterations": 12, "minimum": 0.0}  # noqa: RUF012

    def test_tell_their_residuals(self, sample: PhantomScan) -> None:
        log = ResidualLog()
        volume_of(sample, plan_of(sample, reconstruction=self.STAGE), iterations=log.control())
        assert [row for row, _, _ in log.last()] == [0, 1, 2, 3]
        values = [value for row, _, value in log.residuals if row == 2]
        assert len(values) == 12
        assert all(later < earlier for earlier, later in pairwise(values))

    def test_reach_the_recipe_s_limits(self, sample: PhantomScan) -> None:
        volume = volume_of(sample, plan_of(sample, reconstruction={**self.STAGE, "maximum": 0.03}))
        assert volume.min() >= 0
        assert volume.max() <= np.float32(0.03)

    def test_stop_when_asked(self, sample: PhantomScan) -> None:
        told = []

        def enough() -> bool:
            return len(told) > 5

        log = ResidualLog(lambda *residual: told.append(residual))
        endless = {**self.STAGE, "iterations": 10_000}
        with pytest.raises(CancelledError):
            volume_of(
                sample,
                plan_of(sample, reconstruction=endless),
                cancelled=enough,
                iterations=log.control(),
            )


class TestRingScores:
    @pytest.fixture(scope="class")
    @classmethod
    def ringed(cls) -> PhantomScan:
        flaws = Imperfections(noise=0.005, stripes=0.05)
        return phantom_scan(256, [50, 64, 100], 240, rotation_axis=127.5, imperfections=flaws)

    def test_fall_with_the_removal_that_the_recipe_asks_for(self, ringed: PhantomScan) -> None:
        report = score_rings(plan_of(ringed, stripes={"method": "vo_all"}), ringed.scan())
        assert report.asked
        assert len(report.scores) == 3
        assert report.after < 0.6 * report.before
        for scores in report.scores:
            assert scores.stripes_after < 0.5 * scores.stripes_before

    def test_say_what_a_removal_would_reach(self, ringed: PhantomScan) -> None:
        report = score_rings(plan_of(ringed), ringed.scan(), rows=1)
        assert not report.asked
        assert "sorting" in report.removal
        assert report.after < 0.6 * report.before

    def test_count_the_removal_on_slices_too(self, ringed: PhantomScan) -> None:
        report = score_rings(plan_of(ringed, rings={"method": "polar"}), ringed.scan(), rows=1)
        assert report.removal == "rings.method 'polar'"
        assert report.after < 0.7 * report.before
        (scores,) = report.scores
        assert scores.stripes_after == scores.stripes_before

    def test_rings_are_removed_from_the_volume(self, ringed: PhantomScan) -> None:
        truth = ringed.truth
        inside = np.hypot(*np.mgrid[-127.5:128, -127.5:128]) < 110

        def error(**stages: Any) -> float:
            volume = volume_of(ringed, plan_of(ringed, **stages))
            return float(np.sqrt(np.mean((volume - truth)[:, inside] ** 2)))

        plain = error()
        assert error(rings={"method": "polar"}) < 0.9 * plain
        assert error(stripes={"method": "vo_all"}) < 0.8 * plain
