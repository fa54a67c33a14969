"""Keys and specs of our nodes."""

from __future__ import annotations

import hashlib
import uuid

RAW = "raw"
PROCESSED = "processed"
VOLUME = "volume"
PROGRESS = "progress"
QUALITY = "quality"
CONTROL_CANCEL = "control-cancel"
CLAIM_PREFIX = "claim-"

RECONSTRUCTION_SPEC = "TomoReconstruction"
RECONSTRUCTION_VERSION = "1"
RAW_SPEC = "CatalogOfBlueskyRuns"


def claim_key(attempt: int) -> str:
    """Return the key of the child that claims a reconstruction for `attempt`."""
    return f"{CLAIM_PREFIX}{attempt}"


def attempt_of(key: str) -> int | None:
    """Return the attempt that a child's key claims, or None if the child is no claim."""
    number = key.removeprefix(CLAIM_PREFIX)
    return int(number) if number != key and number.isdecimal() else None


def new_reconstruction_id() -> str:
    """Return a key for a reconstruction that somebody asked for."""
    return uuid.uuid4().hex[:12]


def triggered_reconstruction_id(run_uid: str, recipe: str) -> str:
    """Return the key of the reconstruction that a run's end triggers.

    The same run and recipe give the same key, so a stop document that is seen twice makes one node.

    Parameters
    ----------
    run_uid : str
        Bluesky run.
    recipe : str
        Name of the recipe, or its canonical JSON text.
    """
    digest = hashlib.sha256(f"{run_uid}\n{recipe}".encode())
    return f"auto-{digest.hexdigest()[:12]}"
