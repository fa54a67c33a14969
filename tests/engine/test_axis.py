"""Rotation axis: accuracy on the phantom and on real scans, and a confidence that means something."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.ellipses import phantom, project
from tests.engine.real_scans import savu, tooth
from tomoservice import axis
from tomoservice.axis.combined import opposite_pair
from tomoservice.axis.half_turn import HalfTurn
from tomoservice.errors import EngineError, GeometryError

COLUMNS = 512
METHODS = ("fourier", "phase_correlation", "auto")


def scan(angles, true_axis, *, noise=0.0, rows=1, scale=0.95, columns=COLUMNS, seed=0):
    """Return sinograms (row, angle, column) of a phantom that lets one seventh of the beam through."""
    rng = np.random.default_rng(seed)
    sinograms = []
    for row in range(rows):
        clean = project(phantom(columns, scale=scale, seed=3 + row), angles, columns, true_axis)
        clean *= 2 / clean.max()
        if noise:
            # Stripes: nearly a third of the columns are off by some per cent.
            gain = 1 + 0.03 * rng.standard_normal(columns) * (rng.random(columns) < 0.3)
            transmission = np.exp(-clean) * gain + noise * rng.standard_normal(clean.shape)
            clean = -np.log(np.maximum(transmission, 1e-5))
        sinograms.append(clean)
    return np.asarray(sinograms, np.float32)


def find(method, sinograms, angles, **options):
    if method != "phase_correlation":
        return getattr(axis, method)(sinograms, angles, **options)
    first, opposite = opposite_pair(angles)
    return axis.phase_correlation(sinograms[:, first], sinograms[:, opposite], **options)


@pytest.mark.parametrize("true_axis", [255.5, 240.3])
def test_fourier_without_noise(true_axis):
    angles = np.linspace(0, 180, 800, endpoint=False)
    found = axis.fourier(scan(angles, true_axis), angles)
    assert found.rotation_axis == pytest.approx(true_axis, abs=0.05)
    assert found.confidence > 0.9
    assert not found.at_window_edge
    assert found.method == "fourier"


def test_phase_correlation_without_noise():
    angles = np.array([0.0, 180.0])
    sinograms = scan(angles, 247.8, rows=4)
    found = axis.phase_correlation(sinograms[:, 0], sinograms[:, 1])
    assert found.rotation_axis == pytest.approx(247.8, abs=0.05)
    assert found.confidence > 0.9


@pytest.mark.parametrize("offset", [17.3, -17.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fourier_with_noise_and_stripes_off_centre(offset, seed):
    angles = np.linspace(0, 180, 801)
    found = axis.fourier(scan(angles, 255.5 + offset, noise=0.01, seed=seed), angles)
    assert found.rotation_axis == pytest.approx(255.5 + offset, abs=0.25)
    assert found.confidence > 0.8


@pytest.mark.parametrize("seed", [0, 1])
def test_phase_correlation_with_noise_and_stripes_off_centre(seed):
    angles = np.array([0.0, 180.0])
    sinograms = scan(angles, 272.8, noise=0.01, rows=24, seed=seed)
    found = axis.phase_correlation(sinograms[:, 0], sinograms[:, 1])
    assert found.rotation_axis == pytest.approx(272.8, abs=0.25)
    assert found.confidence > 0.8


@pytest.mark.parametrize(
    "angles",
    [
        pytest.param(np.linspace(0, 360, 800, endpoint=False), id="whole turn"),
        pytest.param(np.arange(500) * 111.246117975, id="golden angle"),
        pytest.param(np.random.default_rng(1).permutation(np.linspace(0, 180, 400)), id="shuffled"),
        pytest.param(np.delete(np.linspace(0, 180, 400), [40, 41, 300]), id="lost frames"),
        pytest.param(np.linspace(-90.3, 89.7, 61), id="few, from -90"),
        pytest.param(-np.linspace(0, 180, 400), id="backwards"),
        pytest.param(np.linspace(350, 530, 400), id="across 360"),
    ],
)
def test_fourier_on_all_kinds_of_angles(angles):
    found = axis.fourier(scan(angles, 140.4, columns=256, noise=0.005), angles)
    assert found.rotation_axis == pytest.approx(140.4, abs=0.25)
    assert found.confidence > 0.8


@pytest.mark.parametrize(("true_axis", "scale"), [(272.8, 1.4), (150.4, 0.95)])
def test_fourier_on_a_sample_wider_than_what_both_halves_see(true_axis, scale):
    angles = np.linspace(0, 180, 600, endpoint=False)
    found = axis.fourier(scan(angles, true_axis, scale=scale), angles)
    assert found.rotation_axis == pytest.approx(true_axis, abs=0.3)


def test_rows_add_their_evidence():
    angles = np.linspace(0, 180, 181)
    sinograms = scan(angles, 66.2, columns=128, noise=0.02, rows=8)
    errors = [axis.fourier(rows, angles).rotation_axis - 66.2 for rows in (*sinograms[:, None], sinograms)]
    assert abs(errors[-1]) < max(np.sqrt(np.mean(np.square(errors[:-1]))), 0.05)


def test_narrow_window_finds_the_same():
    angles = np.linspace(0, 180, 400, endpoint=False)
    sinograms = scan(angles, 133.7, columns=256)
    wide, narrow = axis.fourier(sinograms, angles), axis.fourier(sinograms, angles, search=(132, 136))
    assert narrow.rotation_axis == pytest.approx(wide.rotation_axis, abs=0.02)
    assert narrow.candidates[0] == pytest.approx(132)
    assert len(narrow.candidates) >= 32


@pytest.mark.parametrize("method", METHODS)
def test_curve_has_its_minimum_at_the_answer(method):
    angles = np.linspace(0, 180, 181)
    found = find(method, scan(angles, 133.7, columns=256, rows=4), angles)
    assert np.all(np.diff(found.candidates) > 0)
    assert found.metric.shape == found.candidates.shape
    assert (found.metric >= 0).all()
    assert found.candidates[np.argmin(found.metric)] == pytest.approx(found.rotation_axis, abs=1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [1, 6])
def test_noise_alone_gives_no_confidence(method, seed, rows):
    sinograms = np.random.default_rng(seed).standard_normal((rows, 181, 256)).astype(np.float32)
    found = find(method, sinograms, np.linspace(0, 180, 181))
    assert found.confidence < 0.3
    assert "by eye" in found.note or "border" in found.note


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_flat_curve_gives_no_confidence(method, value):
    found = find(method, np.full((1, 181, 256), value, np.float32), np.linspace(0, 180, 181))
    assert found.confidence < 0.15
    assert np.isfinite(found.metric).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("search", [(100, 125), (145, 170)])
def test_an_axis_outside_the_window_is_not_trusted(method, search):
    angles = np.linspace(0, 180, 301)
    found = find(method, scan(angles, 133.7, columns=256, rows=2), angles, search=search)
    assert found.confidence < 0.5


def test_the_window_border_is_reported():
    angles = np.linspace(0, 180, 301)
    found = axis.fourier(scan(angles, 133.7, columns=256), angles, search=(100, 125))
    assert found.at_window_edge
    assert found.confidence <= 0.1
    assert "search wider" in found.note


@pytest.mark.parametrize("method", METHODS)
def test_input_is_not_modified(method):
    angles = np.linspace(0, 180, 181)
    sinograms = scan(angles, 60.2, columns=128)
    before = sinograms.copy()
    find(method, sinograms, angles)
    assert np.array_equal(sinograms, before)


def test_auto_falls_back_on_two_opposite_views():
    angles = np.concatenate([np.linspace(0, 40, 60), np.linspace(150, 180, 40)])
    sinograms = scan(angles, 133.7, columns=256, rows=8)
    with pytest.raises(GeometryError, match="without any"):
        axis.fourier(sinograms, angles)
    found = axis.auto(sinograms, angles)
    assert found.rotation_axis == pytest.approx(133.7, abs=0.25)
    assert "opposite views alone" in found.note


def test_auto_does_without_opposite_views():
    angles = np.linspace(0, 176, 45)
    found = axis.auto(scan(angles, 133.7, columns=256), angles)
    assert found.rotation_axis == pytest.approx(133.7, abs=0.3)
    assert "no two views are opposite" in found.note


def test_auto_gains_confidence_from_agreement_and_loses_it_from_contradiction():
    angles = np.linspace(0, 180, 181)
    sinograms = scan(angles, 133.7, columns=256, rows=6)
    first, opposite = sinograms[:, 0], sinograms[:, -1]
    agreed = axis.auto(sinograms, angles)
    assert agreed.method == "auto"
    assert "agree" in agreed.note
    contradicted = axis.auto(sinograms, angles, projections=(first, np.roll(opposite, 20, axis=1)))
    assert contradicted.confidence < 0.7 < agreed.confidence
    assert "against" in contradicted.note


def test_opposite_pair():
    assert opposite_pair([0, 45, 90, 135, 180]) == (0, 4)
    assert sorted(opposite_pair([200.0, 10.0, 20.2])) == [0, 2]
    assert opposite_pair(np.linspace(0, 170, 100)) is None
    assert opposite_pair(np.linspace(0, 359, 360)) == (0, 180)


def test_angles_already_equal_are_not_interpolated():
    angles = np.linspace(0, 180, 181)
    chosen = HalfTurn.of(angles)
    assert len(chosen.weight) == 180
    assert set(np.unique(chosen.weight)) <= {0.0, 1.0}
    sinogram = np.arange(181, dtype=np.float32)[:, None]
    assert np.array_equal(chosen.apply(sinogram)[:, 0], np.arange(180))


@pytest.mark.parametrize(
    ("angles", "expected"),
    [
        (np.repeat(np.arange(0, 180, 0.25), 3), 720),
        (np.arange(0, 720, 0.5), 360),
        (np.arange(0, 1080, 0.25), 720),
        (np.linspace(0, 360, 361), 180),
    ],
    ids=["frames", "two turns", "three turns", "one turn"],
)
@pytest.mark.parametrize("jitter", [0, 0.002, 0.02])
def test_an_encoder_that_jitters_makes_no_angles(angles, expected, jitter):
    noise = jitter * np.random.default_rng(0).standard_normal(len(angles))
    chosen = HalfTurn.of(angles + noise)
    assert len(chosen.lower) == pytest.approx(expected, rel=5 * jitter)


def test_fourier_with_repeated_views_that_jitter():
    angles = np.repeat(np.arange(0, 180, 0.5), 3)
    angles += 0.002 * np.random.default_rng(0).standard_normal(len(angles))
    found = axis.fourier(scan(angles, 140.4, columns=256, noise=0.005), angles)
    assert found.rotation_axis == pytest.approx(140.4, abs=0.25)
    assert found.confidence > 0.8


def test_wrong_input_is_refused():
    angles, sinograms = np.linspace(0, 180, 60), np.zeros((1, 60, 64), np.float32)
    with pytest.raises(GeometryError, match="61 angles"):
        axis.fourier(sinograms, np.linspace(0, 180, 61))
    with pytest.raises(GeometryError, match="row, angle, column"):
        axis.auto(sinograms[0], angles)
    with pytest.raises(GeometryError, match="at least 8"):
        axis.fourier(sinograms[:, :5], angles[:5])
    with pytest.raises(GeometryError, match="wanted 0 < first < last < 63"):
        axis.fourier(sinograms, angles, search=(40, 30))
    with pytest.raises(GeometryError, match="same shape"):
        axis.phase_correlation(sinograms[0], sinograms[0, :30])
    sinograms[0, 3, 4] = np.nan
    with pytest.raises(EngineError, match="not finite"):
        axis.fourier(sinograms, angles)
    with pytest.raises(EngineError, match="not finite"):
        axis.phase_correlation(sinograms[0], sinograms[0])


@pytest.mark.parametrize("method", METHODS)
def test_tooth(method, data_dir):
    sinograms, angles = tooth(data_dir)
    found = find(method, sinograms, angles)
    assert found.rotation_axis == pytest.approx(295.5, abs=0.5)
    assert found.confidence > 0.8


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", [slice(None, None, 9), slice(100, 104)])
def test_savu(method, rows, data_dir):
    sinograms, angles = savu(data_dir)
    found = find(method, sinograms[rows], angles)
    assert found.rotation_axis == pytest.approx(85.5, abs=0.5)
    assert found.confidence > 0.6


def test_rows_without_features_are_not_trusted(data_dir):
    sinograms, angles = savu(data_dir)
    found = axis.auto(sinograms[10:20], angles)
    assert found.confidence < 0.4


def test_tomopys_mirrored_projection(data_dir):
    projection = np.load(data_dir / "tomopy_vectors" / "projection.npy")
    # Shifted by the Fourier transform: no interpolation error of ours or theirs.
    spectrum = np.fft.fft(np.pad(projection[:, ::-1], ((0, 0), (0, 128))), axis=1)
    shift = np.exp(-2j * np.pi * np.fft.fftfreq(256) * 18.75)
    mirrored = np.fft.ifft(spectrum * shift, axis=1).real[:, :128].astype(np.float32)
    found = axis.phase_correlation(projection, mirrored)
    # TomoPy calls this 73.375: half of the width is its centre, where ours is half of the last column.
    assert found.rotation_axis == pytest.approx(73.375 - 0.5, abs=0.1)
