"""A real service, a real browser, and real scans to refine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.phantom_scans import phantom_scan
from tests.service.conftest import connected, pace, wait_for
from tomoservice.benchmarks.browsers import BROWSERS, FLAGS, find_browser
from tomoservice.phantom import Imperfections
from tomoservice.service.page import BUILT
from tomoservice.service.running import RunningService, running_service

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright (pip install -e '.[test]')")

SECONDS = 90
"""How long anything may take on a machine that does other things as well."""
AXIS = 66.25
"""Rotation axis of the phantom's scan."""
SIZE = {"width": 1440, "height": 900}


@pytest.fixture(scope="package")
def browser() -> Iterator[playwright.Browser]:
    if not (BUILT / "index.html").is_file():
        pytest.skip("the page is not built: `make page`, which needs npm")
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    playwright.expect.set_options(timeout=SECONDS * 1000)
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="package")
def web_service(
    tmp_path_factory: pytest.TempPathFactory, browser: playwright.Browser
) -> Iterator[RunningService]:
    """A whole service of its own: its scans are those of these tests."""
    folder = tmp_path_factory.mktemp("web")
    raw = folder / "raw"
    raw.mkdir()
    settings = {**pace(embedded=True), "service": {"raw_folders": [str(raw)]}}
    with running_service(folder / "data", settings) as running:
        wait_for((running.data / "compute.json").exists, 60)
        yield running


@pytest.fixture(scope="package")
def phantom_run(web_service: RunningService) -> str:
    """A scan with an axis that is not in the middle, rings, and more than one row."""
    imperfections = Imperfections(noise=0.01, stripes=0.02)
    scan = phantom_scan(128, 16, 181, rotation_axis=AXIS, imperfections=imperfections)
    file = scan.write_dxchange(web_service.data.parent / "raw" / "phantom.h5")
    with connected(web_service) as tomo:
        return tomo.ingest(file, sample_name="phantom", energy_kev=25, pixel_size_um=1.3, distance_mm=50)


@pytest.fixture(scope="package")
def tooth_run(web_service: RunningService, data_dir: Path) -> str:
    copy = web_service.data.parent / "raw" / "tooth.h5"
    shutil.copy(data_dir / "tooth" / "tooth.h5", copy)
    with connected(web_service) as tomo:
        return tomo.ingest(copy, sample_name="tooth")


@pytest.fixture(scope="package")
def other_run(web_service: RunningService) -> str:
    """Another scan."""
    file = phantom_scan(64, 8, 90, rotation_axis=30).write_dxchange(
        web_service.data.parent / "raw" / "other.h5"
    )
    with connected(web_service) as tomo:
        return tomo.ingest(file, sample_name="other")


Opener = Callable[..., playwright.Page]


@pytest.fixture
def open_page(web_service: RunningService, browser: playwright.Browser) -> Iterator[Opener]:
    """Open the page as somebody: with the key, or without.

    Nothing may be asked of any other host, and the browser may have nothing to complain about.
    """
    contexts: list[playwright.BrowserContext] = []
    complaints: list[str] = []
    elsewhere: list[str] = []
    host = urlsplit(web_service.uri).netloc

    def note(message: playwright.ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.text} ({message.location.get('url')})")

    def watch(request: playwright.Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and parts.netloc != host:
            elsewhere.append(request.url)

    def opened(path: str = "", *, key: bool = True) -> playwright.Page:
        context = browser.new_context(viewport=SIZE)
        context.set_default_timeout(SECONDS * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", watch)
        page.on(
            "websocket", lambda socket: urlsplit(socket.url).netloc == host or elsewhere.append(socket.url)
        )
        page.goto(f"{web_service.uri}/tomo/{path}" + (f"#api_key={web_service.api_key}" if key else ""))
        return page

    opened.complaints = complaints  # type: ignore[attr-defined]
    yield opened
    for context in contexts:
        context.close()
    assert not elsewhere, "the page asks other hosts"
    assert not complaints


def shown(page: playwright.Page, *, axis: float | None = None) -> None:
    """Wait until the picture is that of the recipe; with `axis`, of this rotation axis."""
    wanted = "" if axis is None else f'[data-axis="{axis:g}"]'
    page.wait_for_selector(f'[data-testid="picture"][data-state="ready"]{wanted}')
