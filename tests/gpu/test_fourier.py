"""The Fourier method's code for devices says what the CPU's kernel says, wherever data and memory end."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.ellipses import phantom, project
from tests.gpu.host_machine import HostMachine
from tomoservice.cuda import Machine
from tomoservice.devices import DeviceChoice
from tomoservice.errors import EngineError
from tomoservice.recon import FilterName, Padding, ReconstructionOptions, get_reconstructor
from tomoservice.recon.base import Slab
from tomoservice.recon.fourier.geometry import make_grid, make_grid_tables
from tomoservice.recon.fourier.group import GroupMaker
from tomoservice.recon.fourier_cuda import FourierDevicePlan, FourierDeviceReconstructor
from tomoservice.recon.fourier_cuda.batches import cut_into_batches
from tomoservice.recon.fourier_cuda.device import space_bytes
from tomoservice.recon.fourier_cuda.lines import sorted_lines

CPU = get_reconstructor("fourier")
AGREE = 1e-5


def evenly(count, span=180.0):
    return np.linspace(0, span, count, endpoint=False)


def noise(rows, angles, columns, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, angles, columns)).astype(np.float32)


def made(machine: Machine, angles, columns, options=None) -> FourierDevicePlan:
    return FourierDeviceReconstructor(lambda: machine).plan(angles, columns, options)


def off(result, wanted):
    return np.abs(np.asarray(result) - wanted).max() / np.abs(wanted).max()


class Agreement:
    """Inherit, and give a machine."""

    @pytest.fixture
    def machine(self) -> Machine:
        raise NotImplementedError

    @pytest.mark.parametrize(
        ("columns", "angles", "rows", "options"),
        [
            (64, 60, 16, {}),
            (63, 61, 21, {"mask_circle": False}),
            (2, 1, 1, {}),
            (3, 5, 3, {}),
            (97, 30, 5, {"padding": Padding.EDGE}),
            (50, 40, 17, {"size": 91}),
            (50, 40, 17, {"size": 20, "filter_name": FilterName.HANN, "filter_cutoff": 0.6}),
            (48, 70, 18, {"size": 80, "half_acquisition": True}),
            (48, 70, 18, {"size": 80, "half_acquisition": True, "padding": Padding.EDGE}),
        ],
    )
    @pytest.mark.parametrize("spread", [0.0, 0.05, 0.5])
    def test_any_size_option_and_axis(self, machine, columns, angles, rows, options, spread):
        chosen = ReconstructionOptions(**options)
        turns = evenly(angles, 360 if chosen.half_acquisition else 180)
        sinograms = noise(rows, angles, columns)
        axes = (columns - 1) * np.linspace(0.4 - spread / 2, 0.4 + spread / 2, rows)
        wanted = CPU.plan(turns, columns, chosen).execute(sinograms, axes, first_row=5)
        result = made(machine, turns, columns, chosen).execute(sinograms, axes, first_row=5)
        assert off(result, wanted) < AGREE

    @pytest.mark.parametrize("turns", ["random", "whole", "repeated", "one"])
    def test_any_angles(self, machine, turns):
        angles = {
            "random": np.random.default_rng(2).uniform(-400, 400, 75),
            "whole": np.arange(0.0, 361.0, 5.0),
            "repeated": np.repeat(np.arange(0.0, 180.0, 4.0), 3),
            "one": np.full(4, 90.0),
        }[turns]
        sinograms = noise(3, len(angles), 70)
        wanted = CPU.plan(angles, 70).execute(sinograms, 33.2)
        assert off(made(machine, angles, 70).execute(sinograms, 33.2), wanted) < AGREE

    def test_a_large_slice(self, machine):
        angles, columns = evenly(451), 640
        sinograms = project(phantom(columns), angles, columns, 311.3)[None]
        wanted = CPU.plan(angles, columns).execute(sinograms, 311.3)
        assert off(made(machine, angles, columns).execute(sinograms, 311.3), wanted) < AGREE

    @pytest.mark.parametrize("rows", [1, 9, 16, 40])
    @pytest.mark.parametrize("where", ["sinograms", "out", "both"])
    def test_what_is_on_the_device_already(self, machine, rows, where):
        angles, sinograms = evenly(30), noise(rows, 30, 40)
        wanted = CPU.plan(angles, 40).execute(sinograms, 19.0, first_row=2)
        plan = made(machine, angles, 40)
        with machine.active():
            data = sinograms if where == "out" else machine.to_device(sinograms)
            host = np.full((rows, 40, 40), np.nan, np.float32)
            out = host if where == "sinograms" else machine.empty(host.shape, np.float32)
            result = plan.execute(data, 19.0, first_row=2, out=out)
            assert result is out
            assert off(machine.to_host(result) if machine.owns(result) else result, wanted) < AGREE
            if where == "both":
                assert off(machine.to_host(plan.execute(data, 19.0, first_row=2)), wanted) < AGREE

    def test_pinned_memory_is_read_and_filled_as_it_is(self, machine):
        angles, sinograms = evenly(30), noise(37, 30, 40)
        wanted = CPU.plan(angles, 40).execute(sinograms, 19.0)
        with machine.active():
            data, out = (machine.pinned(shape, np.float32) for shape in (sinograms.shape, (37, 40, 40)))
        data[:], out[:] = sinograms, np.nan
        assert off(made(machine, angles, 40).execute(data, 19.0, out=out), wanted) < AGREE

    def test_a_bad_value_on_the_device_is_told(self, machine):
        sinograms = noise(20, 10, 16)
        sinograms[18, 4, 3] = np.nan
        plan = made(machine, evenly(10), 16)
        with machine.active():
            data = machine.to_device(sinograms)
        with pytest.raises(EngineError, match=r"row 25 .* projection 4, column 3"):
            plan.execute(data, 7.5, first_row=7)
        sinograms[18, 4, 3] = 3e38
        with pytest.raises(EngineError, match=r"row 25 has values up to .*too large"):
            plan.execute(sinograms, 7.5, first_row=7)


class TestOnTheHost(Agreement):
    """The kernels' arithmetic, in loops."""

    @pytest.fixture
    def machine(self, host_machine: HostMachine) -> Machine:
        return host_machine


