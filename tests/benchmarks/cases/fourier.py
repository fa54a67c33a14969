"""Speed of the Fourier reconstruction."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.benchmarks.harness import NotThereYetError, Options, Row, Target, Times, faster, interleave
from tests.benchmarks.peers import FinufftFbp, optional
from tests.benchmarks.scenes import evenly, sinograms
from tomoservice.recon import get_reconstructor
from tomoservice.threads import available_threads

SLICES = 64
# angles, columns, targets with a pooled output and with one allocated anew
SIZES = ((361, 512, 7.0, 6.5), (721, 1024, 8.0, 7.0), (1501, 2048, 6.0, 4.0))
# TomoPy's gridrec without padding
GRIDREC = {512: 3.0, 1024: 5.0, 2048: 4.5}
# What is inconvenient, beside the nearest convenient size.
AWKWARD = (((719, 1021), (720, 1024)), ((721, 1023), (720, 1024)), ((367, 509), (360, 512)))
SIZE_LIMIT = 1.3
PREVIEW_LIMIT = 0.7


def speed(options: Options) -> Iterator[Row]:
    """Time 64 slices of each size, the output kept and allocated anew, against FINUFFT and gridrec."""
    slices = 16 if options.quick else SLICES
    for angles, columns, pooled, anew in SIZES[: 1 if options.quick else 3 if options.full else 2]:
        work = f"Fourier FBP, {slices} slices {angles} x {columns}"
        data = sinograms(slices, angles, columns)
        axis = (columns - 1) / 2
        plan = get_reconstructor("fourier").plan(evenly(angles), columns)
        peer = FinufftFbp(evenly(angles), columns, threads=available_threads())
        kept, kept_peer = (np.zeros((slices, columns, columns), np.float32) for _ in range(2))
        times = interleave(
            {
                "pooled": lambda: plan.execute(data, axis, out=kept),  # noqa: B023
                "anew": lambda: plan.execute(data, axis),  # noqa: B023
                "FINUFFT": lambda: peer(data, kept_peer),  # noqa: B023
                "FINUFFT anew": lambda: peer(data),  # noqa: B023
            },
            options.rounds,
        )
        each = f", {slices / times.median('pooled'):.3g} slices/s"
        row = faster(f"{work}, output pooled", Target(pooled), times, "pooled", "FINUFFT")
        yield Row(row.work, row.target, row.value, row.details + each)
        yield faster(f"{work}, output allocated anew", Target(anew), times, "anew", "FINUFFT anew")
        yield _gridrec(work, options, angles, columns, slices)


def _gridrec(work: str, options: Options, angles: int, columns: int, slices: int) -> Row:
    target = Target(GRIDREC[columns])
    name = f"{work}, against TomoPy gridrec without padding"
    try:
        tomopy = optional("tomopy")
    except NotThereYetError as error:
        return Row(name, target, None, str(error))
    data = sinograms(slices, angles, columns)
    plan = get_reconstructor("fourier").plan(evenly(angles), columns)
    theta = np.deg2rad(evenly(angles))
    settings = {"algorithm": "gridrec", "sinogram_order": True, "ncore": available_threads()}
    times = interleave(
        {
            "ours": lambda: plan.execute(data, (columns - 1) / 2),
            "gridrec": lambda: tomopy.recon(data, theta, center=(columns - 1) / 2, **settings),
        },
        options.rounds,
    )
    return faster(name, target, times, "ours", "gridrec")


def preview(options: Options) -> Iterator[Row]:
    """Time one slice alone, and compare it with the same slice in a batch."""
    for angles, columns, *_ in SIZES[: 1 if options.quick else 3 if options.full else 2]:
        data = sinograms(1, angles, columns)
        axis = (columns - 1) / 2
        plan = get_reconstructor("fourier").plan(evenly(angles), columns)
        peer = FinufftFbp(evenly(angles), columns, threads=available_threads(), batch=1, paired=False)
        alone = getattr(plan, "preview", None)
        work = f"One slice alone, {angles} x {columns}: latency against FINUFFT's"
        target = Target(PREVIEW_LIMIT, at_least=False)
        if alone is None:
            yield Row(work, target, None, "there is no way to a single slice")
            continue
        times = interleave(
            {"ours": lambda: alone(data, axis), "FINUFFT": lambda: peer(data)},  # noqa: B023
            # A few milliseconds each: more rounds cost nothing.
            3 * options.rounds,
        )
        yield Row(work, target, times.ratio("ours", "FINUFFT"), times.told())
        batch = plan.execute(data, axis)
        off = float(np.abs(alone(data, axis) - batch).max() / np.abs(batch).max())
        work = f"One slice alone, {angles} x {columns}: greatest difference from the batch's"
        yield Row(work, Target(1e-3, at_least=False, unit=""), off)


def sizes(options: Options) -> Iterator[Row]:
    """Time inconvenient widths and numbers of angles beside the nearest convenient ones."""
    slices = 16 if options.quick else SLICES
    for awkward, convenient in AWKWARD[2:] if options.quick else AWKWARD:
        works = {}
        for angles, columns in (awkward, convenient):
            data = sinograms(slices, angles, columns)
            plan = get_reconstructor("fourier").plan(evenly(angles), columns)
            out = np.zeros((slices, columns, columns), np.float32)
            works[f"{angles} x {columns}"] = lambda plan=plan, data=data, out=out, columns=columns: (
                plan.execute(data, (columns - 1) / 2 + 0.3, out=out)
            )
        times = interleave(works, options.rounds)
        yield _slower(f"Inconvenient size: {slices} slices", times)
    angles, columns = 361, 512
    data = sinograms(slices, angles, columns)
    plan = get_reconstructor("fourier").plan(evenly(angles), columns)
    out = np.zeros((slices, columns, columns), np.float32)
    tilted = (columns - 1) / 2 + np.linspace(-20, 20, slices)
    times = interleave(
        {
            "axis per slice": lambda: plan.execute(data, tilted, out=out),
            "one axis": lambda: plan.execute(data, (columns - 1) / 2, out=out),
        },
        options.rounds,
    )
    yield _slower(f"An axis for each slice: {slices} slices {angles} x {columns}", times)
    times = interleave(
        {
            "axis at a third": lambda: plan.execute(data, columns / 3, out=out),
            "axis in the middle": lambda: plan.execute(data, (columns - 1) / 2, out=out),
        },
        options.rounds,
    )
    yield _slower(f"Axis anywhere: {slices} slices {angles} x {columns}", times)


def _slower(work: str, times: Times) -> Row:
    ours, convenient = times.seconds
    return Row(work, Target(SIZE_LIMIT, at_least=False), times.ratio(ours, convenient), times.told())
