"""Recipes compared in the workbench, in a real browser on a real service."""

from __future__ import annotations

import re

from tests.web.conftest import AXIS, Opener, playwright, shown

expect = playwright.expect
HALVES = """() => {
    const whole = document.querySelector('[data-testid="picture"]').getBoundingClientRect();
    const canvases = [...document.querySelectorAll('.side-by-side canvas')];
    const half = (canvas, index) => {
        const { x, width, height } = canvas.getBoundingClientRect();
        const left = whole.x + (index * whole.width) / 2;
        const places = [width - whole.width / 2, height - whole.height, x - left];
        return places.every((distance) => Math.abs(distance) < 3);
    };
    return canvases.length === 2 && canvases.every(half);
}"""
"""Whether there are two pictures, each of which fills its half."""


def compared(open_page: Opener, run: str) -> playwright.Page:
    """Open a scan, pin the recipe, and compare it with one whose rotation axis is wrong."""
    page = open_page(f"scans/{run}")
    shown(page)
    page.get_by_label("Rotation axis, column").fill(str(AXIS))
    shown(page, axis=AXIS)
    page.get_by_role("tab", name="Compare", exact=True).click()
    page.get_by_role("button", name="Pin the present recipe").click()
    page.get_by_role("tab", name="Axis", exact=True).click()
    page.get_by_label("Rotation axis, column").fill("60")
    shown(page, axis=60)
    page.get_by_role("tab", name="Compare", exact=True).click()
    expect(page.get_by_text("rotation axis.value:")).to_be_visible()
    page.get_by_role("button", name="Compare", exact=True).click()
    return page


def test_both_pictures_are_seen_side_by_side(phantom_run: str, open_page: Opener) -> None:
    page = compared(open_page, phantom_run)
    page.wait_for_function(HALVES)
    expect(page.locator(".side-by-side .name")).to_have_text(["present recipe", "pin 1"])
    page.get_by_label("Name of the pin").fill("sharp")
    expect(page.locator(".side-by-side .name").nth(1)).to_have_text("sharp")


def test_they_take_turns_or_are_subtracted(phantom_run: str, open_page: Opener) -> None:
    page = compared(open_page, phantom_run)
    page.get_by_role("tab", name="Flicker").click()
    for name in ("pin 1", "present recipe", "pin 1"):
        expect(page.locator(".flicker-name")).to_have_text(name)
    page.get_by_role("tab", name="Difference").click()
    expect(page.locator(".flicker-name")).to_have_text("present recipe less pin 1")
    # Levels of a slice say nothing about a difference; its colours are explained instead.
    scale = page.locator(".difference-scale")
    expect(scale).to_have_text(re.compile(r"less-[\d.]+0\.0*[1-9]\d*more1/pixel"))
    expect(page.get_by_label("Black level")).to_have_count(0)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_label("Black level")).to_be_visible()
    # With the default recipe, whose button takes it back.
    default = page.get_by_role("button", name="The default recipe")
    default.click()
    expect(default).to_have_attribute("aria-pressed", "true")
    default.click()
    expect(page.get_by_role("button", name="Stop comparing")).to_have_count(0)
