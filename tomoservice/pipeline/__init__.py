"""A recipe applied to a scan: planned first, then computed slab by slab within a memory budget."""

from __future__ import annotations

from tomoservice.pipeline.blocks import SlabSink
from tomoservice.pipeline.layout import Slab
from tomoservice.pipeline.plan import Plan
from tomoservice.pipeline.prepare import find_axis, prepare
from tomoservice.pipeline.residuals import ResidualLog
from tomoservice.pipeline.scores import RingReport, score_rings
from tomoservice.pipeline.slabs import compute

__all__ = [
    "Plan",
    "ResidualLog",
    "RingReport",
    "Slab",
    "SlabSink",
    "compute",
    "find_axis",
    "prepare",
    "score_rings",
]
