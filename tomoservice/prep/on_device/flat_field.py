"""Flat field correction and minus log on a device: frames as recorded -> sinograms, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.cuda.machine import DeviceArray, Kernels, Machine, blocks_of, number
from tomoservice.prep.flat_field import OpenBeam, check_minimum, checked_brightness, checked_weights

PIXELS = {"u1": "unsigned char", "u2": "unsigned short", "i2": "short", "u4": "unsigned int", "f4": "float"}
"""Types of pixels that the kernels read as they are, and what C++ calls them; others become float32."""
THREADS = (128, 1, 1)


@cache
def kernel_source() -> str:
    """Return the text of ``flat.cu``."""
    return resources.files("tomoservice.prep.on_device").joinpath("flat.cu").read_text("utf-8")


@dataclass(frozen=True)
class DeviceBeam:
    """An `OpenBeam` on a device."""

    beam: OpenBeam
    dark: DeviceArray
    gain: DeviceArray
    parts: DeviceArray | None
    lost: DeviceArray
    bad: DeviceArray
    bridges: tuple[DeviceArray, ...]
    """Row, column, left and right neighbour of each bridged pixel, int32, and the right one's share."""

    @classmethod
    def of(cls, machine: Machine, beam: OpenBeam) -> DeviceBeam:
        """Bring a beam to a device."""
        bridges = beam.bridges
        rows = np.repeat(np.arange(len(bridges.starts) - 1), np.diff(bridges.starts))
        places = (rows, bridges.columns, bridges.left, bridges.right)
        return cls(
            beam=beam,
            dark=machine.to_device(beam.dark),
            gain=machine.to_device(beam.gain),
            parts=machine.to_device(beam.frames) if len(beam.frames) else None,
            lost=machine.to_device(bridges.lost.astype(np.uint8)),
            bad=machine.to_device(bridges.bad.astype(np.uint8)),
            bridges=(
                *(machine.to_device(place.astype(np.int32)) for place in places),
                machine.to_device(bridges.weight),
            ),
        )


@dataclass(frozen=True)
class Mixture:
    """How the beam was during each of some projections; see `tomoservice.prep.flat_field.line_integrals`."""

    weights: NDArray[np.generic] | None = None
    brightness: NDArray[np.generic] | None = None


def bring_counts(machine: Machine, frames: NDArray[np.generic]) -> DeviceArray:
    """Return frames as recorded on a device; may be called outside `Machine.active`, as others compute.

    Types of pixels that kernels do not read become float32.
    """
    if is_read_as_it_is(frames.dtype):
        return machine.to_device(frames)
    # What overflows becomes infinite, and is bridged.
    with np.errstate(over="ignore", invalid="ignore"):
        return machine.to_device(frames.astype(np.float32))


def is_read_as_it_is(dtype: np.dtype[Any]) -> bool:
    """Tell whether kernels read pixels of a type."""
    return dtype.isnative and dtype.str[1:] in PIXELS


def correct_frames(  # noqa: PLR0913 - what is corrected by what, and where it goes
    machine: Machine,
    counts: DeviceArray,
    beam: DeviceBeam,
    sinograms: DeviceArray,
    places: NDArray[np.integer[Any]],
    *,
    minimum_transmission: float | None,
    mixture: Mixture = Mixture(),
) -> None:
    """Divide projections by the open beam and take minus the logarithm.

    Parameters
    ----------
    machine : Machine
        The device.
    counts : (frame, row, column) real array
        Projections in counts, from `bring_counts`. Not modified.
    beam : DeviceBeam
        For the same rows and columns.
    sinograms : (row, angle, column) float32 array
        On the device, contiguous; filled where `places` say.
    places : (frame,) int array
        Angle of each frame.
    minimum_transmission, mixture
        As `tomoservice.prep.flat_field.line_integrals` takes them.

    Raises
    ------
    GeometryError, EngineError
        As `tomoservice.prep.flat_field.line_integrals`.
    """
    if minimum_transmission is not None:
        check_minimum(minimum_transmission)
    weights = checked_weights(beam.beam, len(counts), mixture.weights)
    brightness = checked_brightness(len(counts), mixture.brightness)
    kind = counts.dtype.str[1:]
    count, rows, columns = counts.shape
    wild = machine.xp.zeros((count, rows), np.int32)
    moving = (beam.parts, machine.to_device(weights) if beam.parts is not None else None)
    opened = (beam.dark, beam.gain, *moving, machine.to_device(brightness), number(weights.shape[1]))
    sizes = (rows, columns, sinograms.shape[1], count)
    where = machine.to_device(places.astype(np.int32))
    target = (*map(number, sizes), number(minimum_transmission or 0, np.float32), sinograms)
    kernels = machine.kernels(kernel_source(), {"PIXEL": PIXELS[kind]})
    first = (counts, *opened)
    _launch(kernels, "correct_pixels", (columns, rows, count), *first, beam.lost, where, *target, wild)
    bridged = len(beam.bridges[0])
    if bridged:
        listed = (*beam.bridges, number(bridged))
        _launch(kernels, "bridge_pixels", (bridged, count, 1), *first, *listed, where, *target)
    if kind == "f4":
        _launch(kernels, "mend_lines", (count * rows, 1, 1), *first, beam.bad, wild, where, *target)


def _launch(kernels: Kernels, name: str, work: tuple[int, int, int], *arguments: Any) -> None:
    kernels.launch(name, blocks_of(work, THREADS), THREADS, list(arguments))
