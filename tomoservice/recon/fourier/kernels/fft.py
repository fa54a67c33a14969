"""Fast Fourier transforms of cells: eight complex transforms, of sixteen slices, at a time."""

from __future__ import annotations

from tomoservice.compiling import compiled
from tomoservice.recon.fourier.geometry import Transform
from tomoservice.recon.fourier.kernels.butterflies import (
    last_2,
    last_3,
    last_4,
    last_5,
    last_8,
    twiddled_2,
    twiddled_3,
    twiddled_4,
    twiddled_5,
    twiddled_8,
)
from tomoservice.recon.fourier.kernels.vectors import address


@compiled
def stage(radix: int, source: int, step: int, target: int, loops: tuple[int, int], twiddles: int) -> None:
    """Take one stage of a transform; see `butterflies`."""
    if loops[0] == 1:
        if radix == 8:
            last_8(source, step, target, loops, twiddles)
        elif radix == 5:
            last_5(source, step, target, loops, twiddles)
        elif radix == 4:
            last_4(source, step, target, loops, twiddles)
        elif radix == 3:
            last_3(source, step, target, loops, twiddles)
        else:
            last_2(source, step, target, loops, twiddles)
    elif radix == 8:
        twiddled_8(source, step, target, loops, twiddles)
    elif radix == 5:
        twiddled_5(source, step, target, loops, twiddles)
    elif radix == 4:
        twiddled_4(source, step, target, loops, twiddles)
    elif radix == 3:
        twiddled_3(source, step, target, loops, twiddles)
    else:
        twiddled_2(source, step, target, loops, twiddles)


@compiled
def transform(plan: Transform, stages: int, source: int, step: int, buffers: tuple[int, int]) -> int:
    """Take the first `stages` stages of a transform.

    Parameters
    ----------
    plan
        Factors of the length and twiddle factors.
    stages
        How many stages to take; all but the last where that does something more.
    source
        Address of the first cell. Not modified.
    step
        Bytes from one cell to the next.
    buffers
        Addresses of two arrays of as many cells as the transform has.

    Returns
    -------
    int
        Address of the result: one of the buffers.
    """
    run, groups = plan.run, plan.length // plan.run
    twiddles = address(plan.twiddles)
    place, apart = source, step
    for i in range(stages):
        radix = plan.factors[i]
        groups //= radix
        target = buffers[0] if i % 2 == 0 else buffers[1]
        stage(radix, place, apart, target, (groups, run), twiddles)
        twiddles += 8 * groups * (radix - 1)
        run *= radix
        place, apart = target, 64
    return place
