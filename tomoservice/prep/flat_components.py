"""Dynamic flat field: a beam that changes faster than flats are taken, as a mixture of how the flats differ.

V. Van Nieuwenhove et al., Dynamic intensity normalization using eigen flat fields in X-ray imaging, Optics
Express 23 (2015), DOI 10.1364/OE.23.027975. Scope: frame statistics, over all flats (`flat_components`) and
over every projection (`component_weights`); then rows + margin of `FlatComponents.row_margin`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import EngineError, GeometryError
from tomoservice.prep.flat_field import OpenBeam, dead_pixels, open_beam
from tomoservice.prep.flat_frames import Stack
from tomoservice.threads import for_each

# Rows of the flats that are held at once. Fixed, so that sums are the same whatever the memory.
ROWS_AT_ONCE = 32
# Random sets of flats that the eigenvalues are compared with, and by how many standard deviations.
TRIALS, DEVIATIONS = 20, 2.0
# What exceeds chance by less is not worth a fit: pixels of a real detector are not quite independent.
MARGIN = 1.1
MOST_COMPONENTS = 20
# Standard deviations of the flats; no projection's beam is further from their mean.
LARGEST_WEIGHT = 10.0
# Of the mean transmission; differences below it count as flat.
SOFTNESS = 1e-3
# Of the median beam; less of it is outside, where a transmission is noise.
INSIDE = 0.05
FEWEST_FLATS = 3


@dataclass(frozen=True)
class ComponentOptions:
    """How the dynamic flat field is made.

    Raises
    ------
    EngineError
        If a value makes no sense.
    """

    components: int | None = None
    """How many; None takes those that stand out from noise (parallel analysis)."""
    smoothing: float = 1.0
    """Standard deviation in pixels of the Gaussian that takes the noise out of the components; 0 for none."""
    downsampling: int = 4
    """Pixels averaged along rows and columns before the weights are fitted."""

    def __post_init__(self) -> None:
        if self.components is not None and not 1 <= self.components <= MOST_COMPONENTS:
            raise EngineError(f"components: got {self.components}, wants 1 to {MOST_COMPONENTS}")
        if not 0 <= self.smoothing < np.inf:
            raise EngineError(f"the smoothing of components must be 0 or more, got {self.smoothing}")
        if self.downsampling < 1:
            raise EngineError(f"downsampling: got {self.downsampling}, wants 1 or more")


@dataclass(frozen=True)
class FlatComponents:
    """What `flat_components` found: enough to make the components of any rows, and to fit their weights."""

    mixing: NDArray[np.float64]
    """(flat, 1 + k): what each flat, above the dark level, adds to the mean beam and to each component."""
    variances: NDArray[np.float64]
    """Part of the flats' variance that each principal component explains, all of them, descending."""
    chance: NDArray[np.float64]
    """What each would not exceed by chance, as far as it was looked at: the last does not pass."""
    small: NDArray[np.float64]
    """(1 + k, row, column): mean beam and components, downsampled."""
    small_dark: NDArray[np.float64]
    """(row, column): the dark field, downsampled; 0 where pixels are dead."""
    inside: NDArray[np.bool_]
    """(row, column): where the downsampled frame sees the beam."""
    good: NDArray[np.bool_]
    """(row, column): False where a pixel is dead."""
    options: ComponentOptions

    @property
    def count(self) -> int:
        """Number of components."""
        return int(self.mixing.shape[1]) - 1

    @property
    def row_margin(self) -> int:
        """Rows above and below a slab that its components depend on."""
        return _radius(self.options.smoothing)

    def beam(
        self,
        flats: NDArray[np.generic],
        dark: NDArray[np.generic] | None = None,
        *,
        bad: NDArray[np.bool_] | None = None,
    ) -> OpenBeam:
        """Return the beam of some rows, for `line_integrals` with the weights of `component_weights`.

        Parameters
        ----------
        flats : (flat, row, column) real array
            The same flats, `row_margin` rows more on either side where the detector has them: cut the result
            with `OpenBeam.part`.
        dark : (row, column) real array or None
            Reduced dark field.
        bad : (row, column) bool array, optional
            Pixels to bridge besides the dead ones.

        Raises
        ------
        GeometryError
            If it is not as many flats.
        """
        stack = np.asarray(flats)
        if stack.ndim != 3 or len(stack) != len(self.mixing):
            msg = f"the components were made of {len(self.mixing)} flats, got shape {stack.shape}"
            raise GeometryError(msg)
        black = np.zeros(stack.shape[1:], np.float64) if dark is None else np.asarray(dark, np.float64)
        basis = np.stack([_mixed(stack, black, column) for column in self.mixing.T])
        # A dead pixel would spread through the smoothing.
        lost = dead_pixels(basis[0].astype(np.float32))
        basis[1:, lost] = 0
        if self.options.smoothing > 0:
            for component in basis[1:]:
                component[:] = _smoothed(component, self.options.smoothing)
        lost = lost if bad is None else lost | bad
        beam = open_beam(basis[0].astype(np.float32), components=basis[1:].astype(np.float32), bad=lost)
        return replace(beam, dark=np.where(beam.bad, 0, black).astype(np.float32))


