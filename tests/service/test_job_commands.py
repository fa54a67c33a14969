"""The command line against a real service: submit, jobs, cancel, retry, recipes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.service.conftest import wait_for
from tomoservice.catalog.claims import Worker, try_claim
from tomoservice.catalog.states import State
from tomoservice.catalog.writer import Progress, ReconstructionWriter
from tomoservice.cli import run
from tomoservice.client import Job, Tomo
from tomoservice.recipe import parse_recipe
from tomoservice.service.running import RunningService

FAILED, USAGE = 1, 2
Shell = Callable[..., str]


@pytest.fixture
def shell(
    quiet_service: RunningService, tomo: Tomo, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Run a command against the service; its output, or its one line of complaint if it shall fail."""

    def typed(*arguments: str, status: int = 0, anonymous: bool = False) -> str:
        place = ["--uri", quiet_service.uri] if anonymous else ["--data", str(quiet_service.data)]
        found = run([*arguments, *place])
        shown = capsys.readouterr()
        assert found == status, shown.err
        return shown.out if status == 0 else shown.err

    yield typed
    for name in list(tomo.recipes):
        tomo.recipes.delete(name)


@pytest.fixture
def uid(publish_run: Callable[..., str]) -> str:
    return publish_run()


def move(job: Job, state: State, message: str = "") -> ReconstructionWriter:
    """Do to a job what a conductor would."""
    claim = try_claim(job.node, Worker(), 30)
    assert claim is not None
    writer = ReconstructionWriter(claim)
    writer.enter(State.RUNNING)
    if state is not State.RUNNING:
        writer.enter(state, message)
        claim.release()
    return writer


def test_submit_jobs_cancel_and_retry(shell: Shell, tomo: Tomo, uid: str) -> None:
    path = shell("submit", uid[:10], "--rotation-axis", "15.5", "--rows", "2:6").strip()
    job = tomo.job(path)
    recipe = parse_recipe(job.record.metadata.recipe)
    assert (recipe.rotation_axis.value, recipe.frames.rows.start) == (15.5, 2)
    head, row = shell("jobs", "--run", uid).splitlines()
    assert head.split() == [
        *("job", "state", "progress", "priority", "sample", "recipe", "asked", "by", "message")
    ]
    assert row.split()[:3] == [f"{uid[:8]}/{path.split('/')[-1]}", "queued", "normal"]

    move(job, State.RUNNING).progress(Progress("reconstructing", 3, 12, 4.2))
    assert "running  25 %, reconstructing, 4 s left  normal    ellipse" in shell("jobs", "--state", "running")
    assert shell("cancel", path.split("/")[-1][:6]) == f"{path}: asked to stop\n"
    assert "control-cancel" in tomo.root[path]
    assert "is running; only finished and virtual ones are queued" in shell("retry", "last", status=FAILED)


def test_a_failed_one_is_shown_and_queued_again(shell: Shell, tomo: Tomo, uid: str) -> None:
    first, second = shell("submit", uid, "last").split()
    move(tomo.job(first), State.FAILED, "the flats are all zero")
    [row] = json.loads(shell("jobs", "--state", "failed", "--json"))
    assert (row["path"], row["message"], row["by"]) == (first, "the flats are all zero", row["by"])
    assert [row["path"] for row in json.loads(shell("jobs", "--json", "-n", "1"))] == [second]
    said = shell("cancel", first, second, status=FAILED)
    assert f"{first} is failed already; there is nothing to stop" in said
    assert said.endswith("tomoservice: 1 of 2 failed\n")
    assert shell("retry", first) == f"{first}: queued again\n"
    assert tomo.job(first).state is State.QUEUED
    assert [job.path for job in tomo.jobs("queued")] == [first]
    assert "<td>queued</td>" in tomo.jobs()._repr_html_()


def test_waiting_for_what_was_submitted(shell: Shell, tomo: Tomo, uid: str) -> None:
    def work() -> None:
        wait_for(lambda: len(tomo.jobs("queued")) == 2)
        second, first = tomo.jobs("queued")
        move(first, State.FAILED, "the flats are all zero")
        move(second, State.DONE)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        said = shell("submit", uid, uid, "--wait", status=FAILED)
        working.result(20)
    assert "is failed: the flats are all zero" in said
    assert "is done\n" in said
    assert said.endswith("1 of 2 failed\n")


