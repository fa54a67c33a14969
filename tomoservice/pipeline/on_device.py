"""The stages before the reconstruction on a device, so that sinograms are there when they are needed.

A step without a version for devices takes its block to the CPU and back: a tilted axis, and phase from
several distances.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tomoservice.cuda import Machine
from tomoservice.cuda.machine import DeviceArray
from tomoservice.pipeline.pieces import Check
from tomoservice.pipeline.stages import (
    Block,
    DoubleFlatField,
    Exponential,
    LevelBorders,
    Linearise,
    MinusLog,
    Phase,
    Spikes,
    Step,
    Stripes,
    StuckPixels,
    Zingers,
)
from tomoservice.prep import on_device
from tomoservice.prep.phase import Retrieval

Change = Callable[[Machine, DeviceArray], None]


def version_for_devices(step: Step) -> Change | None:
    """Return what a step does to sinograms on a device, in place, or None if it is done on the CPU."""
    match step:
        case MinusLog():
            return partial(on_device.minus_log, minimum_transmission=step.minimum_transmission)
        case Exponential():
            return on_device.exponential
        case LevelBorders():
            return partial(on_device.level_borders, columns=step.columns)
        case DoubleFlatField():
            return partial(on_device.double_flat_field, sigma=step.sigma)
        case StuckPixels():
            return on_device.bridge_stuck_pixels
        case Zingers():
            return partial(on_device.remove_zingers, options=step.options)
        case Spikes():
            return partial(on_device.remove_spikes, options=step.options)
        case Phase(retrieval=Retrieval() as retrieval):
            return partial(on_device.retrieve_phase, retrieval=retrieval)
        case Stripes() if type(step.method) in on_device.CORRECTIONS:
            return partial(on_device.remove_stripes, method=step.method)
        case Linearise():
            return partial(on_device.linearise, coefficients=step.coefficients)
        case _:
            return None


def apply_step(machine: Machine, step: Step, block: Block, start: int, stop: int, check: Check) -> Block:
    """Apply a step to a block in a device's memory; see `Step.apply`."""
    change = version_for_devices(step)
    with machine.active():
        if change is not None:
            change(machine, block.sinograms)
            return block
        host = Block(machine.to_host(block.sinograms), block.start)
    # The device is others' meanwhile.
    result = step.apply(host, start, stop, check)
    with machine.active():
        return Block(machine.to_device(result.sinograms), result.start)
