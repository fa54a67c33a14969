"""What IPython does with errors in a session: one line that says what to do, not a page of calls."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from tomoservice.errors import TomoserviceError

PAUSED = "paused; RE.resume() goes on, RE.stop() ends the run, RE.abort() ends it as aborted"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show errors that a user can do something about in one line, from now on and of the block itself.

    Nothing happens outside IPython.
    """
    shell = _running_shell()
    if shell is None:
        yield
        return
    from bluesky.utils import FailedStatus, RunEngineInterrupted

    shown = (TomoserviceError, FailedStatus, RunEngineInterrupted, TimeoutError)
    shell.set_custom_exc(shown, _show)
    logging.getLogger("bluesky").addFilter(lambda record: not _tells_of(record, shown))
    try:
        yield
    except TomoserviceError as error:
        from IPython.core.error import UsageError

        # The only error of a startup file that IPython shows in one line.
        raise UsageError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    if type(error).__name__ == "RunEngineInterrupted":
        return PAUSED
    told = error.__cause__ if type(error).__name__ == "FailedStatus" and error.__cause__ else error
    return f"{type(told).__name__}: {' '.join(str(told).split())}"


def _tells_of(record: logging.LogRecord, shown: tuple[type[BaseException], ...]) -> bool:
    """Tell whether a record tells of an error that is shown anyway, and with all its calls."""
    return isinstance((record.exc_info or (None, None, None))[1], shown)


def _show(
    _shell: Any, _kind: type[BaseException], error: BaseException, _trace: TracebackType, **_options: Any
) -> None:
    sys.stderr.write(f"{one_line(error)}  (%tb shows where)\n")


def _running_shell() -> Any:
    # Only a shell that runs already: none is started, and IPython not imported, for a script.
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()