@pytest.mark.gpu
class TestOnADevice(Agreement):
    """The same on a CUDA device."""

    @pytest.fixture
    def machine(self, cuda_machine: Machine) -> Machine:
        return cuda_machine

    def test_repetitions_give_the_same_bits(self, machine):
        angles, sinograms = evenly(301), noise(40, 301, 320)
        plan = made(machine, angles, 320)
        first = plan.execute(sinograms, 155.2)
        assert all(np.array_equal(plan.execute(sinograms, 155.2), first) for _ in range(5))

    @pytest.mark.usefixtures("machine")
    def test_the_recipe_s_method_on_this_device_is_it(self):
        assert isinstance(
            get_reconstructor("fourier", DeviceChoice("cuda")).plan(evenly(5), 8), FourierDevicePlan
        )

    def test_memory_that_ends_leaves_the_numbers_alone(self, machine, caplog):
        angles, columns = evenly(600), 1024
        sinograms = noise(16, 600, columns)
        wanted = made(machine, angles, columns).execute(sinograms, 500.0)
        pool = machine.xp.get_default_memory_pool()
        machine.release()
        with caplog.at_level(logging.WARNING, "tomoservice"):
            pool.set_limit(size=machine.xp.get_default_memory_pool().used_bytes() + (300 << 20))
            try:
                plan = made(machine, angles, columns)
                result = plan.execute(sinograms, 500.0)
            finally:
                pool.set_limit(size=0)
        assert plan.pairs_at_once < 8
        assert "out of memory" in caplog.text
        assert off(result, wanted) < 1e-6


