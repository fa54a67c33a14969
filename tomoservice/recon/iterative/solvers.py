"""The iterations.

Each solver changes the image of a `Problem` in place, and yields the norm of the misfit that each iteration
leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tomoservice.recon.iterative.problem import Problem, dot, norm

# Each takes the memory of an image; more than the iterations of conjugate gradients that are any use.
KEPT_GRADIENTS = 20
# A line that the image does not meet carries no count; against the mean of the data.
FAINT = 1e-6
# A start for EM must be positive everywhere, for a pixel that is 0 stays 0; against the uniform slice.
LEAST_START = 0.01


def sirt(problem: Problem) -> Iterator[float]:
    """Simultaneous iterative reconstruction technique: all lines correct all pixels, evenly.

    Gilbert 1972, DOI 10.1016/0022-5193(72)90180-4, with the weights of van der Sluis and van der Vorst 1990,
    DOI 10.1016/0024-3795(90)90215-X.
    """
    image, sums = problem.image, problem.sums
    misfit, change = problem.misfit(), np.empty_like(image)
    while True:
        misfit *= sums.lines
        problem.back(misfit, change)
        change *= sums.pixels
        image += change
        problem.limit(image)
        problem.projector.forward(image, misfit)
        np.subtract(problem.data, misfit, out=misfit)
        yield norm(misfit)


def cgls(problem: Problem) -> Iterator[float]:
    """Conjugate gradients on the normal equations of least squares.

    Hestenes and Stiefel 1952, DOI 10.6028/jres.049.044. Each gradient should be perpendicular to all others;
    in single precision that is lost after five iterations, and many that follow only repair it. So the first
    gradients are kept, and what later ones share with them is taken out (Björck, Elfving and Strakoš 1998,
    DOI 10.1137/S089547989631202X).
    """
    image, misfit = problem.image, problem.misfit()
    gradient, projected = np.empty_like(image), np.empty_like(misfit)
    direction, before = np.zeros_like(image), 0.0
    kept: list[NDArray[np.float32]] = []
    while True:
        problem.back(misfit, gradient)
        for past in kept:
            gradient -= np.float32(dot(past, gradient)) * past
        now = dot(gradient, gradient)
        if now > 0 and len(kept) < KEPT_GRADIENTS:
            kept.append(gradient / np.float32(np.sqrt(now)))
        direction *= np.float32(now / before if before else 0)
        direction += gradient
        before = now
        problem.projector.forward(direction, projected)
        length = dot(projected, projected)
        # Nothing is left to correct once the gradient has vanished, down to what single precision can hold.
        step = np.float32(now / length) if length > 0 else np.float32(0)
        image += step * direction
        misfit -= step * projected
        yield norm(misfit)


def sart(problem: Problem) -> Iterator[float]:
    """Simultaneous algebraic reconstruction technique, by groups of projections that take turns.

    Andersen and Kak 1984, DOI 10.1016/0161-7346(84)90008-7; by ordered subsets: Wang and Jiang 2004, DOI
    10.3233/XST-2004-00112. The misfit of each group is taken when its turn comes.
    """
    image, sums = problem.image, problem.sums
    change, misfit = np.empty_like(image), np.empty_like(problem.data)
    relaxation = np.float32(problem.options.relaxation)
    while True:
        total = 0.0
        for group in problem.projector.groups:
            rows = problem.projector.rows(group)
            problem.projector.forward(image, misfit, group)
            part = np.subtract(problem.data[rows], misfit[rows], out=misfit[rows])
            total += dot(part, part)
            part *= sums.lines[rows]
            problem.back(misfit, change, group)
            change *= sums.pixels
            change *= relaxation
            image += change
            problem.limit(image)
        yield float(np.sqrt(total))


def em(problem: Problem) -> Iterator[float]:
    """Expectation maximisation: the most likely slice if line integrals were counts, nowhere negative.

    Shepp and Vardi 1982, DOI 10.1109/TMI.1982.4307558. Negative line integrals count as 0, in the misfit too.
    """
    image, sums = problem.image, problem.sums
    data = np.maximum(problem.data, 0)
    seen = sums.pixels > 0
    reach = float(
        np.divide(1, sums.lines, out=np.zeros_like(sums.lines), where=sums.lines > 0).sum(dtype=np.float64)
    )
    uniform = float(data.sum(dtype=np.float64)) / max(reach, FAINT)
    faint = FAINT * float(data.mean(dtype=np.float64))
    image[:] = np.where(seen, np.maximum(image, LEAST_START * uniform) if image.any() else uniform, 0)
    projected, change = np.empty_like(data), np.empty_like(image)
    problem.projector.forward(image, projected)
    while True:
        ratio = np.divide(data, projected, out=np.zeros_like(data), where=projected > faint)
        problem.back(ratio, change)
        change *= sums.pixels
        image *= change
        problem.limit(image)
        problem.projector.forward(image, projected)
        yield norm(data - projected)


def tv(problem: Problem) -> Iterator[float]:
    """Least squares with a price on total variation: few edges, and flat in between.

    Accelerated proximal gradients (Beck and Teboulle 2009, DOI 10.1109/TIP.2009.2028250) that begin anew when
    they overshoot (O'Donoghue and Candès 2015, DOI 10.1007/s10208-013-9150-3).
    """
    from tomoservice.recon.iterative.total_variation import TotalVariation

    image, step = problem.image, np.float32(1 / problem.sums.bound)
    denoise = TotalVariation(
        problem.options.weight * len(problem.data) / problem.sums.bound, problem.limit, image.shape
    )
    misfit, gradient = problem.misfit(), np.empty_like(image)
    ahead, misfit_ahead, momentum = image.copy(), misfit.copy(), 1.0
    while True:
        problem.back(misfit_ahead, gradient)
        gradient *= step
        gradient += ahead
        latest = denoise(gradient)
        ahead -= latest
        move = latest - image
        if dot(ahead, move) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        onward = np.float32((momentum - 1) / following)
        momentum = following
        np.copyto(image, latest)
        np.multiply(move, onward, out=ahead)
        ahead += image
        previous, misfit = misfit, np.empty_like(misfit)
        problem.projector.forward(image, misfit)
        np.subtract(problem.data, misfit, out=misfit)
        # The projector is linear: what lies ahead need not be projected.
        misfit_ahead = misfit + onward * (misfit - previous)
        yield norm(misfit)


def uniform_order(angles: NDArray[np.float64], groups: int) -> tuple[NDArray[np.intp], list[int]]:
    """Order projections so that groups of neighbours each cover the half circle, following ones far apart.

    Parameters
    ----------
    angles : (angle,) float64 array
        In radians.
    groups : int
        Wanted; at most one for each projection.

    Returns
    -------
    order : (angle,) int array
        Projections in the order in which they take their turns.
    starts : list of int
        Where in it the groups begin.
    """
    count = min(groups, len(angles))
    by_angle = np.argsort(np.mod(angles, np.pi), kind="stable")
    # Multiples of the golden section fill the circle evenly, however many there are.
    turns = np.argsort(np.mod(np.arange(count) * (np.sqrt(5) - 1) / 2, 1), kind="stable")
    parts = [by_angle[turn::count] for turn in turns]
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
    return np.concatenate(parts), starts.tolist()
