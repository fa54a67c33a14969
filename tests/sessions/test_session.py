"""Sessions: what is missing is said in one line, and no scan is lost for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from profiles.on_demand import OnDemand
from profiles.scan_numbers import ScanNumbers
from profiles.session import Session, free_port
from profiles.session_options import session_options
from tests.service.conftest import wait_for
from tomoservice.errors import BeamlineError, ServiceUnavailableError, SettingsError
from tomoservice.service.running import RunningService

STARTUP_S = 15.0
"""What a session may take to start on a machine that has nothing else to do."""


def run_session(folder: Path, code: str, *options: str, **environment: str) -> tuple[str, str]:
    """Type lines in a session of its own and return what it printed, and its errors."""
    # Its simulated beamline chooses Channel Access ports of its own.
    left = ("EPICS_", "DISPLAY", "WAYLAND_DISPLAY")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(left)}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tomoservice",
            "session",
            *options,
            "--",
            "--simple-prompt",
            "--colors=NoColor",
        ],
        input=code,
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    return done.stdout, done.stderr


@pytest.fixture
def begun(table: Path) -> Iterator[Callable[..., Session]]:
    sessions: list[Session] = []

    def begin(**options: object) -> Session:
        defaults = {
            "window": False,
            "beamline": table,
            "data": table.parent / "data",
            "folder": table.parent / "session",
            "uri": f"http://127.0.0.1:{free_port()}",
        }
        sessions.append(Session(session_options(**{**defaults, **options})))
        sessions[-1].start()
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()


def journals(table: Path) -> list[Path]:
    return list((table.parent / "session" / "runs").glob("*.jsonl*"))


def test_without_a_service_a_scan_runs_and_waits_on_disk(begun: Callable[..., Session], table: Path) -> None:
    session = begun()
    assert len(session.notices) == 1
    assert "no service answers" in session.notices[0]
    assert "is `tomoservice serve` running there?; runs wait in" in session.notices[0]
    (uid,) = session.RE(session.plan("tomo_scan")(3, num_flats=1, num_darks=1))
    session.publisher.close(0.5)
    assert [file.name.startswith(uid) for file in journals(table)] == [True]
    with pytest.raises(ServiceUnavailableError, match="is `tomoservice serve` running"):
        _ = session.tomo.scans


def test_it_is_published_later_and_scans_are_numbered_on(
    begun: Callable[..., Session], table: Path, service: RunningService
) -> None:
    session = begun(uri=None, data=service.data)
    assert session.notices == []
    session.RE(session.plan("tomo_fly")(4, num_flats=1, num_darks=1))
    assert session.publisher.wait(60)
    assert session.trigger.wait(60)
    assert journals(table) == []
    fly, step = session.tomo.scans[:2]
    assert (fly.plan_name, step.plan_name) == ("tomo_fly", "tomo_scan")
    assert [len(scan.reconstructions) for scan in (fly, step)] == [1, 1]
    # as a script of databroker's v1 does it
    header = session.db[step.uid]
    assert list(header.table("primary")["rotation"]) == [0.0, 60.0, 120.0]
    assert session.db[-1].start["scan_id"] == header.start["scan_id"] + 1
    # which leaves the runs of everybody else in this process as they were
    assert set(session.tomo.root["raw"][step.uid]["primary"]) >= {"camera_image", "rotation"}


def test_devices_and_plans_that_are_not_there_say_so_when_they_are_used(
    begun: Callable[..., Session],
) -> None:
    session = begun(beamline=None)
    with pytest.raises(BeamlineError, match="--sim, or with --beamline FILE"):
        _ = session.devices[0].position
    with pytest.raises(BeamlineError, match="--sim, or with --beamline FILE"):
        session.plan("tomo_scan")(3)


def test_a_beamline_that_does_not_answer_is_one_line(
    begun: Callable[..., Session], table: Path, tmp_path: Path
) -> None:
    text = table.read_text("utf-8").replace("TEST:", "NIX:") + "\nconnection_timeout_s: 0.2\n"
    (tmp_path / "beamline.yml").write_text(text, "utf-8")
    session = begun(beamline=tmp_path / "beamline.yml", data=tmp_path)
    (line,) = [notice for notice in session.notices if "PVs do not answer" in notice]
    assert "\n" not in line
    assert "EPICS_CA_ADDR_LIST" in line


def test_a_simulated_session_in_ipython(tmp_path: Path) -> None:
    load = max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
    code = """
