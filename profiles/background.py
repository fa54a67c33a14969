"""Starting what takes seconds while something else is done."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

T = TypeVar("T")


def enter_in_background(stack: ExitStack, manager: AbstractContextManager[T], name: str) -> Future[T]:
    """Enter a context in a thread; it is left when the stack is, after everything that comes onto it later.

    Parameters
    ----------
    stack
        Of whoever it is for.
    manager
        The context.
    name
        Of the thread.

    Returns
    -------
    Future
        What the context gives, once it is entered; raises what entering it raises.
    """
    # In a stack of its own, because it may be entered after what is to be left before it.
    own = stack.enter_context(ExitStack())
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    entered = pool.submit(own.enter_context, manager)
    pool.shutdown(wait=False)
    stack.callback(wait, [entered])
    return entered
