"""A recipe applied to a scan: planned first, then computed slab by slab within a memory budget."""

from __future__ import annotations

from tomoservice.pipeline.plan import Plan, Slab, prepare
from tomoservice.pipeline.slabs import SlabSink, compute

__all__ = ["Plan", "Slab", "SlabSink", "compute", "prepare"]
