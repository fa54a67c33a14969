"""What every reconstruction method must do, whichever library does it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import label

from tests.engine.ellipses import Ellipse, flat_regions, phantom, project, psnr, radius_map, rasterise
from tomoservice.errors import EngineError, GeometryError
from tomoservice.recon import (
    FilterName,
    Padding,
    ReconstructionOptions,
    Reconstructor,
    SliceOptions,
    get_reconstructor,
    reconstruct,
)
from tomoservice.recon.half_acquisition import default_size

SMALL = [Ellipse(31, 18, 6, 3, 0.3, 1.0), Ellipse(-20, -35, 3, 5, 0, 0.5), Ellipse(0, 40, 4, 4, 0, 0.7)]


def equal_angles(count: int, span: float = 180.0) -> NDArray[np.float64]:
    return np.linspace(0, span, count, endpoint=False)


class ReconstructorContract:
    """Inherit, and name the method."""

    method: str

    @pytest.fixture
    def reconstructor(self) -> Reconstructor:
        return self.made()

    def made(self) -> Reconstructor:
        return get_reconstructor(self.method)

    def one(self, ellipses, angles, columns, axis, **options) -> NDArray[np.float32]:
        sinogram = project(ellipses, angles, columns, axis)
        chosen = ReconstructionOptions(**options)
        return reconstruct(self.made(), sinogram[None], angles, axis, chosen)[0]

    def test_name(self, reconstructor):
        assert reconstructor.name == self.method
        assert reconstructor.row_group >= 1

    @pytest.mark.parametrize("columns", [128, 127])
    @pytest.mark.parametrize("offset", [0.0, 7.3, -12.5])
    def test_everything_is_where_the_convention_says(self, columns, offset):
        angles = equal_angles(200)
        image = self.one(SMALL, angles, columns, (columns - 1) / 2 + offset)
        middle = (columns - 1) / 2
        x, y = np.arange(columns) - middle, middle - np.arange(columns)[:, None]
        for ellipse in SMALL:
            # Twice the half axes: the whole ellipse and its blurred rim, and nothing else.
            near = np.hypot(x - ellipse.x, y - ellipse.y) < 1.6 * max(ellipse.a, ellipse.b)
            weight = np.where(near, image, 0)
            area = np.pi * ellipse.a * ellipse.b
            assert weight.sum() == pytest.approx(ellipse.value * area, rel=0.03)
            assert (weight * x).sum() / weight.sum() == pytest.approx(ellipse.x, abs=0.06)
            assert (weight * y).sum() / weight.sum() == pytest.approx(ellipse.y, abs=0.06)

    def test_phantom_of_512_columns(self):
        angles, ellipses = equal_angles(800), phantom(512)
        image, truth = self.one(ellipses, angles, 512, 255.5), rasterise(ellipses, 512)
        inside = radius_map(512) < 254
        assert psnr(image, truth, inside) >= 35
        regions, count = label(flat_regions(truth) & inside)
        large = [n for n in range(1, count + 1) if np.count_nonzero(regions == n) >= 200]
        assert len(large) >= 4
        for region in large:
            assert image[regions == region].mean() == pytest.approx(truth[regions == region].mean(), rel=0.01)

    @pytest.mark.parametrize("fraction", [0.25, 0.5, 0.8, 0.95])
    def test_a_disc_of_one_is_one_from_centre_to_rim(self, fraction):
        radius = fraction * 128
        image = self.one([Ellipse(0, 0, radius, radius, 0, 1.0)], equal_angles(402), 256, 127.5)
        distance = radius_map(256)
        for inner in np.linspace(0, radius - 9, 6):
            ring = (distance >= inner) & (distance < inner + 5)
            assert image[ring].mean() == pytest.approx(1, abs=0.002)
        # Fine streaks remain outside, but no offset.
        assert abs(image[(distance > radius + 2) & (distance < 127)].mean()) < 0.002

    def test_whole_turn_equals_half_turn(self):
        half = self.one(SMALL, equal_angles(200), 128, 66.5)
        whole = self.one(SMALL, equal_angles(400, 360), 128, 66.5)
        assert np.abs(half - whole).max() < 1e-3 * half.max()

    def test_scan_that_includes_180_degrees_has_the_same_grey_values(self):
        angles = np.linspace(0, 180, 101)
        image = self.one([Ellipse(5, 3, 40, 40, 0, 1.0)], angles, 128, 63.5)
        middle = radius_map(128) < 30
        assert image[middle].mean() == pytest.approx(1, abs=0.003)

    def test_angles_in_any_order_and_at_golden_spacing(self):
        golden = np.mod(np.arange(301) * 111.246117975, 180)
        image, truth = self.one(phantom(128), golden, 128, 63.5), rasterise(phantom(128), 128)
        inside = radius_map(128) < 62
        assert psnr(image, truth, inside) > 25
        shuffled = np.random.default_rng(0).permutation(golden)
        again = self.one(phantom(128), shuffled, 128, 63.5)
        assert np.abs(image - again).max() < 1e-3

    def test_lost_and_repeated_frames_leave_grey_values_alone(self):
        angles = np.delete(equal_angles(200), [50, 51, 120])
        angles = np.concatenate([angles, angles[:40], angles[:40]])
        image = self.one([Ellipse(0, 0, 40, 40, 0, 1.0)], angles, 128, 63.5)
        assert image[radius_map(128) < 35].mean() == pytest.approx(1, abs=0.003)

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_few_angles_keep_the_total(self, count):
        image = self.one([Ellipse(0, 0, 10, 10, 0, 1.0)], equal_angles(count), 64, 31.5)
        assert np.isfinite(image).all()
        assert image[radius_map(64) < 5].mean() > 0.3

    def test_far_off_axis_leaves_a_small_sample_complete(self):
        ellipses = [Ellipse(4, -3, 12, 9, 0.4, 1.0), Ellipse(-14, 6, 4, 4, 0, 0.5)]
        image = self.one(ellipses, equal_angles(250), 128, 24.6)
        truth = rasterise(ellipses, 128)
        inside = radius_map(128) < 62
        assert psnr(image, truth, inside) > 32
        empty = inside & (radius_map(128) > 26)
        assert abs(image[empty].mean()) < 1e-3

    def test_axis_for_each_row(self, reconstructor):
        angles, axes = equal_angles(150), np.array([60.0, 62.3, 64.9])
        sinograms = np.stack([project(SMALL, angles, 128, axis) for axis in axes])
        together = reconstruct(reconstructor, sinograms, angles, axes)
        for row, axis in enumerate(axes):
            alone = reconstruct(reconstructor, sinograms[row : row + 1], angles, axis)[0]
            # Axes apart may need more padding, so that interpolation errs by other thousandths.
            assert np.abs(together[row] - alone).max() < 1e-3 * alone.max()

    def test_outside_the_circle(self):
        angles = equal_angles(200)
        masked = self.one(SMALL, angles, 128, 63.5)
        whole = self.one(SMALL, angles, 128, 63.5, mask_circle=False)
        outside = radius_map(128) > 64
        assert not masked[outside].any()
        assert whole[outside].any()
        assert abs(whole[outside]).max() < 0.05
        assert np.abs((masked - whole)[radius_map(128) < 62]).max() < 2e-3

    def test_input_is_not_modified_and_out_is_used(self, reconstructor):
        angles = equal_angles(50)
        sinograms = project(SMALL, angles, 128, 63.5)[None].repeat(3, axis=0)
        before, out = sinograms.copy(), np.full((3, 128, 128), np.nan, np.float32)
        result = reconstructor.plan(angles, 128).execute(sinograms, 63.5, out=out)
        assert result is out
        assert np.array_equal(sinograms, before)
        assert np.isfinite(out).all()

    def test_slabs_order_and_threads_do_not_change_a_bit(self, reconstructor):
        angles, rows = equal_angles(60), 11
        sinograms = np.random.default_rng(4).standard_normal((rows, 60, 64)).astype(np.float32)
        axes = np.linspace(30, 33, rows)
        whole = reconstructor.plan(angles, 64, threads=1).execute(sinograms, axes)
        plan = reconstructor.plan(angles, 64, threads=3)
        group = reconstructor.row_group
        for size in (group, 2 * group, 6 * group):
            starts = list(range(0, rows, size))[::-1]
            for start in starts:
                part = slice(start, start + size)
                slab = plan.execute(sinograms[part], axes[part], first_row=start)
                assert np.array_equal(slab, whole[part]), f"rows {start} and on, in slabs of {size}"

    def test_a_slab_that_begins_within_a_group_agrees_to_rounding(self, reconstructor):
        angles = equal_angles(60)
        sinograms = np.random.default_rng(4).standard_normal((4, 60, 64)).astype(np.float32)
        plan = reconstructor.plan(angles, 64)
        whole = plan.execute(sinograms, 31.5)
        part = plan.execute(sinograms[1:], 31.5, first_row=1)
        assert np.abs(part - whole[1:]).max() < 1e-5 * np.abs(whole).max()

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_not_finite_is_refused_by_row(self, reconstructor, bad):
        angles = equal_angles(20)
        sinograms = np.zeros((4, 20, 32), np.float32)
        sinograms[2, 7, 11] = bad
        with pytest.raises(EngineError, match=r"row 102 .* projection 7, column 11"):
            reconstructor.plan(angles, 32).execute(sinograms, 15.5, first_row=100)

    @pytest.mark.parametrize(
        ("shape", "axis", "message"),
        [
            ((20, 32), 15.5, "row, angle, column"),
            ((2, 21, 32), 15.5, "20 angles"),
            ((2, 20, 31), 15.5, "32 columns"),
            ((2, 20, 32), -0.5, "not on the detector"),
            ((2, 20, 32), 31.5, "not on the detector"),
            ((2, 20, 32), np.nan, "not on the detector"),
            ((2, 20, 32), [1.0, 2.0, 3.0], "2 rows"),
        ],
    )
    def test_wrong_geometry_is_refused(self, reconstructor, shape, axis, message):
        plan = reconstructor.plan(equal_angles(20), 32)
        with pytest.raises(GeometryError, match=message):
            plan.execute(np.zeros(shape, np.float32), axis)

    def test_wrong_out_and_row_are_refused(self, reconstructor):
        plan = reconstructor.plan(equal_angles(20), 32)
        sinograms = np.zeros((2, 20, 32), np.float32)
        with pytest.raises(GeometryError, match="out must be"):
            plan.execute(sinograms, 15.5, out=np.zeros((2, 32, 31), np.float32))
        with pytest.raises(GeometryError, match="first_row"):
            plan.execute(sinograms, 15.5, first_row=-1)

    @pytest.mark.parametrize(
        ("angles", "columns"), [([], 32), ([[0.0, 1.0]], 32), ([0.0, np.nan], 32), ([0.0], 1)]
    )
    def test_wrong_angles_are_refused(self, reconstructor, angles, columns):
        with pytest.raises(GeometryError):
            reconstructor.plan(angles, columns)

    def test_no_rows_give_no_slices(self, reconstructor):
        empty = reconstructor.plan(equal_angles(20), 32).execute(np.zeros((0, 20, 32), np.float32), 15.5)
        assert empty.shape == (0, 32, 32)

    def test_memory_estimates_grow_with_threads_and_slices(self, reconstructor):
        angles, columns = 60, 64
        assert reconstructor.memory_per_row(angles, columns) >= 0
        assert (
            reconstructor.memory_fixed(angles, columns, 2)
            > reconstructor.memory_fixed(angles, columns, 1)
            > 0
        )
        assert reconstructor.memory_fixed(angles, columns, 1, 128) > reconstructor.memory_fixed(
            angles, columns, 1
        )


class FilteredContract(ReconstructorContract):
    """What filtered back-projection must do besides."""

    # By how much slices may differ that are computed with transforms of another length.
    other_length = 1e-4

    @pytest.mark.parametrize("name", list(FilterName))
    def test_filters_smooth_and_keep_grey_values(self, name):
        disc = [Ellipse(0, 0, 40, 40, 0, 1.0)]
        angles, rng = equal_angles(200), np.random.default_rng(1)
        noise = rng.standard_normal((1, 200, 128)).astype(np.float32)
        image = self.one(disc, angles, 128, 63.5, filter_name=name)
        assert image[radius_map(128) < 30].mean() == pytest.approx(1, abs=0.003)
        ramp, chosen, halved = (
            reconstruct(self.made(), noise, angles, 63.5, options)[0].std()
            for options in (
                ReconstructionOptions(),
                ReconstructionOptions(filter_name=name),
                ReconstructionOptions(filter_name=name, filter_cutoff=0.5),
            )
        )
        assert chosen < ramp or name is FilterName.RAMP
        assert halved < 0.7 * chosen

    def test_edge_padding_removes_the_bright_rim_of_a_sample_wider_than_the_field(self):
        wide = [Ellipse(0, 0, 90, 90, 0, 1.0)]
        distance = radius_map(128)
        rims = [
            self.one(wide, equal_angles(200), 128, 63.5, padding=padding)[
                (distance > 55) & (distance < 61)
            ].mean()
            - self.one(wide, equal_angles(200), 128, 63.5, padding=padding)[distance < 20].mean()
            for padding in (Padding.ZERO, Padding.EDGE)
        ]
        assert rims[0] > 0.3
        assert abs(rims[1]) < 0.12

    def test_edge_padding_changes_nothing_for_a_sample_inside_the_field(self):
        zero, edge = (
            self.one(SMALL, equal_angles(200), 128, 60.2, padding=padding)
            for padding in (Padding.ZERO, Padding.EDGE)
        )
        assert np.abs(zero - edge).max() < self.other_length

    @pytest.mark.parametrize("mask_circle", [True, False])
    @pytest.mark.parametrize(("columns", "size"), [(128, 180), (128, 90), (127, 161)])
    def test_size_cuts_or_widens_and_moves_nothing(self, columns, size, mask_circle):
        angles, axis = equal_angles(200), columns / 2 - 5
        usual = self.one(SMALL, angles, columns, axis, mask_circle=mask_circle)
        other = self.one(SMALL, angles, columns, axis, mask_circle=mask_circle, size=size)
        assert other.shape == (size, size)
        assert (other[radius_map(size) > size / 2] == 0).all() == mask_circle
        edge = min(size, columns)
        a, b = ((len(image) - edge) // 2 for image in (usual, other))
        difference = usual[a : a + edge, a : a + edge] - other[b : b + edge, b : b + edge]
        assert np.abs(difference[radius_map(edge) < edge / 2 - 3]).max() < 0.01 * usual.max()

    @pytest.mark.parametrize("axis", [20.0, 107.4])
    @pytest.mark.parametrize("columns", [128, 127])
    def test_half_acquisition_sees_what_a_wide_detector_sees(self, columns, axis):
        # Wider than a detector with the axis in its middle would see, and asymmetric.
        ellipses = [Ellipse(0, 0, 92, 88, 0.3, 1.0), *SMALL, Ellipse(-30, 62, 14, 9, 0.5, -0.5)]
        size = default_size(columns, axis)
        options = {"half_acquisition": True, "size": size}
        image = self.one(ellipses, equal_angles(640, 360), columns, axis, **options)
        # The same places of the sample stand at the middle of its pixels.
        wide = self.one(ellipses, equal_angles(640, 360), size + 2, size // 2 + axis % 1, size=size)
        radius = radius_map(size)
        # Rings across the overlap's edge and beyond: no step, no slope.
        for inner in range(0, 80, 8):
            ring = (radius >= inner) & (radius < inner + 8)
            assert image[ring].mean() == pytest.approx(wide[ring].mean(), abs=0.002)
        inside = radius < 84
        assert np.abs(image - wide)[inside].max() < 0.1
        assert np.sqrt(np.mean((image - wide)[inside] ** 2)) < 0.01

    def test_half_acquisition_wants_a_whole_turn(self, reconstructor):
        with pytest.raises(GeometryError, match="360 degrees"):
            reconstructor.plan(equal_angles(200), 64, ReconstructionOptions(half_acquisition=True))

    def test_options_of_another_kind_are_refused(self, reconstructor):
        with pytest.raises(EngineError, match=r"ReconstructionOptions, got SliceOptions"):
            reconstructor.plan(equal_angles(20), 32, SliceOptions())

    def test_arrays_with_gaps_are_read_and_filled(self, reconstructor):
        angles = equal_angles(40)
        sinograms = np.random.default_rng(0).standard_normal((3, 40, 48)).astype(np.float32)
        plan = reconstructor.plan(angles, 48)
        wanted = plan.execute(sinograms, 23.5)
        gaps = np.zeros((6, 40, 96), np.float32)
        gaps[::2, :, 1::2] = sinograms
        out = np.full((3, 48, 100), np.nan, np.float32)
        result = plan.execute(gaps[::2, :, 1::2], 23.5, out=out[:, :, 20:68])
        assert np.array_equal(result, wanted)
        assert np.array_equal(out[:, :, 20:68], wanted)
        assert np.isnan(out[:, :, :20]).all()

    def test_several_threads_share_a_plan(self, reconstructor):
        angles = equal_angles(40)
        sinograms = np.random.default_rng(0).standard_normal((4, 40, 48)).astype(np.float32)
        plan = reconstructor.plan(angles, 48, threads=2)
        axes = [20.0, 23.5, 26.1, 30.0]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda axis: plan.execute(sinograms, axis), axes))
        for axis, result in zip(axes, together, strict=True):
            assert np.array_equal(result, plan.execute(sinograms, axis))
