"""The benchmark of devices: it says when there is none, and its code runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.cases import gpu
from tests.benchmarks.harness import Options, Verdict
from tests.gpu.host_machine import HostMachine
from tomoservice.devices import CPU, Obstacle
from tomoservice.pipeline import prepare
from tomoservice.recon.fourier_cuda import FourierDeviceReconstructor

OPTIONS = Options(rounds=1, full=False, quick=True, scan_gb=0.1, scratch=Path())


def test_without_a_device_it_says_so(monkeypatch):
    monkeypatch.setattr(gpu, "cupy_obstacle", lambda: Obstacle("no driver"))
    rows = list(gpu.gpu(OPTIONS))
    assert len(rows) == 3
    assert {row.verdict for row in rows} == {Verdict.ABSENT}
    assert {row.measured for row in rows} == {"no device: no driver"}


def test_its_code_runs_on_a_machine_without_a_device(monkeypatch, host_machine: HostMachine):
    def reconstructor(*_):
        return FourierDeviceReconstructor(lambda: host_machine)

    monkeypatch.setattr(gpu, "cupy_obstacle", lambda: None)
    monkeypatch.setattr(gpu, "first_machine", lambda: host_machine)
    monkeypatch.setattr(gpu, "QUICK", (24, 32, 32))
    monkeypatch.setattr(gpu, "get_reconstructor", reconstructor)
    monkeypatch.setattr("tomoservice.pipeline.slabs.get_reconstructor", reconstructor)
    monkeypatch.setattr(gpu, "prepare", lambda scan, recipe, device: prepare(scan, recipe, device=CPU))
    rows = list(gpu.gpu(OPTIONS))
    assert all(row.value is not None and row.value > 0 for row in rows)
    assert all("host" in row.details for row in rows)
    assert "down" in host_machine.copies


@pytest.mark.gpu
def test_small_sizes_on_a_device(cuda_machine):
    rows = list(gpu.gpu(OPTIONS))
    assert all(row.value is not None and cuda_machine.name in row.details for row in rows)
