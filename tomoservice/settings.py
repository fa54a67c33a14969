"""Settings of the service: one tree, from a file, the environment and the command line.

A file is overridden by environment variables, and these by what the caller passes::

    service:
      port: 8000
    conductor:
      lease_s: 30

is the same as ``TOMOSERVICE__SERVICE__PORT=8000 TOMOSERVICE__CONDUCTOR__LEASE_S=30``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariableError

from tomoservice.errors import SettingsError

PREFIX = "TOMOSERVICE__"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ServiceSettings(_Section):
    """The HTTP side of the service."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 makes the service visible on the network."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 lets the system choose one."""
    api_key: SecretStr | None = None
    """Key that may write, letters and digits. Without one, a key is made once and kept in the data folder."""
    anonymous_read: bool = True
    """Whether people without a key may read metadata and data. If not, the data folder is closed to other
    users of the machine as well."""
    raw_folders: tuple[Path, ...] = ()
    """Folders from which raw and reconstructed files may be served, besides `raw` in the data folder."""

    @field_serializer("api_key", when_used="json")
    def _reveal(self, value: SecretStr | None) -> str | None:
        # The JSON form only ever goes to the standard input of a service that is a child of ours.
        return value.get_secret_value() if value else None


class ConductorSettings(_Section):
    """The process that reconstructs."""

    embedded: bool = True
    """Whether `serve` starts a conductor of its own."""
    poll_s: float = Field(default=2.0, gt=0)
    """Seconds between two looks for queued reconstructions."""
    lease_s: float = Field(default=30.0, ge=1)
    """Seconds without a sign of life after which another conductor takes a reconstruction over."""
    memory_bytes: int | None = Field(default=None, ge=64 * 1024**2)
    """Memory that a reconstruction may use, in bytes; without it, half of what is free at the start."""
    max_crashes: int = Field(default=3, ge=1)
    """How many conductors may die of the same reconstruction before it counts as failed."""


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        # A traceback would show the API key.
        hide_input_in_errors=True,
    )

    data: Path = Path("tomoservice-data")
    """Folder for the catalogue, volumes, logs and the API key."""
    volumes: Path | None = None
    """Folder for volumes, on storage that conductors and the server share; in `data` by default."""
    service: ServiceSettings = ServiceSettings()
    """The HTTP side."""
    conductor: ConductorSettings = ConductorSettings()
    """The process that reconstructs."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what the constructor is given: the file's content."""
        del cls, settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @property
    def data_folder(self) -> Path:
        """The data folder as an absolute path."""
        return self.data.expanduser().resolve()

    @property
    def volumes_folder(self) -> Path:
        """The folder of volumes as an absolute path."""
        return self.volumes.expanduser().resolve() if self.volumes else self.data_folder / "volumes"


class _FixedSettings(Settings):
    """`Settings` that look at nothing but what they are given."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read neither environment nor files."""
        del cls, settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load_settings(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of file < environment < flags.

    Parameters
    ----------
    file : Path, optional
        YAML file with the tree of settings, or a part of it.
    flags : mapping, optional
        Tree of what the caller has decided (``{"service": {"port": 0}}``); values of None are left out.

    Raises
    ------
    SettingsError
        A file that cannot be read, an unknown key, or a value that does not fit; the message names it.
    """
    _refuse_unknown_variables()
    content = _read(file) if file is not None else {}
    try:
        merged = _merge(Settings(**content).model_dump(), _without_none(flags or {}))
        return _FixedSettings(**merged)
    except ValidationError as error:
        raise SettingsError(_explain(error, file)) from error
    except UnreadableVariableError as error:
        raise SettingsError(
            f"environment: {error}; a section wants JSON, or a variable per setting"
        ) from error


def settings_from_json(text: str) -> Settings:
    """Return settings that another process wrote with ``model_dump_json``, whatever the environment says."""
    return _FixedSettings.model_validate_json(text)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"settings file {file} cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {file} holds {type(content).__name__}, expected a mapping")
    return content


def _refuse_unknown_variables() -> None:
    # pydantic-settings looks only for the variables it knows, so a misspelt one would be ignored.
    known = {name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith(PREFIX) and name[len(PREFIX) :].split("__")[0].upper() not in known:
            raise SettingsError(
                f"environment variable {name} is no setting; the first part after {PREFIX} "
                f"must be one of {', '.join(sorted(known))}"
            )


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
        if value is not None
    }


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _explain(error: ValidationError, file: Path | None) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown setting {name!r}")
        elif "api_key" in problem["loc"]:
            lines.append(f"setting {name!r}: {problem['msg']}; a key of digits only needs quotes")
        elif isinstance(problem["input"], str | int | float) and len(problem["loc"]) > 1:
            lines.append(f"setting {name!r}: {problem['msg']}, got {problem['input']!r}")
        else:
            # A whole section may hold the key.
            lines.append(f"setting {name!r}: {problem['msg']}, got {type(problem['input']).__name__}")
    place = f" (file {file}, environment, or flags)" if file else " (environment or flags)"
    return "; ".join(lines) + place
