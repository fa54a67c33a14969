"""Folders of TIFF files: projections, flats and darks told apart by name, angles in a text file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from tomoservice.errors import InputError, MissingDataError, UnknownFormatError
from tomoservice.scan import ScanOrigin, TomoScan
from tomoservice.sources.angles import angles_from_file, match_counts
from tomoservice.sources.frames import LazyFrames, pixel_type, shorten

ANGLE_FILES = ("angles.txt", "angles.csv", "angles.npy", "theta.txt", "theta.csv", "theta.npy")
SUFFIXES = (".tif", ".tiff")


class Kind(StrEnum):
    """What a file shows, as its name tells."""

    PROJECTION = "projections"
    FLAT = "flats"
    DARK = "darks"
    OTHER = "other"


# A word of the name, not a part of one: `flat_0001`, `flats/0001`, but not `inflated_0001`.
_WORDS = {
    Kind.DARK: re.compile(r"(?<![a-z])(dark|darks|df|dc|data_dark)(?![a-z])"),
    Kind.FLAT: re.compile(r"(?<![a-z])(flat|flats|white|bright|ff|ob|open|ref|data_white)(?![a-z])"),
    Kind.PROJECTION: re.compile(r"(?<![a-z])(raw|proj|projs|projection|projections|tomo|data)(?![a-z])"),
}


def tiff_files(directory: Path) -> list[Path]:
    """Return the TIFF files in a folder and the folders right below it, in order of their numbers."""
    folders = [directory, *sorted(path for path in directory.iterdir() if path.is_dir())]
    found = [path for folder in folders for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    return sorted(found, key=lambda path: numeric_key(str(path.relative_to(directory))))


def numeric_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts `proj_10` after `proj_9`."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part.lower())
        for part in re.split(r"(\d+)", name)
        if part
    ]


def kind_of(name: str) -> Kind:
    """Return what a file shows, by its name relative to the scan's folder."""
    words = str(Path(name).with_suffix("")).lower()
    for kind, pattern in _WORDS.items():
        if pattern.search(words):
            return kind
    return Kind.OTHER


def open_tiff(
    path: str | Path, *, angles: Path | None = None, angles_deg: NDArray[np.float64] | None = None
) -> TomoScan:
    """Open a folder of TIFF files.

    Names say what a file shows: `flat`, `white` or `bright`; `dark`; `raw`, `proj` or `tomo`. Where
    none says projection, the other files are, provided that they differ in their number only.

    Parameters
    ----------
    path : str or Path
        Folder, with an `angles.txt` (one angle in degrees per line) unless angles are given.
    angles : Path, optional
        File with the angles, text or .npy.
    angles_deg : ndarray of float64, optional
        One angle per projection in degrees.

    Raises
    ------
    InputError
        If there are no projections or angles, or a file cannot be read.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise MissingDataError(directory, "no such folder" if not directory.exists() else "is no folder")
    groups, notes = _grouped(directory)
    if not groups[Kind.PROJECTION]:
        raise UnknownFormatError(directory, "holds no TIFF files that could be projections")
    projections = tiff_frames(groups[Kind.PROJECTION])
    values, source = _angles(directory, angles, angles_deg)
    count, matched, said = match_counts(projections.shape[0], values, directory)
    datasets = {"projections": _pattern(groups[Kind.PROJECTION]), "angles": source}
    stacks: dict[Kind, LazyFrames | None] = {}
    for kind in (Kind.FLAT, Kind.DARK):
        stacks[kind] = tiff_frames(groups[kind]) if groups[kind] else None
        if groups[kind]:
            datasets[kind.value] = _pattern(groups[kind])
        else:
            notes.append(f"no file name says {kind.value}: no {kind.value}")
    used = (Kind.PROJECTION, Kind.FLAT, Kind.DARK)
    files = tuple(str(file) for kind in used for file in groups[kind])
    return TomoScan(
        projections=shorten(projections, count),
        angles_deg=matched,
        origin=ScanOrigin("tiff", str(directory), datasets, files=files),
        flats=stacks[Kind.FLAT],
        darks=stacks[Kind.DARK],
        sample_name=directory.resolve().name,
        notes=(*notes, *said),
    )


def _grouped(directory: Path) -> tuple[dict[Kind, list[Path]], list[str]]:
    groups: dict[Kind, list[Path]] = {kind: [] for kind in Kind}
    for file in tiff_files(directory):
        groups[kind_of(str(file.relative_to(directory)))].append(file)
    others = groups[Kind.OTHER]
    notes = []
    if others and groups[Kind.PROJECTION]:
        notes.append(f"{len(others)} TIFF files whose names say nothing are left out: {_pattern(others)}")
    elif others:
        series = sorted({re.sub(r"\d+", "#", file.name) for file in others})
        if len(series) > 1:
            raise UnknownFormatError(
                directory,
                f"several series of TIFF files could be the projections: {', '.join(series)}",
                hint="Name them proj_#, flat_# and dark_#",
            )
        groups[Kind.PROJECTION] = others
    return groups, notes


def _pattern(files: Sequence[Path]) -> str:
    return re.sub(r"\d+", "#", files[0].name)


def _angles(
    directory: Path, file: Path | None, given: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], str]:
    if given is not None:
        return np.asarray(given, np.float64), "given"
    candidates = [file] if file else [directory / name for name in ANGLE_FILES]
    for candidate in candidates:
        if candidate.is_file():
            return angles_from_file(candidate), candidate.name
    raise MissingDataError(
        directory,
        f"the folder holds no angles ({', '.join(str(path.name) for path in candidates)})",
        hint="Write angles.txt with one angle in degrees per line, or give the angles separately",
    )


def tiff_frames(files: Sequence[Path]) -> LazyFrames:
    """Return the pages of files, one after the other, as frames.

    Only the first file is looked into; if it has one page, so must the others.

    Parameters
    ----------
    files : sequence of Path
        At least one, in order.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    shape, dtype, pages = _look(files[0])
    counts = [pages] * len(files) if pages == 1 else [_look(file)[2] for file in files]
    located = tuple((file, page) for file, count in zip(files, counts, strict=True) for page in range(count))
    reader = TiffReader(located, shape, dtype)
    return LazyFrames(reader, (len(located), *shape), dtype, rows_together=shape[0])


