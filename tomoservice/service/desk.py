"""Has workers do something for a request, and gives it up when the one who asked has gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from tomoservice.compute.base import Computer, Line, Priority
from tomoservice.compute.workbench import Workbench
from tomoservice.errors import CancelledError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

LOOK_S = 0.1
"""How often to look whether the one who asked is still there."""
THREADS = 4
"""That talk to the place of work. Its answer may take seconds, and nobody who reads files shall wait."""


def _nothing(task: str, seconds: float) -> None:
    """Tell nobody."""


class Desk:
    """Takes requests to workers.

    Parameters
    ----------
    computer : Computer
        Who computes.
    on_answer : callable
        Told what was asked for, and how many seconds the answer took.
    """

    def __init__(self, computer: Computer, on_answer: Callable[[str, float], None] = _nothing) -> None:
        self._computer = computer
        self._on_answer = on_answer
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="desk")

    async def ask(
        self,
        priority: Priority,
        gone: Callable[[], Awaitable[bool]],
        task: Callable[Concatenate[Workbench, Line, Arguments], Result],
        *arguments: Arguments.args,
        **keywords: Arguments.kwargs,
    ) -> Result:
        """Return what comes of a task.

        Parameters
        ----------
        priority
            When it is worked on.
        gone
            Asked whether nobody waits for the result any longer.
        task, arguments, keywords
            What is to be done.

        Raises
        ------
        CancelledError
            `gone` said so.
        ServiceUnavailableError
            Nobody computes.
        TomoserviceError
            As the task raised it.
        """
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        errand = await loop.run_in_executor(self._threads, self._computer.errand, priority)
        try:
            submit = partial(errand.submit, task, *arguments, **keywords)
            future = await loop.run_in_executor(self._threads, submit)
            waiting = asyncio.wrap_future(future)
            while not (await asyncio.wait([waiting], timeout=LOOK_S))[0]:
                if await gone():
                    # It ends some time, and nobody will look.
                    waiting.cancel()
                    raise CancelledError("whoever asked has gone")
            result = waiting.result()
            self._on_answer(task.__name__, time.monotonic() - began)
            return result
        finally:
            await loop.run_in_executor(self._threads, errand.close)

    async def slots(self) -> int:
        """Return how many tasks are worked on at once.

        Raises
        ------
        ServiceUnavailableError
            Nobody computes.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self._computer.slots)

    async def close(self) -> None:
        """Leave the place of work."""
        await asyncio.to_thread(self._computer.close)
        await asyncio.to_thread(self._threads.shutdown)


async def never() -> bool:
    """Say that somebody waits."""
    return False
