"""The pipeline computes on a device what it computes on the CPU, and goes on where memory ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.gpu.host_machine import HostMachine
from tests.phantom_scans import PhantomScan, phantom_scan
from tomoservice.devices import CPU, DeviceChoice
from tomoservice.errors import CancelledError, DeviceError
from tomoservice.phantom import Imperfections
from tomoservice.pipeline import Slab, compute, prepare
from tomoservice.provenance import machine as describe_machine
from tomoservice.recipe import parse_recipe
from tomoservice.recon.fourier_cuda import FourierDeviceReconstructor
from tomoservice.scan import TomoScan

AXIS = 33.3
PHASE = {
    "method": "paganin",
    "material": {"method": "delta_beta", "delta_beta": 60.0},
    "energy_kev": 25.0,
    "distance_mm": 20.0,
    "pixel_size_um": 1.0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "sorting": {"stripes": {"method": "sorting"}},
    "everything": {
        "stripes": {"method": "sorting", "size": 5},
        "phase": PHASE,
        "flat_field": {
            "method": "standard",
            "double_flat_field": 2.0,
            "normalisation": {"method": "border", "columns": 3},
        },
        "outliers": {"method": "zingers", "dimension": "both", "stuck_pixels": True},
        "beam_hardening": {"method": "polynomial", "coefficients": [1.0, 0.02]},
    },
    "every stripe": {"stripes": {"method": "vo_all"}, "phase": PHASE | {"padding": "edge"}},
    "wavelet": {"stripes": {"method": "fourier_wavelet"}},
    "dynamic": {"flat_field": {"method": "dynamic"}},
    "no logarithm": {"minus_log": {"method": "none"}},
    "binned": {"frames": {"binning": 2}},
    "binned transmission": {"frames": {"binning": 2}, "stripes": {"method": "sorting"}, "phase": PHASE},
    "on the CPU in between": {"rotation_axis": {"method": "value", "value": AXIS, "tilt_deg": 1.0}},
    "whole numbers": {"output": {"dtype": "uint16"}},
}


@pytest.fixture(scope="module")
def flawed() -> PhantomScan:
    flaws = Imperfections(noise=0.01, dead_pixels=0.01, stripes=0.03)
    return phantom_scan(64, 37, 45, rotation_axis=AXIS, imperfections=flaws)


def volume_of(scan: TomoScan, stages: dict[str, Any], device: DeviceChoice, **options: Any) -> NDArray[Any]:
    recipe = parse_recipe({"rotation_axis": {"method": "value", "value": AXIS}, **stages})
    plan = replace(prepare(scan, recipe, device=CPU), device=device)
    volume = np.zeros(plan.shape, plan.dtype)

    def keep(slab: Slab, slices: NDArray[Any]) -> None:
        volume[slab.start : slab.stop] = slices

    compute(plan, scan, on_slab=keep, **options)
    return volume


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[HostMachine], DeviceChoice]:
    """Return what has the pipeline take a machine for a CUDA device."""

    def taken(machine: HostMachine) -> DeviceChoice:
        reconstructor = FourierDeviceReconstructor(lambda: machine)
        monkeypatch.setattr("tomoservice.pipeline.slabs.get_reconstructor", lambda *_: reconstructor)
        return DeviceChoice("cuda")

    return taken


def off(result: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.abs(result.astype(float) - wanted).max() / np.abs(wanted.astype(float)).max())


@pytest.mark.parametrize("name", list(RECIPES))
def test_volumes_agree(flawed, host_machine, use, name):
    scan, stages = flawed.scan(), RECIPES[name]
    wanted = volume_of(scan, stages, CPU)
    result = volume_of(scan, stages, use(host_machine))
    # A whole number may be the next one.
    assert off(result, wanted) < (2e-5 if wanted.dtype == np.uint16 else 1e-5)
    assert "up" not in host_machine.copies


def test_blocks_however_small_agree(flawed, host_machine, use):
    scan, stages = flawed.scan(), RECIPES["everything"]
    wanted = volume_of(scan, stages, CPU)
    result = volume_of(scan, stages, use(host_machine), memory_bytes=9 << 20)
    assert off(result, wanted) < 2e-5
    assert host_machine.allocated == 0


def test_a_phase_that_reaches_across_frames_agrees(flawed, host_machine, use):
    stages = {"phase": PHASE | {"distance_mm": 3000.0}}
    scan = flawed.scan()
    wanted = volume_of(scan, stages, CPU)
    for budget in (None, 12 << 20):
        assert off(volume_of(scan, stages, use(host_machine), memory_bytes=budget), wanted) < 2e-5


def test_too_little_memory_for_sinograms_leaves_the_stages_to_the_cpu(flawed, make_host_machine, use, caplog):
    scan, stages = flawed.scan(), RECIPES["everything"]
    wanted = volume_of(scan, stages, CPU)
    machine = make_host_machine(memory=700_000)
    with caplog.at_level(logging.WARNING, "tomoservice"):
        result = volume_of(scan, stages, use(machine))
    assert off(result, wanted) < 1e-5
    assert "stages before the reconstruction go on on the CPU" in caplog.text
    assert "up" in machine.copies


def test_it_stops_when_told(flawed, host_machine, use):
    with pytest.raises(CancelledError):
        volume_of(flawed.scan(), {}, use(host_machine), cancelled=lambda: True)


def test_a_plan_says_what_computes(flawed):
    scan, recipe = flawed.scan(), parse_recipe({"rotation_axis": {"method": "value", "value": AXIS}})
    assert prepare(scan, recipe, device=CPU).device == CPU
    assert describe_machine(CPU)["device"] == describe_machine(CPU)["processor"]
    with pytest.raises(DeviceError, match="cannot use device cuda:77"):
        prepare(scan, recipe, device=DeviceChoice("cuda", 77))


@pytest.mark.gpu
@pytest.mark.parametrize("name", list(RECIPES))
def test_volumes_agree_on_a_device(flawed, cuda_machine, name):
    scan, stages = flawed.scan(), RECIPES[name]
    wanted = volume_of(scan, stages, CPU)
    result = volume_of(scan, stages, DeviceChoice("cuda"))
    assert off(result, wanted) < 2e-5
    assert describe_machine(DeviceChoice("cuda"))["device"] == cuda_machine.name
