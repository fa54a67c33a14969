"""What the holder of a claim writes into a reconstruction node."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomoservice.catalog import names
from tomoservice.catalog.access import tags_of
from tomoservice.catalog.claims import Claim
from tomoservice.catalog.controls import withdraw_all
from tomoservice.catalog.nodes import create_container, ensure_container, forget_child, read_record
from tomoservice.catalog.states import State, check_transition
from tomoservice.catalog.transport import ConflictError, NotFoundError, child, translated
from tomoservice.catalog.volumes import VolumeOutline, describe_volume, register_array
from tomoservice.errors import CatalogError, ClaimLostError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a reconstruction is."""

    stage: str
    """What is being done."""
    slabs_done: int = 0
    slabs_total: int = 0
    seconds_left: float | None = None
    """Estimate, None while there is nothing to base it on."""

    def as_metadata(self) -> dict[str, Any]:
        """Return the metadata of the progress node."""
        percent = 100.0 * self.slabs_done / self.slabs_total if self.slabs_total else 0.0
        return {
            "stage": self.stage,
            "percent": round(percent, 1),
            "slabs_done": self.slabs_done,
            "slabs_total": self.slabs_total,
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "time": time.time(),
        }


class ReconstructionWriter:
    """Writes one reconstruction node in the name of a claim.

    Every write looks first whether the claim has been lost. What changes every second goes into the
    `progress` child, never into the node's own metadata, because a metadata update rewrites all of it.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._node = claim.reconstruction
        self._volume: Any = None
        self._quality: Any = None
        self._progress: Any = None

    @property
    def claim(self) -> Claim:
        """The claim in whose name is written."""
        return self._claim

    def enter(
        self,
        state: State,
        message: str = "",
        content: Mapping[str, Any] | None = None,
        *,
        ended_by: str = "",
    ) -> None:
        """Move the reconstruction to a state, and store `content` with it, and what ended it, if anything.

        Raises
        ------
        ClaimLostError
            Somebody else has taken over.
        IllegalTransitionError
            The state may not follow the present one.
        """
        self._claim.check()
        record = read_record(self._node)
        status_now = record.metadata.status
        if status_now.state is state is not State.RUNNING and status_now.attempt == self._claim.attempt:
            # Stored by an earlier try whose answer was lost.
            return
        check_transition(record.state, state, record.path)
        self._update(
            {**(content or {}), "status": self._status(state, message, ended_by)}, self._moving(state)
        )

    def end(
        self,
        state: State,
        message: str = "",
        content: Mapping[str, Any] | None = None,
        *,
        ended_by: str = "",
    ) -> None:
        """Move the reconstruction to a final state, which settles what was wanted of it.

        Raises as `enter` does.
        """
        # In this order: whoever dies in between has not forgotten what was wanted.
        self.enter(state, message, content, ended_by=ended_by)
        self._claim.check()
        withdraw_all(self._node)

    def reject(self, message: str) -> None:
        """Mark as failed what cannot be read as a reconstruction.

        Raises
        ------
        ClaimLostError
            Somebody else has taken over.
        """
        self._claim.check()
        self._update({"status": self._status(State.FAILED, message)}, self._moving(State.FAILED))

    def _moving(self, state: State) -> str:
        return f"moving {self._claim.path} to {state.value}"

    def _status(self, state: State, message: str, ended_by: str = "") -> dict[str, Any]:
        return {
            "state": state.value,
            "attempt": self._claim.attempt,
            "message": message,
            "time": time.time(),
            # Also if it is empty: a change leaves alone what it does not name.
            "ended_by": ended_by,
        }

    def describe(self, content: Mapping[str, Any]) -> None:
        """Store metadata that was found out on the way, without changing the state."""
        self._claim.check()
        self._update(dict(content), f"describing {self._claim.path}")

    def progress(self, progress: Progress) -> None:
        """Store how far the reconstruction is; earlier values are not kept.

        Raises
        ------
        ClaimLostError
            Somebody else has taken over.
        """
        self._claim.check()
        metadata = progress.as_metadata()
        if self._progress is None and self._claim.attempt == 1:
            # Nobody has written any before.
            with suppress(ConflictError):
                self._progress = create_container(self._node, names.PROGRESS, metadata=metadata)
                return
        try:
            if self._progress is None:
                self._progress = child(self._node, names.PROGRESS)
            with translated(f"writing the progress of {self._claim.path}"):
                self._progress.update_metadata(metadata, drop_revision=True)
        except NotFoundError:
            # Not there yet, or deleted since.
            self._progress = create_container(self._node, names.PROGRESS, metadata=metadata, may_exist=True)

    def volume(self, path: Path, outline: VolumeOutline, metadata: Mapping[str, Any]) -> None:
        """Make the volume readable.

        A volume that is there already with another shape is replaced; otherwise what is said of it changes.

        Parameters
        ----------
        path : Path
            Zarr array (z, y, x) in a folder that the server may read; it need not exist yet.
        outline : VolumeOutline
            Shape, chunks and type.
        metadata : mapping
            Axis order, pixel size, units.
        """
        self._claim.check()

        def describe(*, may_exist: bool) -> None:
            node, created = describe_volume(self._node, path, outline, metadata, may_exist=may_exist)
            self._volume = node
            if not created:
                self._say_of_volume(metadata)

        # What a first attempt registers first is rarely there already, and a look costs a request.
        is_new = self._claim.attempt == 1 and self._volume is None
        self._replacing(partial(describe, may_exist=not is_new), partial(describe, may_exist=True))

    def describe_volume(self, metadata: Mapping[str, Any]) -> None:
        """Change what is said of the volume that `volume` made readable.

        Raises
        ------
        NotFoundError
            Somebody has deleted it.
        """
        self._claim.check()
        self._say_of_volume(metadata)

    def _say_of_volume(self, metadata: Mapping[str, Any]) -> None:
        with translated(f"describing the volume of {self._claim.path}"):
            self._volume.update_metadata(dict(metadata), drop_revision=True)

    def pyramid(self, levels: Mapping[str, Path], metadata: Mapping[str, Any]) -> None:
        """Register Zarr arrays as the levels of the volume's pyramid, in place of an earlier one.

        Parameters
        ----------
        levels : mapping of str to Path
            Zarr arrays (z, y, x) by their keys, in folders that the server may read.
        metadata : mapping
            What Tiled's Zarr routes give as attributes of the group: `ome` among it.
        """
        self._claim.check()

        def register() -> None:
            forget_child(self._node, names.PYRAMID, external=True)
            container = create_container(self._node, names.PYRAMID)
            for key, path in levels.items():
                register_array(container, key, path)
            with translated(f"describing the pyramid of {self._claim.path}"):
                # Last: without it, nobody takes the container for an image.
                container.update_metadata(dict(metadata), drop_revision=True)

        self._replacing(register)

    def forget_volume(self) -> None:
        """Remove the volume's node and its pyramid's, but not their files.

        Raises
        ------
        ClaimLostError
            Somebody else has taken over.
        """
        self._claim.check()
        forget_child(self._node, names.PYRAMID, external=True)
        forget_child(self._node, names.VOLUME, external=True)
        self._volume = None

    def read_back(self) -> None:
        """Read one voxel of the volume through the service, as anybody would.

        Raises
        ------
        CatalogError, ServiceUnavailableError
            The service cannot give it.
        """
        action = f"reading the volume of {self._claim.path}"
        try:
            with translated(action):
                self._volume[0, 0, 0]
        except KeyError as error:
            # How Tiled's client puts it that the files are not where they are said to be.
            raise CatalogError(f"{action}: {error}") from error

    def table(self, subject: str, data: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
        """Store a table under ``quality/{subject}``, in place of an earlier one."""
        self._claim.check()
        if self._quality is None:
            self._quality = ensure_container(self._node, names.QUALITY)
        quality = self._quality

        def write() -> None:
            with translated(f"writing quality/{subject} of {self._claim.path}"):
                quality.write_table(
                    data, key=subject, metadata=dict(metadata), access_tags=tags_of(self._node)
                )

        def replace() -> None:
            forget_child(quality, subject)
            write()

        try:
            write()
        except ConflictError:
            self._replacing(replace)

    def _replacing(self, replace: Callable[[], None], again: Callable[[], None] | None = None) -> None:
        """Delete and create, once more if somebody else has created: a worker that was overtaken, say."""
        try:
            replace()
        except ConflictError:
            self._claim.check()
            (again or replace)()

    def _update(self, changes: dict[str, Any], action: str) -> None:
        try:
            with translated(action):
                self._node.update_metadata(changes)
        except ConflictError as error:
            # The server's own check saw a later attempt between our look and our write.
            raise ClaimLostError(str(error)) from error
