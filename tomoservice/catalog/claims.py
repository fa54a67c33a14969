"""Who works on a reconstruction.

Tiled has no compare-and-swap, but creating a child with a fixed key is atomic. So a claim is the
creation of ``claim-{attempt}``, its lease is that child's metadata, and whoever takes over from a
worker that died creates the next one. The attempt is a fencing token: every write carries it, and a
worker that finds a higher one has lost.
"""

from __future__ import annotations

import math
import os
import socket
import time
import uuid
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tomoservice.catalog import names
from tomoservice.catalog.nodes import create_container
from tomoservice.catalog.transport import ConflictError, child, keys_of, translated
from tomoservice.errors import ClaimLostError

CLOCK_TOLERANCE_S = 2.0
"""How far the clocks of two machines may differ before a lease counts as expired."""
LOOKED_S = 2.0
"""How long a look at who has the claim holds, at most: nobody takes over from a live lease, so looking before
each of several writes tells nothing new."""
LOOKS_PER_LEASE = 10
"""How often to look anew within the length of a lease, at least."""
FUTURE_TOLERANCE_S = 60.0
"""How much longer than its length a lease may seem to run before it is taken for nonsense."""


@dataclass(frozen=True, slots=True)
class Worker:
    """Who claims."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Distinguishes two workers of one process."""


class Lease(BaseModel):
    """Metadata of a claim."""

    model_config = ConfigDict(extra="allow", frozen=True)

    attempt: int
    host: str
    pid: int
    identity: str
    expires: float
    """When the claim ends unless it is renewed, in seconds since 1970."""
    lease_s: float = 0.0
    """How far ahead the worker sets the end."""
    released: bool = False
    """Whether the worker has given the claim back."""

    def is_live(self, now: float) -> bool:
        """Tell whether the worker still has the right to work."""
        # An end that no renewal can have written must not keep everybody away for years.
        plausible = self.expires - now <= self.lease_s + FUTURE_TOLERANCE_S
        return not self.released and plausible and now < self.expires + CLOCK_TOLERANCE_S


class Claim:
    """The right to work on one reconstruction, as long as the lease is renewed."""

    def __init__(self, reconstruction: Any, node: Any, attempt: int, lease_s: float) -> None:
        self._reconstruction = reconstruction
        self._node = node
        self._path = "/".join(reconstruction.path_parts)
        self.attempt = attempt
        self.lease_s = lease_s
        # Whoever has created a claim, or found it its own, has looked.
        self._looked = time.monotonic()
        # By the clock on the wall as well: the other one stands still while a machine sleeps.
        self._expires = time.time() + lease_s

    @property
    def reconstruction(self) -> Any:
        """Tiled client of the reconstruction node."""
        return self._reconstruction

    @property
    def path(self) -> str:
        """Path of the reconstruction."""
        return self._path

    def renew(self) -> None:
        """Extend the lease.

        Raises
        ------
        ClaimLostError
            Somebody else has taken over.
        """
        self._look()
        expires = time.time() + self.lease_s
        self._write({"expires": expires})
        self._expires = expires

    def release(self) -> None:
        """Give the claim back, so that nobody has to wait until the lease expires."""
        self._looked = -math.inf
        self._write({"released": True})

    def check(self) -> None:
        """Raise `ClaimLostError` if somebody else has taken over, as far as was seen a moment ago."""
        looked_s = time.monotonic() - self._looked
        if looked_s > min(LOOKED_S, self.lease_s / LOOKS_PER_LEASE) or time.time() > self._expires:
            self._look()

    def _look(self) -> None:
        looked = time.monotonic()
        highest = max(claimed_attempts(self._reconstruction), default=0)
        if highest > self.attempt:
            raise ClaimLostError(
                f"{self._path}: attempt {highest} has taken over from attempt {self.attempt}"
            )
        self._looked = looked

    def _write(self, changes: dict[str, Any]) -> None:
        with translated(f"writing the claim on {self._path}"):
            self._node.update_metadata(changes, drop_revision=True)


def claimed_attempts(reconstruction: Any) -> list[int]:
    """Return the attempts that have been claimed so far."""
    keys = keys_of(reconstruction, "reading the claims on")
    return [number for key in keys if (number := names.attempt_of(key)) is not None]


def latest_lease(reconstruction: Any) -> Lease | None:
    """Return the lease of the latest claim, or None if nobody has claimed yet.

    A claim whose metadata cannot be understood counts as expired: only our workers write claims.
    """
    attempts = claimed_attempts(reconstruction)
    if not attempts:
        return None
    return _lease(reconstruction, max(attempts))


def _lease(reconstruction: Any, attempt: int) -> Lease:
    with translated(f"reading the claims on {'/'.join(reconstruction.path_parts)}"):
        try:
            metadata = dict(reconstruction[names.claim_key(attempt)].metadata)
            # The key decides: it is what creation made unique.
            return Lease.model_validate({**metadata, "attempt": attempt})
        except (KeyError, ValidationError):
            return Lease(attempt=attempt, host="", pid=0, identity="", expires=0.0, released=True)


def crashes_before(reconstruction: Any, attempt: int, fruitful: Container[int] = ()) -> int:
    """Return how many workers in a row, just before `attempt`, died without giving their claim back.

    Parameters
    ----------
    reconstruction : tiled Container
        What they worked on.
    attempt : int
        The claim up to which to count.
    fruitful : container of int
        Attempts that got somewhere: a reconstruction that makes progress is not what kills its workers.
    """
    count = 0
    for earlier in sorted((n for n in claimed_attempts(reconstruction) if n < attempt), reverse=True):
        if earlier in fruitful or _lease(reconstruction, earlier).released:
            break
        count += 1
    return count


def try_claim(reconstruction: Any, worker: Worker, lease_s: float) -> Claim | None:
    """Claim a reconstruction, if nobody has a live claim on it.

    Parameters
    ----------
    reconstruction : tiled Container
        What to claim; its state is the caller's affair.
    worker : Worker
        Who claims; gets a claim of its own again, should it have missed the answer that it has it.
    lease_s : float
        Seconds until the claim expires unless it is renewed.

    Returns
    -------
    Claim or None
        None if somebody else has it, or was quicker.
    """
    now = time.time()
    latest = latest_lease(reconstruction)
    if latest is not None and latest.is_live(now):
        return _own(reconstruction, latest.attempt, worker, lease_s)
    attempt = latest.attempt + 1 if latest else 1
    metadata = {
        "attempt": attempt,
        "host": worker.host,
        "pid": worker.pid,
        "identity": worker.identity,
        "claimed": now,
        "expires": now + lease_s,
        "lease_s": lease_s,
        "released": False,
    }
    try:
        node = create_container(reconstruction, names.claim_key(attempt), metadata=metadata)
    except ConflictError:
        return _own(reconstruction, attempt, worker, lease_s)
    return Claim(reconstruction, node, attempt, lease_s)


def _own(reconstruction: Any, attempt: int, worker: Worker, lease_s: float) -> Claim | None:
    """Return the claim on `attempt` if it is the worker's own."""
    if _lease(reconstruction, attempt).identity != worker.identity:
        return None
    claim = Claim(reconstruction, child(reconstruction, names.claim_key(attempt)), attempt, lease_s)
    claim.renew()
    return claim
