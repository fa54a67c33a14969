"""The phase of projections that come one by one, retrieved as somebody wishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.errors import InputError
from tomoservice.live.references import MINIMUM_TRANSMISSION
from tomoservice.prep.minus_log import minus_log
from tomoservice.prep.phase import Method, PhasePlan, Retrieval, check_blur
from tomoservice.propagation import FreeSpace
from tomoservice.sources.layout import MetadataValue, ScanLayout
from tomoservice.sources.run_metadata import first_number, in_start
from tomoservice.sources.units import Quantity


@dataclass(frozen=True, slots=True)
class SaidOfScan:
    """What a scan says of itself while it goes on.

    Parameters
    ----------
    start
        The start document.
    layout
        Where in it things stand.
    """

    start: Mapping[str, Any]
    layout: ScanLayout

    def number(self, places: tuple[MetadataValue, ...], quantity: Quantity | None = None) -> float | None:
        """Return the first number at some places of the start document, in the package's own unit.

        Raises
        ------
        InputError
            The layout gives a unit that is unknown.
        """
        return first_number(in_start(self.start, places), quantity, self.layout.name, [])


class LivePhase:
    """Retrieves the phase of projections by Paganin's method, and keeps what that takes for each ratio.

    Parameters
    ----------
    said : SaidOfScan
        Says energy, distance and pixel size.
    where : str
        The run, for errors.
    threads : int
        Threads to use.
    """

    def __init__(self, said: SaidOfScan, where: str, threads: int) -> None:
        self._said, self._where, self._threads = said, where, threads
        self._plans: dict[tuple[Retrieval, tuple[int, int]], PhasePlan] = {}

    def retrieval(self, delta_beta: float | None, shape: tuple[int, int]) -> Retrieval | None:
        """Return what is to be done with frames of a shape (row, column); None if nothing is.

        Raises
        ------
        InputError
            The start document does not say all that is needed.
        RecipeError
            The ratio blurs away everything.
        EngineError
            The scan says something that cannot be.
        """
        if not delta_beta:
            return None
        places = self._said.layout.metadata
        energy = self._said.number(places.energy, Quantity.ENERGY_KEV)
        distance = self._said.number(places.distance, Quantity.DISTANCE_MM)
        pixel = self._said.number(places.pixel_size, Quantity.LENGTH_UM)
        if energy is None or distance is None or pixel is None:
            told = {"energy": energy, "distance to the detector": distance, "pixel size": pixel}
            missing = " and ".join(name for name, value in told.items() if value is None)
            raise InputError(self._where, f"the scan's start document does not say its {missing}")
        space = FreeSpace(energy_kev=energy, distance_mm=distance, pixel_size_um=pixel)
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
