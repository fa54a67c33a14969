"""Keys and specs of our nodes."""

from __future__ import annotations

import hashlib
import re
import uuid

RAW = "raw"
PROCESSED = "processed"
RECIPES = "recipes"
BATCHES = "batches"
LIVE = "live"
VOLUME = "volume"
IMAGES = "images"
METRIC = "metric"
VALUES = "values"
PYRAMID = "pyramid"
PROGRESS = "progress"
QUALITY = "quality"
WISHES = "wishes"
CONTROL_PREFIX = "control-"
CONTROL_PRIORITY = "control-priority"
CLAIM_PREFIX = "claim-"
ACCEPTED_PREFIX = "accepted-"

COMPUTED_MIMETYPE = "application/x-tomo-computed"
"""Of an array that is computed where it is not stored."""
ZARR_MIMETYPE = "application/x-zarr"
"""Of an array that is stored as a whole."""

RECONSTRUCTION_SPEC = "TomoReconstruction"
RECONSTRUCTION_VERSION = "1"
SWEEP_SPEC = "TomoSweep"
SWEEP_VERSION = "1"
BATCH_SPEC = "TomoBatch"
BATCH_VERSION = "1"
ADDITION_SPEC = "TomoBatchAddition"
ADDITION_VERSION = "1"
RECIPE_SPEC = "TomoRecipe"
RECIPE_VERSION = "1"
ACCEPTANCE_SPEC = "TomoAcceptance"
ACCEPTANCE_VERSION = "1"
LIVE_SPEC = "TomoLive"
LIVE_VERSION = "1"
WISHES_SPEC = "TomoLiveWishes"
WISHES_VERSION = "1"
RAW_SPEC = "CatalogOfBlueskyRuns"
RAW_SPEC_VERSION = "3.0"
"""With it, clients look for whole uids only; without, a uid that is absent finds another run."""

KEY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""What the key of a run, a reconstruction or a saved recipe looks like.

Keys become folders and parts of addresses, and Tiled stores any: ``..`` and ``a%2Fb`` lead elsewhere.
"""
TEXT_PATTERN = r"^[^\x00]*$"
"""What a text looks like that every database takes: PostgreSQL refuses the character NUL."""
ORDER_PREFIX = "order-"
CLAIM_PATTERN = re.compile(re.escape(CLAIM_PREFIX) + r"([1-9][0-9]{0,8})")
ORDER_PATTERN = re.compile(re.escape(ORDER_PREFIX) + r"([1-9][0-9]{0,8})")
ADDITION_PREFIX = "more-"
MOST_ADDITIONS = 999
"""Additions to a batch, at most: each is read whenever the batch is."""
ADDITION_PATTERN = re.compile(re.escape(ADDITION_PREFIX) + r"([1-9][0-9]{0,2})")


def is_key(key: str) -> bool:
    """Tell whether a run, a reconstruction or a saved recipe may be called `key`."""
    return re.fullmatch(KEY_PATTERN, key) is not None


def claim_key(attempt: int) -> str:
    """Return the key of the child that claims a reconstruction for `attempt`."""
    return f"{CLAIM_PREFIX}{attempt}"


def attempt_of(key: str) -> int | None:
    """Return the attempt that a child's key claims, or None if the child is no claim."""
    found = CLAIM_PATTERN.fullmatch(key)
    return int(found[1]) if found else None


def order_key(generation: int) -> str:
    """Return the key of the child that says in which order a batch's items are worked on."""
    return f"{ORDER_PREFIX}{generation}"


def generation_of(key: str) -> int | None:
    """Return which of a batch's orders a child is, or None if it is none."""
    found = ORDER_PATTERN.fullmatch(key)
    return int(found[1]) if found else None


def addition_key(number: int) -> str:
    """Return the key of the child that adds to a batch."""
    return f"{ADDITION_PREFIX}{number}"


def addition_of(key: str) -> int | None:
    """Return which of the additions to a batch a child is, or None if it is none."""
    found = ADDITION_PATTERN.fullmatch(key)
    return int(found[1]) if found else None


def acceptance_key(run_uid: str, recipe: str) -> str:
    """Return the key of the child that says that a recipe was accepted for a run.

    Parameters
    ----------
    run_uid : str
        Bluesky run.
    recipe : str
        Hash of the recipe: what is accepted is its content, whatever becomes of it later.
    """
    digest = hashlib.sha256(f"{run_uid}\n{recipe}".encode())
    return f"{ACCEPTED_PREFIX}{digest.hexdigest()[:16]}"


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
