"""What every search of sinograms wants of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tomoservice.errors import EngineError, GeometryError


def checked_sinograms(
    sinograms: NDArray[np.float32], angles_deg: ArrayLike, fewest_columns: int
) -> NDArray[np.float32]:
    """Return the sinograms if they can be searched.

    Parameters
    ----------
    sinograms : (row, angle, column) float32 array
        Line integrals.
    angles_deg : (angle,) array
        In degrees.
    fewest_columns : int
        What the method wants.

    Raises
    ------
    GeometryError
        If shapes do not fit.
    EngineError
        If a sinogram holds a value that is not finite.
    """
    data = np.asarray(sinograms)
    count = np.size(angles_deg)
    if data.ndim != 3 or not len(data) or data.shape[1] != count or data.shape[2] < fewest_columns:
        msg = (
            f"sinograms of shape {data.shape} do not fit {count} angles; "
            f"wanted (row, angle, column) with at least one row and {fewest_columns} columns"
        )
        raise GeometryError(msg)
    for row, sinogram in enumerate(data):
        if not np.isfinite(sinogram).all():
            msg = f"sinogram {row} is not finite everywhere; flat field correction and minus log repair that"
            raise EngineError(msg)
    return data
