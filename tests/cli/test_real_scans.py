"""The command line on real scans, against the figures that are known of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from tomoservice.cli import run


def reconstruct(scan: Path, output: Path, *options: str) -> NDArray[np.float32]:
    assert run(["reconstruct", str(scan), "--output", str(output), *options]) == 0
    with h5py.File(output) as file:
        return np.asarray(file["entry/data/data"][()])


def mode(values: NDArray[np.float32], low: float, high: float) -> float:
    """Return the most frequent grey value between two bounds: the top of a parabola through the histogram."""
    counts, edges = np.histogram(values, bins=40, range=(low, high))
    centres = (edges[1:] + edges[:-1]) / 2
    top = int(np.argmax(counts))
    near = slice(max(top - 8, 0), top + 9)
    curve = np.polyfit(centres[near] - centres[top], counts[near], 2)
    return float(centres[top] - curve[1] / (2 * curve[0]))


def within(width: int, radius: float) -> NDArray[np.bool_]:
    offset = np.arange(width) - (width - 1) / 2
    return np.asarray(offset[:, None] ** 2 + offset**2 <= radius**2)


def test_tooth_grey_values_and_agreement_with_astra(data_dir: Path, tmp_path: Path) -> None:
    tooth = data_dir / "tooth" / "tooth.h5"
    volume = reconstruct(tooth, tmp_path / "tooth.h5", "--rotation-axis", "296")
    inside = volume[:, within(640, 200)]
    assert abs(mode(inside, -0.0015, 0.0015)) <= 0.03 * 0.0046
    assert mode(inside, 0.0035, 0.0057) == pytest.approx(0.0046, rel=0.03)
    assert mode(inside, 0.0065, 0.0092) == pytest.approx(0.0077, rel=0.03)
    astra = reconstruct(tooth, tmp_path / "astra.h5", "--rotation-axis", "296", "--recipe", "astra-check")
    assert np.corrcoef(inside.ravel(), astra[:, within(640, 200)].ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("name", "expected"),
    [("tooth/tooth.h5", 295.5), ("savu_24737/24737.nxs", 85.5), ("savu_24737/tiff", 85.5)],
)
def test_automatic_axis(
    data_dir: Path, name: str, expected: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["find-axis", str(data_dir / name), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert abs(found["rotation_axis"] - expected) <= 0.5
    assert found["confidence"] > 0.5


@pytest.mark.parametrize(("name", "expected"), [("tooth/tooth.h5", 295.5), ("savu_24737/24737.nxs", 85.5)])
def test_the_default_recipe_finds_the_axis_and_tells_of_rings(
    data_dir: Path, name: str, expected: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = reconstruct(data_dir / name, tmp_path / "volume.h5")
    assert np.isfinite(volume).all()
    told = capsys.readouterr().err
    axis = re.search(r"rotation axis (\d+\.\d+)", told)
    assert axis is not None, told
    assert abs(float(axis[1]) - expected) <= 0.5
    before = r"ring score of the middle slice: \d+\.\d\d \(0 none, 1 as strong as the noise\); "
    both = before + r"\d+\.\d\d with stripes\.method"
    assert re.search(both, told), told
    reconstruct(data_dir / name, tmp_path / "less.h5", "--recipe", str(with_stripes_removed(tmp_path)))
    told = capsys.readouterr().err
    scores = re.search(
        r"ring score of the middle slice: (\S+) before stripes\.method 'sorting', (\S+) after", told
    )
    assert scores is not None, told
    assert float(scores[2]) <= float(scores[1])


def with_stripes_removed(folder: Path) -> Path:
    recipe = folder / "stripes.yml"
    recipe.write_text("stripes: {method: sorting}\n", "utf-8")
    return recipe


def test_nxtomo_and_its_tiff_form(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "savu_24737"
    nexus = reconstruct(folder / "24737.nxs", tmp_path / "n.h5", "--rotation-axis", "85.5")
    tiff = reconstruct(folder / "tiff", tmp_path / "t.h5", "--rotation-axis", "85.5")
    assert np.isfinite(nexus).all()
    # The inclusion has too few pixels for a mode; away from its edge they are alike.
    inclusion = (nexus[90] > 0.05) & within(160, 70)
    assert nexus[90][binary_erosion(inclusion, iterations=3)].mean() == pytest.approx(0.095, rel=0.03)
    assert mode(nexus[90][within(160, 70)], 0.009, 0.018) == pytest.approx(0.0128, rel=0.03)
    # The text file beside the TIFFs has angles that differ by up to 0.0003 degrees from the NeXus file's.
    assert np.abs(nexus - tiff).max() < 1e-4 * nexus.max()


def test_the_same_angles_give_the_same_bits(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "savu_24737"
    copy = tmp_path / "tiff"
    copy.mkdir()
    for file in (folder / "tiff").glob("*.tiff"):
        (copy / file.name).symlink_to(file.resolve())
    with h5py.File(folder / "24737.nxs") as file:
        tomo = file["entry1/tomo_entry"]
        angles = tomo["sample/rotation_angle"][()][tomo["instrument/detector/image_key"][()] == 0]
    np.savetxt(copy / "angles.txt", angles, fmt="%.17g")
    nexus = reconstruct(folder / "24737.nxs", tmp_path / "n.h5", "--rotation-axis", "85.5")
    tiff = reconstruct(copy, tmp_path / "t.h5", "--rotation-axis", "85.5")
    np.testing.assert_array_equal(nexus, tiff)
