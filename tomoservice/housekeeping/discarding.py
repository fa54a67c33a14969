"""Slabs of arrays on demand, removed although somebody may be writing one at this moment.

Whoever only looks writes in the name of the latest attempt on a store. So the store is opened for writing by
a later one before anything is removed, which refuses slabs that were begun earlier, and by one more
afterwards: a slab whose marker is older than that may have lost chunks to the removal, and goes too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.claims import Claim, Worker, claimed_attempts, try_claim
from tomoservice.catalog.nodes import create_container, is_sweep
from tomoservice.store import IDENTITY, SlabStore, highest_attempt

LEASE_S = 60.0
SETTLE_S = 0.5
"""What a writer that has looked at the store for the last time has left until its marker is in place."""


def discard_slabs(node: Any, folder: Path, is_idle: Callable[[], bool]) -> bool:
    """Remove all slabs of a reconstruction or sweep, but not what describes it, unless somebody wants it.

    Parameters
    ----------
    node : tiled Container
        The reconstruction, which is claimed meanwhile, so that no conductor begins with it; or the sweep.
    folder : Path
        Folder of its store.
    is_idle : callable
        Whether it may still be done; asked before anything is touched, and again while it is claimed.

    Returns
    -------
    bool
        Whether they are gone.

    Raises
    ------
    CatalogError
        The node is gone, or somebody else has taken over.
    OutputError
        There is no volume, or it cannot be read.
    """
    if not is_idle():
        return False
    if is_sweep(node):
        # No conductor works on it, and so nobody claims it.
        _discard(folder, highest_attempt(folder) + 1, lambda: None)
        return True
    skip_attempts(node, highest_attempt(folder))
    claim = try_claim(node, Worker(), LEASE_S)
    if claim is None:
        return False
    try:
        if not is_idle():
            return False
        last = _discard(folder, claim.attempt, _renewal(claim))
        skip_attempts(node, last)
    finally:
        claim.release()
    return True


def skip_attempts(node: Any, attempt: int) -> None:
    """Let the next claim on a reconstruction be a later one than an attempt, which its store has seen."""
    if attempt > max(claimed_attempts(node), default=0):
        metadata = {"attempt": attempt, "released": True}
        create_container(node, names.claim_key(attempt), metadata=metadata)


def _discard(folder: Path, attempt: int, renew: Callable[[], None]) -> int:
    """Remove the slabs, and return the attempt that holds the store now."""
    store = SlabStore.open(folder, attempt=attempt)
    for index in sorted(store.present()):
        renew()
        store.discard([index])
    last = attempt + 1
    store = SlabStore.open(folder, attempt=last)
    time.sleep(SETTLE_S)
    store.discard([index for index, marker in store.markers().items() if marker.attempt < last])
    if not store.present():
        # Another version of the engine may fill it anew.
        (folder / IDENTITY).unlink(missing_ok=True)
    return last


def _renewal(claim: Claim) -> Callable[[], None]:
    """Return what keeps a claim alive when it is called often."""
    due = time.monotonic() + LEASE_S / 3

    def renew() -> None:
        nonlocal due
        if time.monotonic() > due:
            claim.renew()
            due = time.monotonic() + LEASE_S / 3

    return renew
