"""What people do with batches that are there, in a real browser on a real service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.conftest import connected, wait_for
from tests.web.conftest import AXIS, Opener, playwright, shown
from tomoservice.client import Batch
from tomoservice.service.running import RunningService

expect = playwright.expect
AT_THE_AXIS = {"rotation_axis": {"method": "value", "value": AXIS}}


@pytest.fixture
def tonight(web_service: RunningService, phantom_run: str) -> Iterator[Batch]:
    """A batch of one item that waits."""
    with connected(web_service) as tomo:
        batch = tomo.batch([phantom_run], {**AT_THE_AXIS, "name": "sharp"}, name="tonight")
        batch.pause()
        yield batch
        batch.cancel()
        batch.wait(60)


def test_a_scan_is_added_to_a_batch_from_the_list(tonight: Batch, other_run: str, open_page: Opener) -> None:
    page = open_page()
    page.get_by_label("Choose other", exact=True).check()
    page.get_by_role("button", name="Reconstruct them").click()
    page.get_by_role("combobox", name="Batch").select_option(value=tonight.id)
    expect(page.get_by_label("Name of the batch")).to_have_count(0)
    expect(page.get_by_label("By the recipes that the batch began with")).to_be_checked()
    page.get_by_role("button", name="Add reconstructions").click()
    expect(page.get_by_role("heading", name="tonight")).to_be_visible()
    expect(page.locator("tbody").get_by_role("row")).to_have_count(2)
    last = page.get_by_role("row").filter(has=page.get_by_role("link", name="other", exact=True))
    expect(last).to_contain_text("sharp")
    expect(last).to_contain_text("queued")
    # What somebody else adds comes into view by itself.
    tonight.add(other_run, "smooth")
    expect(page.locator("tbody").get_by_role("row")).to_have_count(3)
    expect(page.get_by_text("of 3 done")).to_be_visible()


def test_a_scan_is_added_with_its_recipe_from_the_workbench(
    tonight: Batch, phantom_run: str, open_page: Opener
) -> None:
    page = open_page(f"scans/{phantom_run}")
    shown(page)
    page.locator("#rotation_axis").select_option("value")
    page.get_by_label("Rotation axis, column").fill("65.5")
    shown(page, axis=65.5)
    page.get_by_role("button", name="Reconstruct", exact=True).click()
    page.get_by_role("button", name="Add to a batch").click()
    # The newest one that takes more is offered first.
    expect(page.get_by_role("combobox", name="Batch")).to_have_value(tonight.id)
    expect(page.get_by_text("The recipe from the workbench")).to_be_visible()
    page.get_by_role("button", name="Add 1 reconstruction").click()
    expect(page.get_by_role("heading", name="tonight")).to_be_visible()
    expect(page.locator("tbody").get_by_role("row")).to_have_count(2)
    wait_for(lambda: "waiting" not in tonight.summary.counts)
    added = tonight.job(2).record.metadata.recipe["rotation_axis"]
    assert added["value"] == 65.5


def test_whoever_adds_what_is_there_already_is_told(
    tonight: Batch, phantom_run: str, open_page: Opener
) -> None:
    page = open_page()
    page.get_by_label("Choose phantom", exact=True).check()
    page.get_by_role("button", name="Reconstruct them").click()
    page.get_by_role("combobox", name="Batch").select_option(value=tonight.id)
    page.get_by_role("button", name="Add reconstructions").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("already, as item 1")
    # A browser says in its console that a request was refused, and is right.
    open_page.complaints[:] = [one for one in open_page.complaints if "409" not in one]
