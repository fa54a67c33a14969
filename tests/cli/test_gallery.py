"""The gallery: a page that stands on its own, with pictures that show something."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.phantom_scans import phantom_scan
from tomoservice.cli import tomoservice
from tomoservice.errors import CancelledError, GeometryError, OutputError
from tomoservice.gallery import NAMES, GalleryOptions, Watcher, build_gallery
from tomoservice.gallery.building import find_scans
from tomoservice.gallery.catalogue import load_section, load_sections
from tomoservice.gallery.computing import filled
from tomoservice.gallery.figures import is_constant, plot
from tomoservice.gallery.measures import error, fitted
from tomoservice.gallery.model import Comparison, LevelSeries
from tomoservice.gallery.scans import Simulations
from tomoservice.plots import Line

VOID = {"meta", "img", "br", "link", "input", "hr"}
# Elements of a drawing that need no end tag.
DRAWN = {"rect", "line", "polyline"}


class Page(HTMLParser):
    """Checks that elements are closed in order, and collects what the page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[str] = []
        self.outside: list[str] = []
        self.headings: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in VOID | DRAWN:
            self.open.append(tag)
        self.anchors += [given["id"]] if given.get("id") else []
        for name in ("src", "href"):
            value = given.get(name) or ""
            if value.startswith(("http:", "https:", "//")):
                self.outside.append(value)
            elif value.startswith("#"):
                self.links.append(value[1:])
            elif value:
                self.pictures.append(value)
        if tag in {"script", "link", "iframe"}:
            self.outside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in DRAWN:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"h1", "h2", "h3"}:
            self.headings.append(data)


def read(folder: Path) -> Page:
    page = Page()
    page.feed((folder / "index.html").read_text("utf-8"))
    assert page.open == []
    return page


def test_the_page_stands_on_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "gallery"
    wanted = ["overview", "filters", "field-of-view", "pyramid"]
    only = [word for name in wanted for word in ("--only", name)]
    tomoservice.main(["gallery", str(out), "--size", "48", *only], standalone_mode=False)
    page = read(out)
    assert page.outside == []
    assert set(page.links) <= set(page.anchors)
    assert len(page.anchors) == len(set(page.anchors))
    for name in wanted:
        section = load_section(name)
        assert {section.title, *(entry.title for entry in section.entries)} <= set(page.headings)
    pictures = {path.name for path in out.glob("*.png")}
    assert pictures == set(page.pictures)
    assert len(pictures) > 20
    assert [name for name in sorted(pictures) if is_constant(out / name)] == []
    told = capsys.readouterr()
    assert "Windows on a noisy scan / ramp: time" in told.out
    assert "not computed" not in told.err
    assert "Half the resolution, and half again / level 2: voxels 12 x 12 x 12" in told.out
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_measured_scans_are_found_and_shown(tmp_path: Path) -> None:
    data = tmp_path / "data" / "beamtime"
    data.mkdir(parents=True)
    phantom_scan(48, 4, 60).write_dxchange(data / "scan.h5")
    with h5py.File(data / "other.h5", "w") as file:
        file["something"] = 1
    (data / "notes.txt").write_text("nothing")
    assert list(find_scans([tmp_path / "data"])) == ["scan.h5"]
    options = GalleryOptions(data=(tmp_path / "data",), only=("measured",))
    summary = build_gallery(tmp_path / "out", options)
    assert any(line.startswith("scan.h5 / default recipe: time") for line in summary.figures)
    page = read(tmp_path / "out")
    assert "scan.h5" in page.headings
    assert not any(is_constant(tmp_path / "out" / name) for name in page.pictures)


def test_a_folder_with_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=str(tmp_path)):
            build_gallery(tmp_path, GalleryOptions(48, only=("filters",), overwrite=overwrite))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_gallery_is_replaced_if_asked(tmp_path: Path) -> None:
    out = tmp_path / "gallery"
    options = GalleryOptions(48, only=("field-of-view",))
    build_gallery(out, options)
    before = {path.name for path in out.iterdir()}
    with pytest.raises(OutputError, match="--overwrite"):
        build_gallery(out, options)
    (out / "padding-by-zeros-and-by-the-outermost-values-truth.png").write_bytes(b"")
    build_gallery(out, GalleryOptions(48, only=("field-of-view",), overwrite=True))
    assert {path.name for path in out.iterdir()} == before
    assert not is_constant(out / "padding-by-zeros-and-by-the-outermost-values-truth.png")


