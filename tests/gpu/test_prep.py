"""Stages before the reconstruction say on a device what they say on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu.host_machine import HostMachine
from tomoservice.cuda import Machine
from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep import on_device
from tomoservice.prep.flat_field import OpenBeam, line_integrals, open_beam
from tomoservice.prep.minus_log import minus_log
from tomoservice.prep.on_device.flat_field import Mixture
from tomoservice.prep.phase import Method, Padding, PhasePlan, Retrieval
from tomoservice.prep.stripes import BySorting, remove_stripes
from tomoservice.propagation import FreeSpace

ROWS, COLUMNS, ANGLES = 5, 70, 9
STEADY = Mixture()
TYPES = ("uint8", "uint16", "int16", "uint32", "float32", "int64", "float64", ">u2")


def recorded(dtype: str, seed: int = 0):
    """Return projections, flats and a dark with everything that goes wrong on a detector."""
    rng = np.random.default_rng(seed)
    dark = rng.integers(90, 110, (ROWS, COLUMNS))
    flats = rng.integers(700, 900, (2, ROWS, COLUMNS))
    flats[:, 1, 10:14] = dark[1, 10:14]
    flats[:, 2, :3] = flats[:, 2, -2:] = 0
    flats[:, 3] = 0
    frames = rng.integers(80, 950, (ANGLES, ROWS, COLUMNS))
    frames = np.clip(frames, 0, np.iinfo(dtype).max if dtype[0] in "iu" else 950).astype(dtype)
    if dtype.startswith("f"):
        frames[2, 0, 5:8] = np.nan
        frames[3, 1, 9] = np.inf
        frames[4, 4] = np.nan
        frames[5, 2, [0, 30, -1]] = -np.inf
    return frames, flats.astype(np.float32), dark.astype(np.float32)


class Agreement:
    """Inherit, and give a machine."""

    @pytest.fixture
    def machine(self) -> Machine:
        raise NotImplementedError

    def corrected(self, machine: Machine, frames, beam: OpenBeam, mixture=STEADY, **options):
        count, rows, columns = frames.shape
        places = np.random.default_rng(1).permutation(count + 2)[:count]
        with machine.active():
            sinograms = machine.to_device(np.full((rows, count + 2, columns), -7, np.float32))
            brought = on_device.DeviceBeam.of(machine, beam)
            counts = on_device.bring_counts(machine, frames)
            on_device.correct_frames(machine, counts, brought, sinograms, places, mixture=mixture, **options)
            result = machine.to_host(sinograms)
        untouched = np.setdiff1d(np.arange(count + 2), places)
        assert (result[:, untouched] == -7).all()
        return result[:, places].transpose(1, 0, 2)

    @pytest.mark.parametrize("dtype", TYPES)
    @pytest.mark.parametrize("least", [None, 1e-3])
    def test_flat_field(self, machine, dtype, least):
        frames, flats, dark = recorded(dtype.strip(">"))
        frames, beam = frames.astype(dtype), open_beam(flats[0], dark)
        result = self.corrected(machine, frames, beam, minimum_transmission=least)
        wanted = line_integrals(frames, beam, minimum_transmission=least)
        assert np.isfinite(result).all()
        assert result == pytest.approx(wanted, rel=1e-5, abs=1e-5)

    @pytest.mark.parametrize("dtype", ["uint16", "float32"])
    def test_a_beam_that_changes(self, machine, dtype):
        frames, flats, dark = recorded(dtype)
        rng = np.random.default_rng(3)
        components = rng.normal(0, 20, (3, ROWS, COLUMNS))
        beam = open_beam(flats, dark, components=components)
        mixture = Mixture(rng.uniform(0, 1, (ANGLES, 5)), rng.uniform(0.8, 1.2, ANGLES))
        result = self.corrected(machine, frames, beam, mixture, minimum_transmission=1e-4)
        wanted = line_integrals(
            frames, beam, minimum_transmission=1e-4, weights=mixture.weights, brightness=mixture.brightness
        )
        assert result == pytest.approx(wanted, rel=1e-5, abs=1e-5)

    def test_what_the_cpu_refuses_is_refused(self, machine):
        frames, flats, dark = recorded("uint16")
        beam = open_beam(flats, dark)
        with pytest.raises(EngineError, match="finite weights"):
            self.corrected(machine, frames, beam, minimum_transmission=1e-4)
        with pytest.raises(GeometryError, match="minimum_transmission"):
            self.corrected(machine, frames, open_beam(flats[0], dark), minimum_transmission=0.0)

    def test_logarithm_and_back(self, machine):
        values = np.random.default_rng(0).uniform(-0.1, 1.1, (3, 8, 20)).astype(np.float32)
        values[0, 0, :3] = np.nan, np.inf, -np.inf
        wanted = minus_log(values, minimum_transmission=1e-3)
        with machine.active():
            data = machine.to_device(values)
            on_device.minus_log(machine, data, minimum_transmission=1e-3)
            assert machine.to_host(data) == pytest.approx(wanted, rel=1e-6, abs=1e-6)
            on_device.exponential(machine, data)
            assert machine.to_host(data) == pytest.approx(np.exp(-wanted), rel=1e-6)

    @pytest.mark.parametrize("method", list(Method))
    @pytest.mark.parametrize("padding", list(Padding))
    @pytest.mark.parametrize("shape", [(24, 40), (23, 61)])
    def test_phase(self, machine, method, padding, shape):
        space = FreeSpace(energy_kev=25.0, distance_mm=20.0, pixel_size_um=1.0)
        retrieval = Retrieval(
            method=method, delta_beta=40.0, space=space, unsharp_amount=0.5, padding=padding
        )
        rows, columns = shape
        rng = np.random.default_rng(2)
        sinograms = rng.uniform(0.2, 1.1, (rows, 7, columns)).astype(np.float32)
        wanted = PhasePlan(retrieval, rows, columns).execute(sinograms.transpose(1, 0, 2))
        with machine.active():
            data = machine.to_device(sinograms)
            on_device.retrieve_phase(machine, data, retrieval)
            result = machine.to_host(data).transpose(1, 0, 2)
        assert np.abs(result - wanted).max() < 1e-5 * np.abs(wanted).max()

    def test_phase_of_what_is_no_measurement_is_refused(self, machine):
        space = FreeSpace(energy_kev=25.0, distance_mm=20.0, pixel_size_um=1.0)
        retrieval = Retrieval(method=Method.PAGANIN, delta_beta=40.0, space=space)
        sinograms = np.ones((8, 5, 20), np.float32)
        sinograms[3, 2, 7] = np.nan
        with machine.active(), pytest.raises(EngineError, match="projection 2 is nan at row 3, column 7"):
            on_device.retrieve_phase(machine, machine.to_device(sinograms), retrieval)

    @pytest.mark.parametrize("size", [1, 6, 21, None])
    @pytest.mark.parametrize("columns", [13, 64])
    def test_stripes_by_sorting(self, machine, size, columns):
        rng = np.random.default_rng(4)
        sinograms = rng.normal(0, 1, (3, 31, columns)).astype(np.float32)
        # Equal values keep the order of their angles.
        sinograms[1] = np.round(sinograms[1], 1)
        wanted = remove_stripes(sinograms, BySorting(size=size))
        with machine.active():
            data = machine.to_device(sinograms)
            on_device.sort_stripes_away(machine, data, BySorting(size=size))
            assert np.array_equal(machine.to_host(data), wanted)

    def test_stripes_in_what_is_not_finite_are_refused(self, machine):
        sinograms = np.zeros((2, 8, 16), np.float32)
        sinograms[1, 3, 4] = np.inf
        with machine.active(), pytest.raises(EngineError, match=r"sinogram 1 .* angle 3, column 4"):
            on_device.sort_stripes_away(machine, machine.to_device(sinograms), BySorting())


class TestOnTheHost(Agreement):
    """By NumPy, SciPy, and kernels in loops."""

    @pytest.fixture
    def machine(self, host_machine: HostMachine) -> Machine:
        return host_machine


@pytest.mark.gpu
class TestOnADevice(Agreement):
    """On a CUDA device."""

    @pytest.fixture
    def machine(self, cuda_machine: Machine) -> Machine:
        return cuda_machine
