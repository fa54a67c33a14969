"""Live reconstruction against the engine: whatever the order of the views, the same grey values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from tomoservice.errors import GeometryError
from tomoservice.phantom import default_phantom
from tomoservice.recon import FilterName, FourierReconstructor, ReconstructionOptions, reconstruct
from tomoservice.recon.binning import bin_volume
from tomoservice.recon.live import (
    BinnedVolume,
    CrossSection,
    FilteredViews,
    LiveGeometry,
    LivePart,
    Slice,
    binning_for,
)

COLUMNS, ROWS, VIEWS = 96, 24, 180
AXIS = 49.3
Z, Y, X = 11, 40, 55
GOLDEN = 180 * (np.sqrt(5) - 1) / 2


def interlaced(views: int, turns: int = 6) -> NDArray[np.float64]:
    steps = np.arange(views) * (180 / views)
    return np.concatenate([steps[turn::turns] for turn in range(turns)])


ORDERS: dict[str, NDArray[np.float64]] = {
    "one after the other": np.arange(VIEWS) * (180 / VIEWS),
    "interlaced": interlaced(VIEWS),
    "golden angle": np.mod(np.arange(VIEWS) * GOLDEN, 180),
    "unsorted": np.random.default_rng(5).permutation(np.arange(VIEWS) * (180 / VIEWS)),
    "whole turn": np.arange(VIEWS) * (360 / VIEWS),
    "backwards": -np.arange(VIEWS) * (180 / VIEWS),
}


def line_integrals(angles: NDArray[np.float64], axis: float = AXIS) -> NDArray[np.float32]:
    return default_phantom(COLUMNS, ROWS).line_integrals(angles, rotation_axis=axis).astype(np.float32)


def parts_of(geometry: LiveGeometry) -> dict[str, LivePart]:
    return {
        "xy": Slice(geometry, Z),
        "xz": CrossSection(geometry, Y, "y"),
        "yz": CrossSection(geometry, X, "x"),
        "volume": BinnedVolume(geometry, 3),
    }


def accumulated(
    geometry: LiveGeometry, lines: NDArray[np.float32], angles: NDArray[np.float64], threads: int = 2
) -> dict[str, LivePart]:
    parts = parts_of(geometry)
    for start in range(0, len(angles), 16):
        some = slice(start, start + 16)
        views = FilteredViews(geometry, lines[some], angles[some], threads=threads)
        for part in parts.values():
            part.add(views)
    return parts


def engine(
    lines: NDArray[np.float32], angles: NDArray[np.float64], axis: float, **options: object
) -> NDArray[np.float32]:
    return reconstruct(
        FourierReconstructor(),
        np.ascontiguousarray(lines.swapaxes(0, 1)),
        angles,
        axis,
        ReconstructionOptions(filter_name=FilterName.RAMP, **options),  # type: ignore[arg-type]
    )


def planes(volume: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    return {
        "xy": volume[Z],
        "xz": volume[:, Y],
        "yz": volume[:, :, X],
        "volume": bin_volume(volume, (3, 3, 3)),
    }


def inside(name: str, size: int) -> NDArray[np.bool_]:
    """Return what lies well inside the circle, of a slice or plane."""
    along = np.arange(size) - (size - 1) / 2
    radius = 0.45 * size
    if name == "xy":
        return along[:, None] ** 2 + along**2 < radius**2
    if name == "volume":
        coarse = np.arange(-(-size // 3)) * 3 + 1 - (size - 1) / 2
        return coarse[:, None] ** 2 + coarse**2 < radius**2
    across = (Y if name == "xz" else X) - (size - 1) / 2
    return along**2 + across**2 < radius**2


def differences(parts: dict[str, LivePart], volume: NDArray[np.float32]) -> dict[str, float]:
    """Return the standard deviation from the engine inside the circle, as a part of the largest value."""
    found = {}
    for name, wanted in planes(volume).items():
        image = parts[name].image()
        assert image.shape == wanted.shape
        assert image.dtype == np.float32
        where = inside(name, volume.shape[-1])
        difference = (image - wanted)[..., where]
        found[name] = float(np.sqrt(np.mean(difference**2)) / volume.max())
    return found


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_the_views_does_not_matter(order: str) -> None:
    angles = ORDERS[order]
    lines = line_integrals(angles)
    parts = accumulated(LiveGeometry(ROWS, COLUMNS, AXIS), lines, angles)
    found = differences(parts, engine(lines, angles, AXIS))
    # Views by the golden angle stand for parts of the half turn that differ; here they count the same.
    uneven = order == "golden angle"
    assert found["xy"] < (0.01 if uneven else 0.004)
    # Linear interpolation between columns makes edges softer.
    assert max(found["xz"], found["yz"]) < 0.02
    # A voxel is averaged over its pixels there, and made of averaged pixels here.
    assert found["volume"] < 0.05


@pytest.mark.parametrize("axis", [22.6, 71.0])
def test_a_whole_turn_about_an_axis_near_the_side(axis: float) -> None:
    angles = np.arange(VIEWS) * (360 / VIEWS)
    geometry = LiveGeometry(ROWS, COLUMNS, axis, half_acquisition=True)
    assert geometry.size > COLUMNS
    lines = line_integrals(angles, axis)
    volume = engine(lines, angles, axis, half_acquisition=True, size=geometry.size)
    found = differences(accumulated(geometry, lines, angles), volume)
    assert found["xy"] < 0.01
    assert max(found.values()) < 0.04


def test_grey_values_stand_before_the_last_view() -> None:
    angles = ORDERS["one after the other"]
    lines = line_integrals(angles)
    geometry = LiveGeometry(ROWS, COLUMNS, AXIS)
    levels = []
    for count in (30, 90, VIEWS):
        image = accumulated(geometry, lines[:count], angles[:count])["xy"].image()
        levels.append(float(image[inside("xy", COLUMNS)].mean()))
    assert levels[0] == pytest.approx(levels[2], rel=0.1)
    assert levels[1] == pytest.approx(levels[2], rel=0.05)


def test_another_open_beam_needs_no_second_look_at_the_views() -> None:
    angles = ORDERS["golden angle"]
    lines = line_integrals(angles)
    rng = np.random.default_rng(1)
    error = rng.normal(0, 0.02, lines.shape[1:]).astype(np.float32)
    geometry = LiveGeometry(ROWS, COLUMNS, AXIS)
    right, wrong = accumulated(geometry, lines, angles), accumulated(geometry, lines + error, angles)
    for name, part in wrong.items():
        assert np.abs(part.image() - right[name].image()).max() > 1e-3
        part.correct(-error, threads=2)
        assert np.abs(part.image() - right[name].image()).max() < 1e-5
        assert part.views == VIEWS


def test_the_number_of_threads_does_not_show() -> None:
    angles = ORDERS["one after the other"][:40]
    lines = line_integrals(angles)
    geometry = LiveGeometry(ROWS, COLUMNS, AXIS)
    one, two = (accumulated(geometry, lines, angles, threads=threads) for threads in (1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name].image(), two[name].image())


def test_a_slice_takes_one_row() -> None:
    angles = ORDERS["interlaced"]
    lines = line_integrals(angles)
    geometry = LiveGeometry(ROWS, COLUMNS, AXIS)
    part = Slice(geometry, Z)
    part.add(FilteredViews(geometry, lines[:, part.rows], angles, first_row=Z))
    np.testing.assert_allclose(part.image(), accumulated(geometry, lines, angles)["xy"].image(), atol=1e-6)
    with pytest.raises(GeometryError, match="row 12 is not among the 1 rows from 11 on"):
        Slice(geometry, Z + 1).add(FilteredViews(geometry, lines[:, part.rows], angles, first_row=Z))
    with pytest.raises(GeometryError, match="all 24 rows are needed, got 1"):
        BinnedVolume(geometry, 2).add(FilteredViews(geometry, lines[:, part.rows], angles, first_row=Z))


def wrong_axis() -> object:
    return LiveGeometry(ROWS, COLUMNS, 200.0)


def wrong_shape() -> object:
    return FilteredViews(LiveGeometry(4, 8, 3.5), np.zeros((2, 4, 9), np.float32), np.zeros(2))


def other_geometry() -> object:
    views = FilteredViews(LiveGeometry(4, 8, 3.5), np.zeros((2, 4, 8), np.float32), np.zeros(2))
    return Slice(LiveGeometry(4, 8, 3.0), 1).add(views)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (wrong_axis, "must be on the detector, columns 0 to 95, got 200"),
        (wrong_shape, "do not fit 2 angles and 4 x 8 pixels"),
        (other_geometry, "cannot be added to what is made of"),
    ],
)
def test_what_does_not_fit_is_refused(made: Callable[[], object], said: str) -> None:
    with pytest.raises(GeometryError, match=said):
        made()


def test_a_volume_has_at_most_so_many_voxels() -> None:
    assert binning_for(LiveGeometry(512, 512, 255.5)) == 4
    assert binning_for(LiveGeometry(2, 640, 320)) == 5
    assert binning_for(LiveGeometry(64, 96, 48)) == 1
