"""Reconstruction nodes as typed records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tomoservice.catalog.states import State
from tomoservice.errors import CatalogError


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
        return cls.from_metadata(parts, node.metadata)

    @classmethod
    def from_metadata(cls, path_parts: tuple[str, ...], metadata: Mapping[str, Any]) -> Self:
        """Read the record of a node from its path and metadata."""
        path = "/".join(path_parts)
        if len(path_parts) < 2:
            raise CatalogError(f"{path or '/'} is no reconstruction: it does not stand below a run's node")
        try:
            content = ReconstructionMetadata.model_validate(_plain(metadata))
        except ValidationError as error:
            field, reason = first_problem(error)
            raise CatalogError(f"{path} is no reconstruction: metadata {field!r}: {reason}") from error
        return cls(run_uid=path_parts[-2], reconstruction_id=path_parts[-1], path=path, metadata=content)


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the first field that is wrong, and why."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"])
    got = "" if problem["type"] == "missing" else f", got {problem['input']!r}"
    return field, f"{problem['msg']}{got}"


def _plain(value: Any) -> Any:
    # Tiled's client hands out metadata as mappings of its own.
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
