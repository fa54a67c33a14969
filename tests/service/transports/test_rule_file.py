"""A file of rules that changes while somebody goes by it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from callbacks.rule_file import RuleFile
from tests.service.conftest import wait_for
from tomoservice.errors import RulesError

SCAN = {"uid": "a", "plan_name": "tomo_fly", "tomo": {}}
ENDED = {"exit_status": "success"}
HOLDS = "as it is now it holds from the next run on"
AXIS = "rotation_axis: {{method: value, value: {axis}}}\n"


@pytest.fixture
def file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    caplog.set_level(logging.INFO, "callbacks.rule_file")
    file = tmp_path / "rules.yml"
    file.write_text("rules:\n- volume: virtual\n")
    return file


def volume(rules: RuleFile) -> str:
    decision = rules.decide(SCAN, ENDED)
    return decision.volume.value if decision.reconstruct else "none"


def test_what_is_changed_holds_for_the_next_run(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    rules = RuleFile(file)
    assert [volume(rules), volume(rules)] == ["virtual", "virtual"]
    assert caplog.messages == []
    file.write_text("rules:\n- {plans: [align], reconstruct: false}\n- volume: full\n")
    assert [volume(rules), volume(rules)] == ["full", "full"]
    file.write_text("rules: []\n")
    assert volume(rules) == "none"
    assert caplog.messages == [f"{file}: {HOLDS}"] * 2


def test_of_a_broken_file_nothing_holds_and_one_line_says_so(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = RuleFile(file)
    file.write_text("rules:\n- volume: half\n  priority: high\n- plan: x\n")
    assert [volume(rules), volume(rules)] == ["virtual", "virtual"]
    (said,) = caplog.messages
    assert "\n" not in said
    for part in (
        "rules.yml: line 2: rules.0.volume",
        "line 3: ",
        "line 4: ",
        "the rules before stay in force",
    ):
        assert part in said
    file.unlink()
    assert volume(rules) == "virtual"
    assert caplog.messages[1:] == [f"{file}: no such file; the rules before stay in force"]
    # Also if it is as it was: whoever mended it wants to know.
    file.write_text("rules:\n- volume: virtual\n")
    assert volume(rules) == "virtual"
    assert caplog.messages[2:] == [f"{file}: {HOLDS}"]


def test_recipes_beside_it_are_followed_too(file: Path) -> None:
    recipe = file.parent / "mine.yml"
    recipe.write_text(AXIS.format(axis=15.5))
    file.write_text("rules:\n- recipe: mine.yml\n")
    rules = RuleFile(file)
    for axis in (15.5, 16.5):
        recipe.write_text(AXIS.format(axis=axis))
        found = rules.decide(SCAN, ENDED).recipe
        assert isinstance(found, dict)
        assert found["rotation_axis"]["value"] == axis


def test_a_mistake_is_told_when_it_is_made(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callbacks.rule_file.LOOK_S", 0.02)
    with RuleFile(file).watched():
        file.write_text("rules: 3\n")
        wait_for(lambda: "stay in force" in caplog.text)


def test_it_has_to_be_right_at_first(file: Path) -> None:
    file.write_text("rules: 3\n")
    with pytest.raises(RulesError, match="line 1: rules: got 3"):
        RuleFile(file)
