"""What makes the tasks of a worker process quick, the first one as well."""

from __future__ import annotations

import importlib
import logging

import numpy as np

from tomoservice import axis
from tomoservice.errors import TomoserviceError
from tomoservice.garbage import spare_what_is_there
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
    spare_what_is_there()
