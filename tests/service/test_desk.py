"""Requests that have workers do something, and what becomes of them when nobody waits any longer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.compute import chores
from tomoservice.compute.base import Priority
from tomoservice.compute.cluster import DaskComputer
from tomoservice.compute.local import LocalComputer
from tomoservice.errors import CancelledError, InputError, WorkersLostError
from tomoservice.service.desk import THREADS, Desk, never

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(asyncio.wait_for(work, 60))


def test_results_and_errors_come_back() -> None:
    async def ask() -> int:
        desk = Desk(LocalComputer())
        try:
            with pytest.raises(InputError, match="has no angles"):
                await desk.ask(Priority.NORMAL, never, chores.fail)
            return await desk.ask(Priority.NORMAL, never, chores.add, 1, second=2)
        finally:
            await desk.close()

    assert run(ask()) == 3


def test_what_nobody_waits_for_any_longer_is_stopped(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    async def has_gone() -> bool:
        return mark.exists()

    async def ask() -> None:
        desk = Desk(LocalComputer())
        try:
            with pytest.raises(CancelledError, match="whoever asked has gone"):
                await desk.ask(Priority.INTERACTIVE, has_gone, chores.wait_until_stopped, str(mark))
            # The worker is free again.
            assert await desk.ask(Priority.NORMAL, never, chores.add, 1, 1) == 2
        finally:
            await desk.close()

    run(ask())
    assert mark.with_suffix(".stopped").exists()


def test_a_request_that_is_cancelled_is_stopped(tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    async def ask() -> None:
        desk = Desk(LocalComputer())
        try:
            asking = asyncio.create_task(
                desk.ask(Priority.NORMAL, never, chores.wait_until_stopped, str(mark))
            )
            while not mark.exists():
                await asyncio.sleep(0.01)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        finally:
            await desk.close()

    run(ask())
    assert mark.with_suffix(".stopped").exists()


def test_a_place_of_work_that_does_not_answer_holds_up_nobody_else() -> None:
    """Everybody who waits for it waits in threads of the desk, neither in the server's nor in its loop."""
    gate = threading.Event()

    def nowhere() -> tuple[str, None]:
        assert threading.current_thread().name.startswith("desk")
        gate.wait(30)
        raise WorkersLostError("nobody computes at present")

    async def ask() -> float:
        desk = Desk(DaskComputer(nowhere))
        asking = [
            asyncio.create_task(desk.ask(Priority.NORMAL, never, chores.add, 1, 1))
            for _ in range(2 * THREADS)
        ]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        # What reads files in the server's own threads, and the loop itself.
        await asyncio.to_thread(time.sleep, 0)
        answered = time.monotonic() - began
        gate.set()
        for each in asking:
            with pytest.raises(WorkersLostError):
                await each
        await desk.close()
        return answered

    assert run(ask()) < 5
