"""Reconstruction that is updated as projections arrive, instead of computed once all of them are there.

Filtered back-projection is a sum over the projections, so each can be added when it comes, in whatever order.
What is kept are sums: of three orthogonal slices and of a volume of larger voxels. See `parts` for what grey
values mean before the last projection.
"""

from __future__ import annotations

from tomoservice.recon.live.geometry import LiveGeometry, SlicePosition
from tomoservice.recon.live.parts import BinnedVolume, CrossSection, LivePart, Slice, binning_for
from tomoservice.recon.live.views import FilteredViews

__all__ = [
    "BinnedVolume",
    "CrossSection",
    "FilteredViews",
    "LiveGeometry",
    "LivePart",
    "Slice",
    "SlicePosition",
    "binning_for",
]
