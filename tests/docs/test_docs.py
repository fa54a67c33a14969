"""Whatever the documentation says to type, typed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from profiles.sim.launch import CONFIG_FILE, RunningIOC, simulated_beamline
from profiles.sim.options import SimulationOptions
from tests.phantom_scans import phantom_scan
from tests.service.conftest import wait_for
from tomoservice.service.running import RunningService, running_service

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"<!-- test: (?P<name>[\w ]+) -->\n```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)
FENCE = re.compile(r"^```(python|sh)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)[^)]*\)")
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {
    "scrape_configs:": "a configuration of Prometheus",
    # set-up and start-up, which CI and `make demo` run
    "make demo    # simulated": "the Makefile's own commands",
    "tomoservice bench": "takes minutes; tests/cli/test_bench.py runs it in small",
    "tomoservice demo --live": "tests/cli/test_demo.py runs it in small",
    "make bench": "takes minutes; tests/engine/test_bench_harness.py runs its parts",
    "tomoservice session": "stays open; tests/sessions and the tests here run it",
    "TOMOSERVICE_SESSION_BEAMLINE": "stays open; test_a_session_at_the_beamline runs it",
    "tomoservice serve": "stays up; test_demo and the fixtures here start it",
    "tomoservice conductor": "stays up; tests/service/test_production.py starts it",
    "pip install": "what the Makefile does",
    "for gpu in 0 1 2 3; do": "wants devices; tests/compute/test_computers.py offers another resource",
    "#!/bin/bash\n#SBATCH": "wants SLURM",
    "import dask\nfrom dask_jobqueue": "wants SLURM",
    "from pathlib import Path\n\nfrom tomoservice.sources import load_layout": "tests/sources does it",
}


def blocks(page: Path, name: str) -> list[str]:
    found = [match["code"] for match in BLOCK.finditer(page.read_text("utf-8")) if match["name"] == name]
    assert found, f"{page} has no block {name!r}"
    return found


@pytest.fixture(scope="module")
def ioc() -> Iterator[RunningIOC]:
    options = SimulationOptions(
        prefix="TOMO:", rows=33, columns=64, rotation_velocity=720.0, sample_velocity=500.0
    )
    with simulated_beamline(options) as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("readme") / "tomoservice-data"
    with running_service(folder, {"conductor": {"poll_s": 0.2}}) as running:
        # A scan that is over before somebody follows it has no live slices.
        log = folder / "logs" / "live.log"
        wait_for(lambda: log.is_file() and "ready after" in log.read_text("utf-8"), 120)
        yield running


def run_python(code: str, service: RunningService, tmp_path: Path, *, keep_ports: bool = False) -> str:
    adapted = code.replace("http://127.0.0.1:8000", service.uri).replace('"secret"', repr(service.api_key))
    script = tmp_path / "script.py"
    script.write_text(adapted, "utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=service.data.parent,
        capture_output=True,
        text=True,
        check=False,
        # A beamline that a script starts chooses Channel Access ports of its own.
        env={
            name: value for name, value in os.environ.items() if keep_ports or not name.startswith("EPICS_")
        },
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_shell(code: str, folder: Path, **environment: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_readme_scan_ipython_tiled_and_web(service: RunningService, tmp_path: Path) -> None:
    names = ("simulated beamline", "automatic", "scan", "ipython")
    session = "\n".join(code for name in names for code in blocks(README, name))
    told = run_python(
        f"{session}\ntrigger.close()\npublisher.close()\nprint(smoother.path, central.shape)\n",
        service,
        tmp_path,
    )
    path, shape = told.splitlines()[-1].split(" ", 1)
    assert shape == "(256, 256)"
    (tiled_only,) = blocks(README, "tiled")
    assert "tomoservice" not in tiled_only
    alone = (
        "import sys\nprint(central.shape, [name for name in sys.modules if name.startswith('tomoserv')])\n"
    )
    told = run_python(f"{tiled_only}\n{alone}", service, tmp_path)
    sample, state, axis, last = told.splitlines()
    assert (sample, state, last) == ("phantom", "done", "(256, 256) []")
    assert "'method': 'value'" in axis
    (live,) = blocks(ROOT / "docs/how-to/live.md", "live")
    told = run_python(live, service, tmp_path)
    assert "the scan's own flats" in told
    (home,) = blocks(ROOT / "docs/how-to/take-a-volume-home.md", "take home from python")
    run_python(home, service, tmp_path)
    asking = "\n".join(
        code
        for name in ("nodes", "sweep", "batch node")
        for code in blocks(ROOT / "docs/reference/nodes.md", name)
    )
    looking = """
import time
while "images" not in list(sweep):
    time.sleep(0.1)
while not batch.refresh().metadata["submitted"] or not {"night-1-1", "night-1-2"} <= set(run):
    time.sleep(0.1)
