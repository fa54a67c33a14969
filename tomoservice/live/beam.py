"""Which open beam and dark a scan that goes on is corrected with: its own as soon as they can be read."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomoservice.catalog.nodes import reread
from tomoservice.errors import CatalogError, FaultError, InputError, ServiceUnavailableError
from tomoservice.live.memory import Remembered
from tomoservice.live.references import Beam, References, estimated_flat
from tomoservice.live.sources import Finding

logger = logging.getLogger(__name__)

ESTIMATE = "estimated from what stands beside the sample"
OWN = "the scan's own flats"


class BeamKeeper:
    """Keeps the open beam and the dark of a scan.

    Parameters
    ----------
    run : BlueskyRun
        Tiled client of the run.
    finding : Finding
        Which raw files may be read.
    """

    def __init__(self, run: Any, finding: Finding) -> None:
        self._run, self._finding = run, finding
        self._own = References()
        self._used = (0, 0)
        """Of how many flats and darks what is used was made."""
        self.beam: Beam | None = None
        """What is used; None before the first projection."""

    @property
    def light(self) -> float | None:
        """Mean of the open beam above the dark, in counts; None if it is only estimated."""
        beam = self.beam
        if beam is None or beam.source == ESTIMATE:
            return None
        return float(np.mean(beam.flat - beam.dark))

    @property
    def is_provisional(self) -> bool:
        """Whether the scan's own flats or darks have not been used yet."""
        return self.beam is None or self.beam.provisional or not self.beam.own_dark

    def look(self) -> bool:
        """Read flats and darks of the scan if more have come; tell whether they could be looked at."""
        try:
            reread(self._run)
            self._own = self._finding.read_references(self._run, self._own)
        except (InputError, CatalogError, FaultError, ServiceUnavailableError) as error:
            logger.debug("run %s: flats and darks are not readable yet: %s", self._run.path_parts[-1], error)
            return False
        return True

    def begin(self, pixels: NDArray[Any], remembered: Remembered | None) -> Beam:
        """Choose what to begin with.

        Parameters
        ----------
        pixels : (frame, row, column) array
            The first projections, in counts.
        remembered : Remembered, optional
            What a scan before has shown.
        """
        self.look()
        flat, dark = self._own.flat, self._own.dark
        self._used = self._own.counts
        before = remembered.beam if remembered else None
        own_dark = dark is not None
        if dark is None:
            dark = before.dark if before else np.zeros(pixels.shape[1:], np.float32)
        if flat is not None:
            self.beam = Beam(flat, dark, provisional=False, source=OWN, own_dark=own_dark)
        elif before is not None and remembered is not None:
            source = f"flats of run {remembered.run_uid[:8]}"
            self.beam = Beam(before.flat, dark, provisional=True, source=source, own_dark=own_dark)
        else:
            guess = estimated_flat(pixels, dark)
            self.beam = Beam(guess, dark, provisional=True, source=ESTIMATE, own_dark=own_dark)
        return self.beam

    def refine(self) -> tuple[Beam, Beam] | None:
        """Use the flats and darks that have been seen since; return what was used before, and is now.

        None if there are no more of them.
        """
        beam = self.beam
        if beam is None or self._own.counts == self._used:
            return None
        flat, dark = self._own.flat, self._own.dark
        self._used = self._own.counts
        self.beam = Beam(
            flat if flat is not None else beam.flat,
            dark if dark is not None else beam.dark,
            provisional=beam.provisional and flat is None,
            source=OWN if flat is not None else beam.source,
            own_dark=beam.own_dark or dark is not None,
        )
        return beam, self.beam
