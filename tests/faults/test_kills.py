"""kill -9 of server, conductor and worker: at random instants, and where it hurts most."""

from __future__ import annotations

import random
import time

import pytest

from tests.faults.disturbing import LONGEST_S, Patient
from tests.faults.saboteur import Point, has_sprung, set_trip
from tests.faults.site import INSTANTS, wait_until
from tests.faults.table import FaultTable

VICTIMS = ("server", "conductor", "worker-0")


@pytest.mark.long
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_at_random_instants(
    patient: Patient, victim: str, table: FaultTable, chance: random.Random
) -> None:
    with table.row(f"kill -9 of the {victim.partition('-')[0]} at random") as row:
        for _ in range(INSTANTS):
            row.again.append(killed(patient, victim, chance.uniform(0, patient.seconds)))


def killed(patient: Patient, victim: str, after_s: float) -> int:
    """Kill a process some seconds after a reconstruction was asked for; return the slabs computed again."""
    treatment = patient.ask()
    time.sleep(after_s)
    patient.site.kill(victim)
    treatment.examine()
    treatment.follow(patient.site.restart_dead)
    return treatment.again


@pytest.mark.long
@pytest.mark.parametrize("point", list(Point), ids=lambda point: point.name.lower())
def test_killed_at_a_point(patient: Patient, point: Point, table: FaultTable) -> None:
    with table.row(f"kill -9 of the {point.value}") as row:
        treatment = patient.ask()
        if point.value.startswith("worker"):
            treatment.wait_for_slabs(3)
        set_trip(patient.site.folder, point)
        assert wait_until(LONGEST_S, lambda: has_sprung(patient.site.folder)), treatment.path
        treatment.examine()
        treatment.follow(patient.site.restart_dead)
        row.again.append(treatment.again)
