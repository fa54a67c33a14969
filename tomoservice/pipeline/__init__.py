"""A recipe applied to a scan: planned first, then computed slab by slab within a memory budget."""

from __future__ import annotations

from tomoservice.pipeline.blocks import SlabSink
from tomoservice.pipeline.layout import Slab
from tomoservice.pipeline.outline import Outline, outline
from tomoservice.pipeline.plan import Plan
from tomoservice.pipeline.prepare import find_axis, prepare
from tomoservice.pipeline.residuals import ResidualLog
from tomoservice.pipeline.scores import RingReport, score_rings
from tomoservice.pipeline.slabs import Computation, compute

__all__ = [
    "Computation",
    "Outline",
    "Plan",
    "ResidualLog",
    "RingReport",
    "Slab",
    "SlabSink",
    "compute",
    "find_axis",
    "outline",
    "prepare",
    "score_rings",
]
