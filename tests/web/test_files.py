"""The files of the page: how they are served, what happens without them, and how they get into a wheel."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tomoservice.service.page import PATH, page_application

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "tomoservice" / "web"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>the page</title>")
    (folder / "assets" / "index-1a2b.js").write_text("console.log('" + "x" * 5000 + "')")
    return folder


def get(folder: Path, path: str) -> httpx.Response:
    """Ask an application for a path under which the page is mounted."""
    app = Starlette(routes=[Mount(PATH, page_application(folder))])

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path, follow_redirects=True)

    # In a thread of its own: where a browser is driven, this one has a loop already.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, ask()).result()


def test_every_screen_is_the_same_file(built: Path) -> None:
    for path in ("/tomo/", "/tomo/scans/8f1c", "/tomo/volumes/8f1c/3a9d?at=1,2,3"):
        answer = get(built, path)
        assert answer.status_code == 200
        assert "the page" in answer.text
        assert answer.headers["Cache-Control"] == "no-cache"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert get(built, "/tomo").url.path == "/tomo/"


def test_files_that_change_their_name_are_kept_and_compressed(built: Path) -> None:
    answer = get(built, "/tomo/assets/index-1a2b.js")
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Content-Type"].startswith("text/javascript")


def test_what_is_missing_is_missing(built: Path) -> None:
    # A browser that runs an old page must not take this page for a script of it.
    assert get(built, "/tomo/assets/index-old.js").status_code == 404
    assert get(built, "/tomo/../../../etc/passwd").status_code == 404


def test_a_page_that_is_not_built_says_how(tmp_path: Path) -> None:
    answer = get(tmp_path / "dist", "/tomo/")
    assert answer.status_code == 503
    assert "make page" in answer.text
    # It may be built while the service runs.
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").write_text("built")
    assert get(tmp_path / "dist", "/tomo/").text == "built"


def test_the_lock_file_names_no_host() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package.get("link") or "integrity" in package, name


def wheel(source: Path, out: Path, **environment: str) -> tuple[list[str], str]:
    """Build a wheel of a copy of the package, and return the names in it and what was said."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file = next(out.glob("*.whl"))
    return zipfile.ZipFile(file).namelist(), done.stdout + done.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    copy = tmp_path / "source"
    ignored = shutil.ignore_patterns("node_modules", "dist", "__pycache__", ".built", ".installed")
    for name in ("tomoservice", "callbacks", "profiles", "tiled_config"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def test_a_wheel_carries_the_page_and_not_its_source(source: Path, tmp_path: Path) -> None:
    (source / "tomoservice/web/dist/assets").mkdir(parents=True)
    (source / "tomoservice/web/dist/index.html").write_text("the page")
    (source / "tomoservice/web/dist/assets/index-1.js").write_text("1")
    names, _ = wheel(source, tmp_path / "out", TOMOSERVICE_BUILD_PAGE="0", PATH="/usr/bin:/bin")
    of_page = [name for name in names if "/web/" in name]
    assert sorted(of_page) == [
        "tomoservice/web/dist/assets/index-1.js",
        "tomoservice/web/dist/index.html",
    ]


def test_a_wheel_without_the_page_says_so(source: Path, tmp_path: Path) -> None:
    names, said = wheel(source, tmp_path / "out", PATH="")
    assert not [name for name in names if "/web/" in name]
    assert "NO WEB PAGE" in said


def test_logic_of_the_page() -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not at hand")
    if not (WEB / "node_modules").is_dir():
        pytest.skip("the page's packages are not installed: `make page`")
    done = subprocess.run([npm, "test"], cwd=WEB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
