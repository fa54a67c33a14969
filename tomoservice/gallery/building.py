"""Building the page: everything computed into a hidden folder that takes its place at the end."""

from __future__ import annotations

import platform
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tomoservice import __version__
from tomoservice.errors import CancelledError, OutputError, TomoserviceError
from tomoservice.gallery.articles import Studio
from tomoservice.gallery.catalogue import load_sections
from tomoservice.gallery.computing import Laboratory
from tomoservice.gallery.model import AxisTable, Comparison, LevelSeries, Section
from tomoservice.gallery.page import MARKER, Article, Chapter, page
from tomoservice.sources import detect_format
from tomoservice.threads import available_threads

PAGE = "index.html"
DEEPEST = 4
"""Levels of folders that are searched for measured scans."""
HDF5_ENDINGS = frozenset({".h5", ".hdf5", ".nxs"})
TIFF_ENDINGS = frozenset({".tif", ".tiff"})


@dataclass(frozen=True)
class GalleryOptions:
    """What goes into the gallery.

    Parameters
    ----------
    size
        Detector columns of the simulated scans.
    data
        Scan files, or folders that are searched for them.
    only
        Names of sections; all if there is none.
    overwrite
        Whether a gallery that stands there already is replaced.
    """

    size: int = 256
    data: tuple[Path, ...] = ()
    only: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True)
class GallerySummary:
    """What was built."""

    page: Path
    comparisons: int
    skipped: tuple[str, ...]
    """What could not be computed, and why."""
    figures: tuple[str, ...]
    """The captions' figures, a line each."""


@dataclass(frozen=True)
class Watcher:
    """Who is told of the progress.

    Parameters
    ----------
    total
        Told once how many comparisons there will be.
    begin
        Told the title of each comparison when it begins.
    stopped
        Asked now and then whether to stop.
    """

    total: Callable[[int], None] = field(default=lambda _count: None)
    begin: Callable[[str], None] = field(default=lambda _title: None)
    stopped: Callable[[], bool] = field(default=lambda: False)


def build_gallery(folder: Path, options: GalleryOptions, watcher: Watcher | None = None) -> GallerySummary:
    """Compute the gallery and write it into `folder`.

    Parameters
    ----------
    folder
        Does not exist, is empty, or holds a gallery and `options` say to replace it.
    options
        What goes into it.
    watcher
        Who is told.

    Raises
    ------
    OutputError
        If the folder cannot be written, or holds something else.
    CancelledError
        If the watcher said to stop; nothing is left then.
    """
    watcher = watcher or Watcher()
    _check_folder(folder, overwrite=options.overwrite)
    files = find_scans(options.data)
    sections = list(load_sections(options.only, list(files)).values())
    watcher.total(sum(len(section.entries) for section in sections))
    partial = folder.resolve().with_name(f".{folder.name}.partial-{uuid.uuid4().hex[:8]}")
    laboratory = Laboratory(options.size, files, watcher.stopped)
    begin = time.perf_counter()
    try:
        partial.mkdir(parents=True)
        studio = Studio(partial, laboratory)
        chapters = [_chapter(section, studio, watcher) for section in sections]
        facts = _facts(options, files, time.perf_counter() - begin)
        (partial / PAGE).write_text(page(chapters, facts, studio.skipped), "utf-8")
        _put(partial, folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error}") from error
    finally:
        laboratory.close()
        shutil.rmtree(partial, ignore_errors=True)
    count = sum(len(chapter.articles) for chapter in chapters)
    return GallerySummary(folder / PAGE, count, tuple(studio.skipped), tuple(studio.told))


def find_scans(places: Sequence[Path]) -> dict[str, Path]:
    """Return the scans in some folders, by name: HDF5 files, and folders of TIFF frames.

    Parameters
    ----------
    places
        Scan files, or folders that are searched a few levels deep.
    """
    found: dict[str, Path] = {}
    for place in places:
        for scan in sorted(_scans_in(place, DEEPEST)):
            name = scan.name if scan.is_file() else f"{scan.parent.name}/{scan.name}"
            found.setdefault(name if name not in found else str(scan), scan)
    return found


def _scans_in(place: Path, levels: int) -> list[Path]:
    if place.is_file():
        return [place] if _is_scan(place) else []
    if levels == 0:
        return []
    children = [child for child in sorted(place.iterdir()) if not child.name.startswith(".")]
    if any(child.suffix.lower() in TIFF_ENDINGS for child in children):
        return [place]
    found = [child for child in children if child.suffix.lower() in HDF5_ENDINGS and _is_scan(child)]
    for child in children:
        if child.is_dir():
            found += _scans_in(child, levels - 1)
    return found


def _is_scan(file: Path) -> bool:
    try:
        detect_format(file)
    except TomoserviceError:
        return False
    return True


def _chapter(section: Section, studio: Studio, watcher: Watcher) -> Chapter:
    articles = []
    for entry in section.entries:
        if watcher.stopped():
            raise CancelledError("stopped while building the gallery")
        watcher.begin(f"{section.title}: {entry.title}")
        articles.append(_article(entry, studio))
    return Chapter(section.title, section.introduction, tuple(articles))


def _article(entry: Comparison | AxisTable | LevelSeries, studio: Studio) -> Article:
    match entry:
        case AxisTable():
            return studio.axis_table(entry)
        case LevelSeries():
            return studio.level_series(entry)
        case Comparison():
            return studio.comparison(entry)


def _facts(options: GalleryOptions, files: dict[str, Path], seconds: float) -> list[tuple[str, str]]:
    return [
        ("tomoservice", __version__),
        ("made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("simulated scans", f"{options.size} columns, {options.size * 3 // 2} projections over half a turn"),
        ("measured scans", ", ".join(files) or "none"),
        ("machine", f"{platform.machine()}, {available_threads()} cores, Python {platform.python_version()}"),
        ("computed in", f"{seconds:.0f} s"),
    ]


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; give a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise OutputError(f"{folder}: is not empty; choose another folder or pass --overwrite")
    if not _is_gallery(folder):
        raise OutputError(f"{folder}: holds something else than a gallery, so it is not replaced")


def _is_gallery(folder: Path) -> bool:
    names = {entry.name for entry in folder.iterdir()}
    if PAGE not in names or MARKER not in (folder / PAGE).read_text("utf-8", errors="replace"):
        return False
    return all(name == PAGE or (folder / name).suffix == ".png" for name in names)


def _put(partial: Path, folder: Path) -> None:
    """Move the finished gallery to its place."""
    if not folder.exists():
        partial.rename(folder)
        return
    old = folder.resolve().with_name(f".{folder.name}.old-{uuid.uuid4().hex[:8]}")
    folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
