"""A recipe applied to a scan: planned first, then computed slab by slab within a memory budget."""

from __future__ import annotations

from tomoservice.pipeline.layout import Slab
from tomoservice.pipeline.plan import Plan, find_axis, prepare
from tomoservice.pipeline.slabs import SlabSink, compute

__all__ = ["Plan", "Slab", "SlabSink", "compute", "find_axis", "prepare"]
