"""Pictures of the web page: `make screenshots` takes them of a service with simulated scans."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import tomoservice
from tests.phantom_scans import phantom_scan
from tomoservice.benchmarks.browsers import FLAGS, find_browser
from tomoservice.phantom import Imperfections
from tomoservice.service.running import RunningService, running_service

FOLDER = Path(__file__).parent / "images"
SIZE = {"width": 1280, "height": 800}
SECONDS = 180
SCANS = (("shale-03", 256, 64, 131.2), ("shale-02", 256, 96, 120.75), ("shale-01", 384, 96, 199.3))
"""Sample, columns, rows and rotation axis of each."""


def publish(service: RunningService) -> str:
    """Publish the scans, and return the uid of the last one."""
    run = ""
    with tomoservice.connect(service.uri, service.api_key) as tomo:
        for number, (sample, columns, rows, axis) in enumerate(SCANS):
            imperfections = Imperfections(noise=0.004, beam_profile=0.2, stripes=0.01, seed=number)
            scan = phantom_scan(columns, rows, 361, rotation_axis=axis, imperfections=imperfections)
            file = scan.write_dxchange(service.data.parent / "raw" / f"{sample}.h5")
            run = tomo.ingest(file, sample_name=sample, energy_kev=25, pixel_size_um=1.3, distance_mm=60)
    return run


def settle(page: Page) -> None:
    """Wait until everything is drawn."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(3000)


def take(page: Page, name: str) -> None:
    """Take a picture of the page."""
    settle(page)
    page.screenshot(path=FOLDER / f"page-{name}.png")


def show(page: Page, service: RunningService, run: str) -> None:
    """Go through the page as somebody would, and take pictures."""
    page.goto(f"{service.uri}/tomo/scans/{run}#api_key={service.api_key}")
    page.wait_for_selector('[data-testid="picture"][data-state="ready"]')
    page.get_by_role("button", name="Find").click()
    page.get_by_role("button", name="Use this").click()
    page.wait_for_selector('[data-testid="picture"][data-state="ready"]')
    take(page, "workbench")
    page.get_by_label("What to show").select_option("Three planes")
    for axis in "yx":
        page.wait_for_selector(f'[data-testid="plane-{axis}"][data-state="ready"] canvas')
    take(page, "planes")
    page.get_by_role("button", name="Reconstruct", exact=True).click()
    page.get_by_role("button", name="Reconstruct now").click()
    # The workbench has planes of the same name.
    page.wait_for_url("**/volumes/**")
    page.wait_for_selector('[data-testid="plane-x"][data-state="ready"] canvas')
    take(page, "volume")
    page.get_by_role("link", name="Scans").click()
    page.get_by_role("link", name="look at it").wait_for()
    take(page, "scans")


def main() -> int:
    """Take the pictures; return the exit status."""
    path = find_browser()
    if path is None:
        sys.stderr.write("no browser: install Chromium\n")
        return 1
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        raw = Path(folder) / "raw"
        raw.mkdir()
        with running_service(Path(folder) / "data", {"service": {"raw_folders": [str(raw)]}}) as service:
            browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
            context = browser.new_context(viewport=SIZE, color_scheme="dark")
            context.set_default_timeout(SECONDS * 1000)
            show(context.new_page(), service, publish(service))
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
