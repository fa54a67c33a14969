"""What a live reconstruction says and shows at a moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from tomoservice.catalog.live_records import (
    LiveAxis,
    LiveFlat,
    LiveMetadata,
    LivePicture,
    LiveState,
    SliceNumbers,
)
from tomoservice.live.axis_choice import AxisChoice
from tomoservice.live.frames import Ledger
from tomoservice.live.pictures import Pictures, Target
from tomoservice.live.publishing import Snapshot
from tomoservice.live.references import Beam
from tomoservice.recon.live import binning_for

MOST_NAMED = 100
"""Projections without beam that are named."""
SAME_COLUMN = 1e-6


@dataclass
class Display:
    """What is known of a scan, to be shown.

    Parameters
    ----------
    raw_uid
        The run.
    expected
        Projections that were announced.
    """

    raw_uid: str
    expected: int | None
    ledger: Ledger = field(default_factory=Ledger)
    """The books of the projections."""
    axis: AxisChoice = field(default_factory=AxisChoice)
    """Which axis is used."""
    pictures: Pictures | None = None
    """The pictures, once the size of the detector is known."""
    state: LiveState = LiveState.WAITING
    """Where it stands."""
    message: str = ""
    """What a user should know."""
    axis_problem: str = ""
    """Why the axis is not the one that somebody wishes."""
    phase_problem: str = ""
    """Why the phase is not retrieved as somebody wishes."""

    def snapshot(self, beam: Beam | None, *, volume: bool) -> Snapshot:
        """Return what there is to be shown now, with or without the volume."""
        pictures, ledger = self.pictures, self.ledger
        shown = None if pictures is None else pictures.shown
        position = None if shown is None else shown.position
        invalid = ledger.invalid
        metadata = LiveMetadata(
            raw_uid=self.raw_uid,
            state=self.state,
            message="; ".join(filter(None, (self.message, self.axis_problem, self.phase_problem))),
            frames_expected=self.expected,
            frames_seen=ledger.seen,
            frames_used=0 if pictures is None else pictures.views,
            frames_invalid=len(invalid),
            frames_skipped=ledger.skipped,
            rotation_axis=self._shown_axis(shown),
            flat=LiveFlat() if beam is None else LiveFlat(provisional=beam.provisional, source=beam.source),
            delta_beta=None if shown is None or shown.phase is None else shown.phase.delta_beta,
            slices=None if position is None else SliceNumbers(z=position.z, y=position.y, x=position.x),
            invalid_frames=invalid[:MOST_NAMED].tolist(),
        )
        if pictures is None or shown is None or not pictures.views:
            return Snapshot(metadata, {}, {})
        binning = binning_for(shown.geometry)
        about = {LivePicture.VOLUME: {"binning": binning, "full_shape": list(shown.geometry.shape)}}
        return Snapshot(metadata, pictures.images(volume=volume), about)

    def _shown_axis(self, shown: Target | None) -> LiveAxis:
        """Return the axis of what is shown, which may not have caught up with what is known."""
        if shown is None:
            return LiveAxis()
        chosen = self.axis.chosen(shown.geometry.columns)
        value = shown.geometry.rotation_axis
        if chosen.value is not None and abs(chosen.value - value) < SAME_COLUMN:
            return chosen
        return LiveAxis(value=value, provisional=True, source="being replaced")
