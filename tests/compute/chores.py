"""Tasks that workers can import."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from pathlib import Path

import numpy as np
from distributed import get_worker

from tomoservice.compute.base import Line
from tomoservice.compute.workbench import Workbench
from tomoservice.errors import InputError, ServiceUnavailableError
from tomoservice.pipeline import Outline


def add(bench: Workbench, line: Line, first: int, second: int = 0) -> int:
    assert bench is not None
    line.tell(f"adding {first} and {second}")
    return first + second


def fail(bench: Workbench, line: Line) -> None:
    del bench, line
    raise InputError("scan.h5", "has no angles", dataset="/theta", hint="Look again")


def fail_like_a_connection(bench: Workbench, line: Line, kind: str) -> None:
    del bench, line
    raise {"OSError": OSError, "TimeoutError": TimeoutError}[kind]("no space left on device")


def miss_the_service(bench: Workbench, line: Line, notes: str, times: int) -> str:
    """Do not reach the service a few times."""
    note(bench, line, notes, "tried")
    if len(Path(notes).read_text(encoding="ascii").split()) <= times:
        raise ServiceUnavailableError("no service answers at http://127.0.0.1:1")
    return "reached"


def wait_until_stopped(bench: Workbench, line: Line, mark: str) -> str:
    del bench
    Path(mark).touch()
    deadline = time.monotonic() + 60
    while not line.should_stop():
        if time.monotonic() > deadline:
            return "nobody stopped me"
        time.sleep(0.02)
    Path(mark).with_suffix(".stopped").touch()
    return "stopped"


def note(bench: Workbench, line: Line, file: str, word: str) -> None:
    del bench, line
    with Path(file).open("a", encoding="ascii") as notes:
        notes.write(word + "\n")


def hold(bench: Workbench, line: Line, gate: str) -> None:
    del bench, line
    Path(gate).with_suffix(".held").touch()
    deadline = time.monotonic() + 60
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def die(bench: Workbench, line: Line) -> None:
    del bench, line
    os.kill(os.getpid(), signal.SIGKILL)


def die_a_few_times(bench: Workbench, line: Line, notes: str, times: int) -> str:
    """Take some workers along before it is done."""
    note(bench, line, notes, "tried")
    if len(Path(notes).read_text(encoding="ascii").split()) <= times:
        die(bench, line)
    return "done"


def write_slowly(bench: Workbench, line: Line, gate: str) -> str:
    """Write something that is not to be interrupted, whoever wants it."""
    Path(gate).with_suffix(".begun").touch()
    while not line.should_stop():
        time.sleep(0.02)
    time.sleep(1)
    note(bench, line, gate, "written")
    return "written"


def count_page_faults(bench: Workbench, line: Line, arrays: int, numbers: int) -> int:
    """Make arrays one after the other; return how many pages the system had to map for them."""
    del bench, line
    np.ones(numbers)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(arrays):
        np.ones(numbers)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def hang_once(bench: Workbench, line: Line, notes: str) -> str:
    """Have the worker answer nobody any more, the first time."""
    note(bench, line, notes, "tried")
    if len(Path(notes).read_text(encoding="ascii").split()) > 1:
        return "done"
    # The stack of a thread that compiles cannot always be walked.
    for thread in threading.enumerate():
        if thread.name == "warm-up":
            thread.join()
    get_worker().loop.add_callback(sleep_for_long)
    sleep_for_long()
    return "nobody ended me"


def sleep_for_long() -> None:
    time.sleep(120)


def outline_a_volume(bench: Workbench, line: Line, depth: int) -> int:
    del bench
    if depth:
        line.show(Outline((depth, 4, 4), (2, 4, 4), "float32"))
    return depth
