"""The data folder of a service: lock, API key, and the file that says where the service is."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tomoservice.errors import SettingsError

API_KEY_FILE = "api_key"
LOCK_FILE = "lock"
SERVICE_FILE = "service.json"


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """Where a running service is."""

    uri: str
    """Address, ``http://host:port``."""
    pid: int
    """Process that serves."""
    version: str
    """Version of the package."""


@contextmanager
def locked(folder: Path, *, private: bool = False) -> Iterator[None]:
    """Make sure that only one service works in a data folder; made if absent.

    Parameters
    ----------
    folder : Path
        The data folder.
    private : bool
        Whether the folder is closed to everybody but its owner; what is in it has the usual modes.

    Raises
    ------
    SettingsError
        Another service runs there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if private:
            folder.chmod(0o700)
        # Kept after the service ends: a lock file that is removed can be locked twice.
        lock = (folder / LOCK_FILE).open("a")
    except OSError as error:
        raise SettingsError(f"data folder {folder} cannot be used: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            info = read_info(folder)
            where = f" at {info.uri} (process {info.pid})" if info else ""
            raise SettingsError(
                f"another service already works in {folder}{where}; stop it or choose another data folder"
            ) from error
        yield


def ensure_api_key(folder: Path, given: str | None) -> str:
    """Return the API key: the one given, else the one in the data folder, made at the first time.

    Raises
    ------
    SettingsError
        The key is not made of letters and digits, or its file cannot be read or written.
    """
    if given is not None:
        return _checked(given, "service.api_key")
    path = folder / API_KEY_FILE
    stored = stored_api_key(folder)
    return _make_key(path) if stored is None else _checked(stored, str(path))


def stored_api_key(folder: Path) -> str | None:
    """Return the API key that a service made in its data folder, or None."""
    path = folder / API_KEY_FILE
    # An empty file holds no key that anybody could be using: it is what a full disk leaves.
    return (_read_key(path) or None) if path.exists() else None


def write_info(folder: Path, info: ServiceInfo) -> None:
    """Say where the service is."""
    draft = folder / f".{SERVICE_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / SERVICE_FILE)


def read_info(folder: Path) -> ServiceInfo | None:
    """Return where the service of a data folder said to be, or None; it may have died since."""
    try:
        return ServiceInfo(**json.loads((folder / SERVICE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def remove_info(folder: Path) -> None:
    """Take back what `write_info` said."""
    (folder / SERVICE_FILE).unlink(missing_ok=True)


def _make_key(path: Path) -> str:
    key = secrets.token_hex(32)
    draft = path.with_name(f".{path.name}.draft")
    try:
        draft.unlink(missing_ok=True)
        # Created with its final mode: nobody else can read it, not even for a moment.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A crash leaves the draft or the whole key, never half of one.
        draft.replace(path)
    except OSError as error:
        raise SettingsError(f"the API key cannot be written to {path}: {error}") from error
    return key


def _read_key(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the API key in {path} cannot be read: {error}") from error


def _checked(key: str, where: str) -> str:
    if not (key.isascii() and key.isalnum()):
        raise SettingsError(f"{where}: an API key consists of letters and digits only")
    return key
