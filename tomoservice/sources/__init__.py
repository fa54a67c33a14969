"""Where scans come from: files, folders, and Bluesky runs in Tiled."""

from __future__ import annotations

from tomoservice.sources.checks import (
    BadFrames,
    bad_frames,
    check_frames,
    check_projections,
    check_references,
)
from tomoservice.sources.companions import companion_names, initial_volume_name, open_beside, open_companions
from tomoservice.sources.detect import ScanFormat, detect_format, open_scan
from tomoservice.sources.dxchange import open_dxchange
from tomoservice.sources.layout import ScanLayout, layouts, load_layout
from tomoservice.sources.nxtomo import open_nxtomo
from tomoservice.sources.run import open_run
from tomoservice.sources.summary import ScanSummary, describe
from tomoservice.sources.tiff import open_tiff

__all__ = [
    "BadFrames",
    "ScanFormat",
    "ScanLayout",
    "ScanSummary",
    "bad_frames",
    "check_frames",
    "check_projections",
    "check_references",
    "companion_names",
    "describe",
    "detect_format",
    "initial_volume_name",
    "layouts",
    "load_layout",
    "open_beside",
    "open_companions",
    "open_dxchange",
    "open_nxtomo",
    "open_run",
    "open_scan",
    "open_tiff",
]
