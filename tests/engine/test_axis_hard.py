"""The rotation axis where it is hard to find: to a quarter of a column, or a confidence that says no."""

from __future__ import annotations

import numpy as np
import pytest

from tests.phantom_scans import phantom_scan
from tomoservice import axis
from tomoservice.axis.half_turn import WholeTurn
from tomoservice.axis.mirror import mirrored_axis
from tomoservice.errors import EngineError, GeometryError
from tomoservice.phantom import Imperfections
from tomoservice.prep.flat_field import correct, reduce_frames
from tomoservice.prep.minus_log import minus_log
from tomoservice.recon import Padding, ReconstructionOptions, get_reconstructor

COLUMNS = 256
TOLERANCE = 0.25
DOUBTFUL = 0.5
USUAL = Imperfections(noise=0.01, stripes=0.03)
NOISY = Imperfections(noise=0.02, stripes=0.05)
HEAVY = Imperfections(noise=0.04, stripes=0.08)
GOLDEN = np.arange(250) * 111.246117975


def reconstruct(sinograms, angles_deg, axes):
    options = ReconstructionOptions(padding=Padding.EDGE)
    return get_reconstructor("fourier").plan(angles_deg, sinograms.shape[2], options).execute(sinograms, axes)


def sinograms_of(scan):
    transmission = correct(scan.projections, reduce_frames(scan.flats), reduce_frames(scan.darks))
    integrals = minus_log(transmission, minimum_transmission=1e-4)
    return np.ascontiguousarray(integrals.swapaxes(0, 1))


