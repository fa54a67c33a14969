"""What people use from IPython: connect, reconstruct, look at the volume."""

from __future__ import annotations

from tomoservice.client.batches import Batch
from tomoservice.client.jobs import Job
from tomoservice.client.pictures import AxisSearch, Picture, SweepScores
from tomoservice.client.recipes import Recipes
from tomoservice.client.scan_list import Scans
from tomoservice.client.scans import Scan
from tomoservice.client.sweeps import SweepView, spread
from tomoservice.client.tomo import Tomo, connect

__all__ = [
    "AxisSearch",
    "Batch",
    "Job",
    "Picture",
    "Recipes",
    "Scan",
    "Scans",
    "SweepScores",
    "SweepView",
    "Tomo",
    "connect",
    "spread",
]
