"""Compiles, or loads from disk, what the first scan would have to wait for."""

from __future__ import annotations

import logging
import time

import numpy as np

from tomoservice.garbage import spare_what_is_there
from tomoservice.live.references import Beam
from tomoservice.live.seeking import AxisMatter
from tomoservice.recon.live import BinnedVolume, CrossSection, FilteredViews, LiveGeometry, Slice

logger = logging.getLogger(__name__)

ROWS, COLUMNS, VIEWS = 4, 64, 40


def warm() -> None:
    """Reconstruct a scan of next to nothing, and look for its axis."""
    began = time.monotonic()
    geometry = LiveGeometry(ROWS, COLUMNS, (COLUMNS - 1) / 2)
    flat = np.full((ROWS, COLUMNS), 1000, np.float32)
    beam = Beam(flat, np.zeros_like(flat), provisional=False, source="", own_dark=True)
    frames = np.full((VIEWS, ROWS, COLUMNS), 900, np.uint16)
    frames[:, :, COLUMNS // 3 : COLUMNS // 2] = 500
    lines = beam.line_integrals(frames, slice(None))
    angles = np.arange(VIEWS, dtype=np.float64) * (180 / VIEWS)
    views = FilteredViews(geometry, lines, angles)
    for part in (
        Slice(geometry, 1),
        CrossSection(geometry, 30, "y"),
        CrossSection(geometry, 30, "x"),
        BinnedVolume(geometry, 2),
    ):
        part.add(views)
        part.correct(lines[0])
    AxisMatter(np.ascontiguousarray(lines.swapaxes(0, 1)), angles).search()
    spare_what_is_there()
    logger.info("ready after %.1f s", time.monotonic() - began)