def test_pause_resume_stop_and_priority(shell: Shell, tomo: Tomo, uid: str) -> None:
    path = shell("submit", uid, "--priority", "background").strip()
    assert shell("pause", path) == f"{path}: paused\n"
    assert shell("jobs", "--run", uid).splitlines()[1].split()[1:3] == ["paused", "background"]
    assert shell("resume", "last") == f"{path}: goes on\n"
    job = tomo.job(path)
    move(job, State.RUNNING)
    assert shell("pause", path) == f"{path}: asked to pause\n"
    assert shell("stop", path) == f"{path}: asked to stop; what is computed stays readable\n"
    assert "asked to stop" in shell("jobs", "--run", uid)
    assert {"control-pause", "control-stop"} <= set(job.node)


def test_a_batch_from_the_command_line(shell: Shell, tomo: Tomo, uid: str) -> None:
    place = ("--recipe", "default", "--recipe", "smooth", "--name", "night")
    batch_id = shell("batch", "submit", uid[:12], *place).strip()
    batch = tomo.find_batch(batch_id)
    wait_for(lambda: batch.summary.counts == {"queued": 2})
    head, first, second, last = shell("batch", "show", "night").splitlines()
    assert head.split() == ["#", "state", "run", "sample", "recipe", "seconds", "message"]
    assert first.split() == ["1", "queued", uid[:8], "ellipse", "default"]
    assert second.split()[-1] == "smooth"
    assert last == f"{batch_id}: queued; 2 items: 2 queued"
    assert shell("batch", "order", "night", "2").splitlines()[1].startswith("2  queued")
    assert shell("batch", "order", "night", "1", "--to", "1").splitlines()[1].startswith("1  queued")
    assert shell("batch", "pause", "last") == f"batches/{batch_id}: paused\n"
    assert shell("jobs", "--run", uid).count("its batch is paused") == 2
    listed = shell("batch", "list").splitlines()
    assert listed[1].split()[:3] == [batch_id, "night", "paused"]
    assert shell("batch", "resume", batch_id) == f"batches/{batch_id}: goes on\n"
    for number, state in ((1, State.FAILED), (2, State.DONE)):
        move(batch.job(number), state, "the flats are all zero" if state is State.FAILED else "")
    said = shell("batch", "show", "night", "--wait", status=FAILED)
    assert said == "tomoservice: 1 of 2 items failed; `tomoservice batch show` says why\n"
    assert "the flats are all zero" in shell("batch", "show", "night")
    said = shell("batch", "pause", "night", status=FAILED)
    assert f"batches/{batch_id} is finished; there is nothing to pause" in said
    facts = json.loads(shell("batch", "show", "night", "--json"))
    assert (facts["state"], facts["summary"]["counts"]) == ("finished", {"done": 1, "failed": 1})
    assert facts["items"][0]["path"] == f"processed/{uid}/{batch_id}-1"
    assert shell("batch", "retry", "night") == f"processed/{uid}/{batch_id}-1: queued again\n"
    assert shell("batch", "cancel", "night") == f"batches/{batch_id}: asked to stop\n"
    said = shell("batch", "pause", "nightly", status=FAILED)
    assert "no batch is called 'nightly'; `tomoservice batch list` lists them" in said
    said = shell("batch", "order", "night", "1", "2", "--to", "1", status=USAGE)
    assert "--to moves one ITEM" in said
    assert "--priority" in shell("batch", "submit", uid, "--priority", "live", status=USAGE)
    batch.node.delete(recursive=True)


WRONG: list[tuple[list[str], int, str]] = [
    (["submit", "zzz"], FAILED, "no run's uid begins with 'zzz'; there are"),
    (["submit", "last", "--recipe", "bon"], FAILED, "neither a file nor a shipped recipe"),
    (["submit", "last", "--recipe", "a.yml"], FAILED, "a.yml: no such file"),
    (["submit", "last", "--recipe", "default", "--proposed"], USAGE, "give one of them"),
    (["cancel", "zzz"], FAILED, "no reconstruction is called 'zzz'; `tomoservice jobs` lists them"),
    (["retry", "processed/../raw"], FAILED, "no reconstruction is called"),
    (["jobs", "--live"], USAGE, "--live wants a terminal"),
    (["recipes", "show", "bone"], FAILED, "there is no saved recipe 'bone'; there are none yet"),
    (["recipes", "save", "a/b", "default"], FAILED, "cannot be called 'a/b'"),
    (["recipes", "save", "smooth", "default"], FAILED, "name: 'smooth' comes with the package"),
    (["recipes", "list", "--energy", "much"], USAGE, "'much' is not of the form A:B"),
]


def test_an_error_is_one_clear_line(shell: Shell, uid: str) -> None:
    for arguments, status, message in WRONG:
        said = shell(*arguments, status=status)
        assert message in said
        assert len(said.splitlines()) == 1, said


