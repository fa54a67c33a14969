"""Entry point: as many threads everywhere as the process has cores, decided before NumPy is loaded."""

from __future__ import annotations

import os
import sys

from tomoservice.threads import available_threads

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = str(available_threads())

from tests.benchmarks.command import main  # noqa: E402

sys.exit(main())
