"""What slabs must have in common to be of one volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.phantom_scans import phantom_scan
from tomoservice.compute.resolution import identity
from tomoservice.pipeline import Plan, prepare
from tomoservice.provenance import describe_origin
from tomoservice.recipe import parse_recipe
from tomoservice.scan import TomoScan

RECIPE = {"rotation_axis": {"method": "value", "value": 15.5}}
HEX = {"flats": "run of flats", "darks": "run of flats"}


def seen(scan: TomoScan, *files: str, run_uid: str = "run", references: Mapping[str, str] = HEX) -> TomoScan:
    """Return a scan as somebody opens it who sees some files."""
    origin = replace(scan.origin, run_uid=run_uid, references=references, files=files)
    return replace(scan, origin=origin)


@pytest.fixture(scope="module")
def scan() -> TomoScan:
    return phantom_scan(32, 4, 24).scan()


@pytest.fixture(scope="module")
def plan(scan: TomoScan) -> Plan:
    return prepare(scan, parse_recipe(RECIPE))


def test_whether_files_are_seen_makes_no_difference(plan: Plan, scan: TomoScan) -> None:
    assert identity(plan, seen(scan, "scan.h5", "flats.h5")) == identity(plan, seen(scan))
    near, far = (seen(scan, run_uid=uid) for uid in ("near", "far"))
    assert identity(plan, replace(near, companions={"far": seen(far, "far.h5", run_uid="far")})) == identity(
        plan, replace(near, companions={"far": far})
    )


def test_other_frames_do(plan: Plan, scan: TomoScan) -> None:
    other_flats = seen(scan, references={**HEX, "flats": "another run"})
    turned = replace(seen(scan), angles_deg=scan.angles_deg + 1.0)
    scans = [
        seen(scan),
        seen(scan, run_uid="another run"),
        seen(scan, references={}),
        other_flats,
        turned,
        *(replace(seen(scan), companions={"far": far}) for far in (seen(scan), other_flats, turned)),
    ]
    assert len({identity(plan, one) for one in scans}) == len(scans)


def test_the_record_names_the_runs_of_flats_and_darks(scan: TomoScan) -> None:
    said = describe_origin(replace(seen(scan, references={}), companions={"far": seen(scan)}))
    assert "references" not in said
    assert said["companions"]["far"]["references"] == HEX