def flat_components(
    flats: Stack, dark: NDArray[np.generic] | None = None, options: ComponentOptions | None = None
) -> FlatComponents:
    """Find the principal components of how flats differ from their mean.

    Flats are first brought to the same brightness, which the weights could not tell from the sample's:
    normalise to an air region for a beam whose brightness changes. How many components there are is told by
    parallel analysis: a component counts if it explains more than the largest would if flats, less the
    components before it, differed by noise only.

    Parameters
    ----------
    flats : (flat, row, column) real array, or anything that is read like one by slices of rows
        All good flats in counts, whole frames. Not modified.
    dark : (row, column) real array or None
        Reduced dark field in counts; None stands for zero.
    options : ComponentOptions, optional
        Number of components, smoothing, downsampling.

    Returns
    -------
    FlatComponents
        With at least one component.

    Raises
    ------
    EngineError
        If there are fewer than 3 flats, or a flat is not brighter than the dark field.
    GeometryError
        If the shapes do not fit.
    """
    chosen = options or ComponentOptions()
    shape = flats.shape
    if len(shape) != 3 or shape[0] < FEWEST_FLATS or 0 in shape:
        msg = f"a dynamic flat field needs at least {FEWEST_FLATS} good flats, got shape {shape}"
        raise EngineError(msg + "; take more, or use the standard flat field")
    black = np.zeros(shape[1:], np.float64) if dark is None else np.asarray(dark, np.float64)
    if black.shape != shape[1:]:
        raise GeometryError(f"flats {shape} and dark field {black.shape} must be of the same frame")
    levels, good = _levels(flats, black)
    gram, pixels = _gram(flats, black, good, levels)
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    chance = _chance(values, pixels)
    count = chosen.components or max(1, int((values[: len(chance)] > chance).sum()))
    count = min(count, len(gram) - 1, MOST_COMPONENTS)
    # Weights of the flats themselves have a standard deviation of 1.
    mixing = np.empty((len(gram), 1 + count))
    mixing[:, 0] = 1 / len(gram)
    mixing[:, 1:] = vectors[:, :count] / np.sqrt(len(gram))
    mixing[:, 1:] -= mixing[:, 1:].mean(axis=0)
    mixing *= (levels.mean() / levels)[:, None]
    total = max(float(values.sum()), np.finfo(float).tiny)
    small = np.stack([_shrunk_mixture(flats, black, good, column, chosen) for column in mixing.T])
    inside = small[0] > INSIDE * np.median(small[0])
    small[0, ~inside], small[1:, ~inside] = 1, 0
    small_dark = _shrunk(np.where(good, black, 0), chosen.downsampling)
    return FlatComponents(mixing, values / total, chance / total, small, small_dark, inside, good, chosen)


def component_weights(
    projections: NDArray[np.generic], components: FlatComponents, *, threads: int | None = None
) -> NDArray[np.float32]:
    """Fit the beam of each projection: the one that leaves the least total variation in it.

    Parameters
    ----------
    projections : (angle, row, column) real array
        Whole frames in counts. Not modified. Each is fitted on its own.
    components : FlatComponents
        From `flat_components`, of the same detector.
    threads : int, optional
        Most threads to use.

    Returns
    -------
    (angle, 1 + k) float32 array
        Weights for `line_integrals`: 1 for the mean beam, then one for each component.

    Raises
    ------
    GeometryError
        If the frames are of another size.
    """
    stack = np.asarray(projections)
    if stack.ndim != 3 or stack.shape[1:] != components.good.shape:
        msg = f"projections of shape {stack.shape} do not fit flats of {components.good.shape} (row, column)"
        raise GeometryError(msg)
    weights = np.ones((len(stack), 1 + components.count), np.float32)
    if len(stack):
        # The first on this thread: it compiles what the others use.
        weights[0, 1:] = _fit(stack[0], components)

    def fit(index: int) -> None:
        weights[index, 1:] = _fit(stack[index], components)

    for_each(fit, range(1, len(stack)), threads)
    return weights


