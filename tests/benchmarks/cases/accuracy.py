"""Accuracy of the Fourier reconstruction against the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.benchmarks.harness import Options, Row, Target
from tests.benchmarks.peers import FinufftFbp
from tests.benchmarks.scenes import blobs, disc, ellipses, evenly, inside, relative_l2
from tomoservice.recon import get_reconstructor
from tomoservice.threads import available_threads


def accuracy(options: Options) -> Iterator[Row]:
    """Compare with the truth, and with FINUFFT at a tolerance far below what matters."""
    angles, columns = (361, 512) if options.quick else (721, 1024)
    size = f"{angles} x {columns}"
    scenes = {"ellipses": ellipses(angles, columns), "smooth": blobs(angles, columns)}
    data = np.stack([sinogram for sinogram, _ in scenes.values()])
    plan = get_reconstructor("fourier").plan(evenly(angles), columns)
    ours = plan.execute(data, (columns - 1) / 2)
    exact = FinufftFbp(evenly(angles), columns, threads=available_threads(), eps=1e-6, batch=1)(data)
    within = inside(columns)
    errors = [
        [relative_l2(volume[i], truth, within) for volume in (ours, exact)]
        for i, (_, truth) in enumerate(scenes.values())
    ]
    (edges, edges_exact), (smooth, smooth_exact) = errors
    yield Row(
        f"Relative L2 error on ellipses, {size}, as a multiple of FINUFFT's at eps 1e-6",
        Target(1.02, at_least=False),
        edges / edges_exact,
        f"ours {edges:.4g}, FINUFFT {edges_exact:.4g}",
    )
    yield Row(
        f"Relative L2 error on a smooth phantom, {size}",
        Target(1e-3, at_least=False, unit=""),
        smooth,
        f"FINUFFT at eps 1e-6 {smooth_exact:.3g}",
    )
    sinogram, radius = disc(angles, columns)
    image = plan.execute(sinogram[None], (columns - 1) / 2)[0]
    worst = max(
        abs(float(image[(radius >= low) & (radius < low + 0.1)].mean()) - 1) for low in np.arange(0, 0.9, 0.1)
    )
    yield Row(
        f"Grey value of a uniform disc of 1, worst ring from centre to 0.9 of its radius, {size}",
        Target(0.2, at_least=False, unit="%"),
        100 * worst,
    )
