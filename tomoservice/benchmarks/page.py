"""How long somebody waits at the page: from moving the slider to the new picture on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tomoservice.benchmarks.browsers import BROWSERS, FLAGS, find_browser
from tomoservice.benchmarks.interactive import Knobs, knobs_of, summary_of
from tomoservice.benchmarks.scenes import QUIET, write_scan
from tomoservice.benchmarks.table import Measurement
from tomoservice.client import connect
from tomoservice.errors import TomoserviceError
from tomoservice.service.page import BUILT
from tomoservice.service.running import RunningService, running_service

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COLUMNS, ANGLES, ROWS = 1024, 721, 32
WIDTH, HEIGHT = 1440, 900
LONGEST_S = 120.0
WITH_DEVICE_MS, IN_SOFTWARE_MS = 100.0, 200.0
"""How much longer than the bare preview a new picture may take."""
LOAD_S = 2.0
LOAD_BYTES = 1.5e6
PICTURE = '[data-testid="picture"]'

RENDERER = """() => {
  const gl = document.createElement("canvas").getContext("webgl2");
  if (!gl) return "no WebGL";
  const known = gl.getExtension("WEBGL_debug_renderer_info");
  return String(gl.getParameter(known ? known.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}"""
# What React listens to is an input event of an element whose value was set past its own setter.
MOVE = """([selector, column]) => new Promise((resolve, reject) => {
  const slider = document.querySelector('input[type="range"][aria-label="Rotation axis"]');
  const picture = document.querySelector(selector);
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
  const timer = setTimeout(() => reject(new Error("no picture")), 60000);
  const began = performance.now();
  const seen = new MutationObserver(() => {
    if (picture.dataset.state !== "ready" || Number(picture.dataset.axis) !== column) return;
    seen.disconnect();
    clearTimeout(timer);
    // Drawn in the next frame, and on the screen when the one after that begins.
    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - began)));
  });
  seen.observe(picture, { attributes: true });
  set.call(slider, String(column));
  slider.dispatchEvent(new Event("input", { bubbles: true }));
})"""
LOADED = """() => performance.getEntriesByType("resource")
  .concat(performance.getEntriesByType("navigation"))
  .filter((entry) => new URL(entry.name).pathname.startsWith("/tomo/"))
  .reduce((sum, entry) => sum + entry.transferSize, 0)"""


@dataclass(frozen=True)
class Waits:
    """Seconds of each kind."""

    painted: list[float]
    """From the slider to the picture."""
    bare: list[float]
    """Of the preview alone, over HTTP."""
    renderer: str
    """What draws."""
    loaded: float
    """Bytes that the page had to load for it, compressed."""

    @property
    def in_software(self) -> bool:
        """Whether the browser draws without a graphics device."""
        return any(
            name in self.renderer.lower() for name in ("swiftshader", "llvmpipe", "software", "no webgl")
        )


def measure_page(
    folder: Path, rounds: int, tell: Callable[[str], None], *, columns: int = COLUMNS, angles: int = ANGLES
) -> list[Measurement]:
    """Measure the page in a real browser, in turns with the bare preview that it waits for.

    Parameters
    ----------
    folder
        Where the scan goes.
    rounds
        Moves of the slider.
    tell
        Told what is being done.
    columns, angles
        Size of the slice and of its sinogram.

    Raises
    ------
    TomoserviceError
        There is no browser, or the page is not built; says what to do.
    """
    raw = folder / "raw"
    raw.mkdir(parents=True)
    with _browser() as browser:
        tell("simulating a scan")
        scan = write_scan(raw / "scan.h5", columns=columns, rows=ROWS, angles=angles, name="scan")
        tell("starting the service")
        settings = {"service": {"raw_folders": [str(raw)]}, "conductor": {"poll_s": 2.0}, **QUIET}
        with running_service(folder / "data", settings) as service:
            with connect(service.uri, service.api_key) as tomo:
                run = tomo.ingest(scan)
            with knobs_of(service, run, (columns - 1) / 2) as knobs:
                knobs.until_ready()
                tell("opening the page")
                loads = [_load(browser, service) for _ in range(max(rounds // 4, 1))]
                tell("moving the slider")
                waits = _move(browser, service, run, knobs, rounds)
    return [*_rows(waits, columns, angles), *_load_rows(loads, waits.loaded)]


@contextmanager
def _browser() -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise TomoserviceError("no Playwright to drive a browser with; pip install playwright") from error
    path = find_browser()
    if path is None:
        raise TomoserviceError(f"no browser: none of {', '.join(BROWSERS)} is installed")
    if not (BUILT / "index.html").is_file():
        raise TomoserviceError("the page is not built; run `make page`, which needs npm")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@contextmanager
def _opened(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
    context.set_default_timeout(LONGEST_S * 1000)
    yield context.new_page()
    context.close()


def _load(browser: Browser, service: RunningService) -> float:
    """Return the seconds until the scans can be clicked, with nothing kept by the browser."""
    with _opened(browser) as page:
        began = time.perf_counter()
        page.goto(f"{service.uri}/tomo/#api_key={service.api_key}", wait_until="commit")
        page.get_by_role("link", name="scan", exact=True).wait_for()
        return time.perf_counter() - began


def _move(browser: Browser, service: RunningService, run_uid: str, knobs: Knobs, rounds: int) -> Waits:
    """Move the slider and ask for the bare preview in turns."""
    with _opened(browser) as page:
        page.goto(f"{service.uri}/tomo/scans/{run_uid}#api_key={service.api_key}")
        page.wait_for_selector(f'{PICTURE}[data-state="ready"]')
        page.locator("#rotation_axis").select_option("value")
        page.wait_for_selector(f'{PICTURE}[data-state="ready"]')
        axis = float(page.get_by_label("Rotation axis, column").input_value())
        waits = Waits([], [], str(page.evaluate(RENDERER)), float(page.evaluate(LOADED)))
        for number in range(rounds + 1):
            # Up and down, in steps of the slider, and never where it is already.
            column = axis + 0.25 * (1 + number % 8) * (-1) ** number
            painted = _moved(page, column)
            bare = knobs.changes["rotation axis"]()
            if number:
                waits.painted.append(painted)
                waits.bare.append(bare)
            # What is asked for when nothing has moved for a while must not be in the way.
            page.wait_for_timeout(1500)
        return waits


def _moved(page: Page, column: float) -> float:
    milliseconds: Any = page.evaluate(MOVE, [PICTURE, column])
    return float(milliseconds) / 1e3


def _rows(waits: Waits, columns: int, angles: int) -> Iterator[Measurement]:
    target = IN_SOFTWARE_MS if waits.in_software else WITH_DEVICE_MS
    drawn = "in software" if waits.in_software else "by a graphics device"
    more = 1e3 * (np.asarray(waits.painted) - np.asarray(waits.bare))
    size = f"{columns} x {columns}, {angles} angles"
    yield Measurement(f"Axis moved to picture painted: {size}; drawn {drawn}", summary_of(waits.painted))
    yield Measurement("The bare preview in turns with it", summary_of(waits.bare))
    yield Measurement(
        "Painted above bare, median", f"{np.median(more):.0f} ms", float(np.median(more)), target, " ms"
    )
    late = 1e3 * (np.percentile(waits.painted, 95) - np.percentile(waits.bare, 95))
    yield Measurement("Painted above bare, 95th percentiles", f"{late:.0f} ms", float(late), target, " ms")
    yield Measurement("What draws", waits.renderer)


def _load_rows(loads: list[float], size: float) -> Iterator[Measurement]:
    usual = float(np.median(loads))
    yield Measurement("First load until a scan can be opened", f"median {usual:.2f} s", usual, LOAD_S, " s")
    what = "First load of the workbench, compressed"
    yield Measurement(what, f"{size / 1e6:.2f} MB", size / 1e6, LOAD_BYTES / 1e6, " MB")
