"""What starting costs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.harness import Options, Row, Target

IMPORT = "import time; t = time.perf_counter(); import tomoservice; print(time.perf_counter() - t)"
FIRST_SLAB = """
import time
begin = time.perf_counter()
import numpy as np
from tomoservice.recon import get_reconstructor
plan = get_reconstructor("fourier").plan(np.arange(181.0), 256)
data = np.zeros((16, 181, 256), np.float32)
plan.execute(data, 127.5)
first = time.perf_counter()
plan.execute(data, 127.5)
print(first - begin, time.perf_counter() - first)
"""


def start(options: Options) -> Iterator[Row]:
    """Time the import, and the first slab in a process before and after the kernels are cached."""
    times = [_run(IMPORT)[0] for _ in range(options.rounds + 1)][1:]
    yield Row("import tomoservice", Target(0.3, at_least=False, unit="s"), statistics.median(times))
    with options.folder() as folder:
        compiled = _run(FIRST_SLAB, cache=folder)[0]
        warm = [_run(FIRST_SLAB, cache=folder) for _ in range(options.rounds)]
    seconds = statistics.median(first for first, _ in warm)
    again = statistics.median(second for _, second in warm)
    yield Row(
        "First slab of a later process, imports included",
        Target(2.0, at_least=False, unit="s"),
        seconds,
        f"first use after installation {compiled:.3g} s, second slab {1e3 * again:.3g} ms",
    )


def _run(code: str, cache: Path | None = None) -> list[float]:
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return [float(number) for number in done.stdout.split()]
