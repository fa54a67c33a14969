"""What the holder of a claim writes into a reconstruction node."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiled.structures.array import ArrayStructure
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import Asset, DataSource, Management
from tiled.utils import ensure_uri

from tomoservice.catalog import names
from tomoservice.catalog.claims import Claim
from tomoservice.catalog.nodes import create_container, ensure_container, forget_child, read_record
from tomoservice.catalog.states import State, check_transition
from tomoservice.catalog.transport import ConflictError, NotFoundError, child, translated
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

    @property
    def claim(self) -> Claim:
        """The claim in whose name is written."""
        return self._claim

    def enter(self, state: State, message: str = "", content: Mapping[str, Any] | None = None) -> None:
        """Move the reconstruction to a state, and store `content` with it.

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
        self._update({**(content or {}), "status": self._status(state, message)}, self._moving(state))

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

    def _status(self, state: State, message: str) -> dict[str, Any]:
        return {
            "state": state.value,
            "attempt": self._claim.attempt,
            "message": message,
            "time": time.time(),
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
        try:
            node = child(self._node, names.PROGRESS)
        except NotFoundError:
            create_container(self._node, names.PROGRESS, metadata=metadata, may_exist=True)
            return
        with translated(f"writing the progress of {self._claim.path}"):
            node.update_metadata(metadata, drop_revision=True)

    def cancel_requested(self) -> bool:
        """Tell whether a user asks for the reconstruction to be stopped."""
        with translated(f"reading {self._claim.path}"):
            return names.CONTROL_CANCEL in list(self._node)

    def forget_cancel(self) -> None:
        """Remove the request to stop.

        Raises
        ------
        ClaimLostError
            Somebody else has taken over.
        """
        self._claim.check()
        forget_child(self._node, names.CONTROL_CANCEL)

    def volume(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Register a Zarr array as the reconstruction's volume, in place of an earlier one.

        Parameters
        ----------
        path : Path
            Zarr array (z, y, x) in a folder that the server may read.
        metadata : mapping
            Axis order, pixel size, units.
        """
        import zarr

        self._claim.check()
        array = zarr.open_array(path, mode="r")
        source = DataSource(
            structure_family=StructureFamily.array,
            structure=ArrayStructure.from_array(array, dims=("z", "y", "x")),
            mimetype="application/x-zarr",
            management=Management.external,
            # Without a number, subscribers cannot parse the message that announces the asset.
            assets=[Asset(data_uri=ensure_uri(str(path)), is_directory=True, parameter="data_uri", num=0)],
        )

        def register() -> None:
            forget_child(self._node, names.VOLUME, external=True)
            with translated(f"registering the volume of {self._claim.path}"):
                self._node.new(
                    StructureFamily.array, [source], key=names.VOLUME, metadata=dict(metadata), specs=[]
                )

        self._replacing(register)

    def forget_volume(self) -> None:
        """Remove the volume's node, but not its files.

        Raises
        ------
        ClaimLostError
            Somebody else has taken over.
        """
        self._claim.check()
        forget_child(self._node, names.VOLUME, external=True)

    def read_back(self) -> None:
        """Read one voxel of the volume through the service, as anybody would.

        Raises
        ------
        CatalogError, ServiceUnavailableError
            The service cannot give it.
        """
        volume = child(self._node, names.VOLUME)
        action = f"reading the volume of {self._claim.path}"
        try:
            with translated(action):
                volume[0, 0, 0]
        except KeyError as error:
            # How Tiled's client puts it that the files are not where they are said to be.
            raise CatalogError(f"{action}: {error}") from error

    def table(self, subject: str, data: pd.DataFrame, metadata: Mapping[str, Any]) -> None:
        """Store a table under ``quality/{subject}``, in place of an earlier one."""
        self._claim.check()
        quality = ensure_container(self._node, names.QUALITY)

        def write() -> None:
            forget_child(quality, subject)
            with translated(f"writing quality/{subject} of {self._claim.path}"):
                quality.write_table(data, key=subject, metadata=dict(metadata))

        self._replacing(write)

    def _replacing(self, replace: Callable[[], None]) -> None:
        """Delete and create, once more if a worker that has been overtaken created in between."""
        try:
            replace()
        except ConflictError:
            self._claim.check()
            replace()

    def _update(self, changes: dict[str, Any], action: str) -> None:
        try:
            with translated(action):
                self._node.update_metadata(changes)
        except ConflictError as error:
            # The server's own check saw a later attempt between our look and our write.
            raise ClaimLostError(str(error)) from error
