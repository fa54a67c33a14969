"""Doing a reconstruction again, from the same raw data by the same values: does it come out the same?

A rerun is a reconstruction whose recipe is the resolved one of another, and whose metadata say of which. The
conductor refuses it unless somebody sees the raw files, and they have the checksums they had; the volumes
have checksums, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.nodes import (
    create_container,
    ensure_room,
    read_record,
    reconstruction_metadata,
    reconstruction_spec,
)
from tomoservice.catalog.priorities import JobPriority
from tomoservice.catalog.record import RawFile, ReconstructionRecord, RerunOf
from tomoservice.catalog.states import State
from tomoservice.catalog.transport import root_of
from tomoservice.errors import CatalogError, InputError
from tomoservice.provenance import look_again
from tomoservice.recipe import parse_recipe

AGREEMENT = "1e-5"
"""How well the volumes of other processors, devices or versions agree, as part of the largest value."""
MACHINE = ("device", "processor", "architecture")
"""What of a machine may change the last bits."""
UNKNOWN_HINT = (
    "Ask for a new reconstruction instead of a rerun; for one that can be repeated, let the workers or the "
    "conductor see the raw files (below a folder of service.raw_folders)"
)
UNSEEN_HINT = (
    "Let the workers or the conductor see the raw files (below a folder of service.raw_folders), or ask for "
    "a new reconstruction instead of a rerun"
)
HINT = "Bring back the raw data as they were, or ask for a new reconstruction instead of a rerun"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a rerun came out."""

    path: str
    """The reconstruction that was repeated."""
    identical: bool
    """Whether the volumes are the same, bit for bit."""
    differences: tuple[str, ...]
    """What computed them that is not the same, in words: versions, processor, device."""

    @property
    def is_unexplained(self) -> bool:
        """Whether the volumes differ although nothing that computed them does."""
        return not self.identical and not self.differences

    def __str__(self) -> str:
        other = "; ".join(self.differences)
        if self.identical:
            return f"bit-identical to {self.path}" + (f", although {other}" if other else "")
        if other:
            return (
                f"not bit-identical to {self.path}, because {other}; agreement to {AGREEMENT} of the largest "
                "value is to be expected"
            )
        return (
            f"not bit-identical to {self.path}, although processor, device and versions are the same: one of "
            "the two was spoilt after it was computed, or this is a bug; compare the volumes"
        )


def request_rerun(node: Any, requested_by: str = "") -> Any:
    """Queue a reconstruction again, by its resolved recipe, and return the new one's node.

    Raw files that this machine sees are looked at now, as far as that is quick; the conductor compares the
    checksums of all of them before anything is computed.

    Parameters
    ----------
    node : tiled Container
        The reconstruction, which is done.
    requested_by : str
        Who asks.

    Raises
    ------
    InputError
        The raw data have changed; says which file, and what of it. Or no checksum of them was recorded.
    CatalogError
        It is not done, or does not say how it was made.
    """
    record = read_record(node)
    earlier = _earlier(record)
    check_recorded(earlier)
    # What is not seen from here is left to the conductor.
    check_raw_files(earlier, [look_again(known) or known for known in _plain(earlier.raw_files)])
    recipe = parse_recipe((record.metadata.model_extra or {})["resolved_recipe"], name=record.path)
    metadata = {
        **reconstruction_metadata(record.run_uid, recipe, requested_by, JobPriority.NORMAL),
        "recipe_name": record.metadata.recipe_name,
        "rerun_of": earlier.model_dump(mode="json"),
    }
    room = ensure_room(root_of(node), record.run_uid)
    return create_container(
        room, names.new_reconstruction_id(), metadata=metadata, specs=(reconstruction_spec(),)
    )


def check_recorded(earlier: RerunOf) -> None:
    """Refuse to repeat a reconstruction of whose raw data nobody knows what they were.

    Raises
    ------
    InputError
        There is no checksum of some of them.
    """
    if earlier.raw_files_unseen or not earlier.raw_files:
        which = f" of {', '.join(earlier.raw_files_unseen)}" if earlier.raw_files_unseen else ""
        raise InputError(
            earlier.path,
            f"cannot be repeated: its frames came through Tiled, and no checksum{which} was recorded that "
            "would tell whether the raw data are what they were",
            hint=UNKNOWN_HINT,
        )


