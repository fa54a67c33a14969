"""Reconstruction nodes as typed records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.states import FollowUpState, State
from tomoservice.errors import CatalogError
from tomoservice.recipe.problems import shown


class Status(BaseModel):
    """Where a reconstruction stands, as its metadata says."""

    model_config = ConfigDict(extra="allow", frozen=True)

    state: State
    """State of the reconstruction."""
    attempt: int = Field(default=0, ge=0)
    """Attempt that wrote this status; 0 before anybody has worked on it."""
    message: str = ""
    """What a user should know: why it failed, what it waits for."""
    time: float = 0.0
    """When the state was entered, in seconds since 1970."""
    ended_by: str = ""
    """`batch` if it was cancelled or stopped with its batch, and not by itself."""


class FollowUp(BaseModel):
    """Whether something is there that follows when a volume is done."""

    model_config = ConfigDict(extra="allow", frozen=True)

    state: FollowUpState
    """How far it is."""
    message: str = ""
    """Why there is none."""


class PartialVolume(BaseModel):
    """What there is of a volume that was stopped and kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    slices: list[tuple[int, int]]
    """Slices along z that were computed: first, and the one after the last. All others read as NaN."""
    slabs: int
    """How many slabs there are."""
    slabs_total: int
    """How many there would be."""


class BatchItem(BaseModel):
    """Which item of which batch a reconstruction is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    id: str
    """Key of the batch."""
    number: int = Field(ge=1)
    """Number of the item, from 1."""


class RawFile(BaseModel):
    """A raw file, as it was when it was reconstructed."""

    model_config = ConfigDict(extra="allow", frozen=True)

    path: str
    """Where it is."""
    size_bytes: int = Field(ge=0)
    """Its size."""
    modified: str
    """When it was last written, ISO 8601."""
    sha256: str
    """Checksum of its content."""
    recorded_by: str = ""
    """`run` if it is what the run says of it, and nobody looked at the file."""


class RerunOf(BaseModel):
    """The reconstruction that another one repeats, as far as it has to be known to compare the two."""

    model_config = ConfigDict(extra="allow", frozen=True)

    path: str
    """Path of its node."""
    raw_files: tuple[RawFile, ...] = ()
    """What it was made from."""
    raw_files_unseen: tuple[str, ...] = ()
    """Frames of whose files no checksum is known, in words."""
    volume_checksum: str
    """Checksum of its volume."""
    software: dict[str, str] = Field(default_factory=dict)
    """Versions of the packages."""
    machine: dict[str, Any] = Field(default_factory=dict)
    """What computed it, or most of it."""
    machines: tuple[dict[str, Any], ...] = ()
    """All that computed it, if there were several."""


class ReconstructionMetadata(BaseModel):
    """Metadata that every reconstruction node has; more may stand beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    recipe: dict[str, Any]
    """The recipe as it was asked for."""
    status: Status
    """Where it stands."""
    recipe_hash: str | None = None
    """Hash of the recipe as asked."""
    recipe_name: str | None = None
    """Name under which the recipe was asked for, if any."""
    requested_by: str | None = None
    """Who or what asked for it."""
    requested_at: float | None = None
    """When, in seconds since 1970."""
    priority: JobPriority = JobPriority.NORMAL
    """How urgent it was when it was asked for; a child `control-priority` may say otherwise since."""
    batch: BatchItem | None = None
    """The batch that it was asked for with, if any."""
    partial: PartialVolume | None = None
    """What there is of the volume if it was stopped and kept; counts while it is cancelled."""
    rerun_of: RerunOf | None = None
    """The reconstruction that it repeats, if any: it fails unless the raw data are as they were."""
    pyramid: FollowUp | None = None
    """Whether the pyramid is there, from when the volume is done; None if none is to be made."""
    quality: FollowUp | None = None
    """Whether the tables about its quality are there, from when the volume is done."""

    @property
    def kept(self) -> PartialVolume | None:
        """What there is of a volume that was stopped and kept; None of any other."""
        return self.partial if self.status.state is State.CANCELLED else None

    @property
    def wanted_follow_ups(self) -> tuple[str, ...]:
        """What is still to be made of a volume that is done: keys of children, in the order of making."""
        asked = {names.QUALITY: self.quality, names.PYRAMID: self.pyramid}
        return tuple(
            key
            for key, said in asked.items()
            if self.status.state is State.DONE and said is not None and said.state is FollowUpState.PENDING
        )

    @property
    def file_record(self) -> dict[str, Any]:
        """What goes with the volume wherever it goes: how it was made, in the form that files have.

        Empty before it is done.
        """
        known = self.model_extra or {}
        if "provenance" not in known:
            return {}
        return {
            "recipe": known["resolved_recipe"],
            "recipe_asked": self.recipe,
            "recipe_hash": self.recipe_hash,
            "geometry": known["geometry"],
            "notes": known.get("notes", []),
            **known["provenance"],
        }


class SweepMetadata(BaseModel):
    """What is said in a sweep's metadata beside the sweep itself; more may stand there."""

    model_config = ConfigDict(extra="allow", frozen=True)

    status: Status
    """Where it stands; `attempt` means nothing, because nobody claims a sweep."""
    requested_by: str | None = None
    """Who asked for it."""
    requested_at: float | None = None
    """When, in seconds since 1970."""


class ReconstructionRecord(BaseModel):
    """A reconstruction node: where it is, and its metadata."""

    model_config = ConfigDict(frozen=True)

    run_uid: str
    """Bluesky run that is reconstructed, taken from the node's path."""
    reconstruction_id: str
    """Key of the node."""
    path: str
    """Path of the node in Tiled."""
    metadata: ReconstructionMetadata
    """What the node says of itself."""
    access_tags: tuple[str, ...] = ()
    """Who may read it; none where the service has no accounts."""

    @property
    def state(self) -> State:
        """State of the reconstruction."""
        return self.metadata.status.state

    @classmethod
    def from_node(cls, node: Any) -> Self:
        """Read the record of a Tiled client node, without asking the server again.

        Raises
        ------
        CatalogError
            The node is no reconstruction.
        """
        parts = tuple(node.path_parts)
        return cls.from_metadata(parts, node.metadata, tags_of(node) or ())

    @classmethod
    def from_metadata(
        cls, path_parts: tuple[str, ...], metadata: Mapping[str, Any], access_tags: Sequence[str] = ()
    ) -> Self:
        """Read the record of a node from its path, metadata and access tags."""
        path = "/".join(path_parts)
        if len(path_parts) < 2:
            raise CatalogError(f"{path or '/'} is no reconstruction: it does not stand below a run's node")
        try:
            content = ReconstructionMetadata.model_validate(plain(metadata))
        except ValidationError as error:
            field, reason = first_problem(error)
            raise CatalogError(f"{path} is no reconstruction: metadata {field!r}: {reason}") from error
        return cls(
            run_uid=path_parts[-2],
            reconstruction_id=path_parts[-1],
            path=path,
            metadata=content,
            access_tags=tuple(sorted(access_tags)),
        )


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the first field that is wrong, and why."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    got = "" if problem["type"] == "missing" else f", got {shown(problem['input'])}"
    return field, f"{problem['msg']}{got}"


def plain(value: Any) -> Any:
    """Return metadata as plain JSON types: Tiled's client hands out mappings of its own."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
