"""`tomoservice bench`, in small: what it prints, not how quick it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tomoservice.cli import run


@pytest.mark.long
def test_the_cost_of_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--folder", str(tmp_path), "--rounds", "1", "--size", "64", "--angles", "60"]
    assert run(["bench", "overhead", *small]) == 0
    printed = capsys.readouterr().out
    assert "| 64 x 64 x 64 from 60 projections | <= 1.25x |" in printed
    assert "engine alone" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.long
def test_three_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "ways", "--folder", str(tmp_path), "--size", "96", "--angles", "60"]) == 0
    printed = capsys.readouterr().out
    assert "| Direct, without batch and database: 96 x 96 x 96 from 60 |" in printed
    assert "| Voxels that are not the same in all three | <= 0 | 0 of 884736 | reached |" in printed


@pytest.mark.long
def test_interactive_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--folder", str(tmp_path), "--rounds", "2", "--columns", "128", "--angles", "90"]
    assert run(["bench", "interactive", *small]) == 0
    printed = capsys.readouterr().out
    assert "| Change of rotation axis, idle | <= 150 ms | median " in printed
    assert "| Change of rotation axis, 95 %: more than idle, of a slab | <= 1x |" in printed