def check_raw_files(earlier: RerunOf, now: Sequence[Mapping[str, Any]], unseen: Sequence[str] = ()) -> None:
    """Refuse to repeat a reconstruction whose raw data are not what they were, or of which nobody can tell.

    What a file is called and when it was written does not matter as long as its content is the same.

    Parameters
    ----------
    earlier : RerunOf
        What is repeated.
    now : sequence of mapping
        Path, size, time and checksum of the raw files as they are now, as `fingerprint` returns them.
    unseen : sequence of str
        Frames whose files nobody sees now, in words.

    Raises
    ------
    InputError
        They have changed; says which file, and what of it. Or somebody would have to see them.
    """
    by_path = {str(file["path"]): file for file in now}
    contents = {file["sha256"] for file in now}
    for file in earlier.raw_files:
        if file.sha256 not in contents:
            found = by_path.get(file.path)
            if found is None and unseen:
                continue
            since = "the run was published" if file.recorded_by else f"{earlier.path} was made"
            what = "the run does not have this file any more" if found is None else _changes(file, found)
            raise InputError(file.path, f"has changed since {since}: {what}", hint=HINT)
    if unseen:
        raise InputError(
            earlier.path,
            "cannot be repeated: neither the worker nor the conductor sees the files of "
            f"{', '.join(unseen)}, so nobody can tell whether they are what they were",
            hint=UNSEEN_HINT,
        )


def compare(record: ReconstructionRecord) -> Comparison | None:
    """Return how a rerun came out, compared with what it repeats; None if it repeats nothing.

    Parameters
    ----------
    record : ReconstructionRecord
        The rerun, which is done.

    Raises
    ------
    CatalogError
        It is not done.
    """
    earlier = record.metadata.rerun_of
    if earlier is None:
        return None
    provenance = _provenance(record)
    software = provenance.get("software", {})
    machine = _kinds(provenance.get("machine", {}), provenance.get("machines", ()))
    earlier_machine = _kinds(earlier.machine, earlier.machines)
    identical = provenance["volume_checksum"] == earlier.volume_checksum
    differences = [
        f"{name} was {then.get(name) or 'absent'} and is {now.get(name) or 'absent'} now"
        for then, now, known in (
            # Earlier versions did not record where slabs were computed that readers asked for.
            (earlier_machine, machine, MACHINE if earlier_machine and machine else ()),
            (earlier.software, software, sorted({*earlier.software, *software})),
        )
        for name in known
        if then.get(name) != now.get(name)
    ]
    if not identical and not (earlier_machine and machine):
        differences.append("the processor or device that computed one of them was not recorded")
    return Comparison(earlier.path, identical, tuple(differences))


def _kinds(machine: Mapping[str, Any], machines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what may change the last bits, of the machine or machines that computed a volume."""
    every = machines or ([machine] if machine else [])
    found = {name: sorted({str(one[name]) for one in every if one.get(name)}) for name in MACHINE}
    return {name: " and ".join(kinds) for name, kinds in found.items() if kinds}


def _earlier(record: ReconstructionRecord) -> RerunOf:
    provenance = _provenance(record)
    return RerunOf.model_validate(
        {
            "path": record.path,
            **{name: provenance[name] for name in RerunOf.model_fields if name in provenance},
        }
    )


def _provenance(record: ReconstructionRecord) -> dict[str, Any]:
    """Return how a reconstruction was made."""
    if record.state is not State.DONE:
        raise CatalogError(
            f"{record.path} is {record.state.value}; only what is done can be compared or done again"
        )
    provenance: dict[str, Any] = (record.metadata.model_extra or {}).get("provenance") or {}
    if "volume_checksum" not in provenance:
        raise CatalogError(
            f"{record.path} does not say how it was made; ask for a new reconstruction instead of a rerun"
        )
    return provenance


def _plain(files: Sequence[RawFile]) -> list[dict[str, Any]]:
    return [file.model_dump() for file in files]


def _changes(before: RawFile, now: Mapping[str, Any]) -> str:
    changes = []
    if before.size_bytes != now["size_bytes"]:
        changes.append(f"its size was {before.size_bytes} bytes and is {now['size_bytes']}")
    if before.modified != now["modified"]:
        changes.append(f"it was last written at {before.modified} and is now at {now['modified']}")
    if now["sha256"]:
        changes.append(f"its SHA-256 was {before.sha256[:16]}... and is {now['sha256'][:16]}...")
    return ", ".join(changes)
