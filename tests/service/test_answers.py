"""Errors as a client of the HTTP routes sees them; no service is needed for that."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter, ValidationError

from tomoservice.catalog.batch_records import checked_batch
from tomoservice.compute.orders import RunAddress
from tomoservice.compute.workbench import Workbench
from tomoservice.errors import CatalogError, MissingDataError, NoSuchRunError, TomoserviceError
from tomoservice.service.answers import explain_errors
from tomoservice.service.health_api import Check, Verdict, _checked, _disk
from tomoservice.service.scan_lists import MOST_WORDS, called
from tomoservice.service.scans_api import list_scans


def answered(app: FastAPI, **query: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get("/", params=query)

    return asyncio.run(ask())


def status_of(error: TomoserviceError) -> int:
    app = FastAPI()
    explain_errors(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    return answered(app).status_code


@pytest.mark.parametrize(
    ("error", "status"),
    [
        # The scan is there, and the recipe wants what it has not got.
        (MissingDataError("raw/1", "there are no flats"), 422),
        (NoSuchRunError("raw/1", "there is no such run"), 404),
    ],
)
def test_a_recipe_that_does_not_fit_is_no_missing_scan(error: TomoserviceError, status: int) -> None:
    assert status_of(error) == status


def test_what_is_no_run_is_not_there() -> None:
    with pytest.raises(NoSuchRunError, match="is no run"):
        Workbench().open(RunAddress("http://127.0.0.1:1", "../processed"))


@pytest.mark.parametrize(("name", "value"), [("offset", str(10**20)), ("q", "a\x00b")])
def test_what_no_database_takes_is_refused(name: str, value: str) -> None:
    annotation = get_type_hints(list_scans, include_extras=True)[name]
    assert TypeAdapter(annotation).validate_python("12") in (12, "12")
    with pytest.raises(ValidationError):
        TypeAdapter(annotation).validate_python(value)


def test_words_that_are_looked_for_have_an_end() -> None:
    assert len(called(" ".join("a" * 100))) == MOST_WORDS


def test_a_batch_has_a_name_that_can_be_stored() -> None:
    with pytest.raises(CatalogError, match="name: "):
        checked_batch({"runs": ["a"], "recipes": [{}], "name": "a\x00"})


def test_a_folder_that_cannot_be_reached_is_not_well() -> None:
    class Gone(type(Path())):  # type: ignore[misc]
        def exists(self, **_: Any) -> bool:
            raise OSError(errno.ESTALE, "Stale file handle")

    office: Any = SimpleNamespace(settings=SimpleNamespace(volumes_folder=Gone("/volumes")))

    async def look() -> Check:
        return await _checked("disk", lambda: _disk(office))

    check = asyncio.run(look())
    assert check.status is Verdict.FAILED
    assert "cannot be reached (Stale file handle)" in check.message
    assert "/volumes" not in check.message
