"""What people do with reconstructions: cancel, stop, pause, resume, queue again, make more or less urgent.

What is wanted is written first, as a child (`controls`), so that it is not lost whatever happens next. If
somebody works on the reconstruction, they hear of it within about a second. If nobody does, whoever asks
takes the claim for a moment and moves the state, so that nobody waits for a conductor that is busy.
"""

from __future__ import annotations

import logging
from typing import Any

from tiled.client.metadata_update import DELETE_KEY

from tomoservice.catalog.claims import Worker, try_claim
from tomoservice.catalog.controls import (
    ENDING,
    Verb,
    Wishes,
    ask,
    ask_priority,
    find_batch,
    read_wishes,
    withdraw,
)
from tomoservice.catalog.nodes import read_record
from tomoservice.catalog.priorities import ASKED_FOR, JobPriority
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.catalog.states import FINAL_STATES, State, check_transition
from tomoservice.catalog.transport import ConflictError
from tomoservice.catalog.writer import ReconstructionWriter
from tomoservice.errors import CatalogError, IllegalTransitionError

logger = logging.getLogger(__name__)

LEASE_S = 10.0
"""How long whoever only moves a state may take."""
IDLE = (State.VIRTUAL, State.QUEUED, State.PAUSED)
"""States of what nobody works on."""
QUEUEABLE = FINAL_STATES | {State.VIRTUAL}
"""States of what people queue, as far as the transitions allow it."""


def cancel(node: Any, requested_by: str = "") -> None:
    """Ask for a reconstruction to be ended; slabs that exist stay on disk, where `requeue` finds them."""
    ask(node, Verb.CANCEL, requested_by)
    settle(node)


def stop(node: Any, requested_by: str = "") -> None:
    """Ask for a reconstruction to be ended, and for what there is of its volume to stay readable.

    A conductor does that, also if nobody works on it: it takes a look at what is on disk.

    Raises
    ------
    CatalogError
        It is finished, even if its pyramid is not, or nobody is going to compute it anyway.
    """
    record = read_record(node)
    check_unfinished(record, "stop")
    if record.state is State.VIRTUAL:
        raise CatalogError(
            f"{record.path} is virtual: it is computed only where somebody looks; cancel it instead"
        )
    ask(node, Verb.STOP, requested_by)


def pause(node: Any, requested_by: str = "") -> None:
    """Ask for a reconstruction to be left alone until somebody resumes it.

    Raises
    ------
    CatalogError
        It is finished, or nobody is going to compute it anyway.
    """
    record = read_record(node)
    check_unfinished(record, "pause")
    if record.state is State.VIRTUAL:
        raise CatalogError(f"{record.path} is virtual: it is computed only where somebody looks")
    ask(node, Verb.PAUSE, requested_by)
    settle(node)


def resume(node: Any) -> None:
    """Take back that a reconstruction is paused; it goes on with the slabs that exist.

    Raises
    ------
    CatalogError
        It is finished.
    """
    check_unfinished(read_record(node), "resume")
    withdraw(node, Verb.PAUSE)
    settle(node)


def change_priority(node: Any, priority: JobPriority | str, requested_by: str = "") -> None:
    """Make a reconstruction more or less urgent, also while it is being computed.

    Raises
    ------
    CatalogError
        There is no such priority, it cannot be asked for, or the reconstruction is finished.
    """
    wanted = checked_priority(priority)
    check_unfinished(read_record(node), "make more or less urgent")
    ask_priority(node, wanted, requested_by)


def checked_priority(priority: JobPriority | str) -> JobPriority:
    """Return a priority that may be asked for.

    Raises
    ------
    CatalogError
        It may not.
    """
    if priority not in ASKED_FOR:
        raise CatalogError(f"priority {str(priority)!r} cannot be asked for; {possible_priorities()} can")
    return JobPriority(priority)


def possible_priorities() -> str:
    """Return what people may ask for, in words."""
    return " and ".join(repr(priority.value) for priority in ASKED_FOR)


