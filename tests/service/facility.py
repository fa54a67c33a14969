"""A facility with accounts: two users with a proposal each, a beamline that publishes, a conductor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest

import tomoservice
from tests.service.conftest import pace
from tests.service.scans import Document, SmallScan, documents, publish
from tomoservice.client import Tomo
from tomoservice.conductor.loop import Conductor
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings, load_settings

USERS = ("alice", "bob", "beamline", "conductor")


@dataclass
class Facility:
    """A service with accounts, and everybody's connection to it."""

    service: RunningService
    raw: Path
    settings: Settings
    people: dict[str, Tomo] = field(default_factory=dict)

    def work(self) -> bool:
        """Let a conductor do one reconstruction."""
        key = self.people["conductor"].root.context.api_key
        conductor = Conductor(self.service.uri, key, self.settings, readable=self.settings.raw_folders)
        worked = conductor.step()
        conductor.close()
        return worked

    def publish(self, *tags: str, scan: SmallScan | None = None, **start: Any) -> str:
        """Publish a scan that whoever has these tags may see, and return its uid."""
        begin = {"tiled_access_tags": list(tags), **start}
        docs = documents(scan or SmallScan(), self.raw, start=begin)
        if start.get("scan_layout") == "hex":
            docs = with_flats_elsewhere(docs)
        return publish(self.people["beamline"].raw, docs)


def with_flats_elsewhere(docs: Iterator[Document]) -> Iterator[Document]:
    """Rename a scan's stream and angles as the layout `hex` has them, which takes flats from another run."""
    for name, doc in docs:
        text = json.dumps(doc).replace('"rotation"', '"Angle"')
        if name == "descriptor":
            text = text.replace('"name": "primary"', '"name": "tomo"')
        yield name, json.loads(text)


def password_of(user: str) -> str:
    return f"password-of-{user}"


def api_key(uri: str, user: str, scopes: Sequence[str] = ("inherit",)) -> str:
    """Log in with a password, and return a key for later."""
    token = httpx.post(
        f"{uri}/api/v1/auth/provider/facility/token",
        data={"username": user, "password": password_of(user)},
        timeout=20,
    )
    bearer = {"Authorization": f"Bearer {token.raise_for_status().json()['access_token']}"}
    made = httpx.post(
        f"{uri}/api/v1/auth/apikey",
        headers=bearer,
        json={"scopes": list(scopes), "expires_in": None, "note": None},
        timeout=20,
    )
    return str(made.raise_for_status().json()["secret"])


@contextmanager
def accounts() -> Iterator[None]:
    """Set the passwords that the shipped configuration takes from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOMOSERVICE_SECRET_KEY", "0123456789abcdef")
        for user in USERS:
            patch.setenv(f"{user.upper()}_PASSWORD", password_of(user))
        yield


def accounts_settings(folder: Path, *, embedded: bool = False) -> dict[str, Any]:
    """Return the settings of a facility in a folder, which gets one for raw data."""
    raw = folder / "raw"
    raw.mkdir(exist_ok=True)
    shipped = files("tiled_config")
    given = pace(embedded=embedded)
    given["conductor"]["api_key_file"] = str(folder / "key")
    return given | {
        "service": {
            "raw_folders": [str(raw)],
            "anonymous_read": False,
            "configuration": str(shipped / "several-users.yml"),
            "access_tags": str(shipped / "access-tags.yml"),
        },
    }


@contextmanager
def facility_of(service: RunningService, folder: Path, given: dict[str, Any]) -> Iterator[Facility]:
    """Connect everybody to a service with accounts."""
    keys = {user: api_key(service.uri, user) for user in USERS}
    # From now on the service works with it, too.
    (folder / "key").write_text(keys["conductor"])
    settings = load_settings(flags={**given, "data": service.data})
    people = {user: tomoservice.connect(service.uri, key) for user, key in keys.items()}
    yield Facility(service, folder / "raw", settings, people)
    for tomo in people.values():
        tomo.close()