def hard(rotation_axis, angles_deg, *, imperfections=USUAL, sample=COLUMNS, rows=3, **options):
    """Return sinograms of a few rows of the phantom, spread over its middle half."""
    height = sample // 2
    chosen = np.linspace(height // 4, 3 * height // 4, rows).astype(int)
    made = phantom_scan(
        COLUMNS,
        [int(row) for row in chosen],
        len(angles_deg),
        rotation_axis=rotation_axis,
        imperfections=imperfections,
        angles_deg=np.asarray(angles_deg),
        sample_columns=sample,
        **options,
    )
    return sinograms_of(made)


CASES = {
    "noise and stripes": (133.7, np.arange(180.0), {"imperfections": HEAVY}),
    "offset, axis left": (56.3, np.arange(360.0), {"sample": 400}),
    "offset, axis right": (214.8, np.linspace(0, 360, 361), {"sample": 440}),
    "offset, few angles": (40.6, np.arange(120) * 3.0, {"sample": 440}),
    "offset, heavy noise": (56.3, np.arange(360.0), {"sample": 400, "imperfections": NOISY}),
    "offset, golden angle": (60.2, GOLDEN, {"sample": 400}),
    "sample wider than the field": (131.4, np.arange(180.0), {"sample": 400}),
    "sample much wider than the field": (120.4, np.linspace(0, 180, 361), {"sample": 700}),
    "tilt of 0.4 degrees": (131.4, np.arange(180.0), {"tilt_deg": 0.4}),
    "120 angles": (122.7, np.arange(120) * 1.5, {}),
    "120 angles to 180 degrees": (122.7, np.linspace(0, 180, 120), {}),
    "whole turn, axis in the middle": (129.9, np.arange(360.0), {}),
    "golden angle": (129.9, GOLDEN, {}),
    "shuffled": (129.9, np.random.default_rng(0).permutation(np.arange(200) * 0.9), {}),
    "one row": (129.9, np.linspace(0, 180, 181), {"rows": 1}),
    "half a turn, axis near the side": (52.3, np.linspace(0, 180, 181), {}),
    "a wedge is missing": (129.9, np.concatenate([np.arange(0, 70.0), np.arange(90, 181.0)]), {}),
}


@pytest.mark.parametrize("case", CASES)
def test_auto_is_right_and_sure(case):
    true_axis, angles, options = CASES[case]
    found = axis.auto(hard(true_axis, angles, **options), angles, reconstruct=reconstruct)
    assert found.rotation_axis == pytest.approx(true_axis, abs=TOLERANCE)
    assert found.confidence >= DOUBTFUL
    assert not found.at_window_edge
    assert f"{found.rotation_axis:.2f}" in found.note
    assert "Found by" in found.note


@pytest.mark.parametrize(
    ("sample", "angles", "imperfections"),
    [
        (COLUMNS, np.linspace(0, 180, 61), Imperfections(noise=0.5)),
        (440, np.arange(120) * 3.0, Imperfections(noise=0.3)),
        (700, np.arange(30) * 6.0, USUAL),
    ],
    ids=["noise", "noise, whole turn", "wide sample, few angles"],
)
def test_auto_is_right_or_says_no(sample, angles, imperfections):
    sinograms = hard(117.4, angles, sample=sample, imperfections=imperfections, rows=2)
    found = axis.auto(sinograms, angles, reconstruct=reconstruct)
    assert abs(found.rotation_axis - 117.4) <= TOLERANCE or found.confidence < DOUBTFUL


@pytest.mark.parametrize("method", ["fourier", "overlap", "entropy", "auto"])
def test_noise_over_a_whole_turn_gives_no_confidence(method):
    noise = np.random.default_rng(0).standard_normal((2, 180, COLUMNS)).astype(np.float32)
    angles = np.arange(180) * 2.0
    find = {
        "fourier": axis.fourier,
        "overlap": axis.overlap,
        "entropy": lambda *scan: axis.image_metric(*scan, reconstruct),
        "auto": lambda *scan: axis.auto(*scan, reconstruct=reconstruct),
    }[method]
    assert find(noise, angles).confidence < 0.3


@pytest.mark.parametrize(
    ("true_axis", "sample"), [(56.3, 400), (199.2, 400), (15.4, 480), (240.6, 480), (127.5, 256)]
)
def test_overlap_finds_axis_side_and_width(true_axis, sample):
    angles = np.arange(360.0)
    found = axis.overlap(hard(true_axis, angles, sample=sample), angles)
    assert found.rotation_axis == pytest.approx(true_axis, abs=0.1)
    assert found.confidence > 0.7
    assert found.method == "overlap"
    assert found.side == ("left" if found.rotation_axis < 127.5 else "right")
    assert found.overlap == pytest.approx(2 * min(true_axis, 255 - true_axis) + 1, abs=0.2)
    assert np.all(np.diff(found.candidates) > 0)
    assert found.metric.shape == found.candidates.shape
    assert (found.metric >= 0).all()
    assert found.candidates[np.argmin(found.metric)] == pytest.approx(found.rotation_axis, abs=0.5)


def test_overlap_without_noise_is_exact():
    angles = np.linspace(0, 360, 361)
    found = axis.overlap(hard(56.3, angles, sample=400, imperfections=None, rows=1), angles)
    assert found.rotation_axis == pytest.approx(56.3, abs=0.02)


@pytest.mark.parametrize("true_axis", [56.3, 199.2])
def test_overlap_agrees_with_algotom(true_axis):
    calculation = pytest.importorskip("algotom.prep.calculation")
    angles = np.linspace(0, 360, 361)
    sinograms = hard(true_axis, angles, sample=400, rows=1)
    # Theirs wants a window narrower than the overlap, of 113 columns; ours finds its width itself.
    theirs, overlap, side, _ = calculation.find_center_360(sinograms[0], 60, ncore=1)
    ours = axis.overlap(sinograms, angles)
    assert ours.rotation_axis == pytest.approx(float(theirs), abs=0.15)
    assert ours.overlap == pytest.approx(float(overlap), abs=1.3)
    assert ours.side == ("left", "right")[side]


def test_the_error_that_is_given_is_the_error_that_is_made():
    angles = np.arange(120) * 3.0
    errors, given = [], []
    for seed in range(12):
        flaws = Imperfections(noise=0.03, seed=seed)
        found = axis.overlap(hard(56.3, angles, sample=400, imperfections=flaws, rows=1), angles)
        errors.append(found.rotation_axis - 56.3)
        given.append(found.error)
    # A standard deviation of twelve values is known to about a fifth.
    assert 0.5 < np.std(errors) / np.median(given) < 1.6
    assert abs(np.mean(errors)) < np.median(given)


@pytest.mark.parametrize("search", [(50, 60), (56, 57), (56.2, 56.4)])
def test_overlap_in_a_narrow_window(search):
    angles = np.arange(180) * 2.0
    found = axis.overlap(hard(56.3, angles, sample=400, rows=1), angles, search=search)
    assert found.rotation_axis == pytest.approx(56.3, abs=0.1)
    assert not found.at_window_edge


@pytest.mark.parametrize("scale", [1e-20, 1e25])
def test_units_do_not_matter(scale):
    angles = np.arange(180) * 2.0
    sinograms = hard(56.3, angles, sample=400, rows=1)
    found = axis.overlap(sinograms, angles)
    scaled = axis.overlap(sinograms * np.float32(scale), angles)
    assert scaled.rotation_axis == pytest.approx(found.rotation_axis, abs=0.01)
    assert scaled.confidence == pytest.approx(found.confidence, abs=0.01)


def test_mirrored_views_of_a_single_edge():
    column = np.arange(64)
    edges = [np.tanh((column - place) / 2).astype(np.float32)[None] for place in (25.0, 40.0)]
    found = mirrored_axis([(edges[0], -edges[1])], 32.0, 2.0)
    assert found.axis == pytest.approx(32.5, abs=0.01)
    nothing = mirrored_axis([(np.zeros((3, 64), np.float32),) * 2], 32.0, 2.0)
    assert nothing.certainty == 0


@pytest.mark.parametrize(
    ("metric", "true_axis"), [(axis.ImageMetric.ENTROPY, 110.3), (axis.ImageMetric.NEGATIVITY, 137.6)]
)
def test_image_metrics(metric, true_axis):
    angles = np.arange(180.0)
    found = axis.image_metric(hard(true_axis, angles), angles, reconstruct, metric=metric)
    assert found.rotation_axis == pytest.approx(true_axis, abs=0.15)
    assert found.confidence > 0.8
    assert found.method == metric.value
    assert found.candidates[np.argmin(found.metric)] == pytest.approx(found.rotation_axis, abs=1)


def test_entropy_is_not_trusted_where_views_are_missing():
    angles = np.arange(140.0)
    found = axis.image_metric(hard(122.7, angles, rows=1), angles, reconstruct, search=(100, 150))
    assert found.confidence < DOUBTFUL
    nearly = np.linspace(0, 172, 150)
    found = axis.image_metric(hard(122.7, nearly), nearly, reconstruct)
    assert found.rotation_axis == pytest.approx(122.7, abs=0.15)


def test_entropy_of_a_sample_wider_than_the_field_is_not_trusted():
    angles = np.arange(180.0)
    found = axis.image_metric(hard(131.4, angles, sample=400), angles, reconstruct)
    assert found.confidence < DOUBTFUL
    assert "wider than the field of view" in found.note


@pytest.mark.parametrize("metric", list(axis.ImageMetric))
def test_tomopys_sinogram(metric, data_dir):
    sinogram = np.load(data_dir / "tomopy_vectors" / "sinogram.npy").swapaxes(0, 1)
    angles = np.linspace(0, 180, sinogram.shape[1])
    found = axis.image_metric(np.ascontiguousarray(sinogram), angles, reconstruct, metric=metric)
    # TomoPy's find_center says 45.28, half a column more: its centre is half of the width.
    assert found.rotation_axis == pytest.approx(45.28 - 0.5, abs=0.25)


@pytest.mark.parametrize("method", ["fourier", "phase_correlation"])
@pytest.mark.parametrize("true_axis", [132.7])
def test_each_method_knows_when_a_wide_sample_misleads_it(method, true_axis):
    angles = np.linspace(0, 180, 361)
    sinograms = hard(true_axis, angles, sample=700, rows=2)
    if method == "fourier":
        found = axis.fourier(sinograms, angles)
    else:
        found = axis.phase_correlation(sinograms[:, 0], sinograms[:, -1])
    assert abs(found.rotation_axis - true_axis) <= TOLERANCE or found.confidence < DOUBTFUL
    assert found.error is not None


def test_pairs_of_a_whole_turn():
    turn = WholeTurn.of(np.linspace(0, 360, 361))
    # The last view is the first one again.
    views = np.mod(np.arange(361, dtype=np.float32), 360)[:, None]
    assert np.array_equal(turn.first.apply(views)[:, 0], np.arange(180))
    assert np.array_equal(turn.second.apply(views)[:, 0], np.arange(180, 360))
    with pytest.raises(GeometryError, match="without any"):
        WholeTurn.of(np.arange(0, 350, 2.0))
    with pytest.raises(GeometryError, match="at least 16"):
        WholeTurn.of(np.arange(0, 360, 60.0))


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.4])
def test_pairs_of_a_whole_turn_are_interpolated(shift):
    angles = (np.arange(0, 360, 1.0) + shift) % 360
    turn = WholeTurn.of(np.random.default_rng(0).permutation(angles))
    wave = np.cos(np.deg2rad(np.random.default_rng(0).permutation(angles)))[:, None].astype(np.float32)
    assert np.allclose(turn.first.apply(wave), -turn.second.apply(wave), atol=2e-4)


def test_wrong_input_is_refused():
    sinograms = np.zeros((1, 60, 64), np.float32)
    with pytest.raises(GeometryError, match="whole turn"):
        axis.overlap(sinograms, np.linspace(0, 180, 60))
    with pytest.raises(GeometryError, match="61 angles"):
        axis.overlap(sinograms, np.linspace(0, 360, 61))
    with pytest.raises(GeometryError, match="61 angles"):
        axis.image_metric(sinograms, np.linspace(0, 180, 61), reconstruct)
    with pytest.raises(GeometryError, match="wanted 0 < first < last < 63"):
        axis.overlap(sinograms, np.arange(60) * 6.0, search=(40, 30))
    sinograms[0, 3, 4] = np.inf
    with pytest.raises(EngineError, match="not finite"):
        axis.overlap(sinograms, np.arange(60) * 6.0)
    with pytest.raises(EngineError, match="not finite"):
        axis.image_metric(sinograms, np.linspace(0, 180, 60), reconstruct)
