"""What a live reconstruction says of itself, and what people may wish of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tomoservice.catalog.record import first_problem
from tomoservice.errors import CatalogError

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class LiveState(StrEnum):
    """Where a live reconstruction stands."""

    WAITING = "waiting"
    """No projection has come yet."""
    ACCUMULATING = "accumulating"
    """Projections come and are added."""
    FINISHING = "finishing"
    """The scan has ended; what is still to be done is being done."""
    DONE = "done"
    """All of the scan is in it."""
    ABORTED = "aborted"
    """The scan was ended early, or the live reconstruction was; what there is stays."""
    FAILED = "failed"
    """Given up; the message says why."""
    UNREADABLE = "unreadable"
    """The detector's file cannot be read before it is closed; reconstructed at the scan's end."""

    @property
    def is_over(self) -> bool:
        """Whether nothing follows."""
        return self in (LiveState.DONE, LiveState.ABORTED, LiveState.FAILED)


class LivePicture(StrEnum):
    """The images of a live reconstruction."""

    XY = "xy"
    """Slice (y, x)."""
    XZ = "xz"
    """Slice (z, x)."""
    YZ = "yz"
    """Slice (z, y)."""
    VOLUME = "volume"
    """Volume (z, y, x) of larger voxels."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LiveAxis(_Record):
    """The rotation axis that is used."""

    value: Finite | None = None
    """Detector column."""
    confidence: Finite | None = None
    """0 (a guess) to 1 (beyond doubt); null of what was not searched."""
    provisional: bool = True
    """Whether it will be replaced by what is found."""
    source: str = ""
    """Where it is from, in words."""


class LiveFlat(_Record):
    """The open beam that is used."""

    provisional: bool = True
    """Whether it will be replaced by the scan's own."""
    source: str = ""
    """Where it is from, in words."""


class SliceNumbers(_Record):
    """Which slices are shown, by their numbers in the whole volume."""

    z: Count
    """Slice (y, x): detector row."""
    y: Count
    """Slice (z, x)."""
    x: Count
    """Slice (z, y)."""


class LiveMetadata(_Record):
    """What a live reconstruction says of itself."""

    raw_uid: str
    """The run."""
    state: LiveState = LiveState.WAITING
    """Where it stands."""
    message: str = ""
    """What a user should know."""
    frames_expected: Count | None = None
    """Projections that the plan announced; null if it did not."""
    frames_seen: Count = 0
    """Projections that have come."""
    frames_used: Count = 0
    """Projections that are in the slices."""
    frames_invalid: Count = 0
    """Projections that are left out: without beam, or without an angle."""
    frames_skipped: Count = 0
    """Projections that are left out of the live slices alone, to keep up."""
    rotation_axis: LiveAxis = LiveAxis()
    """The rotation axis that is used."""
    flat: LiveFlat = LiveFlat()
    """The open beam that is used."""
    delta_beta: Finite | None = None
    """Ratio of delta to beta by which the phase of what is shown was retrieved; null if it was not."""
    slices: SliceNumbers | None = None
    """Which slices are shown; null before the detector's size is known."""
    update: Count = 0
    """Number of this update."""
    updated: str = ""
    """When it was written, ISO 8601."""
    rate_hz: Finite = 0.0
    """Updates per second, of late."""
    invalid_frames: list[Count] = []
    """Numbers of the projections without beam, the first hundred."""

    @classmethod
    def of(cls, node: Any) -> Self:
        """Return what a node says.

        Raises
        ------
        CatalogError
            It is no live reconstruction.
        """
        try:
            return cls.model_validate(dict(node.metadata))
        except ValidationError as error:
            field, reason = first_problem(error)
            path = "/".join(node.path_parts)
            raise CatalogError(f"{path} is no live reconstruction: {field}: {reason}") from error


class WishedSlices(_Record):
    """Which slices somebody wants to see; null is as it is."""

    z: Count | None = None
    """Slice (y, x): detector row."""
    y: Count | None = None
    """Slice (z, x)."""
    x: Count | None = None
    """Slice (z, y)."""


class LiveWishes(_Record):
    """What is wished of a live reconstruction; of two wishes the last holds."""

    slices: WishedSlices = WishedSlices()
    """Which slices to show."""
    rotation_axis: Finite | None = Field(None, ge=0)
    """Detector column of the axis to use instead of what is found; null for what is found."""
    delta_beta: Finite | None = Field(None, ge=0)
    """Strength of phase retrieval by Paganin's method, the ratio of delta to beta; null or 0 for none.
    Energy, distance and pixel size are those that the scan says."""
    stop: bool = False
    """Whether to leave the scan alone from now on; what there is stays readable."""

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> Self:
        """Return what metadata say.

        Raises
        ------
        CatalogError
            They say something else as well, or something that cannot be.
        """
        try:
            return cls.model_validate(dict(metadata))
        except ValidationError as error:
            field, reason = first_problem(error)
            raise CatalogError(f"wish {field}: {reason}") from error