def _fit(frame: NDArray[np.generic], components: FlatComponents) -> NDArray[np.float64]:
    from scipy.optimize import minimize

    from tomoservice.prep._flat_component_kernels import total_variation

    usable = components.good & np.isfinite(frame)
    signal = _shrunk(np.where(usable, frame, 0).astype(np.float64), components.options.downsampling)
    signal = np.where(components.inside, signal - components.small_dark, 0)
    soft = SOFTNESS * float(np.abs(signal).mean() / components.small[0].mean())
    start, slope = np.zeros(components.count), np.empty(components.count)
    if soft == 0:
        return start
    scale = total_variation(signal, components.small, start, soft, slope)
    if not (np.isfinite(scale) and scale > 0):
        return start

    def cost(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value = total_variation(signal, components.small, weights, soft, slope)
        return value / scale, slope / scale

    # Not L-BFGS-B: on problems so small its calls into threaded linear algebra take ten times the time.
    found = minimize(cost, start, jac=True, method="BFGS", options={"maxiter": 50, "gtol": 1e-4})
    if not np.isfinite(found.x).all():
        return start
    return np.clip(found.x, -LARGEST_WEIGHT, LARGEST_WEIGHT)


def _levels(flats: Stack, black: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mean of each flat above the dark level over the good pixels, and which pixels are good."""
    total, pixels = np.zeros(flats.shape[0]), 0
    good = np.empty(black.shape, np.bool_)
    for rows in _row_blocks(len(black)):
        signal = np.asarray(flats[:, rows], np.float64) - black[rows]
        finite = np.isfinite(signal).all(axis=0)
        mean = np.where(finite, signal.mean(axis=0), np.nan)
        good[rows] = ~dead_pixels(mean.astype(np.float32))
        total += signal[:, good[rows]].sum(axis=1)
        pixels += int(good[rows].sum())
    levels = total / max(pixels, 1)
    wrong = np.flatnonzero(~(np.isfinite(levels) & (levels > 0)))
    if wrong.size:
        msg = f"flat {wrong[0]} is on the mean {levels[wrong[0]]:.4g} counts brighter than the dark field"
        raise EngineError(msg + "; leave it out")
    return levels, good


def _gram(
    flats: Stack, black: NDArray[np.float64], good: NDArray[np.bool_], levels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return products of flats less their mean, and how many pixels of equal variance are worth as much."""
    gram = np.zeros((levels.size, levels.size))
    variance_sum = square_sum = 0.0
    for rows in _row_blocks(len(black)):
        signal = (np.asarray(flats[:, rows], np.float64) - black[rows])[:, good[rows]]
        signal *= (levels.mean() / levels)[:, None]
        signal -= signal.mean(axis=0)
        gram += signal @ signal.T
        variance = (signal**2).sum(axis=0) / (levels.size - 1)
        variance_sum += float(variance.sum())
        square_sum += float((variance**2).sum())
    return gram, variance_sum**2 / square_sum if square_sum > 0 else 1.0


def _chance(values: NDArray[np.float64], pixels: float) -> NDArray[np.float64]:
    """Return for each component what the largest eigenvalue would not exceed, were the rest noise.

    Products of random frames of so many pixels follow a Wishart distribution; frames less their mean span one
    dimension less than there are. Ends with the first component that does not pass.
    """
    from scipy.stats import wishart

    random = np.random.default_rng(0)
    limits: list[float] = []
    for first in range(min(len(values) - 2, MOST_COMPONENTS)):
        rest = values[first : len(values) - 1]
        freedom = max(pixels, rest.size)
        draws = wishart.rvs(freedom, np.eye(rest.size), size=TRIALS, random_state=random)
        largest = np.linalg.eigvalsh(draws.reshape(TRIALS, rest.size, rest.size))[:, -1]
        limits.append(float(MARGIN * rest.mean() / freedom * (largest.mean() + DEVIATIONS * largest.std())))
        if values[first] <= limits[-1]:
            break
    return np.array(limits)


def _shrunk_mixture(
    flats: Stack,
    black: NDArray[np.float64],
    good: NDArray[np.bool_],
    mixing: NDArray[np.float64],
    options: ComponentOptions,
) -> NDArray[np.float64]:
    whole = np.empty(black.shape)
    for rows in _row_blocks(len(black)):
        whole[rows] = np.where(good[rows], _mixed(np.asarray(flats[:, rows]), black[rows], mixing), 0)
    # A component sums to 0 over the flats; its noise is taken out as in `FlatComponents.beam`.
    if options.smoothing > 0 and abs(mixing.sum()) < 0.5 * np.abs(mixing).sum():
        whole = _smoothed(whole, options.smoothing)
    return _shrunk(whole, options.downsampling)


def _mixed(
    flats: NDArray[np.generic], black: NDArray[np.float64], mixing: NDArray[np.float64]
) -> NDArray[np.float64]:
    mixture = np.zeros(black.shape)
    for frame, weight in zip(flats, mixing, strict=True):
        mixture += weight * (frame - black)
    return mixture


def _shrunk(frame: NDArray[np.float64], by: int) -> NDArray[np.float64]:
    """Average blocks of pixels; what is left over at the end is left out, unless nothing else is there."""
    across, down = (min(by, n) for n in frame.shape)
    rows, columns = frame.shape[0] // across, frame.shape[1] // down
    blocks = frame[: rows * across, : columns * down].reshape(rows, across, columns, down)
    mean: NDArray[np.float64] = blocks.mean(axis=(1, 3))
    return mean


def _smoothed(frame: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(frame, sigma, mode="nearest", radius=_radius(sigma)), np.float64)


def _radius(sigma: float) -> int:
    """Return where a Gaussian ends: 6e-6 of it lies beyond."""
    return int(4.5 * sigma + 0.5)


def _row_blocks(rows: int) -> list[slice]:
    return [slice(start, min(start + ROWS_AT_ONCE, rows)) for start in range(0, rows, ROWS_AT_ONCE)]
