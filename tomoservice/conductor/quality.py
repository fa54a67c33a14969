"""Tables about the quality of a reconstruction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.prep.flat_field import dead_pixels

if TYPE_CHECKING:
    import pandas as pd

    from tomoservice.axis import AxisResult
    from tomoservice.pipeline import Plan
    from tomoservice.scan import Frames, TomoScan


@dataclass(frozen=True, slots=True)
class QualityTable:
    """One subject: a table, and what can be said in a few values."""

    subject: str
    data: pd.DataFrame
    summary: dict[str, Any]


def quality_tables(plan: Plan, scan: TomoScan) -> Iterator[QualityTable]:
    """Yield the tables that a reconstruction of this recipe and scan has.

    Reads flats and darks.
    """
    if plan.axis is not None:
        yield _axis_table(plan.axis)
    if scan.flats is not None or scan.darks is not None:
        yield _reference_table(scan)


def _axis_table(axis: AxisResult) -> QualityTable:
    import pandas as pd

    data = pd.DataFrame({"rotation_axis": axis.candidates, "metric": axis.metric})
    summary = {
        "rotation_axis": axis.rotation_axis,
        "confidence": axis.confidence,
        "method": axis.method,
        "at_window_edge": axis.at_window_edge,
        "note": axis.note,
    }
    return QualityTable("axis", data, summary)


def _reference_table(scan: TomoScan) -> QualityTable:
    """Describe every flat and dark by a few numbers: a drifting beam shows in the means."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    flat, dark = (
        None if frames is None else _describe_frames(kind, frames, rows)
        for kind, frames in (("flat", scan.flats), ("dark", scan.darks))
    )
    summary: dict[str, Any] = {
        "flats": 0 if scan.flats is None else scan.flats.shape[0],
        "darks": 0 if scan.darks is None else scan.darks.shape[0],
    }
    if flat is not None:
        summary["dead_pixels"] = int(np.count_nonzero(dead_pixels(flat, dark)))
    return QualityTable("references", pd.DataFrame(rows), summary)


def _describe_frames(kind: str, frames: Frames, rows: list[dict[str, Any]]) -> NDArray[np.float32]:
    """Append a row per frame and return the mean (row, column) of all, holding one frame at a time."""
    total = np.zeros(frames.shape[1:], np.float64)
    for index in range(frames.shape[0]):
        frame = frames[index]
        total += frame
        rows.append(
            {
                "kind": kind,
                "frame": index,
                "mean": float(frame.mean(dtype=np.float64)),
                "minimum": float(frame.min()),
                "maximum": float(frame.max()),
            }
        )
    return (total / max(frames.shape[0], 1)).astype(np.float32)
