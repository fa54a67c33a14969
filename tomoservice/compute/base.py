"""What every place of work offers: to take tasks, the urgent ones first, and to be told to stop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from tomoservice.pipeline import Outline

if TYPE_CHECKING:
    from tomoservice.compute.workbench import Workbench

Arguments = ParamSpec("Arguments")
Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., object])


class Priority(IntEnum):
    """Which of the tasks that wait comes first; a task that has begun is never interrupted."""

    BACKGROUND = 0
    NORMAL = 10
    LIVE = 20
    INTERACTIVE = 30


class Line(Protocol):
    """Connects a task with whoever ordered it."""

    def should_stop(self) -> bool:
        """Tell whether nobody wants the result any longer; quick enough to be asked often."""
        ...

    def tell(self, stage: str) -> None:
        """Say in words what is being done."""
        ...

    def show(self, outline: Outline) -> None:
        """Say what a volume is going to look like, before anything else is decided about it."""
        ...


Task = Callable[Concatenate["Workbench", Line, Arguments], Result]
"""What is done: a function of a module, given what is kept ready, and a line to the orderer."""


def unheard(_news: object) -> None:
    """Tell nobody."""


ANYWHERE = "runs_anywhere"


def anywhere(task: Function) -> Function:
    """Mark a task that computes no pixels: any worker may do it, whatever it has."""
    setattr(task, ANYWHERE, True)
    return task


class Errand(Protocol):
    """Several tasks for one purpose, that are given up together."""

    def submit(
        self,
        task: Callable[Concatenate[Workbench, Line, Arguments], Result],
        *arguments: Arguments.args,
        **keywords: Arguments.kwargs,
    ) -> Future[Result]:
        """Have a task done; its errors come back as they were raised.

        The future raises `WorkersLostError` if the place of work is lost, after which the task may be
        submitted again, `WorkersDiedError` if workers died with the task in hand, and `CancelledError` if the
        errand was given up.

        Raises
        ------
        WorkersLostError
            Nobody is at work.
        """
        ...

    def close(self) -> None:
        """Give up what has not begun, and tell the rest that nobody wants it."""
        ...


class Computer(Protocol):
    """A place of work."""

    @property
    def slots(self) -> int:
        """How many tasks are worked on at once, at least one.

        Raises
        ------
        WorkersLostError
            Nobody is at work.
        """
        ...

    def errand(
        self,
        priority: Priority,
        on_stage: Callable[[str], None] | None = None,
        on_outline: Callable[[Outline], None] | None = None,
    ) -> Errand:
        """Open an errand.

        Parameters
        ----------
        priority
            Of all its tasks.
        on_stage
            Told in words what is being done, from another thread.
        on_outline
            Told what a volume is going to look like, from another thread.

        Raises
        ------
        WorkersLostError
            Nobody is at work.
        """
        ...

    def close(self) -> None:
        """Leave the place of work."""
        ...
