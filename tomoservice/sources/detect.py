"""Opening a scan whatever it is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import MissingDataError, UnknownFormatError
from tomoservice.scan import TomoScan
from tomoservice.sources.angles import angles_from_file
from tomoservice.sources.dxchange import is_dxchange, open_dxchange
from tomoservice.sources.hdf5 import is_hdf5, open_hdf5
from tomoservice.sources.nxtomo import find_entries, open_nxtomo
from tomoservice.sources.tiff import open_tiff, tiff_files


class ScanFormat(StrEnum):
    """Formats of scans in files."""

    AUTO = "auto"
    """Found out from the content."""
    DXCHANGE = "dxchange"
    NXTOMO = "nxtomo"
    TIFF = "tiff"


def open_scan(
    path: str | Path,
    *,
    format: ScanFormat | str = ScanFormat.AUTO,  # noqa: A002
    angles: str | Path | NDArray[np.float64] | None = None,
) -> TomoScan:
    """Open a scan in a file or a folder.

    Parameters
    ----------
    path : str or Path
        DXchange or NXtomo HDF5 file, or folder of TIFF files.
    format : ScanFormat or str
        Format, where it should not be found out from the content.
    angles : str, Path or ndarray of float64, optional
        Angles in degrees, or a text or .npy file with them, instead of the scan's own.

    Returns
    -------
    TomoScan
        To be closed after use; a context manager.

    Raises
    ------
    UnknownFormatError
        If the content is none that is known.
    InputError
        If the scan cannot be read; names file, data set and cause.
    """
    place = Path(path)
    try:
        wanted = ScanFormat(format)
    except ValueError as error:
        known = ", ".join(item.value for item in ScanFormat)
        raise UnknownFormatError(place, f"unknown format {format!r}", hint=f"Known are {known}") from error
    if not place.exists():
        raise MissingDataError(place, "no such file or folder")
    if wanted is ScanFormat.AUTO:
        wanted = detect_format(place)
    values = angles_from_file(Path(angles)) if isinstance(angles, str | Path) else angles
    match wanted:
        case ScanFormat.DXCHANGE:
            return open_dxchange(place, angles_deg=values)
        case ScanFormat.NXTOMO:
            return open_nxtomo(place, angles_deg=values)
        case _:
            return open_tiff(place, angles_deg=values)


def detect_format(path: Path) -> ScanFormat:
    """Return the format of a file or folder, by its content.

    Raises
    ------
    UnknownFormatError
        If it is none that is known; says what was looked for.
    """
    if path.is_dir():
        if tiff_files(path):
            return ScanFormat.TIFF
        raise UnknownFormatError(path, "the folder holds no TIFF files (.tif, .tiff)")
    if not is_hdf5(path):
        cause = "is neither an HDF5 file nor a folder of TIFF files"
        hint = "Give the folder that holds it" if path.suffix.lower() in {".tif", ".tiff"} else ""
        raise UnknownFormatError(path, cause, hint=hint)
    with open_hdf5(path) as file:
        if find_entries(file):
            return ScanFormat.NXTOMO
        if is_dxchange(file):
            return ScanFormat.DXCHANGE
        if find_entries(file, follow_links=True):
            return ScanFormat.NXTOMO
        there = ", ".join(sorted(file)) or "nothing"
    raise UnknownFormatError(
        path,
        "is HDF5, but neither DXchange (no /exchange/data) nor NXtomo (no entry with definition NXtomo"
        f" or an image_key); the file holds {there}",
    )
