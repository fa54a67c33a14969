"""Scans to measure with: the phantom, as files that the service can ingest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tomoservice.phantom import default_phantom

OPEN_BEAM, OFFSET = 60000.0, 100.0
REFERENCES = 5
QUIET: dict[str, Any] = {"live": {"enabled": False}}
"""Settings without a process that has no part in what is measured."""
DISTINCT_ROWS = 32
"""Rows that are simulated; taller scans repeat them, which is as much work for everybody."""


def write_scan(path: Path, *, columns: int, rows: int, angles: int, name: str) -> Path:
    """Write a scan of the phantom as a DXchange file.

    Parameters
    ----------
    path
        File; its folder exists.
    columns, rows, angles
        Size of the scan; half a turn, the axis in the middle.
    name
        Of the sample; scans of different names have different contents.
    """
    phantom = default_phantom(columns, rows)
    angles_deg = np.arange(angles) * (180.0 / angles)
    distinct = np.linspace(0, rows - 1, min(rows, DISTINCT_ROWS)).astype(int)
    integrals = phantom.line_integrals(angles_deg, list(distinct))
    counts = (OFFSET + OPEN_BEAM * np.exp(-integrals)).astype(np.uint16)
    repeated = np.arange(rows) % len(distinct)
    with h5py.File(path, "w") as file:
        exchange = file.create_group("exchange")
        data = exchange.create_dataset("data", (angles, rows, columns), np.uint16, chunks=(1, rows, columns))
        for number, frame in enumerate(counts):
            data[number] = frame[repeated]
        exchange["theta"] = angles_deg
        flat = np.full((REFERENCES, rows, columns), OFFSET + OPEN_BEAM, np.uint16)
        exchange["data_white"] = flat
        exchange["data_dark"] = np.full_like(flat, int(OFFSET))
        file.create_group("measurement/sample")["name"] = name
    return path
