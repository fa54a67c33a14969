"""Two people with passwords at the page at once, and a service that goes away and comes back meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.service.facility import Facility, accounts, accounts_settings, facility_of, password_of
from tests.service.scans import SmallScan
from tests.web.conftest import SECONDS, SIZE, playwright, shown
from tomoservice.service.running import running_service

expect = playwright.expect
pytestmark = pytest.mark.timeout(400)

LOST = "The connection to the service is lost"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Restarted:
    """A facility whose service is stopped and started at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._running = ExitStack()
        self.facility: Facility

    def start(self, *, embedded: bool) -> None:
        given = accounts_settings(self._folder, embedded=embedded)
        given["service"]["port"] = self._port
        service = self._running.enter_context(running_service(self._folder / "data", given))
        self.facility = self._running.enter_context(facility_of(service, self._folder, given))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def restarted(tmp_path: Path, browser: playwright.Browser) -> Iterator[Restarted]:
    made = Restarted(tmp_path)
    with accounts():
        made.start(embedded=False)
        yield made
        made.stop()


@pytest.fixture
def people(browser: playwright.Browser) -> Iterator[dict[str, playwright.Page]]:
    contexts = {user: browser.new_context(viewport=SIZE) for user in ("alice", "bob")}
    for context in contexts.values():
        context.set_default_timeout(SECONDS * 1000)
    yield {user: context.new_page() for user, context in contexts.items()}
    for context in contexts.values():
        context.close()


def sign_in(page: playwright.Page, uri: str, user: str) -> None:
    page.goto(f"{uri}/tomo/")
    page.get_by_label("User name").first.fill(user)
    page.get_by_label("Password").first.fill("not this one")
    page.get_by_role("button", name="Sign in").last.click()
    expect(page.get_by_role("alert").first).to_be_visible()
    page.get_by_label("Password").first.fill(password_of(user))
    page.get_by_role("button", name="Sign in").last.click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    expect(page.get_by_text(user, exact=True)).to_be_visible()


def test_two_people_at_once_and_a_service_that_is_started_again(
    restarted: Restarted, people: dict[str, playwright.Page]
) -> None:
    facility = restarted.facility
    scan = SmallScan(rows=4)
    runs = {
        "alice": facility.publish("proposal-1", scan=scan, sample_name="of alice"),
        "bob": facility.publish("proposal-2", scan=replace(scan, rotation_axis=14.0), sample_name="of bob"),
    }
    for user, page in people.items():
        sign_in(page, facility.service.uri, user)
        other = "bob" if user == "alice" else "alice"
        expect(page.get_by_role("link", name=f"of {user}", exact=True)).to_be_visible()
        expect(page.get_by_text(f"of {other}")).to_have_count(0)

    restarted.stop()
    for page in people.values():
        expect(page.get_by_text(LOST)).to_be_visible()
    restarted.start(embedded=True)
    for user, page in people.items():
        # Nobody has to load anything again, nor to sign in.
        expect(page.get_by_text(LOST)).to_have_count(0)
        page.get_by_role("link", name=f"of {user}", exact=True).click()
    for page, axis in zip(people.values(), (15.25, 14.25), strict=True):
        page.locator("#rotation_axis").select_option("value")
        page.get_by_label("Rotation axis, column").fill(str(axis))
        shown(page, axis=axis)
    # What both do at once comes to both, and to neither what is the other's.
    for page in people.values():
        page.get_by_role("button", name="Reconstruct", exact=True).click()
        page.get_by_role("button", name="Reconstruct now").click()
    for user, page in people.items():
        expect(page.locator(".workbench-head .badge")).to_have_text("done")
        (job,) = restarted.facility.people[user].reconstructions(runs[user])
        assert job.path.removeprefix("processed/") in page.url
