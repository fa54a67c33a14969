"""The WebSocket on which the service tells what happens."""

from __future__ import annotations

import asyncio
import collections
import logging
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, WebSocket, WebSocketDisconnect
from tiled.server.authentication import (
    authenticate_websocket_first_message,
    get_api_key_websocket,
    get_current_access_tags_websocket,
    get_current_principal_websocket,
    get_current_scopes_websocket,
    get_decoded_access_token_websocket,
)
from tiled.server.connection_pool import get_database_session_factory
from tiled.server.settings import get_settings

from tomoservice.service.callers import LOOK, Caller
from tomoservice.service.events import GONE, Told

router = APIRouter(prefix="/tomo")
logger = logging.getLogger(__name__)

EXPECTED_KEY, REFUSED, BEHIND = 4001, 4003, 4008
"""Codes with which the connection is closed; the first two are Tiled's own."""
FIRST_MESSAGE_S = 30.0
"""How long to wait for a key."""


class UnwelcomeError(Exception):
    """The connection is to be closed."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


async def calling_by_websocket(  # noqa: PLR0913, PLR0917 - FastAPI hands over one thing per argument
    websocket: WebSocket,
    principal: Annotated[Any, Depends(get_current_principal_websocket)],
    access_tags: Annotated[Any, Depends(get_current_access_tags_websocket)],
    scopes: Annotated[Any, Depends(get_current_scopes_websocket)],
    header: Annotated[Any, Depends(get_api_key_websocket)],
    token: Annotated[Any, Depends(get_decoded_access_token_websocket)],
    settings: Annotated[Any, Depends(get_settings)],
    sessions: Annotated[Any, Depends(get_database_session_factory)],
    api_key: Annotated[str | None, Query()] = None,
) -> Door:
    """Return whoever opens a connection, as far as it is known."""
    caller = Caller(
        principal=principal,
        access_tags=access_tags,
        scopes=scopes,
        session_state={},
        root=websocket.app.state.root_tree,
        policy=getattr(websocket.app.state, "access_policy", None),
        metrics=collections.defaultdict(lambda: collections.defaultdict(float)),
        authorization=None,
    )
    door = Door(websocket, settings, sessions, caller)
    if header is None and token is None and (api_key is not None or not settings.allow_anonymous_access):
        door.caller = None
        # In the address, as anywhere in Tiled.
        door.told = None if api_key is None else {"type": "auth", "api_key": api_key}
    return door


class Door:
    """Lets listeners in.

    Parameters
    ----------
    websocket : WebSocket
        The connection.
    settings, sessions
        Tiled's, by which keys are checked.
    caller : Caller
        Who they are without a message of theirs.
    """

    def __init__(self, websocket: WebSocket, settings: Any, sessions: Any, caller: Caller) -> None:
        self._websocket = websocket
        self._settings = settings
        self._sessions = sessions
        self._anybody = caller
        self.caller: Caller | None = caller
        """Who listens; None before they have said it."""
        self.told: Any = None
        """The first message, if it has come in another way."""

    async def check(self, message: Any) -> None:
        """Take somebody for who they say they are.

        Raises
        ------
        UnwelcomeError
            The key is none.
        """
        known, principal, access_tags, scopes = await authenticate_websocket_first_message(
            self._websocket, message, self._settings, self._sessions
        )
        if not known:
            raise UnwelcomeError(REFUSED, "Authentication failed")
        self.caller = replace(self._anybody, principal=principal, access_tags=access_tags, scopes=scopes)

    async def wait(self) -> Any:
        """Return the next message, which is JSON.

        Raises
        ------
        UnwelcomeError
            It is not.
        """
        try:
            return await self._websocket.receive_json()
        except (ValueError, KeyError) as error:
            raise UnwelcomeError(EXPECTED_KEY, 'Expected {"type": "auth", ...}') from error

    async def admit(self) -> None:
        """Wait until it is known who listens.

        Raises
        ------
        UnwelcomeError
            They do not say it, or may not listen.
        """
        if self.caller is None:
            try:
                await self.hear(self.told or await asyncio.wait_for(self.wait(), FIRST_MESSAGE_S))
            except TimeoutError as error:
                raise UnwelcomeError(EXPECTED_KEY, "Expected JSON auth message") from error
        self.check_scopes()

    async def hear(self, message: Any) -> None:
        """Take a message: a key, by which somebody is known from now on.

        Raises
        ------
        UnwelcomeError
            It is something else.
        """
        if not isinstance(message, dict) or message.get("type") != "auth":
            raise UnwelcomeError(EXPECTED_KEY, 'Expected {"type": "auth", ...}')
        await self.check(message)

    def check_scopes(self) -> None:
        """Raise `UnwelcomeError` unless whoever listens may look."""
        if self.caller is None or not set(LOOK) <= set(self.caller.scopes):
            raise UnwelcomeError(REFUSED, f"Requires scopes {LOOK}")


@router.websocket("/events")
async def tell_events(websocket: WebSocket, door: Annotated[Door, Depends(calling_by_websocket)]) -> None:
    """Send what happens, as JSON texts, one for each event."""
    try:
        # Before the other side hears that it is connected, so that it misses nothing after that.
        async with websocket.app.state.tomoservice.events.listening() as queue:
            await websocket.accept()
            await door.admit()
            await _both(_send(websocket, door, queue), _receive(door))
    except UnwelcomeError as error:
        await websocket.close(error.code, error.reason)
    except WebSocketDisconnect:
        return


async def _send(websocket: WebSocket, door: Door, queue: asyncio.Queue[Told | None]) -> None:
    known: set[int] = set()
    while True:
        told = await queue.get()
        if told is None:
            raise UnwelcomeError(BEHIND, "too far behind, or the service stops: connect again and read anew")
        if door.caller is None:
            continue
        visible = await door.caller.seen({number for number, _ in told})
        known |= visible
        for number, event in told:
            # Nobody may see what is gone; who has heard of it may hear that.
            if number in (known if event.state == GONE else visible):
                await websocket.send_text(event.model_dump_json())


async def _receive(door: Door) -> None:
    """Wait until the other side goes away; until then it may say anew who it is."""
    while True:
        await door.hear(await door.wait())
        door.check_scopes()


async def _both(*parts: Any) -> None:
    """Run until one of them ends, and raise what it raised."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
