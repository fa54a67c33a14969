"""A scan that goes on, looked at in a real browser."""

from __future__ import annotations

import re

import numpy as np

from tests.live.conftest import Watched, living
from tests.live.growing import GrowingRun, Specimen
from tests.service.conftest import connected
from tests.web.conftest import Opener, playwright
from tomoservice.service.running import RunningService

expect = playwright.expect
ANGLES = np.arange(90) * 2.0


def test_a_scan_is_watched_and_a_slice_moved(web_service: RunningService, open_page: Opener) -> None:
    specimen = Specimen()
    frames = specimen.frames(ANGLES)
    with connected(web_service) as tomo, living(web_service):
        said = {"pixel_size_um": 1.5, "energy_kev": 20.0, "distance_mm": 50.0, "num_projections": 90}
        start = {"sample_name": "growing", "tomo": said}
        run = GrowingRun(tomo.raw, web_service.data.parent / "raw", start=start)
        live = Watched(tomo.root, run.uid)
        live.until(90, state="waiting")
        run.series("primary", frames[:40], ANGLES[:40])
        live.until(90, frames_used=40)
        page = open_page()
        row = page.get_by_role("row", name=re.compile("growing"))
        row.get_by_role("link", name="live").click()
        expect(page.get_by_text("40 of 90 projections")).to_be_visible()
        expect(page.get_by_role("img", name="xy slice")).to_be_visible()
        slider = page.get_by_role("slider", name="Position along z")
        slider.press("ArrowRight")
        live.until(90, slices={"z": 7, "y": 32, "x": 32})
        page.get_by_role("textbox", name="Wished δ/β").fill("50")
        live.until(90, delta_beta=50.0, frames_used=40)
        expect(page.get_by_text("δ/β 50", exact=True)).to_be_visible()
        page.get_by_role("textbox", name="Wished δ/β").fill("")
        live.until(90, delta_beta=None, frames_used=40)
        run.series("primary", frames[40:], ANGLES[40:])
        run.end()
        expect(page.get_by_text("90 of 90 projections")).to_be_visible()
        expect(page.get_by_text("done", exact=True)).to_be_visible()
        expect(page.get_by_text(re.compile(r"axis 33\.[5-9]\d$"))).to_be_visible()