print('/'.join(node.path_parts), sweep["images"][1].shape)
"""
    told = run_python(f"{asking}\n{looking}", service, tmp_path)
    assert told.strip().endswith("/my-reconstruction (256, 256)")
    (web,) = blocks(README, "web")
    run_shell(web.replace("http://127.0.0.1:8000", service.uri), tmp_path, VOLUME=f"{path}/volume")
    assert (tmp_path / "slice.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_of_pvs_is_connected(ioc: RunningIOC, service: RunningService, tmp_path: Path) -> None:
    table = CONFIG_FILE.read_text("utf-8").replace("{prefix}", ioc.options.prefix)
    home = Path(os.environ["HOME"])
    (home / "beamline.yml").write_text(table.replace("{data_directory}", str(tmp_path)), "utf-8")
    (check,) = blocks(ROOT / "docs/how-to/real-camera.md", "real camera")
    told = run_python(f"{check}\nprint(beamline.shutter.state)\n", service, tmp_path, keep_ports=True)
    assert told.strip() == "closed"


@pytest.mark.parametrize(
    ("page", "name"),
    [
        (README, "command line"),
        (ROOT / "docs/tutorial/first-reconstruction.md", "tutorial"),
        (ROOT / "docs/how-to/take-a-volume-home.md", "take home"),
    ],
)
def test_command_lines(page: Path, name: str, tmp_path: Path) -> None:
    phantom_scan(64, 4, 90).write_dxchange(tmp_path / "tooth.h5")
    run_shell("\n".join(blocks(page, name)), tmp_path)
    assert len(list(tmp_path.glob("*.h5"))) >= 2


def test_a_recipe_to_start_from(tmp_path: Path) -> None:
    phantom_scan(64, 20, 90).write_dxchange(tmp_path / "scan.h5")
    (recipe,) = blocks(ROOT / "docs/how-to/better-slices.md", "better slices")
    (tmp_path / "recipe.yml").write_text(recipe, "utf-8")
    run_shell("tomoservice reconstruct scan.h5 --recipe recipe.yml --output volume.h5", tmp_path)
    assert (tmp_path / "volume.h5").is_file()


def test_saved_recipes(service: RunningService, tmp_path: Path) -> None:
    phantom_scan(64, 4, 90).write_dxchange(service.data.parent / "tooth.h5")
    shell, session = blocks(ROOT / "docs/how-to/save-recipes.md", "save recipes")
    run_shell(shell, service.data.parent)
    told = run_python(f"{session}\nprint(job.record.metadata.recipe_name)\n", service, tmp_path)
    assert "bone because it was accepted by" in told
    assert told.endswith("bone\n")


def test_batches(service: RunningService, tmp_path: Path) -> None:
    phantom_scan(64, 4, 90).write_dxchange(service.data.parent / "tooth.h5")
    shell, session = blocks(ROOT / "docs/how-to/batches.md", "batches")
    run_shell(shell, service.data.parent)
    told = run_python(f"{session}\nprint([volume.shape for volume in volumes])\n", service, tmp_path)
    first, second = told.splitlines()
    assert first.startswith("3 of 3 done: 3 items: 3 done; ")
    assert second == "[(4, 64, 64), (4, 64, 64), (4, 64, 64)]"


def test_in_ipython(service: RunningService, tmp_path: Path) -> None:
    phantom_scan(64, 20, 90).write_dxchange(service.data.parent / "ipython.h5")
    run_shell("tomoservice ingest ipython.h5 --copy", service.data.parent)
    session = "\n".join(blocks(ROOT / "docs/tutorial/in-ipython.md", "in ipython"))
    told = run_python(
        f"{session}\nassert volume.shape == (20, 64, 64)\nassert sharpness.scores is None\n",
        service,
        tmp_path,
    )
    assert "my-samples because it was accepted by" in told
    assert told.splitlines()[-1].startswith("bit-identical to processed/")


def test_routes(service: RunningService, tmp_path: Path) -> None:
    page = ROOT / "docs/reference/rest.md"
    folder = service.data.parent
    phantom_scan(64, 4, 90).write_dxchange(folder / "tooth.h5")
    run_shell("tomoservice ingest tooth.h5 --copy", folder)
    (shell,) = blocks(page, "rest shell")
    run_shell(shell.replace("http://127.0.0.1:8000", service.uri), tmp_path, TILED_API_KEY=service.api_key)
    assert (tmp_path / "slice.png").read_bytes().startswith(b"\x89PNG")
    (python,), (events,) = blocks(page, "rest python"), blocks(page, "rest events")
    address = service.uri.replace("http", "ws", 1)
    told = run_python(f"{python}\n{events.replace('ws://127.0.0.1:8000', address)}", service, tmp_path)
    assert told.startswith("(64, 64) 1/pixel")
    assert told.splitlines()[-1].endswith("done 100.0")


def test_triggering(service: RunningService, tmp_path: Path) -> None:
    page, folder = ROOT / "docs/how-to/triggering.md", service.data.parent
    (rules,) = blocks(page, "rules")
    start = {
        "plan_name": "tomo_fly",
        "sample_name": "bone 3",
        "proposal": "20260001",
        "tomo": {"energy_kev": 20},
    }
    for where in (folder, tmp_path):
        (where / "rules.yml").write_text(rules, "utf-8")
    (tmp_path / "start.yml").write_text(yaml.safe_dump(start), "utf-8")
    (check,) = blocks(page, "rules check")
    assert "reconstructed, as rule 2 (bones) applies" in run_shell(check, tmp_path)
    session = "\n".join(
        code
        for name in ("zmq publisher", "nats publisher", "rules in a session")
        for code in blocks(page, name)
    )
    run_python(f"{session}\ntrigger.close()\npublisher.close(1)\n", service, tmp_path)
    (listen,) = blocks(page, "listen")
    began = f"{listen.replace('http://127.0.0.1:8000', service.uri).rstrip()} > told &\nlistener=$!\n"
    until = "until test -e listener/run-watch.marker; do sleep 0.2; done\n"
    run_shell(
        f"{began}{until}kill $listener\nwait $listener\ngrep 'listening to tiled' told",
        tmp_path,
        TILED_API_KEY=service.api_key,
    )


def test_adaptive_plans(service: RunningService, tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/adaptive-plans.md"
    session = "\n".join(
        code
        for place, name in (
            *((README, name) for name in ("simulated beamline", "automatic", "scan")),
            *((page, name) for name in ("reconstruct and wait", "until converged")),
        )
        for code in blocks(place, name)
    )
    # Scans of a few projections do for a test.
    session = session.replace("num_projections=180", "num_projections=24").replace(
        "=45, most=720", "=12, most=24"
    )
    told = run_python(
        f"{session}\nprint(len(tomo.scans))\ntrigger.close()\npublisher.close()\n", service, tmp_path
    )
    assert re.search(r"axis \d+\.\d\d, signal to noise \d+\.\d: processed/", told), told


def test_several_distances(tmp_path: Path) -> None:
    for name in ("scan", "at-40mm", "at-120mm"):
        phantom_scan(48, 20, 60).write_dxchange(tmp_path / f"{name}.h5")
    (recipe,) = blocks(ROOT / "docs/how-to/better-slices.md", "several distances")
    told = {"energy_kev": 20.0, "pixel_size_um": 1.0, "distance_mm": 10.0}
    content = yaml.safe_load(recipe)
    content["phase"].update(told)
    content["phase"]["scans"][0]["distance_mm"] = 40.0
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(content), "utf-8")
    run_shell("tomoservice reconstruct scan.h5 --recipe recipe.yml --output volume.h5", tmp_path)
    assert (tmp_path / "volume.h5").is_file()


def test_a_session_at_the_beamline(tmp_path: Path) -> None:
    code = "\n".join(blocks(ROOT / "docs/how-to/session.md", "session"))
    (tmp_path / "typed.py").write_text(f"{code}\nprint(volume.shape, db[-1].start['scan_id'])\n", "utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "IPython", f"--profile-dir={ROOT / 'profiles/tomo'}", "--colors=NoColor"),
            *("-c", "get_ipython().run_line_magic('run', '-i typed.py')"),
        ],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("EPICS_")}
        | {"TOMOSERVICE_SESSION_SIM": "1", "TOMOSERVICE_SESSION_WINDOW": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert "(64, 256, 256) 3" in done.stdout, f"{done.stdout}\n{done.stderr}"
    assert "processed/" in done.stdout


def test_a_profile_for_another_beamline(ioc: RunningIOC, service: RunningService, tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/another-beamline.md"
    raw = service.data / "raw"
    raw.mkdir(exist_ok=True)
    table = CONFIG_FILE.read_text("utf-8").replace("{prefix}", ioc.options.prefix)
    (tmp_path / "beamline.yml").write_text(table.replace("{data_directory}", str(raw)), "utf-8")
    (copy,), (edit,), (begin,) = (
        blocks(page, name) for name in ("copy the profile", "edit the profile", "begin the profile")
    )
    run_shell(copy, tmp_path)
    (tmp_path / "edit.py").write_text(edit.replace("http://127.0.0.1:8000", service.uri), "utf-8")
    run_shell("python edit.py", tmp_path)
    told = run_shell(begin, tmp_path, TILED_API_KEY=service.api_key)
    assert "True tomo_scan" in told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_and_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    if "decisions" in page.parts:
        return
    tested = {match["code"] for match in BLOCK.finditer(text)}
    for match in FENCE.finditer(text):
        code = text[match.end() + 1 : text.index("```", match.end())]
        known = any(code.startswith(start) for start in NOT_RUN)
        assert code in tested or known, f"{page.name}: nobody runs\n{code}"


def test_reference_pages_are_up_to_date() -> None:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    generate = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(generate)
    for name, page in generate.PAGES.items():
        assert (ROOT / "docs/reference" / name).read_text("utf-8") == page(), "run python docs/generate.py"
