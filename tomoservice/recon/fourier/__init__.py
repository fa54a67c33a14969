"""Filtered back-projection by a non-uniform Fourier transform, on the CPU, sixteen slices at a time.

Back-projection of filtered projections is a sum of plane waves on a polar grid of frequencies: a type 1
non-uniform FFT (Dutt & Rokhlin 1993, DOI 10.1137/0914081; gridding, O'Sullivan 1985,
DOI 10.1109/TMI.1985.4307723). The geometry is the same for all slices, so sixteen of them are computed
together, with the slice as innermost index:

1. `kernels.filtering`: each projection is padded, transformed, filtered: polar samples.
2. `kernels.gridding`: the samples are spread over a fine Cartesian grid, row by row, and rows transformed.
3. `kernels.columns`: columns are transformed, corrected for the spreading, and put into slices.

Slices are grouped at absolute detector rows (multiples of 16), each sum is taken in the same order whichever
thread takes it: the bits depend neither on the number of threads nor on how the scan is cut into slabs.
"""

from __future__ import annotations

from tomoservice.recon.fourier.plan import FourierPlan, FourierReconstructor

__all__ = ["FourierPlan", "FourierReconstructor"]
