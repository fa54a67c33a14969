"""What a session can be told: by its profile, and over that by the environment.

The command ``tomoservice session`` sets the environment from its options.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from tomoservice.errors import SettingsError
from tomoservice.settings import EnvironmentFirst

PREFIX: Final = "TOMOSERVICE_SESSION_"
DEFAULT_URI: Final = "http://127.0.0.1:8000"


class SessionOptions(EnvironmentFirst):
    """Settings of a beamline session."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True, use_attribute_docstrings=True
    )

    sim: bool = False
    """Start a simulated beamline, and a service if none answers."""
    beamline: Path | None = None
    """Table of the beamline's PVs (YAML); a simulated one goes before it."""
    uri: str | None = None
    """Address of the service; by default that of the service of the data folder, else http://127.0.0.1:8000."""
    api_key_file: Path | None = None
    """File with a key that may write; by default TILED_API_KEY, else the key in the data folder."""
    data: Path = Path("tomoservice-data")
    """Data folder of a service on this machine; simulated frames go into `raw` in it."""
    folder: Path | None = None
    """Where runs and requests wait while the service is away, and the number of the last scan is kept; by
    default `session` in the data folder."""
    recipe: str = "default"
    """Recipe by which scans are reconstructed whose plan names none: a file, or one that comes with the
    package."""
    status_prefix: str | None = None
    """What the names of the service's status PVs begin with (`tomoservice ioc`); none by default, and
    `TOMO:` in a simulation."""
    window: bool = True
    """Show the running slice in a window where there is a display."""

    @property
    def data_folder(self) -> Path:
        """The data folder as an absolute path."""
        return self.data.expanduser().resolve()

    @property
    def session_folder(self) -> Path:
        """The folder of what this session keeps, as an absolute path."""
        return self.folder.expanduser().resolve() if self.folder else self.data_folder / "session"


def session_options(**profile: Any) -> SessionOptions:
    """Return the options that a profile gives, overridden by the environment.

    Parameters
    ----------
    **profile
        Fields of `SessionOptions`.

    Raises
    ------
    SettingsError
        An option is unknown or wrong; says which.
    """
    for name in os.environ:
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in SessionOptions.model_fields:
            known = ", ".join(SessionOptions.model_fields).upper()
            raise SettingsError(
                f"environment variable {name} is no session option; after {PREFIX} comes {known}"
            )
    try:
        return SessionOptions(**profile)
    except ValidationError as error:
        problems = "; ".join(
            f"session option {'.'.join(str(part) for part in problem['loc'])!r}: {problem['msg']}"
            for problem in error.errors()
        )
        raise SettingsError(f"{problems} (in the profile, or in {PREFIX}... of the environment)") from error
