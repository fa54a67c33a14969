"""What people type in IPython: scans, looked at and reconstructed."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from tiled.queries import Key

from tests.service.conftest import connected
from tests.service.scans import FOURIER, SLOW, SmallScan
from tomoservice.catalog.transport import NotFoundError
from tomoservice.client import Picture, Scan, Tomo
from tomoservice.errors import CatalogError, RecipeError
from tomoservice.recipe.shortened import StageName
from tomoservice.service.running import RunningService

Z = 200


@pytest.fixture(scope="module")
def scan(service: RunningService, slow_run: str) -> Iterator[Scan]:
    with connected(service) as tomo:
        yield tomo.scans[slow_run]


def test_a_slice_is_that_of_the_volume(scan: Scan, truth: np.ndarray) -> None:
    picture = scan.preview(Z, recipe=FOURIER)
    assert picture.image.dtype == np.float32
    assert np.abs(picture.image - truth[Z]).max() < 1e-3 * np.abs(truth[Z]).max()
    assert np.array_equal(np.asarray(picture), picture.image)
    assert picture[10, 20] == picture.image[10, 20]
    assert float(np.mean(picture)) == float(picture.image.mean())
    assert repr(picture).startswith("<Slice 200: 96 x 96, rotation axis 47.50, grey values ")
    with Image.open(io.BytesIO(picture._repr_png_())) as shown:
        # Enlarged, so that a notebook does not show a stamp.
        assert shown.size == (3 * 96, 3 * 96)
        assert np.asarray(shown)[144, 144] > 128


def test_what_is_left_out_is_the_middle(scan: Scan) -> None:
    cropped = {**FOURIER, "frames": {"rows": {"start": 100, "stop": 120}, "binning": 2}}
    assert repr(scan.preview(recipe=cropped)).startswith("<Slice 5: 48 x 48")
    assert scan.sinogram(recipe=FOURIER).title == "Sinogram 192"
    side = scan.preview(recipe={**cropped, "output": {"crop": {"columns": {"start": 20}}}}, view="yz")
    assert repr(side).startswith("<Plane y, z at x = 14: 10 x 48, grey values ")
    coarse = scan.preview(recipe=cropped, view="xz", max_width=24)
    assert repr(coarse).startswith("<Plane x, z at y = 24 (binned 2 times): 5 x 24, ")
    some = {"frames": {"angles": {"start": 10, "step": 3}, "exclude": [13]}}
    assert scan.projection(recipe=some).title == "Projection 24"


def test_sinograms_and_projections(scan: Scan) -> None:
    sinogram = scan.sinogram(Z, recipe=FOURIER)
    assert sinogram.shape == (SLOW.angles, SLOW.columns)
    projection = scan.projection(4)
    assert projection.shape == (SLOW.rows, SLOW.columns)
    assert np.allclose(projection[Z], sinogram[4], atol=1e-5)
    recorded = scan.projection(4, corrected=False)
    assert recorded.units == "counts"
    assert np.array_equal(recorded, SLOW.frames()["primary"][4])
    assert np.abs(scan.sinogram(Z, corrected=False).image - sinogram.image).max() < 1e-4


def test_what_one_stage_does(scan: Scan) -> None:
    recipe = {**FOURIER, "stripes": {"method": "sorting"}}
    for look in (scan.sinogram, scan.preview):
        without = look(Z, recipe=FOURIER).image
        assert np.array_equal(look(Z, recipe=recipe, after="flat_field").image, without)
        after = look(Z, recipe=recipe, after=StageName.STRIPES).image
        assert np.array_equal(after, look(Z, recipe=recipe).image)
        assert not np.array_equal(after, without)


def test_the_axis_is_found_and_used(scan: Scan, truth: np.ndarray) -> None:
    axis = scan.find_axis()
    assert abs(axis.value - 47.5) < 0.25
    assert float(axis) == axis.value
    assert 0 <= axis.confidence <= 1
    assert len(axis.candidates) == len(axis.metric) > 10
    drawing = ET.fromstring(axis._repr_svg_())
    assert len(drawing.findall("{*}polyline")) == 1
    assert f"Rotation axis at column {axis.value:.2f}" in axis._repr_html_()
    near = scan.find_axis("entropy", search=(46.0, 49.0))
    assert near.method == "entropy"
    assert near.candidates.min() >= 46.0
    picture = scan.preview(Z, rotation_axis=axis)
    assert picture.rotation_axis == pytest.approx(axis.value, abs=0.01)
    assert np.abs(picture.image - truth[Z]).max() < 0.3 * np.abs(truth[Z]).max()


def test_a_scan_finds_what_was_made_of_it(scan: Scan, service: RunningService) -> None:
    job = scan.reconstruct(FOURIER, rotation_axis=48.0).wait()
    assert job.record.metadata.recipe["rotation_axis"]["value"] == 48.0
    assert job.path in [found.path for found in scan.reconstructions]
    sweep = scan.sweep("rotation_axis", 46.5, 48.5, 1.0, recipe=FOURIER)
    assert (sweep.values, sweep.sweep.z) == ([46.5, 47.5, 48.5], 192)
    assert sweep.path in [found.path for found in scan.sweeps]
    assert scan.proposal.recipe.name == "default"
    page = scan._repr_html_()
    assert "160 of 384 x 96 pixels" in page
    assert "1 done" in page
    with connected(service) as tomo:
        # Anybody who has nothing but Tiled searches for the uid.
        found = tomo.root["processed"].search_deep(Key("raw_uid") == scan.uid, max_depth=2)
        assert job.path.split("/")[-1] in [path[-1] for path in found]
        [row] = [row for row in tomo.scans[:].__repr__().splitlines() if row.startswith(scan.uid[:8])]
        assert "1 done" in row


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda scan: scan.preview(384), "got 384, but this recipe gives 0 to 383"),
        (lambda scan: scan.preview(rotation_axis=400.0), "400"),
        (lambda scan: scan.preview(0, view="inside"), "inside"),
        (lambda scan: scan.preview(0, after="polishing"), "polishing.*'flat_field'"),
        (lambda scan: scan.find_axis("guessing"), "guessing"),
        (lambda scan: scan.sweep("rotation_axis", 1, 2), r"values: got 1, 2, want first, last and step"),
        (lambda scan: scan.sweep("rotation_axis"), r"values: got none, want"),
        (lambda scan: scan.sweep("axis", [1, 2]), "there is no axis; a recipe has"),
        (lambda scan: scan.reconstruct("nonsense"), "neither a file nor a shipped recipe"),
    ],
)
def test_what_is_wrong_is_said(scan: Scan, ask: Callable[[Scan], object], says: str) -> None:
    with pytest.raises((CatalogError, RecipeError), match=says):
        ask(scan)


@pytest.fixture
def three(tomo: Tomo, publish_run: Callable[..., str]) -> list[str]:
    """Scans, the newest first."""
    names = ("apple", "pear", "plum")
    return [publish_run(SmallScan(), start={"sample_name": name}) for name in names][::-1]


def test_the_newest_come_first(tomo: Tomo, three: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    scans = tomo.scans
    assert [scans[place].uid for place in range(3)] == three
    assert [scan.uid for scan in scans[:3]] == three
    assert [scan.sample_name for scan in scans[2:0:-1]] == ["apple", "pear"]
    assert next(iter(scans)).uid == three[0]
    assert scans[-1].uid == tomo.runs[0]
    assert scans[three[1][:12]].uid == three[1]
    assert scans["last"].uid == three[0]
    assert three[1] in scans
    assert "nonsense" not in scans
    assert scans._ipython_key_completions_()[:3] == three
    head, *rows = repr(scans).splitlines()
    assert head.split() == ["scan", "sample", "begun", "plan", "acquisition", "reconstructions"]
    assert [row.split()[1] for row in rows[:3]] == ["plum", "pear", "apple"]
    assert "<td>plum</td>" in scans._repr_html_()
    monkeypatch.setattr("tomoservice.client.scan_list.SHOWN", 2)
    assert repr(scans).endswith(f"... and {len(scans) - 2} older ones: tomo.scans[2:4]")
    assert "<td>scans</td>" in tomo._repr_html_()


def test_scans_that_are_not_there(tomo: Tomo, three: list[str]) -> None:
    with pytest.raises(NotFoundError, match=f"no run's uid begins with 'zzz'.*newest is {three[0]}"):
        tomo.scans["zzz"]
    with pytest.raises(NotFoundError, match=r"no run's uid begins with '%'"):
        tomo.scans["%"]
    with pytest.raises(IndexError, match="0 is the newest"):
        tomo.scans[len(tomo.scans)]
    assert list(tomo.scans[5:5]) == []


def test_a_list_does_not_read_every_scan(tomo: Tomo, three: list[str]) -> None:
    asked: list[str] = []
    client = tomo.root.context.http_client
    client.event_hooks["request"].append(lambda request: asked.append(str(request.url)))
    try:
        repr(tomo.scans)
        tomo.scans[0]
        tomo.scans[three[0][:12]]
    finally:
        client.event_hooks["request"].pop()
    listings = [url for url in asked if "/search/raw" in url]
    assert len(asked) < 25
    bounded = ("page%5Blimit%5D=", "fields=count", "filter%5Blike%5D")
    assert all(any(part in url for part in bounded) for url in listings), listings


def test_large_pictures_are_thinned_out_to_be_shown() -> None:
    large = Picture(np.random.default_rng(0).random((3000, 2000), np.float32), "Slice 0")
    with Image.open(io.BytesIO(large._repr_png_())) as shown:
        assert shown.size == (667, 1000)
    empty = Picture(np.full((4, 4), np.nan, np.float32), "Slice 0")
    assert empty._repr_png_().startswith(b"\x89PNG")
