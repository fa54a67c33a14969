"""Rotation angles: their units, their number, and the files that list them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError, MissingDataError
from tomoservice.sources.units import Quantity, factor, unit_of

STANDING_DEG = 1e-3
"""Two angles that differ by less were recorded while the stage stood still."""


def angles_from_values(
    values: Any, where: object, dataset: str, *, unit: str = "deg", scale: float = 1.0
) -> NDArray[np.float64]:
    """Return angles in degrees.

    Parameters
    ----------
    values : array_like
        One angle per projection, of any shape whose axes but one are of length 1 (or frames that
        are numbered over several axes).
    where
        File or node, for the error.
    dataset : str
        Data set or data key, for the error.
    unit : str
        Unit of `values`.
    scale : float
        Further factor, of an encoder that counts otherwise.

    Raises
    ------
    InputError
        If the unit is unknown, or a value is no finite number.
    """
    by = factor(unit, Quantity.ANGLE_DEG)
    if by is None:
        raise InputError(where, f"angles are in unknown unit {unit!r}", dataset=dataset)
    try:
        angles = np.asarray(values, np.float64).reshape(-1) * (by * scale)
    except (TypeError, ValueError) as error:
        raise InputError(where, f"angles are no numbers: {error}", dataset=dataset) from error
    bad = np.flatnonzero(~np.isfinite(angles))
    if bad.size:
        raise InputError(
            where,
            f"angle {bad[0]} is {angles[bad[0]]}, {bad.size} of {angles.size} are not finite",
            dataset=dataset,
            hint="Every projection needs an angle: correct the file, or give angles of your own",
        )
    return angles


def angles_from_dataset(dataset: h5py.Dataset) -> NDArray[np.float64]:
    """Return the angles of a data set in degrees; without units they are degrees already."""
    where, name = dataset.file.filename, str(dataset.name)
    if dataset.shape is None or dataset.ndim > 1:
        raise InputError(where, f"angles must be one-dimensional, not {dataset.shape}", dataset=name)
    return angles_from_values(dataset[()], where, name, unit=unit_of(dataset.attrs) or "deg")


def angles_from_file(path: Path) -> NDArray[np.float64]:
    """Return the angles in a text or .npy file, one per line, in degrees.

    Raises
    ------
    InputError
        If the file cannot be read as one column of numbers.
    """
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path)
        else:
            text = path.read_text().replace(",", " ").splitlines()
            rows = [line.split("#")[0].split() for line in text]
            rows = [row for row in rows if row]
            if any(len(row) != 1 for row in rows) and len(rows) != 1:
                raise InputError(path, "must hold one angle per line", hint="Keep one column of degrees")
            values = np.array([float(item) for row in rows for item in row])
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read as a list of angles: {error}") from error
    if not values.size:
        raise MissingDataError(path, "holds no angle")
    return angles_from_values(values, path, "angles")


def match_counts(
    frames: int, angles_deg: NDArray[np.float64], where: object
) -> tuple[int, NDArray[np.float64], list[str]]:
    """Bring the number of angles and of projections together.

    A list that is longer because it also holds the angle at every flat and dark, taken while the
    stage stood at its ends, loses those. Otherwise both are cut to the smaller number.

    Returns
    -------
    count : int
        Number of projections to keep, from the first.
    angles_deg : ndarray of float64
        As many angles.
    notes : list of str
        What was done.

    Raises
    ------
    MissingDataError
        If there are no angles or no projections at all.
    """
    if not frames or not angles_deg.size:
        raise MissingDataError(where, f"holds {frames} projections and {angles_deg.size} angles")
    if frames == angles_deg.size:
        return frames, angles_deg, []
    moving = _without_standing(angles_deg)
    if moving.size == frames:
        surplus = angles_deg.size - frames
        note = (
            f"{surplus} of {angles_deg.size} angles were recorded while the stage stood at its first or"
            f" last position (flats and darks); the {frames} projections have the others"
        )
        return frames, moving, [note]
    count = min(frames, angles_deg.size)
    note = f"{frames} projections but {angles_deg.size} angles: the first {count} of both are used"
    return count, angles_deg[:count], [note]


def _without_standing(angles_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave one angle of each series of equal ones at the beginning and the end."""
    still = np.abs(np.diff(angles_deg)) < STANDING_DEG
    if still.all():
        return angles_deg
    first = int(np.argmin(still))
    last = angles_deg.size - int(np.argmin(still[::-1]))
    return angles_deg[first:last]