def test_names_that_mean_several(shell: Shell, tomo: Tomo, uid: str) -> None:
    run_node = tomo.root["processed"].create_container(uid)
    metadata = {"recipe": {}, "status": {"state": "queued"}, "raw_uid": uid}
    for key in ("abc1", "abc2", "abc"):
        run_node.create_container(key, metadata=metadata, specs=["TomoReconstruction"])
    assert "'ab' means 3 reconstructions: " in shell("cancel", "ab", status=FAILED)
    assert shell("cancel", "abc") == f"processed/{uid}/abc: asked to stop\n"
    assert shell("cancel", f"{uid[:6]}/abc2") == f"processed/{uid}/abc2: asked to stop\n"
    browsed = f"http://somewhere/ui/browse/processed/{uid}/abc1/"
    assert shell("cancel", browsed) == f"processed/{uid}/abc1: asked to stop\n"


def test_where_the_service_is(
    quiet_service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    assert "no service runs in" in _said(["jobs", "--data", str(tmp_path)], tmp_path)
    assert "no service answers at http://127.0.0.1:8000" in _said(["jobs"], tmp_path)
    # In the folder where it was started nothing need be said; elsewhere the environment may say it.
    (tmp_path / "tomoservice-data").symlink_to(quiet_service.data)
    assert "may not do this" not in _said(["recipes", "save", "bone", "default"], tmp_path)
    environment = {"TOMOSERVICE_URI": quiet_service.uri, "TILED_API_KEY": quiet_service.api_key}
    assert _said(["recipes", "tag", "bone", "x"], tmp_path.parent, **environment) == "bone: x\n"
    assert "the API key may not do this" in shell(
        "recipes", "tag", "bone", "x", status=FAILED, anonymous=True
    )


def _said(arguments: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tomoservice", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    return done.stdout + done.stderr


def test_recipes_from_file_to_proposal(shell: Shell, tomo: Tomo, uid: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("reconstruction: {method: fourier, filter: hann}\n", "utf-8")
    saved = shell(
        "recipes", "save", "mine", str(file), "--tag", "bone", "--note", "try", "--accept-for", "last"
    )
    assert saved.splitlines()[0] == "mine: revision 1"
    assert "sample ellipse, 20 keV, 1.5 um pixels, 16 x 32 pixels, 180 degrees" in saved
    file.write_text("rotation_axis: {method: value, value: 15.5}\n", "utf-8")
    assert shell("recipes", "save", "mine", str(file)) == "mine: revision 2\n"
    assert shell("recipes", "tag", "mine", "soft", "--remove", "bone") == "mine: soft\n"
    assert [line.split()[:2] for line in shell("recipes", "history", "mine").splitlines()[1:]] == [
        ["mine", "1"],
        ["mine", "2"],
    ]
    old = shell("recipes", "show", "mine@1")
    assert old.startswith("# mine, revision 1, saved on 20")
    assert yaml.safe_load(old)["reconstruction"]["filter"] == "hann"
    assert json.loads(shell("recipes", "show", "mine", "--format", "json"))["rotation_axis"]["value"] == 15.5
    [found] = json.loads(shell("recipes", "list", "--energy", "19:21", "--pixel-size", ":2", "--json"))
    assert (found["name"], found["revision"], found["tags"]) == ("mine", 2, ["soft"])
    assert shell("recipes", "list", "--energy", "30:") == "(none)\n"

    proposed = shell("recipes", "propose", uid)
    assert re.match(
        r"# mine, revision 1: accepted by \S+ on 20\S+ for run \w{8} \(sample ellipse\): ", proposed
    )
    shell("recipes", "accept", "mine", uid)
    assert "# note: the rotation axis is given, column 15.5" in shell("recipes", "propose", "last")
    path = shell("submit", "last", "--proposed").strip()
    assert tomo.job(path).record.metadata.recipe_name == "mine"
    assert tomo.job(path).record.metadata.recipe_hash == tomo.recipes.load("mine").hash
    assert shell("recipes", "delete", "mine", "--yes") == "mine: deleted\n"


def test_a_live_table_follows(quiet_service: RunningService, tomo: Tomo, uid: str) -> None:
    job = tomo.reconstruct(uid)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tomoservice", "jobs", "--live", "--every", "0.2"),
            *("--data", str(quiet_service.data)),
        ],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
    )
    os.close(theirs)
    try:
        assert "queued" in _until(ours, "queued")
        move(job, State.RUNNING).progress(Progress("reconstructing", 3, 12))
        assert "25 %" in _until(ours, "25 %")
        process.send_signal(signal.SIGINT)
        _until(ours, "until it has ended")
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert process.returncode == 0


def _until(terminal: int, text: str, seconds: float = 40.0) -> str:
    seen, deadline = "", time.monotonic() + seconds
    while text not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 65536).decode("utf-8", "replace")
            except OSError:
                # The other side is closed: nobody writes any more.
                break
    return seen
