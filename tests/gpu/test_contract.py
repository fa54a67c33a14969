"""What computes on devices keeps the contract of all methods."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.contract.reconstructor import SMALL, FilteredContract, equal_angles
from tests.engine.contract.test_iterative import IterativeContract, _Briefly
from tests.engine.ellipses import project
from tests.gpu.host_machine import HostMachine
from tomoservice.cuda import Machine
from tomoservice.devices import DeviceChoice
from tomoservice.recon import Reconstructor, get_reconstructor
from tomoservice.recon.fourier_cuda import FourierDeviceReconstructor
from tomoservice.recon.iterative import (
    CglsReconstructor,
    EmReconstructor,
    Initial,
    IterativeOptions,
    SartReconstructor,
    SirtReconstructor,
    TvReconstructor,
)
from tomoservice.recon.iterative.astra_projector import astra_obstacle


class DeviceContract(FilteredContract):
    """The contract, on a machine that is made once."""

    method = "fourier"
    other_length = 2e-3
    machine: Machine

    # The threads that it counts are the device's.
    test_memory_estimates_grow_with_threads_and_slices = None

    def made(self) -> Reconstructor:
        return FourierDeviceReconstructor(lambda: self.machine)


class TestOnTheHost(DeviceContract):
    """Kernels run by loops: their arithmetic."""

    @pytest.fixture(autouse=True)
    def _machine(self, host_machine: HostMachine) -> None:
        self.machine = host_machine


@pytest.mark.gpu
class TestOnADevice(DeviceContract):
    """The same on a CUDA device."""

    @pytest.fixture(autouse=True)
    def _machine(self, cuda_machine: Machine) -> None:
        self.machine = cuda_machine


def need_device() -> None:
    """Skip the test where ASTRA finds no device."""
    obstacle = astra_obstacle()
    if obstacle is not None:
        pytest.skip(f"ASTRA finds no CUDA device: {obstacle.reason}")


@pytest.mark.gpu
class TestAstraOnADevice(FilteredContract):
    """ASTRA's filtered back-projection on a CUDA device."""

    method = "astra_fbp"

    # Its estimate counts threads, of which a device keeps one busy.
    test_memory_estimates_grow_with_threads_and_slices = None

    def made(self) -> Reconstructor:
        need_device()
        return get_reconstructor(self.method, DeviceChoice("cuda"))


@pytest.mark.gpu
class IterativeOnADevice(IterativeContract):
    """An iterative method whose projections ASTRA makes on a CUDA device."""

    @pytest.fixture(autouse=True)
    def _device(self) -> None:
        need_device()

    # Its estimate counts threads, of which a device keeps one busy.
    test_memory_estimates_grow_with_threads_and_slices = None


CUDA = DeviceChoice("cuda")


class TestSirtOnADevice(IterativeOnADevice):
    method = "sirt"
    brief = _Briefly(SirtReconstructor(CUDA), iterations=5, initial=Initial.FBP)


class TestSartOnADevice(IterativeOnADevice):
    method = "sart"
    brief = _Briefly(SartReconstructor(CUDA), iterations=2, initial=Initial.FBP, relaxation=0.3)


class TestEmOnADevice(IterativeOnADevice):
    method = "em"
    brief = _Briefly(EmReconstructor(CUDA), iterations=6, initial=Initial.FBP)


class TestTvOnADevice(IterativeOnADevice):
    method = "tv"
    brief = _Briefly(TvReconstructor(CUDA), iterations=5, initial=Initial.FBP, weight=1e-6)


@pytest.mark.gpu
def test_cgls_on_a_device_agrees_with_the_processor() -> None:
    need_device()
    angles, axis = equal_angles(90), 64.3
    sinogram = project(SMALL, angles, 128, axis)[None]
    options = IterativeOptions(iterations=10)
    here, there = (
        CglsReconstructor(device).plan(angles, 128, options).execute(sinogram, axis)
        for device in (DeviceChoice("cpu"), CUDA)
    )
    assert np.linalg.norm(there - here) < 0.02 * np.linalg.norm(here)
