"""TomoPy: its conventions are translated, where it is installed; its own vectors, everywhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engine.contract.reconstructor import SMALL, ReconstructorContract, equal_angles
from tests.engine.ellipses import Ellipse, project, radius_map
from tomoservice.errors import EngineError, GeometryError
from tomoservice.recon import (
    FilterName,
    ReconstructionOptions,
    Reconstructor,
    SliceOptions,
    get_reconstructor,
    reconstruct,
)
from tomoservice.recon.iterative import IterativeOptions, SirtReconstructor
from tomoservice.recon.tomopy_backend import TomopyAlgorithm, TomopyOptions, TomopyReconstructor

INSTALLED = importlib.util.find_spec("tomopy") is not None
needs_tomopy = pytest.mark.skipif(not INSTALLED, reason="TomoPy is not installed; it is on conda-forge only")
# TomoPy imports what warns.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.skipif(INSTALLED, reason="TomoPy is installed")
def test_where_tomopy_is_not_installed_the_error_tells_the_way_out():
    with pytest.raises(EngineError, match=r"tomopy needs TomoPy .*conda install -c conda-forge tomopy"):
        TomopyReconstructor().plan([0.0, 90.0], 32)


def test_options_that_are_wrong_are_refused():
    with pytest.raises(EngineError, match=r"iterations .* 0"):
        TomopyOptions(iterations=0)
    with pytest.raises(EngineError, match=r"weight .* -1"):
        TomopyOptions(weight=-1.0)
    with pytest.raises(EngineError, match="TomopyOptions"):
        TomopyReconstructor().plan([0.0, 90.0], 32, SliceOptions())
    with pytest.raises(GeometryError, match="360"):
        TomopyReconstructor().plan(equal_angles(50), 32, TomopyOptions(half_acquisition=True))


def test_our_sirt_agrees_with_the_slices_that_tomopys_makes(data_dir: Path):
    """TomoPy's weights differ a little, and its test object is symmetric: orientation is not tested here."""
    vectors = data_dir / "tomopy_vectors"
    expected = np.load(vectors / "sirt.npy")
    sinograms = np.ascontiguousarray(np.load(vectors / "proj.npy").transpose(1, 0, 2))
    angles = np.rad2deg(np.load(vectors / "angle.npy"))
    plan = SirtReconstructor().plan(angles, 48, IterativeOptions(iterations=4, mask_circle=False))
    inside = radius_map(48) < 22

    def distance(axis: float) -> float:
        difference = (plan.execute(sinograms, axis) - expected)[:, inside]
        return float(np.linalg.norm(difference) / np.linalg.norm(expected[:, inside]))

    # TomoPy's middle, n / 2 from the edge, is our (n - 1) / 2; half a pixel beside it is clearly worse.
    assert distance(23.5) < 0.03
    assert min(distance(23.0), distance(24.0)) > 0.06


@pytest.mark.parametrize(
    ("name", "window"), [("gridrec_ramlak", FilterName.RAMP), ("gridrec_shepp", FilterName.SHEPP_LOGAN)]
)
def test_our_filtered_back_projection_is_nearer_to_the_truth_than_gridrecs(
    data_dir: Path, name: str, window: FilterName
):
    """Gridrec does not pad: its grey values are off, at the edges most, and their sum is 2 % too low.

    So the slices agree in what they show and not in their values.
    """
    vectors = data_dir / "tomopy_vectors"
    gridrec, truth = (
        np.load(vectors / f"{name}.npy"),
        np.pad(np.load(vectors / "obj.npy"), ((0, 0), (8, 8), (8, 8))),
    )
    sinograms = np.ascontiguousarray(np.load(vectors / "proj.npy").transpose(1, 0, 2))
    angles = np.rad2deg(np.load(vectors / "angle.npy"))
    options = ReconstructionOptions(filter_name=window, mask_circle=False)
    plan = get_reconstructor("fourier").plan(angles, 48, options)
    inside = radius_map(48) < 22
    expected, true = gridrec[:, inside], truth[:, inside]

    def seen(axis: float) -> NDArray[np.float32]:
        return plan.execute(sinograms, axis)[:, inside]

    ours = seen(23.5)
    assert np.corrcoef(ours.ravel(), expected.ravel())[0, 1] > 0.97
    # TomoPy's middle is ours: half a pixel beside it they are clearly less alike.
    assert max(np.corrcoef(seen(a).ravel(), expected.ravel())[0, 1] for a in (23.0, 24.0)) < 0.9
    assert np.linalg.norm(ours - true) < 0.6 * np.linalg.norm(expected - true)
    assert ours.sum() == pytest.approx(true.sum(), rel=2e-3)
    assert expected.sum() == pytest.approx(0.978 * true.sum(), rel=2e-3)


