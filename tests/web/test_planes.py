"""Three planes by a recipe, before anything has been reconstructed."""

from __future__ import annotations

import re

import playwright.sync_api as playwright
from playwright.sync_api import expect

from tests.web.conftest import AXIS, Opener, shown


def planes_shown(page: playwright.Page) -> None:
    shown(page)
    for axis in "yx":
        page.wait_for_selector(f'[data-testid="plane-{axis}"][data-state="ready"] canvas')


def test_three_planes_follow_the_recipe_and_meet_in_a_point(phantom_run: str, open_page: Opener) -> None:
    page = open_page(f"scans/{phantom_run}")
    shown(page)
    page.get_by_label("What to show").select_option("Three planes")
    planes_shown(page)
    front = page.get_by_role("figure", name="Seen from the front")
    expect(front.get_by_text("64 / 127")).to_be_visible()
    # where one clicks in the slice, the others go
    slice_box = page.locator(".plane-z canvas").bounding_box()
    assert slice_box is not None
    page.mouse.click(slice_box["x"] + slice_box["width"] / 2, slice_box["y"] + slice_box["height"] / 4)
    expect(front.get_by_text("64 / 127")).to_have_count(0)
    planes_shown(page)
    page.get_by_label("Position along y").fill("40")
    expect(page).to_have_url(re.compile("view=planes.*y=40"))
    # and another rotation axis shows in all of them
    with page.expect_response(lambda answer: '"xz"' in (answer.request.post_data or "")) as told:
        page.get_by_label("Rotation axis, column").fill(f"{AXIS - 4}")
    assert told.value.headers["x-tomo-rotation-axis"] == f"{AXIS - 4}"
    planes_shown(page)
    # the same is seen by whoever is sent the address
    expect(page).to_have_url(re.compile("recipe="))
    theirs = open_page(page.url.partition("/tomo/")[2])
    planes_shown(theirs)
    expect(theirs.get_by_label("Position along y")).to_have_value("40")


def test_a_plane_along_the_axis_can_be_measured_in(phantom_run: str, open_page: Opener) -> None:
    page = open_page(f"scans/{phantom_run}?view=xz&y=70")
    shown(page)
    expect(page.get_by_label("Place along y number")).to_have_value("70")
    box = page.locator('[data-testid="picture"] canvas').bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    expect(page.locator(".viewer-foot")).to_contain_text(re.compile(r"x \d+, z \d+"))
    page.get_by_role("button", name="Profile along a line").click()
    expect(page.get_by_role("button", name="Profile along a line")).to_have_attribute("aria-pressed", "true")
    page.mouse.move(*middle)
    page.mouse.down()
    for part in range(1, 7):
        page.mouse.move(middle[0] + 10 * part, middle[1])
    page.mouse.up()
    expect(page.locator(".measure, .plot").first).to_be_visible()