def requeue(node: Any) -> ReconstructionRecord:
    """Put a failed, cancelled or virtual reconstruction into the queue; slabs that exist are kept.

    Under a claim: of two who ask at once, the later must not take it away from whoever works on it by then,
    and nobody empties a virtual one meanwhile.

    Raises
    ------
    IllegalTransitionError
        It is in another state.
    ConflictError
        Somebody is at work on it.
    """
    _check_queueable(node)
    claim = try_claim(node, Worker(), LEASE_S)
    if claim is None:
        path = "/".join(node.path_parts)
        raise ConflictError(f"{path} is not queued: somebody is at work on it; try again in a moment")
    try:
        record = _check_queueable(node)
        withdraw(node, *Verb)
        # What there was of the volume is not what there is any more.
        content = {} if record.metadata.partial is None else {"partial": DELETE_KEY}
        ReconstructionWriter(claim).enter(State.QUEUED, content=content)
        return read_record(node)
    finally:
        claim.release()


def _check_queueable(node: Any) -> ReconstructionRecord:
    """Return the record of a reconstruction as it is now; raise unless it can be queued."""
    record = read_record(node)
    check_transition(record.state, State.QUEUED, record.path)
    if record.state not in QUEUEABLE:
        way_out = "; resume it instead" if record.state is State.PAUSED else ""
        raise CatalogError(
            f"{record.path} is {record.state.value}; only finished and virtual ones are queued{way_out}"
        )
    _check_batch(node, record)
    return record


def settle(node: Any) -> None:
    """Do what is wanted of a reconstruction that nobody works on; leave any other to whoever does.

    What is wanted is stored already: if this does not go well, a conductor does it later.
    """
    try:
        if read_record(node).state not in IDLE:
            return
        claim = try_claim(node, Worker(), LEASE_S)
        if claim is None:
            return
        try:
            record = read_record(node)
            wishes = read_wishes(node, find_batch(node, record))
            move(ReconstructionWriter(claim), record, wishes)
        finally:
            claim.release()
    except CatalogError as error:
        logger.info("%s: left to a conductor: %s", "/".join(node.path_parts), error)


def move(writer: ReconstructionWriter, record: ReconstructionRecord, wishes: Wishes) -> bool:
    """Bring a reconstruction that is not being computed into the state that is wanted.

    Parameters
    ----------
    writer : ReconstructionWriter
        Holds the claim.
    record : ReconstructionRecord
        The reconstruction as it is now.
    wishes : Wishes
        What is wanted of it.

    Returns
    -------
    bool
        Whether that was all, for now: it is not to be computed.

    Raises
    ------
    ClaimLostError
        Somebody else has taken over.
    """
    state, verb = record.state, wishes.verb
    if state in FINAL_STATES:
        return True
    match verb:
        case Verb.CANCEL:
            message = ended_message("cancelled", record, wishes)
            writer.end(State.CANCELLED, message, ended_by=wishes.ended_by)
            return True
        case Verb.PAUSE if wishes.is_of_batch:
            if state is State.RUNNING:
                writer.enter(State.QUEUED, paused_message(record))
            return True
        case Verb.PAUSE:
            if state in (State.QUEUED, State.RUNNING):
                writer.enter(State.PAUSED, "paused by a user")
            return True
        case Verb.STOP:
            # Only a conductor sees what there is.
            pass
        case None if state is State.PAUSED:
            writer.enter(State.QUEUED, "resumed")
    return False


def ended_message(done: str, record: ReconstructionRecord, wishes: Wishes) -> str:
    """Return why a reconstruction has ended, as its status says it."""
    batch = record.metadata.batch
    return f"{done} with its batch {batch.id}" if wishes.is_of_batch and batch else f"{done} by a user"


def paused_message(record: ReconstructionRecord) -> str:
    """Return why an item was given back, as its status says it."""
    batch = record.metadata.batch
    return f"given back: its batch {batch.id if batch else ''} is paused"


def _check_batch(node: Any, record: ReconstructionRecord) -> None:
    """Refuse to queue an item that would end at once, because its batch has been ended."""
    batch = record.metadata.batch
    wanted = read_wishes(node, find_batch(node, record)).of_batch & ENDING
    if batch and wanted:
        raise CatalogError(
            f"{record.path} belongs to batch {batch.id}, which is to be ended ({next(iter(wanted)).value}); "
            f"retry the batch: `tomoservice batch retry {batch.id}`"
        )


def check_unfinished(record: ReconstructionRecord, verb: str) -> None:
    """Raise `IllegalTransitionError` if there is nothing to be done with a reconstruction any more."""
    if record.state in FINAL_STATES:
        raise IllegalTransitionError(f"{record.path} is {record.state.value}; there is nothing to {verb}")
