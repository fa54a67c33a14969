"""What makes the tasks of a worker process quick, the first one as well."""

from __future__ import annotations

import ctypes
import importlib
import logging

import numpy as np

from tomoservice import axis
from tomoservice.errors import TomoserviceError
from tomoservice.recon import get_reconstructor, preview

logger = logging.getLogger(__name__)

LIBRARIES = (
    "bluesky_tiled_plugins",
    "finufft",
    "hdf5plugin",
    "pandas",
    "pyarrow",
    "tiled.client.array",
    "tiled.client.dataframe",
    "tomoservice.compute.tasks",
    "zarr",
)
"""What tasks import on their way."""
ANGLES, COLUMNS = 8, 32
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Names of parameters in glibc's malloc.h."""
KEPT_BYTES = 32 * 2**20
"""Blocks up to this size are used again by whoever asks next. glibc comes to the same by itself, unless
somebody has given it a threshold."""


def keep_freed_memory() -> None:
    """Let freed arrays be used again, instead of being given back to the system one by one.

    Dask starts workers with ``MALLOC_TRIM_THRESHOLD_=65536``, with which every array of more than 128 kB is
    mapped anew and its pages are cleared: a search for the rotation axis takes four times as long.
    Elsewhere than with glibc nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(MMAP_THRESHOLD, KEPT_BYTES)
    mallopt(TRIM_THRESHOLD, 2 * KEPT_BYTES)


def warm_up() -> None:
    """Import libraries, and load the compiled kernels of the default methods (or compile them, once)."""
    for name in LIBRARIES:
        importlib.import_module(name)
    try:
        angles = np.linspace(0, 180, ANGLES, endpoint=False)
        plan = get_reconstructor("fourier").plan(angles, COLUMNS)
        sinograms = np.ones((1, ANGLES, COLUMNS), np.float32)
        plan.execute(sinograms, COLUMNS / 2)
        preview(plan, sinograms, COLUMNS / 2)
        axis.fourier(sinograms, angles)
    except TomoserviceError as error:
        logger.warning("the kernels cannot be made ready: %s", error)