RE(bps.mv(shutter, 'open'))
RE(tomo_scan(-1))
tomo.scans[0]
tomo_status.wait_for_connection(timeout=30)
RE(bps.mv(tomo_status.center, 127.5))
RE(bps.mv(tomo_status.recipe, 'nix'))
print('center', tomo_status.center.get())
"""
    first = "RE(tomo_fly(6, num_flats=2, num_darks=2)); session.trigger.wait(60)\n"
    out, error = run_session(tmp_path, first + code, "--sim")
    assert "no display: the running slice is shown on the page" in out
    assert "rotation, sample, shutter, camera of simulated tomography beamline" in out
    took = re.search(r"^ready in ([\d.]+) s$", out, re.MULTILINE)
    assert took, error
    assert float(took[1]) < STARTUP_S * load
    # EPICS's own library says after a minute that it is not sure of its repeater.
    noise = ("WARNING", "CA client library", "Silence this message", "or by calling ca_pend")
    lines = [line for line in error.splitlines() if not any(words in line for words in noise)]
    assert lines[0] == (
        "WrongArgumentError: num_projections must be a whole number, at least 1, not -1  (%tb shows where)"
    )
    assert lines[1].startswith("BeamlineError: TOMO:Recipe = 'nix' is refused: ")
    assert len(lines) == 2
    assert "center 127.5" in out
    assert re.search(r"scan 1: run \S+ \(tomo_fly\)\nsuccess: http://127.0.0.1:\d+/tomo/", out)
    assert not (tmp_path / "tomoservice-data" / "service.json").exists()


def test_what_does_not_start_in_the_background_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # an address that this machine has not
    monkeypatch.setattr("profiles.session.SECOND_LOOPBACK", "192.0.2.1")
    session = Session(session_options(window=False, data=tmp_path))
    session._start_status()
    session.close()
    wait_for(lambda: bool(session.notices), 10)
    line = "the status IOC ended with status 1; its reason stands above"
    assert session.notices == [line]
    assert capfd.readouterr().err.splitlines()[-1] == line


def test_a_killed_session_leaves_no_process_behind() -> None:
    code = """
import sys, time
from profiles.child import child_process
with child_process(["tests.sessions.lasting"], "something", 30) as pid:
    sys.stdout.write(f"{pid}\\n")
    sys.stdout.flush()
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        child = psutil.Process(int(session.stdout.readline()))
        session.kill()
    child.wait(10)


def test_numbers_of_scans_go_on_at_any_moment(tmp_path: Path) -> None:
    file = tmp_path / "scan_id"
    file.write_text("9997\n", "utf-8")
    numbers = ScanNumbers(file)
    seen: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.add(file.read_text("utf-8"))

    looking = threading.Thread(target=look)
    looking.start()
    given = [numbers() for _ in range(500)]
    ended.set()
    looking.join()
    assert given == list(range(9998, 10498))
    # whoever dies at any moment leaves a number behind
    assert all(text.strip().isdigit() for text in seen)
    assert file.read_text("utf-8") == "10497\n"


def test_wrong_options_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, error = run_session(tmp_path, "pass", TOMOSERVICE_SESSION_SIMM="1")
    assert out == ""
    assert error.startswith("tomoservice: environment variable TOMOSERVICE_SESSION_SIMM is no session option")
    assert len(error.splitlines()) == 1
    out, error = run_session(tmp_path, "pass", "--profile", "missing.py")
    assert error.splitlines() == [
        "tomoservice session: there is no profile missing.py; copy the one that comes with the package "
        "(see tomoservice session --help)"
    ]
    monkeypatch.setenv("TOMOSERVICE_SESSION_WINDOW", "perhaps")
    with pytest.raises(SettingsError, match="session option 'window': Input should be a valid boolean"):
        session_options()


def test_the_environment_goes_before_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOMOSERVICE_SESSION_URI", "http://elsewhere:1")
    options = session_options(uri="http://here:1", recipe="bone")
    assert (options.uri, options.recipe) == ("http://elsewhere:1", "bone")


def test_the_profile_imports_and_instantiates_only() -> None:
    profile = Path("profiles/tomo/startup/tomo.py")
    text = (Path(__file__).parents[2] / profile).read_text("utf-8")
    assert "import *" not in text
    assert TransformerManager().check_complete(text)[0] == "complete"
    assert len(text.splitlines()) < 20


def test_what_is_made_on_demand_is_tried_again() -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(len(made))
        if len(made) == 1:
            raise ServiceUnavailableError("not yet")
        return made

    later = OnDemand(make, "numbers")
    assert repr(later) == "<numbers: connected when it is used>"
    assert later
    assert made == []
    with pytest.raises(ServiceUnavailableError):
        len(later)
    assert len(later) == 2
    assert later[0] == 0
