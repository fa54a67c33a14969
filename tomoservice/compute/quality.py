"""Tables about the quality of a reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.pipeline import ResidualLog, RingReport, score_rings
from tomoservice.prep.flat_field import dead_pixels

if TYPE_CHECKING:
    import pandas as pd

    from tomoservice.axis import AxisResult
    from tomoservice.pipeline import Plan
    from tomoservice.pipeline.residuals import Residual
    from tomoservice.scan import Frames, TomoScan


@dataclass(frozen=True, slots=True)
class QualityTable:
    """One subject: a table, and what can be said in a few values."""

    subject: str
    data: pd.DataFrame
    summary: dict[str, Any]


def quality_tables(
    plan: Plan, scan: TomoScan, cancelled: Callable[[], bool] | None = None
) -> Iterator[QualityTable]:
    """Yield the tables that a reconstruction of this recipe and scan has, whatever comes of it.

    Reads flats, darks and a few rows.

    Raises
    ------
    CancelledError
        If `cancelled` said so.
    """
    if plan.axis is not None:
        yield _axis_table(plan.axis)
        if plan.axis.heights is not None:
            yield _tilt_table(plan.axis)
    if scan.flats is not None or scan.darks is not None:
        yield _reference_table(scan, plan)
    yield _ring_table(score_rings(plan, scan, cancelled=cancelled))


def _axis_table(axis: AxisResult) -> QualityTable:
    import pandas as pd

    data = pd.DataFrame({"rotation_axis": axis.candidates, "metric": axis.metric})
    summary: dict[str, Any] = {
        "rotation_axis": axis.rotation_axis,
        "confidence": axis.confidence,
        "method": axis.method,
        "at_window_edge": axis.at_window_edge,
        "note": axis.note,
    }
    if axis.tilt_deg is not None:
        summary |= {"tilt_deg": axis.tilt_deg, "tilt_error_deg": axis.tilt_error_deg}
    return QualityTable("axis", data, summary)


def _tilt_table(axis: AxisResult) -> QualityTable:
    """Give the axis at every height where it was searched, and its distance from the straight line."""
    import pandas as pd

    columns = {"detector_row": axis.heights, "rotation_axis": axis.values, "residual": axis.residuals}
    return QualityTable("tilt", pd.DataFrame(columns), {"tilt_deg": axis.tilt_deg})


def _ring_table(report: RingReport) -> QualityTable:
    """Give the scores of stripes and rings in a few slices, before and after their removal."""
    import pandas as pd

    summary = {
        "removal": report.removal,
        "asked_for": report.asked,
        "ring_score_before": report.before,
        "ring_score_after": report.after,
    }
    return QualityTable("rings", pd.DataFrame([asdict(scores) for scores in report.scores]), summary)


def residual_tables(residuals: Sequence[Residual]) -> list[QualityTable]:
    """Return the table of what iterations have left of each sinogram; none if nothing was iterated."""
    import pandas as pd

    if not residuals:
        return []
    log = ResidualLog()
    for residual in residuals:
        log.add(*residual)
    data = pd.DataFrame(log.residuals, columns=["detector_row", "iteration", "relative_residual"])
    last = [value for _, _, value in log.last()]
    return [QualityTable("residuals", data, {"best": min(last), "worst": max(last)})]


def _reference_table(scan: TomoScan, plan: Plan) -> QualityTable:
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
    used = plan.beam.references
    for row in rows:
        row["used"] = row["frame"] in (used.flats if row["kind"] == "flat" else used.darks)
    if plan.blind_rows:
        summary["blind_rows"] = list(plan.blind_rows)
    if used.notes:
        summary["left_out"] = list(used.notes)
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
