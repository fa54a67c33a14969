"""The analytic phantom against closed forms, against brute force, and against ASTRA's projector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tomoservice.errors import GeometryError
from tomoservice.phantom import Ellipsoid, Imperfections, Phantom, SimulatedCamera, default_phantom

ANGLES = np.arange(0.0, 180.0, 22.5)


def one(columns: int = 128, rows: int = 9, **changes: float) -> Phantom:
    shape = {
        "x": 0.0,
        "y": 0.0,
        "z": 4.0,
        "a": 30.0,
        "b": 30.0,
        "c": 1e6,
        "phi_deg": 0.0,
        "attenuation": 0.01,
    }
    return Phantom(columns, rows, (Ellipsoid(**(shape | changes)),))


def centre_of_mass(profile: npt.NDArray[np.float32]) -> float:
    return float((np.arange(profile.size) * profile).sum() / profile.sum())


def test_the_middle_of_a_disc_is_as_thick_as_its_diameter() -> None:
    middle = one(columns=129).line_integrals([0.0, 37.0], [4])[:, 0, 64]
    np.testing.assert_allclose(middle, 2 * 30.0 * 0.01, rtol=1e-3)


@pytest.mark.parametrize("rotation_axis", [63.5, 50.3, 71.0])
def test_a_feature_moves_over_the_detector_as_documented(rotation_axis: float) -> None:
    phantom = one(x=20.0, y=-13.0, a=6.0, b=4.0, phi_deg=30.0)
    projections = phantom.line_integrals(ANGLES, [4], rotation_axis=rotation_axis)
    theta = np.radians(ANGLES)
    expected = rotation_axis + 20.0 * np.cos(theta) - 13.0 * np.sin(theta)
    found = [centre_of_mass(projection[0]) for projection in projections]
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_a_slice_shows_x_to_the_right_and_y_up() -> None:
    image = one(x=20.0, y=30.0, a=5.0, b=5.0).volume([4])[0]
    row, column = np.unravel_index(np.argmax(image), image.shape)
    assert abs(column - (63.5 + 20)) <= 5
    assert abs(row - (63.5 - 30)) <= 5
    assert centre_of_mass(image.sum(axis=0)) == pytest.approx(63.5 + 20.0, abs=0.01)
    assert centre_of_mass(image.sum(axis=1)) == pytest.approx(63.5 - 30.0, abs=0.01)


def test_rows_cut_an_ellipsoid_thinner_towards_its_poles() -> None:
    phantom = one(columns=129, a=20.0, b=20.0, c=4.0)
    middle = phantom.line_integrals([0.0])[0, :, 64]
    expected = 2 * 20.0 * 0.01 * np.sqrt(np.clip(1 - ((np.arange(9) - 4.0) / 4.0) ** 2, 0, None))
    np.testing.assert_allclose(middle, expected, atol=2e-3 * 0.4)
    np.testing.assert_array_equal(phantom.volume([0, 8]), 0.0)


@pytest.mark.parametrize("theta", [0.0, 33.0, 90.0, 145.0])
def test_projections_agree_with_a_sum_along_rays(theta: float) -> None:
    phantom = default_phantom(64, 3)
    fine = 16
    along = (np.arange(64 * fine) + 0.5) / fine - 32
    s, t = np.meshgrid(along, along)
    angle = np.radians(theta)
    x, y = s * np.cos(angle) - t * np.sin(angle), s * np.sin(angle) + t * np.cos(angle)
    density = np.zeros_like(x)
    for ellipsoid in phantom.ellipsoids:
        scale = ellipsoid.scale(np.array([1.0]))[0]
        density += ellipsoid.attenuation * (ellipsoid.level(x, y) <= scale**2)
    expected = density.sum(axis=0).reshape(64, fine).mean(axis=1) / fine
    np.testing.assert_allclose(phantom.line_integrals([theta], [1])[0, 0], expected, atol=5e-3)


def test_projections_agree_with_astra() -> None:
    astra = pytest.importorskip("astra")
    phantom = default_phantom(256, 5)
    geometry = astra.create_proj_geom("parallel", 1.0, 256, np.radians(ANGLES))
    projector = astra.create_projector("strip", geometry, astra.create_vol_geom(256, 256))
    identifier, theirs = astra.create_sino(phantom.volume([2])[0], projector)
    astra.data2d.delete(identifier)
    astra.projector.delete(projector)
    ours = phantom.line_integrals(ANGLES, [2])[:, 0]
    # a strip through square pixels smears edges by up to a pixel, so the greatest error is larger
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.003 * ours.max()
    assert np.abs(ours - theirs).max() < 0.03 * ours.max()


def test_every_projection_and_the_slice_hold_the_same_mass() -> None:
    phantom = default_phantom(128, 4)
    mass = phantom.line_integrals(ANGLES, slice(1, 3), rotation_axis=60.2).sum(axis=2)
    np.testing.assert_allclose(
        mass, np.broadcast_to(phantom.volume([1, 2]).sum(axis=(1, 2)), mass.shape), rtol=3e-4
    )


@pytest.mark.parametrize("columns", [64, 512])
def test_the_default_specimen_fits_the_detector(columns: int) -> None:
    phantom = default_phantom(columns, 6)
    slices = phantom.volume()
    steps = np.arange(columns) - (columns - 1) / 2
    outside = np.hypot(steps[None, :], steps[:, None]) > 0.9 * columns / 2
    assert not slices[:, outside].any()
    assert slices.min() >= -1e-7
    assert 1.0 < phantom.line_integrals(ANGLES).max() < 2.5
    assert np.ptp(slices, axis=0).max() > 0.1 * slices.max()


def test_a_detector_too_small_is_refused() -> None:
    with pytest.raises(GeometryError, match="at least 16 columns and 1 row, got 8 columns and 0 rows"):
        default_phantom(8, 0)


def test_flat_regions_are_flat_and_far_from_edges() -> None:
    phantom = default_phantom(256, 6)
    image = phantom.volume([3])[0]
    regions = phantom.flat_regions(3, margin=5)
    large = [region for region in regions if region.mask.sum() > 500]
    assert len({round(region.attenuation * 256, 3) for region in large}) >= 4
    for region in regions:
        rows, columns = np.nonzero(region.mask)
        for shift in ((5, 0), (0, -5), (-5, 5)):
            np.testing.assert_allclose(
                image[rows + shift[0], columns + shift[1]], region.attenuation, atol=1e-6
            )


def test_the_same_camera_takes_the_same_frame_again() -> None:
    flaws = Imperfections(noise=0.02, beam_profile=0.2, dead_pixels=0.01, zingers=3, stripes=0.05, seed=11)
    integrals = default_phantom(64, 8).line_integrals([10.0])[0]
    first, second = (SimulatedCamera(8, 64, flaws) for _ in range(2))
    np.testing.assert_array_equal(first.projection(integrals, 5), second.projection(integrals, 5))
    assert (first.projection(integrals, 5) != first.projection(integrals, 6)).mean() > 0.9
    assert (first.flat(5) != first.projection(0 * integrals, 5)).mean() > 0.9


def test_an_ideal_camera_gives_the_line_integrals_back() -> None:
    integrals = default_phantom(64, 8).line_integrals([10.0])[0]
    camera = SimulatedCamera(8, 64)
    dark, flat = camera.dark().astype(float), camera.flat().astype(float)
    found = -np.log((camera.projection(integrals) - dark) / (flat - dark))
    np.testing.assert_allclose(found, integrals, atol=0.6 * np.exp(integrals.max()) / 60000)


def test_noise_is_what_was_asked_for() -> None:
    camera = SimulatedCamera(200, 200, Imperfections(noise=0.01))
    flat = camera.flat(3).astype(float) - 200
    assert flat.std() / flat.mean() == pytest.approx(0.01, rel=0.05)
    thick = camera.projection(np.full((200, 200), 2.0), 3).astype(float) - 200
    assert thick.std() / thick.mean() == pytest.approx(0.01 * np.exp(1.0), rel=0.05)


def test_defects_are_where_they_belong() -> None:
    nothing = np.zeros((50, 400))
    dead = SimulatedCamera(50, 400, Imperfections(dead_pixels=0.02))
    assert dead.dead_pixels().mean() == pytest.approx(0.02, rel=0.2)
    np.testing.assert_array_equal(dead.flat()[dead.dead_pixels()], dead.dark()[dead.dead_pixels()])
    struck = [
        np.count_nonzero(SimulatedCamera(50, 400, Imperfections(zingers=5)).flat(n) == 65535)
        for n in range(40)
    ]
    assert np.mean(struck) == pytest.approx(5, abs=1.5)
    striped = SimulatedCamera(50, 400, Imperfections(stripes=0.02))
    ratio = striped.projection(nothing).astype(float) / striped.flat()
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), atol=1e-4)
    assert 0.02 < np.mean(np.abs(ratio[0] - 1) > 1e-3) < 0.2
    uneven = SimulatedCamera(51, 401, Imperfections(beam_profile=0.3)).flat()
    assert (uneven[0, 0] - 200) / (uneven[25, 200] - 200.0) == pytest.approx(0.7, rel=1e-3)
