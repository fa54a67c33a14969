"""Stages before the reconstruction say on a device what they say on the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.gpu.host_machine import HostMachine
from tomoservice.cuda import Machine
from tomoservice.errors import EngineError, GeometryError
from tomoservice.pipeline.selection import bin_frames
from tomoservice.prep import on_device
from tomoservice.prep.beam_hardening import linearise
from tomoservice.prep.flat_brightness import level_borders
from tomoservice.prep.flat_double import fixed_pattern, subtract_pattern
from tomoservice.prep.flat_field import OpenBeam, bridge_pixels, line_integrals, open_beam
from tomoservice.prep.flat_pixels import stuck_pixels
from tomoservice.prep.minus_log import minus_log
from tomoservice.prep.on_device.flat_field import Mixture
from tomoservice.prep.outliers import Kind, ThresholdUnit, ZingerOptions, remove_spikes, remove_zingers
from tomoservice.prep.phase import Method, Padding, PhasePlan, Retrieval
from tomoservice.prep.stripes import (
    METHODS,
    ByFitting,
    BySorting,
    DeadStripes,
    EveryStripe,
    FourierWavelet,
    LargeStripes,
    Titarenko,
    remove_stripes,
)
from tomoservice.prep.stripes.fourier_wavelet import Variant
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


def striped(angles: int, columns: int, seed: int):
    """Return a sinogram with every kind of stripe."""
    rng = np.random.default_rng(seed)
    angle, column = np.linspace(0, np.pi, angles)[:, None], np.linspace(-1, 1, columns)
    smooth = 1 + np.exp(-(((column - 0.5 * np.cos(angle)) / 0.3) ** 2)) + 0.5 * np.sqrt(1 - 0.9 * column**2)
    sinogram = smooth + rng.normal(0, 0.005, smooth.shape)
    sinogram[:, 30] += 0.05
    sinogram[:, 50:56] *= 1.2
    sinogram[angles // 2 :, 70] += 0.06
    sinogram[:, 90] = 1.1
    sinogram[:, 100] += rng.normal(0, 0.3, angles)
    return sinogram.astype(np.float32)


def with_zingers(wild: bool):
    """Return transmissions (row, angle, column) with zingers of either sign; if wild with NaN too."""
    rng = np.random.default_rng(7)
    sinograms = rng.uniform(0.48, 0.52, (6, 11, 50))
    places = rng.uniform(size=sinograms.shape)
    sinograms[places < 0.02] += 0.6
    sinograms[places > 0.98] -= 0.4
    if wild:
        sinograms[2, 3, 10:12] = np.nan
        sinograms[4, 5] = np.inf
    return sinograms.astype(np.float32)


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

    def on_the_device(self, machine: Machine, change: Callable[..., None], sinograms, *given, **options):
        with machine.active():
            data = machine.to_device(sinograms)
            change(machine, data, *given, **options)
            return machine.to_host(data)

    @pytest.mark.parametrize("size", [1, 6, 21, None])
    @pytest.mark.parametrize("columns", [13, 64])
    def test_stripes_by_sorting(self, machine, size, columns):
        rng = np.random.default_rng(4)
        sinograms = rng.normal(0, 1, (3, 31, columns)).astype(np.float32)
        # Equal values keep the order of their angles.
        sinograms[1] = np.round(sinograms[1], 1)
        wanted = remove_stripes(sinograms, BySorting(size=size))
        result = self.on_the_device(machine, on_device.remove_stripes, sinograms, BySorting(size=size))
        assert np.array_equal(result, wanted)

    @pytest.mark.parametrize("name", list(METHODS))
    @pytest.mark.parametrize("shape", [(90, 120), (91, 133)])
    def test_stripes(self, machine, name, shape):
        sinograms = np.stack([striped(*shape, seed) for seed in range(3)])
        method = METHODS[name]()
        wanted = remove_stripes(sinograms, method)
        assert np.abs(wanted - sinograms).max() > 0.01
        result = self.on_the_device(machine, on_device.remove_stripes, sinograms, method)
        assert np.abs(result - wanted).max() < 1e-5 * np.abs(wanted).max()

    @pytest.mark.parametrize(
        "method",
        [
            LargeStripes(normalise=False, drop_ratio=0.3),
            DeadStripes(residual=False),
            EveryStripe(small_size=None, large_size=None),
            FourierWavelet(wavelet="db1", level=None, variant=Variant.TOMOPY),
            FourierWavelet(wavelet="db20", level=2, variant=Variant.ALGOTOM),
            Titarenko(blocks=7),
            ByFitting(order=3, sigma=4.0),
        ],
        ids=repr,
    )
    def test_stripes_with_other_parameters(self, machine, method):
        sinograms = striped(85, 140, 5)[None]
        wanted = remove_stripes(sinograms, method)
        assert not np.array_equal(wanted, sinograms)
        result = self.on_the_device(machine, on_device.remove_stripes, sinograms, method)
        assert np.abs(result - wanted).max() < 1e-5 * np.abs(wanted).max()

    @pytest.mark.parametrize("name", list(METHODS))
    def test_stripes_where_there_is_nothing(self, machine, name):
        sinograms = np.zeros((1, 12, 9), np.float32)
        method = METHODS[name]()
        wanted = remove_stripes(sinograms, method)
        result = self.on_the_device(machine, on_device.remove_stripes, sinograms, method)
        assert np.array_equal(result, wanted)

    def test_stripes_in_what_is_not_finite_are_refused(self, machine):
        sinograms = np.zeros((2, 8, 16), np.float32)
        sinograms[1, 3, 4] = np.inf
        with machine.active(), pytest.raises(EngineError, match=r"sinogram 1 .* angle 3, column 4"):
            on_device.remove_stripes(machine, machine.to_device(sinograms), BySorting())

    def test_stripes_along_too_few_angles_are_refused(self, machine):
        sinograms = np.ones((1, 2, 16), np.float32)
        with machine.active(), pytest.raises(EngineError, match="at least 3 angles, got 2"):
            on_device.remove_stripes(machine, machine.to_device(sinograms), ByFitting())

    @pytest.mark.parametrize("kind", list(Kind))
    @pytest.mark.parametrize("unit", list(ThresholdUnit))
    @pytest.mark.parametrize("size", [3, 5])
    @pytest.mark.parametrize("wild", [False, True])
    def test_zingers(self, machine, kind, unit, size, wild):
        threshold = 8.0 if unit == ThresholdUnit.NOISE else 0.2
        options = ZingerOptions(threshold=threshold, unit=unit, size=size, kind=kind)
        sinograms = with_zingers(wild)
        for ours, theirs in (
            (on_device.remove_zingers, lambda s: remove_zingers(s.transpose(1, 0, 2), options)),
            (on_device.remove_spikes, lambda s: remove_spikes(s, options)),
        ):
            wanted = sinograms.copy()
            assert theirs(wanted) > 10
            assert np.array_equal(self.on_the_device(machine, ours, sinograms, options), wanted)

    def test_zingers_along_too_few_angles_are_refused(self, machine):
        sinograms = np.ones((2, 4, 16), np.float32)
        with machine.active(), pytest.raises(EngineError, match="at least 5 projections, got 4"):
            on_device.remove_spikes(machine, machine.to_device(sinograms), ZingerOptions(size=5))

    def test_stuck_pixels(self, machine):
        sinograms = with_zingers(wild=False)
        sinograms[1, :, 20] = sinograms[1, :, 0] = 0.5
        sinograms[2, :, [30, 31]] += np.random.default_rng(1).normal(0, 3, (2, sinograms.shape[1]))
        bad = stuck_pixels(sinograms)
        assert [*bad[1, [0, 20]], *bad[2, 30:32]] == [True] * 4
        wanted = sinograms.copy()
        bridge_pixels(wanted.transpose(1, 0, 2), bad)
        result = self.on_the_device(machine, on_device.bridge_stuck_pixels, sinograms)
        assert result == pytest.approx(wanted, rel=1e-6, abs=1e-6)

    def test_a_row_of_stuck_pixels_alone(self, machine):
        sinograms = np.random.default_rng(0).uniform(0, 1, (2, 9, 5)).astype(np.float32)
        assert np.array_equal(
            self.on_the_device(machine, on_device.bridge_stuck_pixels, sinograms), sinograms
        )

    @pytest.mark.parametrize("border", [1, 4, 20])
    def test_borders(self, machine, border):
        sinograms = np.random.default_rng(0).uniform(-0.2, 1.1, (3, 8, 41)).astype(np.float32)
        wanted = sinograms.copy()
        level_borders(wanted.transpose(1, 0, 2), border)
        result = self.on_the_device(machine, on_device.level_borders, sinograms, columns=border)
        assert result == pytest.approx(wanted, rel=1e-5, abs=1e-5)
        with machine.active(), pytest.raises(GeometryError, match="30 columns of air"):
            on_device.level_borders(machine, machine.to_device(sinograms), columns=30)

    def test_double_flat_field(self, machine):
        sinograms = np.random.default_rng(0).uniform(0, 2, (9, 12, 30)).astype(np.float32)
        wanted = sinograms.copy()
        subtract_pattern(wanted, fixed_pattern(wanted, 2.5))
        result = self.on_the_device(machine, on_device.double_flat_field, sinograms, sigma=2.5)
        assert result == pytest.approx(wanted, rel=1e-6, abs=1e-6)

    @pytest.mark.parametrize("coefficients", [(2.0,), (1.0, 0.05), (0.9, -0.02, 0.003, 0.0, 1e-4)])
    def test_beam_hardening(self, machine, coefficients):
        sinograms = np.random.default_rng(0).uniform(-1, 5, (3, 8, 20)).astype(np.float32)
        wanted = linearise(sinograms, coefficients)
        result = self.on_the_device(machine, on_device.linearise, sinograms, coefficients=coefficients)
        assert result == pytest.approx(wanted, rel=1e-6, abs=1e-6)

    @pytest.mark.filterwarnings("ignore:overflow")
    def test_beam_hardening_beyond_all_numbers_is_refused(self, machine):
        sinograms = np.ones((2, 3, 4), np.float32)
        sinograms[1, 2, 3] = 1e20
        with machine.active(), pytest.raises(EngineError, match=r"line integral of 1e\+20 gives no finite"):
            on_device.linearise(machine, machine.to_device(sinograms), coefficients=(1.0, 0.0, 1.0))

    @pytest.mark.parametrize("binning", [2, 4])
    def test_binning(self, machine, binning):
        sinograms = np.random.default_rng(0).uniform(0, 1, (8, 5, 24)).astype(np.float32)
        wanted = bin_frames(sinograms.transpose(1, 0, 2), binning).transpose(1, 0, 2)
        with machine.active():
            binned = on_device.average_pixels(machine, machine.to_device(sinograms), binning)
            assert machine.to_host(binned) == pytest.approx(wanted, rel=1e-6)


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
