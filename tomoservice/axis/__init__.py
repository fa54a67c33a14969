"""Where the rotation axis is: methods that find its detector column, each with its curve and a confidence."""

from __future__ import annotations

from tomoservice.axis.combined import auto, opposite_pair
from tomoservice.axis.double_wedge import fourier
from tomoservice.axis.image_metric import ImageMetric, Reconstruct, grey_limits, image_metric, plainness
from tomoservice.axis.opposite_views import phase_correlation
from tomoservice.axis.overlap import overlap
from tomoservice.axis.result import AxisResult
from tomoservice.axis.tilt import OppositeViews, by_height, by_strips, with_tilt

__all__ = [
    "AxisResult",
    "ImageMetric",
    "OppositeViews",
    "Reconstruct",
    "auto",
    "by_height",
    "by_strips",
    "fourier",
    "grey_limits",
    "image_metric",
    "opposite_pair",
    "overlap",
    "phase_correlation",
    "plainness",
    "with_tilt",
]
