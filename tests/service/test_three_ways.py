"""Refine, save, batch; parameters from a file, batch; direct: the same volume, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.service.conftest import connected
from tomoservice.benchmarks.scenes import write_scan
from tomoservice.benchmarks.ways import Way, count_different, go_three_ways
from tomoservice.service.running import RunningService

SIZE, ANGLES = 96, 120


def test_three_ways_to_the_same_volume(service: RunningService, tmp_path: Path) -> None:
    raw = service.data.parent / "raw"
    first, second, third = (
        write_scan(raw / f"{name}.h5", columns=SIZE, rows=40, angles=ANGLES, name=name)
        for name in ("refined", "from-file", "direct")
    )
    with connected(service) as tomo:
        ways = go_three_ways(tomo, (first, second, third), tmp_path)
        assert [tuple(way.volume.shape) for way in ways] == 3 * [(40, SIZE, SIZE)]
        assert count_different(ways) == 0
        # Something was found, and something is in there.
        assert np.ptp(ways[2].volume[20]) > 0.001
        assert abs(tomo.recipes.load("refined").rotation_axis.value - (SIZE - 1) / 2) <= 0.25
        tomo.recipes.delete("refined")
    refined, from_file, direct = ways
    assert list(refined.seconds) == ["published", "axis found", "axes compared", "saved", "batch"]
    assert list(from_file.seconds) == ["published", "batch"]
    assert list(direct.seconds) == ["reconstructed"]
    assert all(way.total > 0 for way in ways)


def test_a_single_bit_is_noticed() -> None:
    volume = np.zeros((40, 8, 8), np.float32)
    other = volume.copy()
    other[35, 2, 3] = -0.0
    assert count_different((Way("a", volume), Way("b", volume.copy()))) == 0
    assert count_different((Way("a", volume), Way("b", volume), Way("c", other))) == 1