class TestMemoryOfADevice:
    """What happens where a device has less memory than eight pairs of slices take."""

    angles, columns, rows = evenly(40), 32, 21

    def needed(self, pairs: int) -> int:
        plan = CPU.plan(self.angles, self.columns)
        grid, response = plan._prepared.grid, plan._prepared.groups.response(np.array([15.5]))
        slots = 2 * 2 * pairs * 4 * (40 * 32 + 32 * 32)
        return slots + space_bytes(pairs, 40, response.length, grid.length)

    @pytest.mark.parametrize("pairs", [1, 2, 4, 8])
    def test_as_many_pairs_as_fit_are_computed_at_once_with_the_same_bits(self, make_host_machine, pairs):
        sinograms = noise(self.rows, 40, 32)
        axes = np.linspace(14.9, 16.3, self.rows)
        wanted = made(make_host_machine(), self.angles, 32).execute(sinograms, axes, first_row=3)
        machine = make_host_machine(told=int(1.05 * self.needed(pairs) / 0.9))
        plan = made(machine, self.angles, 32)
        result = plan.execute(sinograms, axes, first_row=3)
        assert plan.pairs_at_once == pairs
        assert np.array_equal(result, wanted)
        assert machine.most_allocated < self.needed(pairs)

    @pytest.mark.parametrize("pairs", [1, 2, 4])
    def test_memory_that_others_take_is_noticed_and_said(self, make_host_machine, pairs, caplog):
        sinograms = noise(self.rows, 40, 32)
        wanted = made(make_host_machine(), self.angles, 32).execute(sinograms, 15.5)
        machine = make_host_machine(memory=self.needed(pairs), told=1 << 40)
        plan = made(machine, self.angles, 32)
        with caplog.at_level(logging.WARNING, "tomoservice"):
            result = plan.execute(sinograms, 15.5)
        assert np.array_equal(result, wanted)
        assert plan.pairs_at_once == pairs
        assert f"going on with {2 * pairs} instead of {4 * pairs} slices at once" in caplog.text
        assert len(caplog.records) == {4: 1, 2: 2, 1: 3}[pairs]
        plan.execute(sinograms, 15.5)
        assert len(caplog.records) == {4: 1, 2: 2, 1: 3}[pairs]

    def test_too_little_for_a_pair_says_what_to_do(self, make_host_machine):
        plan = made(make_host_machine(memory=1000), self.angles, 32)
        with pytest.raises(EngineError, match=r"two slices of 32 x 32 from 40 projections do not fit.*'cpu'"):
            plan.execute(noise(3, 40, 32), 15.5)

    def test_nothing_is_kept_of_a_plan_that_is_gone(self, host_machine):
        plan = made(host_machine, self.angles, 32)
        plan.execute(noise(3, 40, 32), 15.5)
        assert host_machine.allocated
        del plan
        assert host_machine.allocated == 0


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("rows", [3, 16, 80])
def test_copies_may_be_early_or_late(make_host_machine: Callable[..., HostMachine], late, rows):
    sinograms = noise(rows, 20, 24)
    machine = make_host_machine(late=late)
    plan = made(machine, evenly(20), 24)
    wanted = CPU.plan(evenly(20), 24).execute(sinograms, 11.0)
    for _ in range(2):
        assert off(plan.execute(sinograms, 11.0), wanted) < AGREE
    batches = -(-rows // 16)
    assert sorted(machine.copies) == sorted(["up", "down"] * 2 * batches)


@given(
    first_row=st.integers(0, 40),
    rows=st.integers(1, 50),
    most=st.sampled_from([1, 2, 4, 8]),
    edge=st.booleans(),
)
def test_batches_hold_every_row_once_and_pairs_together(first_row, rows, most, edge):
    options = ReconstructionOptions(padding=Padding.EDGE if edge else Padding.ZERO)
    groups = GroupMaker(64, 31.5, options)
    axes = np.linspace(20, 27, rows)
    slab = Slab(np.empty((rows, 1, 1), np.float32), axes, first_row, np.empty((rows, 1, 1), np.float32))
    seen: list[int] = []
    for batch in cut_into_batches(slab, groups, most):
        assert batch.pairs in {1, 2, 4, 8}
        assert batch.pairs <= most
        assert 0 <= batch.first_pair <= 8 - batch.pairs
        lanes = (first_row + batch.rows) % 16
        assert np.array_equal(batch.places, lanes // 8 * batch.pairs + lanes % 8 - batch.first_pair)
        assert ((batch.places >= 0) & (batch.places < 2 * batch.pairs)).all()
        assert bin(batch.present).count("1") == len(batch.rows)
        seen += batch.rows.tolist()
        partners = [lane ^ 8 for lane in lanes if lane ^ 8 in (first_row + batch.group_rows) % 16]
        assert set(partners) <= set(lanes.tolist())
    assert sorted(seen) == list(range(rows))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    turns=st.lists(st.floats(-720, 720), min_size=1, max_size=40),
    x=st.integers(-90, 90),
    y=st.integers(-90, 90),
)
def test_lines_near_a_cell_are_looked_up(turns, x, y):
    # What the kernel does to find lines, here in double precision: none that is near may be missed.
    angles = np.deg2rad(turns)
    grid = make_grid_tables(make_grid(100), 400, 199, angles, np.zeros((100, 2), np.int64))
    lines = sorted_lines(grid)
    parts = len(lines.first) - 1
    assert lines.first[0] == 0
    assert lines.first[-1] == len(angles)
    assert sorted(lines.angle) == list(range(len(angles)))
    assert np.array_equal(lines.along, grid.along[lines.angle])
    radius = np.hypot(x, y)
    if radius < 4:
        return
    spread, middle = np.arcsin(2.8285 / radius) + 1e-5, np.arctan2(y, x)
    low, high = (int(np.floor((middle + side * spread) * parts / np.pi)) for side in (-1, 1))
    within = {k % parts for k in range(low, high + 1)}
    cosine, sine = lines.direction.astype(np.float64).T
    near = np.abs(x * sine - y * cosine) < 2 * np.sqrt(2)
    for line in np.flatnonzero(near):
        assert int(np.searchsorted(lines.first, line, side="right")) - 1 in within
