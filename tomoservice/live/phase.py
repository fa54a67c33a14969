"""The phase of projections that come one by one, retrieved as somebody wishes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.live.references import MINIMUM_TRANSMISSION
from tomoservice.prep.minus_log import minus_log
from tomoservice.prep.phase import Method, PhasePlan, Retrieval, check_blur, free_space
from tomoservice.sources.layout import choose_layout
from tomoservice.sources.run_metadata import first_number, in_start
from tomoservice.sources.units import Quantity


class LivePhase:
    """Retrieves the phase of projections by Paganin's method, and keeps what that takes for each ratio.

    Parameters
    ----------
    start : mapping
        The start document, which says energy, distance and pixel size.
    where : str
        The run, for errors.
    threads : int
        Threads to use.
    """

    def __init__(self, start: Mapping[str, Any], where: str, threads: int) -> None:
        self._start, self._where, self._threads = start, where, threads
        self._plans: dict[tuple[Retrieval, tuple[int, int]], PhasePlan] = {}

    def retrieval(self, delta_beta: float | None, shape: tuple[int, int]) -> Retrieval | None:
        """Return what is to be done with frames of a shape (row, column); None if nothing is.

        Raises
        ------
        RecipeError
            The scan does not say all that is needed, or the ratio blurs away everything.
        EngineError
            It says something that cannot be.
        InputError
            A unit that it gives is unknown.
        """
        if not delta_beta:
            return None
        layout = choose_layout(self._start, [], self._where)
        places = layout.metadata
        energy, distance, pixel = (
            first_number(in_start(self._start, place), quantity, layout.name, [])
            for place, quantity in (
                (places.energy, Quantity.ENERGY_KEV),
                (places.distance, Quantity.DISTANCE_MM),
                (places.pixel_size, Quantity.LENGTH_UM),
            )
        )
        space = free_space(energy_kev=energy, distance_mm=distance, pixel_size_um=pixel, name="live slices")
        check_blur(delta_beta, space, *shape, name="live slices")
        return Retrieval(method=Method.PAGANIN, delta_beta=delta_beta, space=space)

    def retrieve(self, lines: NDArray[np.float32], retrieval: Retrieval | None) -> NDArray[np.float32]:
        """Return line integrals without the fringes of propagation.

        Parameters
        ----------
        lines : (frame, row, column) float32 array
            Line integrals of whole frames, not modified.
        retrieval : Retrieval, optional
            As of `retrieval`; without it, `lines` are returned.

        Returns
        -------
        (frame, row, column) float32 array
            Line integrals.

        Raises
        ------
        EngineError
            A value is so large that the transform overflows.
        """
        if retrieval is None:
            return lines
        key = (retrieval, lines.shape[1:])
        if key not in self._plans:
            # What is shown now, and what will be.
            while len(self._plans) > 1:
                del self._plans[next(iter(self._plans))]
            self._plans[key] = PhasePlan(retrieval, *lines.shape[1:], threads=self._threads)
        transmissions = np.exp(-lines)
        self._plans[key].execute(transmissions, out=transmissions)
        return minus_log(transmissions, minimum_transmission=MINIMUM_TRANSMISSION, out=transmissions)
