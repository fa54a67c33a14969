"""On which device a reconstruction method computes."""

from __future__ import annotations

from tomoservice.devices import CPU, DeviceChoice, cupy_obstacle, uses_cuda
from tomoservice.errors import DeviceError
from tomoservice.recon.astra_fbp import AstraFbpReconstructor
from tomoservice.recon.fourier import FourierReconstructor
from tomoservice.recon.iterative.astra_projector import astra_obstacle
from tomoservice.recon.iterative.methods import ITERATIVE


def place(method: str, choice: DeviceChoice) -> DeviceChoice:
    """Return the device that a method computes on: the CPU, or a CUDA device that answers.

    Parameters
    ----------
    method : str
        As recipes call it.
    choice : DeviceChoice
        What is asked for.

    Raises
    ------
    DeviceError
        If a CUDA device is asked for, and there is none, or the method knows no device.
    """
    if method == FourierReconstructor.name:
        cuda = uses_cuda(choice, "method fourier", cupy_obstacle)
    elif method in {reconstructor().name for reconstructor in (AstraFbpReconstructor, *ITERATIVE)}:
        cuda = uses_cuda(choice, "what projects with ASTRA", astra_obstacle)
    elif choice.kind == "cuda":
        raise DeviceError(
            f"the reconstruction method {method} computes on the CPU only; got device {choice}. fourier, "
            "astra_fbp and the iterative methods compute on CUDA devices; 'auto' takes one only where it can "
            "be used"
        )
    else:
        cuda = False
    return DeviceChoice("cuda", choice.index) if cuda else CPU


def describe(device: DeviceChoice) -> str | None:
    """Return the name of a device that `place` returned, for records; None for the CPU."""
    if device.kind != "cuda":
        return None
    if cupy_obstacle(device.index) is None:
        from tomoservice.cuda.cupy_machine import cupy_machine

        return cupy_machine(device.index).name
    return f"CUDA device {device.index}"
