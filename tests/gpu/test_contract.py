"""The Fourier method's code for devices keeps the contract of all methods."""

from __future__ import annotations

import pytest

from tests.engine.contract.reconstructor import FilteredContract
from tests.gpu.host_machine import HostMachine
from tomoservice.cuda import Machine
from tomoservice.devices import DeviceChoice
from tomoservice.recon import Reconstructor, get_reconstructor
from tomoservice.recon.fourier_cuda import FourierDeviceReconstructor
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


@pytest.mark.gpu
class TestAstraOnADevice(FilteredContract):
    """ASTRA's filtered back-projection on a CUDA device."""

    method = "astra_fbp"

    # Its estimate counts threads, of which a device keeps one busy.
    test_memory_estimates_grow_with_threads_and_slices = None

    def made(self) -> Reconstructor:
        obstacle = astra_obstacle()
        if obstacle is not None:
            pytest.skip(f"ASTRA finds no CUDA device: {obstacle.reason}")
        return get_reconstructor(self.method, DeviceChoice("cuda"))
