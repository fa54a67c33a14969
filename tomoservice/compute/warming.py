"""What makes the tasks of a worker process quick, the first one as well."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.devices import CPU
from tomoservice.errors import TomoserviceError
from tomoservice.garbage import spare_what_is_there
from tomoservice.phantom import SimulatedCamera, default_phantom
from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.recipe import shipped_recipe
from tomoservice.recon import get_reconstructor, preview
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan

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
ANGLES, ROWS, COLUMNS, REFERENCES = 45, 2, 32, 3


def warm_up() -> None:
    """Import libraries, and load the compiled kernels of the default recipe (or compile them, once)."""
    for name in LIBRARIES:
        importlib.import_module(name)
    try:
        _reconstruct()
    except TomoserviceError as error:
        logger.warning("the kernels cannot be made ready: %s", error)
    finally:
        spare_what_is_there()


def _reconstruct() -> None:
    """Reconstruct a scan of next to nothing, and preview one of its slices."""
    scan = _small_scan()
    plan = prepare(scan, shipped_recipe("default"), device=CPU)
    compute(plan, scan, on_slab=_forget)
    sinograms = np.ones((1, ANGLES, COLUMNS), np.float32)
    preview(get_reconstructor("fourier").plan(scan.angles_deg, COLUMNS), sinograms, COLUMNS / 2)


def _forget(slab: Slab, slices: NDArray[Any]) -> None:
    """Take a slab that nobody wants."""


def _small_scan() -> TomoScan:
    camera = SimulatedCamera(ROWS, COLUMNS)
    angles_deg = np.linspace(0, 180, ANGLES, endpoint=False)
    lines = default_phantom(COLUMNS, ROWS).line_integrals(angles_deg)
    return TomoScan(
        projections=ArrayFrames(np.stack([camera.projection(each, n) for n, each in enumerate(lines)])),
        angles_deg=angles_deg,
        origin=ScanOrigin("memory", "warm-up"),
        flats=ArrayFrames(np.stack([camera.flat(number) for number in range(REFERENCES)])),
        darks=ArrayFrames(np.stack([camera.dark(number) for number in range(REFERENCES)])),
    )
