"""The benchmark harness: what it times, compares and writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.command import main
from tests.benchmarks.harness import (
    NotThereYetError,
    Options,
    Row,
    Target,
    Times,
    Verdict,
    faster,
    interleave,
)
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.peers import FinufftFbp, MirroredPaganin
from tests.benchmarks.report import markdown, text_table
from tests.benchmarks.scenes import blobs, disc, evenly, inside, relative_l2, striped
from tomoservice.propagation import FreeSpace


def test_works_take_turns_in_changing_order_and_first_calls_do_not_count() -> None:
    calls: list[str] = []
    now = 0.0

    def clock() -> float:
        return now

    def work(name: str, seconds: float) -> None:
        nonlocal now
        calls.append(name)
        now += seconds if calls.count(name) > 1 else 100.0

    times = interleave({"a": lambda: work("a", 1.0), "b": lambda: work("b", 3.0)}, 3, clock=clock)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert times.seconds == {"a": (1.0, 1.0, 1.0), "b": (3.0, 3.0, 3.0)}
    assert faster("work", Target(2.5), times, "a", "b").verdict is Verdict.REACHED
    assert faster("work", Target(3.5), times, "a", "b").verdict is Verdict.MISSED


def test_a_ratio_is_taken_round_by_round() -> None:
    # The second round ran on a machine that was ten times slower.
    times = Times({"ours": (1.0, 10.0, 1.0), "peer": (4.0, 40.0, 5.0)})
    assert times.ratio("peer", "ours") == 4.0
    assert times.median("peer") == 5.0


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (Target(4), 4.0, Verdict.REACHED),
        (Target(4), 3.99, Verdict.MISSED),
        (Target(1.1, at_least=False), 1.1, Verdict.REACHED),
        (Target(1.1, at_least=False), 1.2, Verdict.MISSED),
        (Target(4), None, Verdict.ABSENT),
        (None, 3.0, Verdict.INFORMATION),
    ],
)
def test_verdicts(target: Target | None, value: float | None, verdict: Verdict) -> None:
    assert Row("work", target, value).verdict is verdict


def good(_options: Options) -> Iterator[Row]:
    yield Row("good work", Target(2), 3.0, "a | b")


def bad(_options: Options) -> Iterator[Row]:
    yield Row("bad work", Target(2), 1.0)


def absent(_options: Options) -> Iterator[Row]:
    yield from ()
    raise NotThereYetError("no such stage")


def test_the_command_prints_and_writes_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "table.md"
    cases = {"good": good, "bad": bad, "absent": absent}
    assert main(["--quick", "--markdown", str(page)], cases) == 0
    printed = capsys.readouterr().out
    assert "1 of 2 targets not reached" in printed
    table = page.read_text("utf-8")
    for text in ("| good work | ≥ 2x | 3x (a \\| b) | reached |", "not reached", "no such stage", "--quick"):
        assert text in table
    assert describe_machine()["processor"] in table


def test_a_missed_target_fails_only_if_asked() -> None:
    assert main(["bad"], {"bad": bad}) == 0
    assert main(["bad", "--strict"], {"bad": bad}) == 1
    assert main(["absent", "--strict"], {"absent": absent}) == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["--rounds", "0"]])
def test_wrong_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert arguments[-1] in capsys.readouterr().err


def test_long_cells_are_wrapped() -> None:
    row = Row("work " * 30, Target(0.3, at_least=False, unit="s"), 0.25, "details " * 30)
    lines = text_table([row]).splitlines()
    assert max(map(len, lines)) < 160
    assert "<= 0.3 s" in lines[2]
    assert "0.25 s" in lines[2]
    assert markdown([row], {"cores": "2"}, "command", 5).count("\n|") == 6


@pytest.mark.parametrize(
    ("angles", "columns", "paired"), [(181, 128, True), (180, 127, True), (181, 128, False)]
)
def test_the_peer_reconstructs(angles: int, columns: int, *, paired: bool) -> None:
    sinogram, truth = blobs(angles, columns)
    data = np.stack([sinogram, 2 * sinogram, 3 * sinogram])
    peer = FinufftFbp(evenly(angles), columns, threads=2, batch=1 + paired, paired=paired)
    volume = peer(data)
    for number, image in enumerate(volume):
        assert relative_l2(image, (number + 1) * truth, inside(columns, 0.95)) < 3e-3


def test_the_disc_is_one_inside() -> None:
    sinogram, radius = disc(181, 128)
    image = FinufftFbp(evenly(181), 128, threads=2, batch=1)(sinogram[None])[0]
    assert image[radius < 0.9].mean() == pytest.approx(1, abs=2e-3)
    assert abs(image[(radius > 1.1) & (radius < 1.8)].mean()) < 2e-3


def test_the_plain_paganin_keeps_open_beam_and_smooths() -> None:
    space = FreeSpace(energy_kev=20.0, distance_mm=50.0, pixel_size_um=1.0)
    peer = MirroredPaganin((24, 40), 30, 100.0, space)
    frames = np.ones((1, 24, 40), np.float32)
    np.testing.assert_allclose(peer(frames), 1, atol=1e-6)
    frames[0, 12, 20] = 2
    smoothed = peer(frames)[0]
    assert smoothed.sum() == pytest.approx(frames.sum(), rel=1e-6)
    assert 1 < smoothed.max() < 1.1


def test_striped_sinograms_hold_no_value_twice_in_a_column() -> None:
    data = striped(2, 90, 128)
    assert (np.diff(np.sort(data, axis=1), axis=1) > 0).all()


def test_timing_something_real() -> None:
    times = interleave({"short": lambda: time.sleep(0.002), "long": lambda: time.sleep(0.02)}, 3)
    assert times.ratio("long", "short") > 2
