"""Which catalogue the volumes in a folder belong to, so that no other takes them for nobody's."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from tomoservice.catalog import names
from tomoservice.catalog.transport import child, translated
from tomoservice.errors import OutputError

OWNER = "catalogue_id"
"""Key in the metadata of ``/processed``, and name of the file in the folder of volumes."""


def check_own(root: Any, volumes: Path) -> None:
    """Refuse a folder of volumes that belongs to another catalogue; one that belongs to none is taken.

    A new catalogue over old volumes knows none of them, and would sweep them all.

    Raises
    ------
    OutputError
        It belongs to another one.
    """
    own, file = _identity(root), volumes / OWNER
    try:
        with file.open("x", encoding="ascii") as new:
            new.write(own + "\n")
    except FileExistsError:
        other = file.read_text(encoding="ascii").strip()
        if other != own:
            raise OutputError(
                f"{volumes} belongs to another catalogue ({other}, this is {own}); if that is lost, "
                "`tomoservice catalog rebuild` takes its volumes over, else give this service another folder"
            ) from None


def take_over(root: Any, volumes: Path) -> None:
    """Let a folder of volumes belong to this catalogue from now on."""
    (volumes / OWNER).write_text(_identity(root) + "\n", encoding="ascii")


def _identity(root: Any) -> str:
    """Return what tells this catalogue from others, which its first reader makes up."""
    processed = child(root, names.PROCESSED)
    if OWNER not in processed.metadata:
        with translated("naming the catalogue"):
            processed.update_metadata({OWNER: uuid.uuid4().hex}, drop_revision=True)
        processed = child(root, names.PROCESSED)
    return str(processed.metadata[OWNER])
