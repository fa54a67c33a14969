"""What people do with the page, in a real browser on a real service."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import httpx
import pytest

from tests.service.conftest import connected
from tests.web.conftest import AXIS, Opener, playwright, shown
from tomoservice.service.running import RunningService

expect = playwright.expect
TOOTH_AXIS = 295.8
"""Where others find the rotation axis of the tooth, within a column."""


def get(service: RunningService, path: str) -> Any:
    headers = {"Authorization": f"Apikey {service.api_key}"}
    answer = httpx.get(f"{service.uri}/api/v1/tomo/{path}", headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_axis_of_the_tooth_is_refined_with_the_slider(
    web_service: RunningService, tooth_run: str, open_page: Opener
) -> None:
    page = open_page()
    page.get_by_role("link", name="tooth", exact=True).click()
    shown(page)
    found = float(page.get_by_label("Rotation axis, column").input_value())
    assert abs(found - TOOTH_AXIS) < 1
    slider = page.get_by_role("slider", name="Rotation axis", exact=True)
    for _ in range(4):
        slider.press("ArrowRight")
    moved = float(page.get_by_label("Rotation axis, column").input_value())
    assert 0.5 < moved - found < 1.5
    shown(page, axis=moved)
    page.get_by_role("button", name="Save recipe").click()
    page.get_by_label("Name", exact=True).fill("tooth-by-hand")
    page.get_by_label("Tags").fill("tooth, test")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as tooth-by-hand, revision 1")).to_be_visible()
    saved = get(web_service, "recipes/tooth-by-hand")
    assert saved["recipe"]["rotation_axis"] == {"method": "value", "value": moved, "tilt_deg": 0.0}
    assert saved["tags"] == ["tooth", "test"]
    assert get(web_service, f"scans/{tooth_run}/proposal")["recipe_name"] == "tooth-by-hand"
    undo = page.get_by_role("button", name="Undo")
    while undo.is_enabled():
        undo.click()
    expect(page.locator("#rotation_axis")).to_have_value("auto")


def test_from_the_scan_to_the_volume(
    web_service: RunningService, phantom_run: str, open_page: Opener
) -> None:
    page = open_page(f"scans/{phantom_run}")
    shown(page)
    page.get_by_role("button", name="Find").click()
    page.get_by_role("button", name="Use this").click()
    expect(page.locator("#rotation_axis")).to_have_value("value")
    page.get_by_role("tab", name="Rings").click()
    page.get_by_role("button", name="Try every method").click()
    page.get_by_role("button", name="sorting").click()
    shown(page)
    page.get_by_role("button", name="Reconstruct", exact=True).click()
    page.get_by_role("button", name="Reconstruct now").click()
    expect(page).to_have_url(re.compile("/tomo/volumes/"))
    for axis in "zyx":
        page.wait_for_selector(f'[data-testid="plane-{axis}"][data-state="ready"] canvas')
    expect(page.locator(".workbench-head .badge")).to_have_text("done")
    page.get_by_label("Position along z").press("ArrowRight")
    expect(page).to_have_url(re.compile("at=9,64,64"))
    made = get(web_service, f"reconstructions?run_uid={phantom_run}")["reconstructions"][0]
    recipe = get(web_service, f"reconstructions/{phantom_run}/{made['id']}")["recipe"]
    assert abs(recipe["rotation_axis"]["value"] - AXIS) < 0.3
    assert recipe["stripes"]["method"] == "sorting"
    page.get_by_role("link", name="Scans").click()
    row = page.get_by_role("row").filter(has_text="phantom")
    expect(row.get_by_role("link", name="look at it")).to_be_visible()
    expect(row.get_by_role("img", name="slice of phantom")).to_be_visible()


def test_many_scans_by_one_recipe(
    web_service: RunningService, phantom_run: str, other_run: str, open_page: Opener
) -> None:
    page = open_page()
    names = [get(web_service, f"scans/{run}")["sample_name"] for run in (phantom_run, other_run)]
    for name in names:
        page.get_by_label(f"Choose {name}", exact=True).check()
    page.get_by_role("button", name="Reconstruct them").click()
    page.get_by_label("Name of the batch").fill("night")
    page.get_by_label("smooth").check()
    page.get_by_role("button", name="Queue 4 reconstructions").click()
    expect(page.get_by_role("heading", name="night")).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(5)
    page.get_by_role("button", name="Cancel the batch").click()
    expect(page.locator("h1 + .badge")).to_have_text("finished")
    page.get_by_role("link", name="Queue").click()
    expect(page.get_by_role("link", name="night", exact=True)).to_be_visible()
    counts = get(web_service, "batches")["batches"][0]["summary"]["counts"]
    assert sum(counts.values()) == 4
    assert counts.get("cancelled", 0) > 0


def test_what_is_wrong_is_said_at_the_field(phantom_run: str, open_page: Opener) -> None:
    page = open_page(f"scans/{phantom_run}")
    shown(page)
    page.locator("#rotation_axis").select_option("value")
    page.get_by_label("Tilt of the axis").fill("11")
    expect(page.get_by_text("is at most 10, got 11")).to_be_visible()
    expect(page.get_by_role("button", name="Reconstruct", exact=True)).to_be_disabled()
    page.get_by_label("Tilt of the axis").fill("0")
    expect(page.get_by_role("button", name="Reconstruct", exact=True)).to_be_enabled()
    page.get_by_role("button", name="YAML").click()
    text = page.get_by_role("textbox", name="Recipe as YAML")
    expect(text).to_have_value(re.compile("rotation_axis:"))
    text.fill("rotation_axis: {method: value, value: 64, tilt: 3}")
    page.get_by_role("button", name="Use this text").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("rotation_axis")
    text.fill("rotation_axis: {method: value, value: 64.5}")
    page.get_by_role("button", name="Use this text").click()
    shown(page, axis=64.5)


def test_whoever_may_only_read_is_shown_no_button_that_is_refused(
    phantom_run: str, open_page: Opener
) -> None:
    page = open_page(key=False)
    expect(page.get_by_text("read only")).to_be_visible()
    page.get_by_role("link", name="phantom", exact=True).click()
    expect(page.get_by_role("button", name="Reconstruct", exact=True)).to_be_disabled()
    expect(page.get_by_role("button", name="Save recipe")).to_be_disabled()
    expect(page.get_by_text("Refining takes a key that may write.")).to_be_visible()


def test_signing_in_with_a_key(web_service: RunningService, phantom_run: str, open_page: Opener) -> None:
    page = open_page(key=False)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("API key").fill(web_service.api_key)
    page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_text("read only")).to_have_count(0)


def test_an_address_shows_a_colleague_the_same(phantom_run: str, open_page: Opener) -> None:
    mine = open_page(f"scans/{phantom_run}")
    shown(mine)
    mine.get_by_label("Rotation axis, column").fill("63.5")
    shown(mine, axis=63.5)
    mine.get_by_label("Slice number").fill("3")
    mine.get_by_label("Black level").fill("0.001")
    mine.get_by_label("Black level").press("Enter")
    expect(mine).to_have_url(re.compile("z=3.*window=0.001"))
    theirs = open_page(mine.url.partition("/tomo/")[2])
    shown(theirs, axis=63.5)
    expect(theirs.get_by_label("Slice number")).to_have_value("3")
    expect(theirs.get_by_label("Black level")).to_have_value("0.001")


def test_a_scan_that_comes_is_seen_without_loading_again(
    web_service: RunningService, phantom_run: str, open_page: Opener
) -> None:
    from tests.phantom_scans import phantom_scan

    page = open_page()
    expect(page.get_by_role("link", name="phantom", exact=True)).to_be_visible()
    file = phantom_scan(32, 4, 30).write_dxchange(web_service.data.parent / "raw" / "late.h5")
    with connected(web_service) as tomo:
        tomo.ingest(file, sample_name="late")
    expect(page.get_by_role("link", name="late", exact=True)).to_be_visible()


def test_a_lost_connection_is_said_and_comes_back(phantom_run: str, open_page: Opener) -> None:
    page = open_page(f"scans/{phantom_run}")
    shown(page)
    page.context.set_offline(True)
    page.get_by_label("Rotation axis, column").fill("62")
    expect(page.get_by_text("The connection to the service is lost")).to_be_visible()
    page.context.set_offline(False)
    shown(page, axis=62)
    expect(page.get_by_text("The connection to the service is lost")).to_have_count(0)
    # The browser says in its console that it was offline, and is right.
    open_page.complaints[:] = [one for one in open_page.complaints if "INTERNET_DISCONNECTED" not in one]


def test_dragging_stays_fluid_over_a_slow_line(tooth_run: str, open_page: Opener) -> None:
    page = open_page(f"scans/{tooth_run}")
    shown(page)
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    megabits = 10
    speed = megabits * 1e6 / 8
    conditions = {"offline": False, "latency": 100, "downloadThroughput": speed, "uploadThroughput": speed}
    line.send("Network.emulateNetworkConditions", conditions)
    slider = page.get_by_role("slider", name="Rotation axis", exact=True)
    bodies: list[dict[str, Any]] = []
    page.on(
        "request", lambda request: "/preview" in request.url and bodies.append(json.loads(request.post_data))
    )
    page.evaluate(
        """() => {
            window.painted = 0;
            const picture = document.querySelector('[data-testid="picture"]');
            new MutationObserver(() => { window.painted += 1; })
                .observe(picture, {attributes: true, attributeFilter: ['data-axis']});
        }"""
    )
    # The line is known to be slow once a picture has come over it.
    slider.press("ArrowRight")
    shown(page)
    before, began, presses = page.evaluate("window.painted"), time.monotonic(), 0
    while page.evaluate("window.painted") < before + 4:
        # Pictures come while the slider never rests.
        assert time.monotonic() - began < 20
        slider.press("ArrowRight" if presses % 40 < 20 else "ArrowLeft")
        presses += 1
        page.wait_for_timeout(30)
    drafts = [body for body in bodies if body["format"] == "uint8"]
    assert drafts
    # The first ones find out how slow the line is.
    assert min(body["max_width"] for body in drafts) < 640
    # Exact values follow when nothing changes any more.
    shown(page)
    page.get_by_text("Values as the screen needs them").wait_for(state="detached")
    assert bodies[-1]["format"] == "float32"


@pytest.mark.parametrize("path", ["", "queue"])
def test_the_first_load_is_small_and_soon_usable(open_page: Opener, phantom_run: str, path: str) -> None:
    page = open_page(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    sizes = page.evaluate(
        "performance.getEntries().map(one => one.encodedBodySize || 0).reduce((sum, size) => sum + size, 0)"
    )
    assert sizes < 1.5e6
