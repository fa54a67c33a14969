"""What FastAPI finds out about dependencies is found out once."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.dependencies import utils
from fastapi.security import SecurityScopes

from tomoservice.service.dependencies import keep_dependencies


def setting() -> str:
    return "default"


def scopes(wanted: SecurityScopes) -> list[str]:
    return list(wanted.scopes)


async def answers(app: FastAPI) -> list[Any]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return [(await client.get(path)).json() for path in ("/value", "/read", "/write")]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every look at a signature; what is kept begins anew."""
    found: list[str] = []
    signature = utils.get_typed_signature

    def look(call: object) -> object:
        found.append(getattr(call, "__name__", repr(call)))
        return signature(call)  # type: ignore[arg-type]

    finder = getattr(utils.get_dependant, "_find", utils.get_dependant)
    monkeypatch.setattr(utils, "get_dependant", finder)
    monkeypatch.setattr(utils, "get_typed_signature", look)
    keep_dependencies()
    keep_dependencies()
    return found


def test_signatures_are_looked_at_once_and_answers_are_right(looks: list[str]) -> None:
    router = APIRouter()

    @router.get("/value")
    async def value(it: Annotated[str, Depends(setting)]) -> str:
        return it

    @router.get("/read")
    async def read(its: Annotated[list[str], Security(scopes, scopes=["read"])]) -> list[str]:
        return its

    @router.get("/write")
    async def write(its: Annotated[list[str], Security(scopes, scopes=["write"])]) -> list[str]:
        return its

    app = FastAPI()
    app.include_router(router)
    app.dependency_overrides[setting] = lambda: "overridden"
    first = asyncio.run(answers(app))
    before = len(looks)
    again = asyncio.run(answers(app))
    assert first == again == ["overridden", ["read"], ["write"]]
    assert before > 0
    assert len(looks) == before