def test_a_wish_to_stop_leaves_nothing(tmp_path: Path) -> None:
    begun: list[str] = []
    watcher = Watcher(begin=begun.append, stopped=lambda: len(begun) > 0)
    with pytest.raises(CancelledError):
        build_gallery(tmp_path / "gallery", GalleryOptions(48, only=("filters",)), watcher)
    assert begun
    assert list(tmp_path.glob(".gallery*")) == []
    assert not (tmp_path / "gallery").exists()


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    from click import BadParameter

    with pytest.raises(BadParameter, match="there are measured, overview"):
        tomoservice.main(["gallery", str(tmp_path / "out"), "--only", "nonsense"], standalone_mode=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_section_is_declared_properly(name: str) -> None:
    section = load_section(name)
    titles = [entry.title for entry in section.entries]
    assert len(titles) == len(set(titles))
    simulations = Simulations(48)
    for entry in section.entries:
        if isinstance(entry, Comparison):
            labels = [variant.label for variant in entry.variants]
            scans = {entry.scan, *(variant.scan or entry.scan for variant in entry.variants)}
            recipes = [variant.recipe for variant in entry.variants]
        elif isinstance(entry, LevelSeries):
            labels, scans, recipes = [], {entry.scan}, []
        else:
            labels = [search.label for search in entry.searches]
            scans = {search.scan for search in entry.searches}
            recipes = [search.recipe for search in entry.searches]
        assert len(labels) == len(set(labels))
        for scan in scans - {"*"}:
            known = simulations[scan].known
            for recipe in recipes:
                assert "$" not in str(filled(recipe, known))


def test_each_scan_stands_where_the_star_was() -> None:
    section = load_sections(["measured"], ["a.h5", "b.h5"])["measured"]
    titles = [entry.title for entry in section.entries if isinstance(entry, Comparison)]
    assert titles == ["a.h5", "b.h5"]
    assert load_sections(["measured"], []) == {}


def test_simulated_scans_are_what_they_say() -> None:
    simulations = Simulations(48)
    plain = simulations["plain"]
    assert plain.truth is not None
    flat = plain.scan.flats[0].astype(float) - 200
    row = plain.row(0.5)
    middle = plain.scan.projections[0][row] - 200.0
    integrals = -np.log(middle / flat[row])
    # At angle 0 the detector columns run along x: the sum of a slice over y is the projection.
    slice_ = plain.truth(slice(row, row + 1))[0]
    shift = plain.known["axis"] - 23.5
    expected = np.interp(np.arange(48) - shift, np.arange(48), slice_.sum(axis=0))
    assert np.abs(integrals - expected).max() < 0.12
    with pytest.raises(GeometryError, match="plain"):
        simulations["nonsense"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [("$axis", 10.5), ("$axis-5", 5.5), ("$axis+0.25", 10.75), ("$axis*2", 21.0), ("axis", "axis"), (3, 3)],
)
def test_values_of_the_scan_are_filled_in(given: object, expected: object) -> None:
    assert filled({"stage": {"inner": {"value": given}}}, {"axis": 10.5}) == {
        "stage": {"inner": {"value": expected}}
    }


def test_a_value_that_the_scan_does_not_tell_is_an_error() -> None:
    with pytest.raises(GeometryError, match="delta_beta"):
        filled({"phase": {"delta_beta": "$delta_beta"}}, {})


def test_errors_are_measured_against_the_truth() -> None:
    truth = np.zeros((32, 32), np.float32)
    truth[8:24, 8:24] = 1
    found = error(truth + 0.01, truth)
    assert found.rms == pytest.approx(0.01, rel=1e-4)
    assert found.psnr_db == pytest.approx(40, abs=0.01)
    assert fitted(truth, 40).shape == (40, 40)
    np.testing.assert_array_equal(fitted(fitted(truth, 41), 32), truth)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [np.nan, 1.0, 2.0], [1e-9, 2e-9, 0.0]])
def test_curves_are_drawings(values: list[float]) -> None:
    line = Line("a < b", np.arange(3.0), np.array(values))
    drawing = plot([line, line], ("x", "y & z"), marks=(1.0, 99.0), limits=(0.0, 4.0))
    figure = ET.fromstring(drawing)
    points = [e.get("points", "") for e in figure.findall(".//{*}polyline")]
    assert len(points) == 2
    numbers = [float(n) for point in points[0].split() for n in point.split(",")]
    assert all(0 <= number <= 640 for number in numbers)
    assert len(figure.findall(".//{*}line[@class='mark']")) == 1
