"""What is done to each number of a sinogram by itself, or by what its row has in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tomoservice.cuda.machine import DeviceArray, Machine
from tomoservice.prep.beam_hardening import checked_coefficients, overflow
from tomoservice.prep.flat_brightness import check_border
from tomoservice.prep.flat_double import fine_part
from tomoservice.prep.flat_field import check_minimum


def minus_log(machine: Machine, transmission: DeviceArray, *, minimum_transmission: float) -> None:
    """Take ``-log`` of transmissions in place; see `tomoservice.prep.minus_log`."""
    check_minimum(minimum_transmission)
    xp = machine.xp
    xp.copyto(transmission, np.float32(1), where=~xp.isfinite(transmission))
    xp.maximum(transmission, np.float32(minimum_transmission), out=transmission)
    xp.log(transmission, out=transmission)
    xp.negative(transmission, out=transmission)


def exponential(machine: Machine, line_integrals: DeviceArray) -> None:
    """Take ``exp(-p)`` of line integrals in place: transmissions again."""
    machine.xp.negative(line_integrals, out=line_integrals)
    machine.xp.exp(line_integrals, out=line_integrals)


def average_pixels(machine: Machine, sinograms: DeviceArray, binning: int) -> DeviceArray:
    """Return sinograms (row, angle, column) of which `binning` x `binning` pixels are averaged.

    The numbers of rows and columns must be multiples of `binning`.
    """
    rows, angles, columns = sinograms.shape
    blocks = sinograms.reshape(rows // binning, binning, angles, columns // binning, binning)
    return machine.xp.mean(blocks, axis=(1, 4), dtype=np.float32)


def level_borders(machine: Machine, sinograms: DeviceArray, *, columns: int) -> None:
    """Bring the outermost pixels of every line (row, angle) to 1; see `tomoservice.prep.flat_brightness`."""
    xp, width = machine.xp, sinograms.shape[2]
    check_border(columns, width)
    place = xp.arange(width, dtype=np.float64)
    for sinogram in sinograms:
        left, right = (
            xp.mean(ends, axis=1, dtype=np.float64)[:, None]
            for ends in (sinogram[:, :columns], sinogram[:, width - columns :])
        )
        left, right = (xp.where(mean > 0, mean, 1.0) for mean in (left, right))
        sinogram[...] = (sinogram / (left + (right - left) / max(width - 1, 1) * place)).astype(np.float32)


def double_flat_field(machine: Machine, sinograms: DeviceArray, *, sigma: float) -> None:
    """Subtract from line integrals what all projections have in common; see `tomoservice.prep.flat_double`.

    `sinograms` (row, angle, column) have the margin's rows above and below where the detector has them.
    """
    means = [machine.to_host(sinogram.mean(axis=0, dtype=np.float64)) for sinogram in sinograms]
    sinograms -= machine.to_device(fine_part(np.stack(means), sigma)[:, None])


def linearise(machine: Machine, line_integrals: DeviceArray, *, coefficients: Sequence[float]) -> None:
    """Correct line integrals (row, angle, column) for beam hardening; see `tomoservice.prep.beam_hardening`.

    Raises
    ------
    EngineError
        As `tomoservice.prep.beam_hardening.linearise`.
    """
    *lower, highest = checked_coefficients(coefficients)[: len(coefficients)]
    for values in line_integrals:
        result = values * highest
        for factor in lower[::-1]:
            result += factor
            result *= values
        finite = machine.xp.isfinite(result)
        if not bool(finite.all()):
            wrong = machine.to_host(values)[~machine.to_host(finite)]
            raise overflow(float(wrong[0]), coefficients)
        values[...] = result
