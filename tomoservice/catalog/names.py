"""Keys and specs of our nodes."""

from __future__ import annotations

import hashlib
import re
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
RAW_SPEC_VERSION = "3.0"
"""With it, clients look for whole uids only; without, a uid that is absent finds another run."""

KEY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""What the key of a run or a reconstruction looks like.

Keys become folders and parts of addresses, and Tiled stores any: ``..`` and ``a%2Fb`` lead elsewhere.
"""
CLAIM_PATTERN = re.compile(re.escape(CLAIM_PREFIX) + r"([1-9][0-9]{0,8})")


def is_key(key: str) -> bool:
    """Tell whether a run or a reconstruction may be called `key`."""
    return re.fullmatch(KEY_PATTERN, key) is not None


def claim_key(attempt: int) -> str:
    """Return the key of the child that claims a reconstruction for `attempt`."""
    return f"{CLAIM_PREFIX}{attempt}"


def attempt_of(key: str) -> int | None:
    """Return the attempt that a child's key claims, or None if the child is no claim."""
    found = CLAIM_PATTERN.fullmatch(key)
    return int(found[1]) if found else None


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
        Hash of the recipe.
    """
    digest = hashlib.sha256(f"{run_uid}\n{recipe}".encode())
    return f"auto-{digest.hexdigest()[:12]}"
