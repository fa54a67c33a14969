"""Iterations that start from a volume that the service has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.service.conftest import connected
from tests.service.scans import SmallScan, documents, publish
from tomoservice.catalog.nodes import request_reconstruction
from tomoservice.catalog.states import State
from tomoservice.client import Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.recipe import parse_recipe
from tomoservice.service.running import RunningService

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


def sirt(iterations: int, volume: str | None = None) -> dict[str, Any]:
    start = {} if volume is None else {"initial": "volume", "initial_volume": volume}
    return {**AT_15_5, "reconstruction": {"method": "sirt", "iterations": iterations, **start}}


def test_of_the_same_run_or_another(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor
) -> None:
    uid, other = (publish_run(SmallScan(rows=6)) for _ in range(2))

    def done(run_uid: str, recipe: dict[str, Any]) -> Any:
        job = tomo.reconstruct(run_uid, recipe)
        assert conductor.step()
        return job.wait(30)

    first, six = done(uid, sirt(3)), done(uid, sirt(6)).volume[:]
    key = first.record.reconstruction_id
    for run_uid, name in ((uid, key), (other, f"{uid}/{key}")):
        further = done(run_uid, sirt(3, name))
        assert np.abs(further.volume[:] - six).max() < 1e-5 * np.ptp(six)
        said = further.node.metadata["provenance"]["scan"]["volumes"][name]
        assert said["location"].endswith(first.path)
        assert said["checksum"] == first.node.metadata["provenance"]["volume_checksum"]
        assert any("the iterations start from" in note for note in further.node.metadata["notes"])


def test_by_workers_of_a_cluster(service: RunningService) -> None:
    """What Dask's workers read of the service must not become work for Dask's workers."""
    with connected(service) as tomo:
        uid = publish(tomo.raw, documents(SmallScan(rows=40), service.data.parent / "raw"))
        first = tomo.reconstruct(uid, sirt(3)).wait(60)
        jobs = [tomo.reconstruct(uid, sirt(3, first.record.reconstruction_id)) for _ in range(2)]
        six = tomo.reconstruct(uid, sirt(6)).wait(60).volume[:]
        for job in jobs:
            assert np.abs(job.wait(60).volume[:] - six).max() < 1e-5 * np.ptp(six)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("not-there", "not-there"),
        ("no/such/thing", "names no reconstruction of the service"),
        ("../secret", "names no reconstruction of the service"),
        ("waiting", "is queued; only complete volumes are read as a whole"),
    ],
)
def test_what_is_no_volume_is_said(
    tomo: Tomo, publish_run: Callable[..., str], conductor: Conductor, name: str, said: str
) -> None:
    uid = publish_run(SmallScan(rows=2))
    job = tomo.reconstruct(uid, sirt(1, name))
    if name == "waiting":
        # Behind the one that wants it.
        request_reconstruction(tomo.root, uid, parse_recipe(sirt(1)), reconstruction_id=name)
    assert conductor.step()
    record = job.record
    assert record.state is State.FAILED
    assert said in record.metadata.status.message
