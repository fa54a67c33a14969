"""The tables about the quality of a reconstruction say what its scan and its recipe were made to show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.compute.quality import QualityTable, quality_tables, residual_tables
from tomoservice.phantom import Imperfections
from tomoservice.pipeline import ResidualLog, compute, prepare
from tomoservice.recipe import parse_recipe

AXIS, TILT_DEG = 50.3, 1.5


@pytest.fixture(scope="module")
def striped() -> PhantomScan:
    flaws = Imperfections(stripes=0.1, noise=0.002)
    return phantom_scan(96, 24, 180, rotation_axis=AXIS, imperfections=flaws)


def tables_of(scan: PhantomScan, recipe: dict[str, Any]) -> dict[str, QualityTable]:
    opened = scan.scan()
    return {table.subject: table for table in quality_tables(prepare(opened, parse_recipe(recipe)), opened)}


def test_rings_are_scored_with_and_without_what_removes_them(striped: PhantomScan) -> None:
    tables = tables_of(striped, {"stripes": {"method": "sorting", "size": 11}})
    rings = tables["rings"].summary
    assert (rings["asked_for"], rings["removal"]) == (True, "stripes.method 'sorting'")
    assert rings["ring_score_after"] < 0.8 * rings["ring_score_before"]
    data = tables["rings"].data
    assert (data["stripes_after"] < data["stripes_before"]).all()
    assert (data["rings_after"] < data["rings_before"]).all()
    axis = tables["axis"]
    assert axis.summary["rotation_axis"] == pytest.approx(AXIS, abs=0.25)
    assert len(axis.data) > 3


def test_a_bad_flat_is_named_and_marked(striped: PhantomScan) -> None:
    flats = striped.flats.copy()
    flats[3] = striped.darks[0]
    scan = PhantomScan(
        striped.phantom,
        striped.rows,
        AXIS,
        striped.angles_deg,
        striped.projections,
        flats,
        striped.darks,
    )
    table = tables_of(scan, {"rotation_axis": {"method": "value", "value": AXIS}})["references"]
    assert any("flat 3" in note for note in table.summary["left_out"]), table.summary
    used = table.data[table.data["kind"] == "flat"]["used"]
    assert list(np.flatnonzero(~used)) == [3]
    assert table.data["used"].sum() == len(table.data) - 1


def test_a_tilt_is_told_height_by_height() -> None:
    scan = phantom_scan(96, 64, 180, rotation_axis=AXIS, tilt_deg=TILT_DEG)
    tables = tables_of(scan, {"rotation_axis": {"method": "auto", "tilt": True}})
    assert tables["tilt"].summary["tilt_deg"] == pytest.approx(TILT_DEG, abs=0.3)
    assert tables["axis"].summary["tilt_deg"] == tables["tilt"].summary["tilt_deg"]
    data = tables["tilt"].data
    assert data["detector_row"].between(0, 63).all()
    assert len(data) >= 3
    assert np.abs(data["residual"]).max() < 1


def test_residuals_fall_from_iteration_to_iteration(striped: PhantomScan) -> None:
    opened = striped.scan()
    recipe = {
        "rotation_axis": {"method": "value", "value": AXIS},
        "frames": {"rows": {"stop": 4}},
        "reconstruction": {"method": "cgls", "iterations": 4},
    }
    log = ResidualLog()
    plan = prepare(opened, parse_recipe(recipe))
    compute(plan, opened, on_slab=lambda *_: None, iterations=log.control())
    (table,) = residual_tables(log.residuals)
    data = table.data
    assert sorted(set(data["iteration"])) == [1, 2, 3, 4]
    assert sorted(set(data["detector_row"])) == [0, 1, 2, 3]
    for _, row in data.groupby("detector_row"):
        assert (np.diff(row.sort_values("iteration")["relative_residual"]) < 0).all()
    last = data[data["iteration"] == 4]["relative_residual"]
    assert table.summary == {"best": last.min(), "worst": last.max()}
    assert residual_tables([]) == []
