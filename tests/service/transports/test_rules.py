"""Rules: which runs are reconstructed, how, and what is said about rules that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from callbacks.rule_file import parse_rules, read_rules
from callbacks.rules import Rule, Rules, VolumeKind
from tomoservice.cli import run as command
from tomoservice.errors import RulesError

SCAN = {
    "uid": "a",
    "plan_name": "tomo_fly",
    "scan_layout": "tomoservice",
    "sample_name": "bone 7",
    "tomo": {"energy_kev": 20.5, "phase": True},
    "detectors": ["andor", "eiger"],
    "scan.kind": "fast",
}
ENDED = {"exit_status": "success"}
ABORTED = {"exit_status": "abort"}

FILE = """\
rules:
  - name: alignment
    plans: [align_*, tomo_test]
    reconstruct: false
  - name: bones
    plans: ["tomo_*"]
    metadata:
      sample_name: "bone*"
      tomo.energy_kev: ">= 20, < 30"
    recipe: bone@2
    volume: virtual
    priority: background
  - name: all else
    recipe: {rotation_axis: {method: value, value: 15.5}}
    include_aborted: true
"""


def scan(**changes: Any) -> dict[str, Any]:
    return {**SCAN, **changes}


@pytest.mark.parametrize(
    ("metadata", "fits"),
    [
        ({"sample_name": "bone*"}, True),
        ({"sample_name": "Bone*"}, False),
        ({"sample_name": ["tooth", "bone 7"]}, True),
        ({"tomo.energy_kev": 20.5}, True),
        ({"tomo.energy_kev": "> 20.5"}, False),
        ({"tomo.energy_kev": ">=20.5"}, True),
        ({"tomo.energy_kev": "> 20, <= 20.5"}, True),
        ({"tomo.energy_kev": "!= 20.5"}, False),
        ({"tomo.phase": True}, True),
        ({"tomo.phase": 1}, False),
        ({"sample_name": "> 3"}, False),
        ({"detectors.1": "eiger"}, True),
        ({"detectors.2": "eiger"}, False),
        ({"scan.kind": "fast"}, True),
        ({"tomo.flats": None}, True),
        ({"sample_name": None}, False),
        ({"tomo.flats": "*"}, False),
        ({"sample_name": "bone*", "tomo.flats": "*"}, False),
    ],
)
def test_metadata_are_compared(metadata: dict[str, Any], fits: bool) -> None:
    assert Rules(rules=(Rule(metadata=metadata),)).decide(SCAN, ENDED).reconstruct is fits


@pytest.mark.parametrize(
    ("rule", "start", "stop", "wanted"),
    [
        (Rule(), SCAN, ENDED, True),
        (Rule(), {"plan_name": "count"}, ENDED, False),
        (Rule(), {"scan_layout": "fxi"}, ENDED, True),
        (Rule(), SCAN, ABORTED, False),
        (Rule(), SCAN, None, True),
        (Rule(include_aborted=True), SCAN, ABORTED, True),
        (Rule(plans=("fly_*", "tomo_*")), SCAN, ENDED, True),
        (Rule(plans=("fly_*",)), SCAN, ENDED, False),
        (Rule(plans=("count",)), {"plan_name": "count"}, ENDED, True),
        (Rule(reconstruct=False), SCAN, ENDED, False),
    ],
)
def test_plans_and_exit_status_decide(
    rule: Rule, start: dict[str, Any], stop: dict[str, Any] | None, wanted: bool
) -> None:
    assert Rules(rules=(rule,)).decide(start, stop).reconstruct is wanted


def test_the_first_rule_that_applies_decides() -> None:
    rules = parse_rules(FILE)
    bones = rules.decide(SCAN, ENDED)
    assert (bones.recipe, bones.volume, bones.priority.value) == ("bone@2", VolumeKind.VIRTUAL, "background")
    assert rules.decide(SCAN, ABORTED).reason == (
        "it ended with 'abort', and rule 2 (bones) applies without include_aborted"
    )
    assert not rules.decide(scan(plan_name="tomo_test"), ENDED).reconstruct
    other = rules.decide(scan(sample_name="tooth"), ABORTED)
    assert other.reconstruct
    assert other.recipe == {"rotation_axis": {"method": "value", "value": 15.5}}


def test_a_plan_goes_before_the_rules() -> None:
    rules = parse_rules(FILE)
    own = {"recipe": "tooth", "volume": "full", "priority": "normal", "pixel_size_um": 1.0, "energy_kev": 20}
    decision = rules.decide(scan(tomo=own), ENDED)
    assert (decision.recipe, decision.volume, decision.priority.value) == ("tooth", VolumeKind.FULL, "normal")
    refused = rules.decide(scan(tomo={"reconstruct": False}), ENDED)
    assert (refused.reconstruct, refused.reason) == (False, "its plan says tomo.reconstruct: false")
    assert rules.decide(scan(plan_name="align_x", tomo={"reconstruct": True}), ENDED).reconstruct
    nothing = Rules(rules=())
    assert not nothing.decide(SCAN, ENDED).reconstruct
    assert nothing.decide(scan(tomo={"reconstruct": True}), ENDED).reconstruct


@pytest.mark.parametrize(
    ("own", "problem"),
    [
        ({"volume": "half"}, "tomo.volume: got 'half', wants 'full' or 'virtual'"),
        ({"priority": "live"}, "tomo.priority: got 'live', wants normal or background"),
        ({"recipe": {"filtr": 1}}, "tomo.recipe: filtr: unknown key"),
        ({"recipe": 3}, "tomo.recipe: got 3, wants the name"),
    ],
)
def test_a_plan_that_makes_no_sense_is_told(own: dict[str, Any], problem: str) -> None:
    decision = Rules().decide(scan(tomo=own), ENDED)
    assert decision.is_wrong
    assert not decision.reconstruct
    assert problem in decision.reason


def test_every_mistake_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(
        "rules:\n"
        "  - plan: [tomo_*]\n"
        "  - plans: [tomo_*]\n"
        "    metadata:\n"
        "      energy: '> high'\n"
        "    volume: half\n"
        "  - recipe:\n"
        "      filtr: 3\n"
    )
    assert command(["rules", "check", str(file)]) == 1
    told = capsys.readouterr().err
    for line in (
        "line 2: rules.0.plan: unknown key; did you mean 'plans'?",
        "line 4: rules.1.metadata: energy: got '> high', wants comparisons with numbers like '>= 20'",
        "line 6: rules.1.volume: got 'half', wants 'full' or 'virtual'",
        "line 7: rules.2.recipe: filtr: unknown key",
    ):
        assert line in told, told


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "wants a mapping with the key 'rules'"),
        ("rules: [", "is no valid YAML"),
        ("rules:\n- {}\nrules: []", "rules"),
        ("rules: 3", "line 1: rules: got 3"),
        ("rules:\n- recipe: nowhere.yml\n", "line 2: rules.0.recipe"),
        ("rules:\n- metadata: {a: []}\n", "an empty list fits nothing"),
        ("rules:\n- metadata: {a: {b: 1}}\n", "wants a text with wildcards"),
    ],
)
def test_what_is_no_file_of_rules_is_refused(text: str, problem: str) -> None:
    with pytest.raises(RulesError, match=problem.replace("[", r"\[")):
        parse_rules(text)


def test_recipes_stand_beside_the_rules(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("rotation_axis: {method: value, value: 15.5}\n")
    file = tmp_path / "rules.yml"
    file.write_text("rules:\n- recipe: mine.yml\n")
    recipe = read_rules(file).decide(SCAN, ENDED).recipe
    assert isinstance(recipe, dict)
    assert recipe["rotation_axis"]["value"] == 15.5
    with pytest.raises(RulesError, match="no such file"):
        read_rules(tmp_path / "none.yml")


def test_the_command_says_which_rule_applies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules.yml").write_text(FILE)
    (tmp_path / "start.yml").write_text("plan_name: tomo_scan\nsample_name: bone 9\ntomo: {energy_kev: 25}\n")
    assert (
        command(["rules", "check", str(tmp_path / "rules.yml"), "--start", str(tmp_path / "start.yml")]) == 0
    )
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"{tmp_path / 'rules.yml'}: valid, 3 rules",
        "rule 1 (alignment): plan tomo_scan is none of align_*, tomo_test",
        "rule 2 (bones): applies",
        "reconstructed, as rule 2 (bones) applies: recipe bone@2, volume virtual, priority background",
    ]


def test_rules_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Rule().plans = ("other",)  # type: ignore[misc]