def _look(file: Path) -> tuple[tuple[int, int], np.dtype[Any], int]:
    """Return rows and columns, type and number of pages."""
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages[0]
            count = len(tiff.pages)
            shape, dtype = page.shape, page.dtype
    except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
        raise InputError(file, f"cannot be read as TIFF: {error}") from error
    if len(shape) != 2 or dtype is None:
        raise InputError(file, f"is no grey image (row, column), but of shape {shape}")
    return (shape[0], shape[1]), pixel_type(dtype, str(file), "page 0"), count


@dataclass(frozen=True, slots=True)
class TiffReader:
    """Frames in TIFF files; of uncompressed ones only the selected rows are read."""

    pages: tuple[tuple[Path, int], ...]
    """File and page of every frame."""
    shape: tuple[int, int]
    """Rows and columns of every frame."""
    dtype: np.dtype[Any]
    """Type of every frame's pixels."""

    def read(self, frames: range, rows: slice, columns: slice) -> NDArray[Any]:
        """Return the block (frame, row, column)."""
        height = len(range(*rows.indices(self.shape[0])))
        width = len(range(*columns.indices(self.shape[1])))
        result = np.empty((len(frames), height, width), self.dtype)
        for target, frame in zip(result, frames, strict=True):
            target[...] = self._page(*self.pages[frame], rows)[:, columns]
        return result

    def _page(self, file: Path, number: int, rows: slice) -> NDArray[Any]:
        try:
            with tifffile.TiffFile(file) as tiff:
                page = tiff.pages[number]
                if page.shape != self.shape or page.dtype is None or page.dtype != self.dtype:
                    raise InputError(
                        file,
                        f"frame is {page.shape} {page.dtype}, the first one {self.shape} {self.dtype}",
                    )
                if not page.is_memmappable:
                    return np.asarray(page.asarray())[rows]
                return self._rows(tiff, int(page.dataoffsets[0]), rows)
        except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
            raise InputError(file, f"cannot be read as TIFF: {error}") from error

    def _rows(self, tiff: tifffile.TiffFile, offset: int, rows: slice) -> NDArray[Any]:
        dtype = self.dtype.newbyteorder(tiff.byteorder)
        row_bytes = self.shape[1] * dtype.itemsize
        wanted = range(*rows.indices(self.shape[0]))
        # Rows that follow each other are read in one go, rows far apart without what lies between them.
        runs = [(wanted.start, len(wanted))] if wanted.step == 1 else [(row, 1) for row in wanted]
        parts = []
        for first, count in runs:
            tiff.filehandle.seek(offset + first * row_bytes)
            parts.append(tiff.filehandle.read(count * row_bytes))
        return np.frombuffer(b"".join(parts), dtype).reshape(len(wanted), self.shape[1])
