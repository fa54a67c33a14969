"""Scan layouts: the shipped ones, one's own, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tomoservice.errors import InputError, MissingDataError
from tomoservice.sources import ScanLayout, layouts, load_layout
from tomoservice.sources.layout import SHIPPED, choose_layout, look_up

STARTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "tomoservice": ({"tomo": {"pixel_size_um": 1.0}}, ("dark", "flat", "primary")),
    "fxi": ({"plan_name": "fly_scan", "detectors": ["Andor"]}, ("primary", "zps_pi_r_monitor")),
    "hex": ({"plan_name": "tomo_flyscan", "detectors": ["kinetix-det1"]}, ("tomo",)),
    "htss": (
        {"min_theta": 0.0, "max_theta": 180.0, "num_projections": 9, "detectors": ["det"]},
        ("primary", "darks", "flats"),
    ),
    "aps_dxchange": ({"beamline_id": "2-BM", "detectors": ["oryx"]}, ("primary",)),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_layout_recognises_its_runs_and_no_others(name: str) -> None:
    assert load_layout(name).name == name
    start, streams = STARTS[name]
    assert choose_layout(start, streams, "run").name == name
    for other in SHIPPED:
        if other != name:
            assert not load_layout(other).matches(start, streams), other
    assert choose_layout({"scan_layout": name}, (), "run").name == name


def test_a_run_that_nothing_recognises_lists_the_candidates() -> None:
    with pytest.raises(InputError) as caught:
        choose_layout({}, ("primary", "baseline"), "the run")
    for name in SHIPPED:
        assert name in str(caught.value)
    assert "scan_layout" in str(caught.value)


def test_a_run_that_two_layouts_recognise() -> None:
    start = STARTS["fxi"][0] | STARTS["aps_dxchange"][0]
    with pytest.raises(InputError, match="fits several scan layouts: fxi, aps_dxchange"):
        choose_layout(start, ("primary",), "run")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/tmp/mine.yml", "unknown"])
def test_a_start_document_names_a_layout_and_no_file(name: str) -> None:
    with pytest.raises(InputError):
        choose_layout({"scan_layout": name}, ("primary",), "run")


def mine(**changes: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "title": "Mine",
        "projections": {"stream": "primary", "data_key": ["cam"]},
        "angles": [{"kind": "values", "data_key": ["theta"], "unit": "mrad"}],
    } | changes


def test_layouts_of_ones_own_come_first(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(mine()))
    (tmp_path / "fxi.yaml").write_text(yaml.safe_dump(mine(name="fxi")))
    assert load_layout("mine", [tmp_path]).angles[0].kind == "values"
    assert load_layout(tmp_path / "mine.yml") == ScanLayout.model_validate(mine())
    assert load_layout("fxi", [tmp_path]).title == "Mine"
    names = [layout.name for layout in layouts([tmp_path])]
    assert sorted(names) == sorted([*SHIPPED, "mine"])
    with pytest.raises(MissingDataError, match="Known are fxi, mine, tomoservice"):
        load_layout("yours", [tmp_path])
    with pytest.raises(MissingDataError, match="no such scan layout file"):
        load_layout(tmp_path / "yours.yml")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colour": 1}, "colour"),
        ({"angles": []}, "angles"),
        ({"angles": [{"kind": "guess"}]}, "angles.0"),
        ({"projections": {"stream": "primary"}}, "projections.data_key"),
    ],
)
def test_a_wrong_layout_says_which_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(yaml.safe_dump(mine(**change)))
    with pytest.raises(InputError, match=rf"mine\.yml: is no scan layout: .*{field}"):
        load_layout(path)


def test_no_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    path.write_text("a: [1")
    with pytest.raises(InputError, match="is no YAML"):
        load_layout(path)


def test_look_up() -> None:
    document = {"a": {"b": [5, {"c": 6}]}, "name": "x"}
    assert look_up(document, "a.b.0") == 5
    assert look_up(document, "a.b.1.c") == 6
    for key in ("a.b.2", "a.c", "name.0", "a.b.c"):
        assert look_up(document, key) is None