class _Chosen:
    """TomoPy with an algorithm that the contract did not name."""

    name, row_group = "tomopy", 2

    def __init__(self, algorithm: TomopyAlgorithm, iterations: int = 1) -> None:
        self._method, self._fields = TomopyReconstructor(), (algorithm, iterations)
        self.memory_per_row, self.memory_fixed = self._method.memory_per_row, self._method.memory_fixed

    def plan(self, angles_deg, columns, options=None, *, threads=None):
        algorithm, iterations = self._fields
        size, mask = (options.size, options.mask_circle) if options else (None, True)
        chosen = TomopyOptions(size=size, mask_circle=mask, algorithm=algorithm, iterations=iterations)
        return self._method.plan(angles_deg, columns, chosen, threads=threads)


@needs_tomopy
class TestGridrec(ReconstructorContract):
    method = "tomopy"

    # Grey values of gridrec are a tenth too high even with room for the filter; the rest needs weights for
    # uneven angles, which TomoPy lacks.
    test_everything_is_where_the_convention_says = None
    test_phantom_of_512_columns = None
    test_a_disc_of_one_is_one_from_centre_to_rim = None
    test_scan_that_includes_180_degrees_has_the_same_grey_values = None
    test_angles_in_any_order_and_at_golden_spacing = None
    test_lost_and_repeated_frames_leave_grey_values_alone = None
    test_far_off_axis_leaves_a_small_sample_complete = None
    test_outside_the_circle = None
    test_whole_turn_equals_half_turn = None

    @pytest.fixture
    def reconstructor(self) -> Reconstructor:
        return _Chosen(TomopyAlgorithm.GRIDREC)

    def one(self, ellipses, angles, columns, axis, **options) -> NDArray[np.float32]:
        sinogram = project(ellipses, angles, columns, axis)
        chosen = SliceOptions(**options)
        return reconstruct(_Chosen(TomopyAlgorithm.GRIDREC), sinogram[None], angles, axis, chosen)[0]

    @pytest.mark.parametrize("name", list(FilterName))
    def test_every_filter_is_known_to_tomopy(self, name):
        options = TomopyOptions(filter_name=name)
        plan = TomopyReconstructor().plan(equal_angles(90), 64, options)
        image = plan.execute(project([Ellipse(0, 0, 20, 20, 0, 1.0)], equal_angles(90), 64, 31.5)[None], 31.5)
        assert image[0][radius_map(64) < 15].mean() == pytest.approx(1, abs=0.2)

    def test_half_acquisition(self):
        angles, axis, size = equal_angles(240, 360), 9.3, 112
        sinogram = project([Ellipse(4, -3, 48, 40, 0.3, 1.0)], angles, 64, axis)
        plan = TomopyReconstructor().plan(angles, 64, TomopyOptions(size=size, half_acquisition=True))
        image = plan.execute(sinogram[None], axis)[0]
        profile = np.array([image[np.abs(radius_map(size) - r) < 1].mean() for r in range(2, 34, 2)])
        assert profile == pytest.approx(profile.mean(), abs=0.03)
        assert profile.mean() == pytest.approx(1, abs=0.2)


@needs_tomopy
@pytest.mark.parametrize(
    ("algorithm", "iterations", "tolerance"),
    [
        (TomopyAlgorithm.GRIDREC, 1, 0.25),
        (TomopyAlgorithm.SIRT, 40, 0.07),
        (TomopyAlgorithm.BART, 5, 0.03),
        (TomopyAlgorithm.MLEM, 40, 0.03),
        (TomopyAlgorithm.TV, 80, 0.05),
        (TomopyAlgorithm.GRAD, 30, 0.03),
    ],
)
@pytest.mark.parametrize(
    ("columns", "offset", "size"), [(96, 0.0, 96), (97, 7.3, 97), (96, -5.5, 109), (97, 0.5, 120)]
)
def test_everything_is_where_our_convention_says(algorithm, iterations, tolerance, columns, offset, size):
    """Each algorithm by itself: they do not agree among themselves."""
    angles, axis = equal_angles(120), (columns - 1) / 2 + offset
    plan = TomopyReconstructor().plan(
        angles, columns, TomopyOptions(size=size, algorithm=algorithm, iterations=iterations)
    )
    ellipses = [Ellipse(0.6 * e.x, 0.6 * e.y, e.a, e.b, e.phi, e.value) for e in SMALL]
    image = plan.execute(project(ellipses, angles, columns, axis)[None], axis)[0]
    x, y = np.arange(size) - (size - 1) / 2, (size - 1) / 2 - np.arange(size)[:, None]
    for ellipse in ellipses:
        near = np.hypot(x - ellipse.x, y - ellipse.y) < 1.6 * max(ellipse.a, ellipse.b)
        weight = np.where(near, image, 0)
        assert weight.sum() == pytest.approx(ellipse.value * np.pi * ellipse.a * ellipse.b, rel=tolerance)
        assert (weight * x).sum() / weight.sum() == pytest.approx(ellipse.x, abs=0.1)
        assert (weight * y).sum() / weight.sum() == pytest.approx(ellipse.y, abs=0.1)
