"""The iterative methods keep the contract, as far as it speaks of them once they have converged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from tests.engine.contract.reconstructor import ReconstructorContract
from tests.engine.ellipses import project
from tomoservice.recon import Reconstructor, SliceOptions, reconstruct
from tomoservice.recon.iterative import (
    CglsReconstructor,
    EmReconstructor,
    Initial,
    IterativeOptions,
    IterativePlan,
    SartReconstructor,
    SirtReconstructor,
    TvReconstructor,
)


class _Briefly:
    """A method whose defaults fit the small slices of the contract."""

    def __init__(self, method: Any, **defaults: object) -> None:
        self._method, self._defaults = method, defaults
        self.name, self.row_group = method.name, method.row_group
        self.memory_per_row, self.memory_fixed = method.memory_per_row, method.memory_fixed

    def plan(
        self,
        angles_deg: ArrayLike,
        columns: int,
        options: SliceOptions | None = None,
        *,
        threads: int | None = None,
    ) -> IterativePlan:
        size, mask = (options.size, options.mask_circle) if options else (None, True)
        chosen = IterativeOptions(size=size, mask_circle=mask, **self._defaults)
        return self._method.plan(angles_deg, columns, chosen, threads=threads)


class IterativeContract(ReconstructorContract):
    """The parts of the contract that need no filter."""

    brief: Reconstructor

    # Slices as large as these take minutes.
    test_phantom_of_512_columns = None
    test_a_disc_of_one_is_one_from_centre_to_rim = None

    @pytest.fixture
    def reconstructor(self) -> Reconstructor:
        return self.brief

    def one(self, ellipses, angles, columns, axis, **options) -> NDArray[np.float32]:
        sinogram = project(ellipses, angles, columns, axis)
        return reconstruct(self.brief, sinogram[None], angles, axis, SliceOptions(**options))[0]


class TestCgls(IterativeContract):
    method = "cgls"
    brief = _Briefly(CglsReconstructor(), iterations=8)

    # What hardly any line tells apart is still on its way: single pixels differ by percents.
    test_whole_turn_equals_half_turn = None
    test_far_off_axis_leaves_a_small_sample_complete = None
    test_outside_the_circle = None


class TestSirt(IterativeContract):
    method = "sirt"
    brief = _Briefly(SirtReconstructor(), iterations=5, initial=Initial.FBP)


class TestSart(IterativeContract):
    method = "sart"
    brief = _Briefly(SartReconstructor(), iterations=2, initial=Initial.FBP, relaxation=0.3)


class TestEm(IterativeContract):
    method = "em"
    brief = _Briefly(EmReconstructor(), iterations=6, initial=Initial.FBP)


class TestTv(IterativeContract):
    method = "tv"
    brief = _Briefly(TvReconstructor(), iterations=5, initial=Initial.FBP, weight=1e-6)
