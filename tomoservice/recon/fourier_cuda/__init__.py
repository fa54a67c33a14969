"""The Fourier method on a CUDA device: the same sum as `tomoservice.recon.fourier`, term by term.

Geometry, filter and tables are those of the CPU's kernel. Sixteen slices are a group there and here, two of
them share complex numbers there and here, so that both agree to rounding, 1e-5 of the largest value:

1. ``pack_projections``: sinograms become complex projections, padded; cuFFT transforms them.
2. ``respond``: filter, weights and shifts: polar samples, those of all pairs of slices side by side.
3. ``gather_cells``: each cell of the fine grid adds up the samples around it, in a fixed order. It finds them
   by the direction of their lines; what it works out about a sample serves all pairs.
4. cuFFT transforms the grid; ``make_slices`` cuts slices out and corrects them for the spreading.

The kernels are in ``kernels.cu``. Where memory is short, fewer pairs are computed at once, with the same
numbers.
"""

from __future__ import annotations

from tomoservice.recon.fourier_cuda.plan import FourierDevicePlan, FourierDeviceReconstructor

__all__ = ["FourierDevicePlan", "FourierDeviceReconstructor"]
