"""Pictures of the README: `python docs/pictures.py TOOTH.h5` reconstructs and writes them to docs/images."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomoservice.phantom import Imperfections, SimulatedCamera, default_phantom
from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.png import grey_window, write_png
from tomoservice.recipe import shipped_recipe
from tomoservice.scan import ArrayFrames, ScanOrigin, TomoScan
from tomoservice.sources import open_scan

FOLDER = Path(__file__).parent / "images"
COLUMNS, ROWS, ANGLES = 256, 192, 400


def reconstruct(scan: TomoScan) -> NDArray[np.float32]:
    """Return the whole volume (z, y, x) by the default recipe."""
    plan = prepare(scan, shipped_recipe("default"))
    volume = np.empty(plan.shape, np.float32)

    def keep(slab: Slab, slices: NDArray[np.float32]) -> None:
        volume[slab.start : slab.stop] = slices

    compute(plan, scan, on_slab=keep)
    return volume


def simulated() -> TomoScan:
    """Return a scan of the phantom with a little noise."""
    angles = np.arange(ANGLES) * (180 / ANGLES)
    camera = SimulatedCamera(ROWS, COLUMNS, Imperfections(noise=0.003, beam_profile=0.3))
    phantom = default_phantom(COLUMNS, ROWS)
    frames = [camera.projection(phantom.line_integrals(angle)[0], i) for i, angle in enumerate(angles)]
    return TomoScan(
        projections=ArrayFrames(np.stack(frames)),
        angles_deg=angles,
        origin=ScanOrigin("memory", "phantom"),
        flats=ArrayFrames(np.stack([camera.flat(i) for i in range(10)])),
        darks=ArrayFrames(np.stack([camera.dark(i) for i in range(10)])),
    )


def main() -> int:
    """Write the pictures; return the exit status."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    FOLDER.mkdir(exist_ok=True)
    with open_scan(sys.argv[1]) as scan:
        tooth = reconstruct(scan)[1, 180:500, 190:510]
    write_png(FOLDER / "tooth.png", tooth, (-0.002, 0.0105))
    volume = reconstruct(simulated())
    z, y, x = (size // 2 for size in volume.shape)
    # Side by side with the rotation axis upright, and as high as they are in the volume.
    gap = np.full((COLUMNS, 6), np.inf, np.float32)
    above = np.full(((COLUMNS - ROWS) // 2, COLUMNS), np.inf, np.float32)
    upright = [np.vstack([above, plane, above]) for plane in (volume[:, y], volume[:, :, x])]
    panel = np.hstack([volume[z], gap, upright[0], gap, upright[1]])
    write_png(FOLDER / "phantom.png", panel, grey_window(volume[z]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
