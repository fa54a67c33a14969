"""Numbers of scans that go on from session to session."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ScanNumbers:
    """Gives each scan the number after the last one's, whichever session that was in.

    For a RunEngine's `scan_id_source`. Several sessions may share the file.

    Parameters
    ----------
    file
        Holds the last number; made if absent.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, _metadata: Mapping[str, Any] | None = None) -> int:
        """Return the next number."""
        with os.fdopen(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666), "rb+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = file.read().strip()
            number = int(text) + 1 if text.isdigit() else 1
            written = f"{number}\n".encode()
            file.seek(0)
            # Over the last number, which is no longer: whoever dies in between leaves one or the other.
            file.write(written)
            file.truncate(len(written))
            return number
