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

from profiles.sim.launch import CONFIG_FILE, RunningIOC, simulated_beamline
from profiles.sim.options import SimulationOptions
from tests.phantom_scans import phantom_scan
from tomoservice.service.running import RunningService, running_service

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"<!-- test: (?P<name>[\w ]+) -->\n```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL)
FENCE = re.compile(r"^```(python|sh)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)[^)]*\)")
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = {
    # set-up and start-up, which CI and `make demo` run
    "make demo    # simulated": "the Makefile's own commands",
    "make bench": "takes minutes; tests/engine/test_bench_harness.py runs its parts",
    "tomoservice serve": "stays up; test_demo and the fixtures here start it",
    "pip install": "what the Makefile does",
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
        timeout=55,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_shell(code: str, folder: Path, **environment: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


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
    (asking,) = blocks(ROOT / "docs/reference/nodes.md", "nodes")
    told = run_python(f"{asking}\nprint('/'.join(node.path_parts))\n", service, tmp_path)
    assert told.strip().endswith("/my-reconstruction")
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
    ("page", "name"), [(README, "command line"), (ROOT / "docs/tutorial/first-reconstruction.md", "tutorial")]
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
