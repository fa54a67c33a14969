"""Where kernels run: on the host wherever there is a C++ compiler, and on a device where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gpu.host_machine import HostMachine, compiler
from tomoservice.cuda import Machine
from tomoservice.devices import cupy_obstacle


@pytest.fixture(scope="session")
def kernel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where kernels that were compiled for the host are kept during a session."""
    if compiler() is None:
        pytest.skip("no C++ compiler that could run the kernels on the host")
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def host_machine(kernel_folder: Path) -> HostMachine:
    """Return a machine without a device."""
    return HostMachine(kernel_folder)


@pytest.fixture
def make_host_machine(kernel_folder: Path) -> Callable[..., HostMachine]:
    """Return what makes machines without a device."""
    return lambda **options: HostMachine(kernel_folder, **options)


@pytest.fixture(scope="session")
def cuda_machine() -> Machine:
    """Return the first CUDA device."""
    obstacle = cupy_obstacle()
    if obstacle is not None:
        pytest.skip("no CUDA device")
    from tomoservice.cuda.cupy_machine import cupy_machine

    return cupy_machine()
