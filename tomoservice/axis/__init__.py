"""Where the rotation axis is: methods that find its detector column, each with its curve and a confidence."""

from __future__ import annotations

from tomoservice.axis.combined import auto, opposite_pair
from tomoservice.axis.double_wedge import fourier
from tomoservice.axis.opposite_views import phase_correlation
from tomoservice.axis.result import AxisResult

__all__ = ["AxisResult", "auto", "fourier", "opposite_pair", "phase_correlation"]
