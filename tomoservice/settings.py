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
from typing import Any, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_serializer,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariableError

from tomoservice.errors import SettingsError

PREFIX = "TOMOSERVICE__"
SECRET = frozenset({"api_key", "database", "streaming"})
"""Settings that may hold a password and never show in a message."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


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
    workers: int = Field(default=1, ge=1)
    """Server processes that share the port; more than one needs `database` and `streaming`."""
    database: SecretStr | None = None
    """PostgreSQL database for the catalogue and for tables, ``postgresql://user:password@host:5432/name``;
    without one, files in the data folder."""
    streaming: SecretStr | None = None
    """Redis server through which server processes tell each other, and subscribers, what is new,
    ``redis://host:6379/0``; without one, the memory of the one process."""
    configuration: Path | None = None
    """YAML file in Tiled's format whose sections are laid over those that come with the package:
    authentication, access control, ..."""
    access_tags: Path | None = None
    """YAML file with roles, tags and their users, read into the catalogue at every start."""

    @model_validator(mode="after")
    def _several_need_a_database(self) -> Self:
        if self.workers > 1 and (self.database is None or self.streaming is None):
            raise ValueError("several workers need service.database and service.streaming")
        return self

    @field_serializer("api_key", "database", "streaming", when_used="json")
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
    pyramids: bool = True
    """Whether volumes that are done get a pyramid: the same at lower resolutions, a seventh more on disk."""
    max_crashes: int = Field(default=3, ge=1)
    """How many conductors may die of the same reconstruction before it counts as failed."""
    uri: str | None = None
    """Address of the service, for a conductor that is started by itself."""
    api_key_file: Path | None = None
    """File with the key that the conductor uses; without one, that of the service."""


class HousekeepingSettings(_Section):
    """What is kept on disk, and for how long."""

    sweep_s: float = Field(default=3600.0, ge=0)
    """Seconds between two sweeps by an idle conductor; 0 for none."""
    orphan_age_s: float = Field(default=86400.0, ge=0)
    """Seconds for which a folder that belongs to no node has to be untouched before it is removed."""
    virtual_quota_bytes: int | None = Field(default=None, ge=0)
    """What volumes and sweeps that are computed on demand (state `virtual`) may take on disk, in bytes; the
    slabs and pictures of those that were not touched for longest go first."""
    reserve_bytes: int = Field(default=2**30, ge=0)
    """What has to stay free on the disk of the volumes, in bytes: nothing is begun that would take it."""


class TlsSettings(_Section):
    """Certificates for the connection to a Dask scheduler."""

    ca: Path
    """Certificate of the authority that signed the others."""
    certificate: Path
    """Certificate of this process."""
    key: Path
    """Its private key."""


class ComputeSettings(_Section):
    """Where slabs are computed."""

    scheduler: str | None = None
    """Address of a Dask scheduler (tcp://host:8786, or tls://...); by default the service starts its own."""
    tls: TlsSettings | None = None
    """Certificates for a scheduler at tls://..."""
    resource: str | None = Field(default=None, min_length=1)
    """Dask resource of which every task that computes takes one, so that only workers which offer it get
    such tasks: GPU for those that are started with ``dask worker --resources GPU=1``."""
    workers: int = Field(default=1, ge=1)
    """Worker processes of the service's own cluster; one uses all cores."""
    threads_per_worker: int = Field(default=2, ge=1)
    """Tasks that a worker has in hand at once: with two, one reads and writes while the other computes."""
    memory_bytes: int | None = Field(default=None, ge=64 * 1024**2)
    """Memory that all tasks of a worker may use together, in bytes; without it, half of what is free."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """What computes slices: auto (a CUDA device where a worker finds one), cpu, cuda, or cuda:1 for the
    second one. A worker uses one; CUDA_VISIBLE_DEVICES gives each worker its own."""
    interactive_s: float = Field(default=10.0, gt=0)
    """Seconds that a single read of a volume may take to compute; longer ones are refused, and say so."""


class LiveSettings(_Section):
    """The process that reconstructs scans while they go on."""

    enabled: bool = True
    """Whether `serve` starts such a process."""
    poll_s: float = Field(default=1.0, gt=0)
    """Seconds between two looks for runs that have begun; the service tells of them sooner."""
    update_s: float = Field(default=0.5, gt=0)
    """Seconds between two updates of what is shown, at least."""
    at_once: int = Field(default=3, ge=1)
    """Scans that are followed at the same time; others wait."""
    kept: int = Field(default=10, ge=1)
    """Live reconstructions that are kept, the latest; no fewer than are followed at the same time."""
    threads: int = Field(default=1, ge=1)
    """Threads with which each scan is reconstructed while it goes on."""
    patience_s: float = Field(default=120.0, gt=0)
    """Seconds in which nothing comes, neither projections nor flats, after which a scan without an end counts
    as killed; it is followed again if something comes."""

    @model_validator(mode="after")
    def _keeps_what_it_follows(self) -> Self:
        if self.kept < self.at_once:
            raise ValueError(f"kept ({self.kept}) must not be less than at_once ({self.at_once})")
        return self


class EnvironmentFirst(BaseSettings):
    """Settings whose environment variables go before what the constructor is given: a file's content."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what the constructor is given."""
        del cls, settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


class Settings(EnvironmentFirst):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        use_attribute_docstrings=True,
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
    compute: ComputeSettings = ComputeSettings()
    """Where slabs are computed."""
    live: LiveSettings = LiveSettings()
    """The process that reconstructs scans while they go on."""
    housekeeping: HousekeepingSettings = HousekeepingSettings()
    """What is kept on disk, and for how long."""

    @property
    def data_folder(self) -> Path:
        """The data folder as an absolute path."""
        return self.data.expanduser().resolve()

    @property
    def raw_folders(self) -> tuple[Path, ...]:
        """The folders from which raw files are served, as absolute paths."""
        folders = (self.data_folder / "raw", *self.service.raw_folders)
        return tuple(folder.expanduser().resolve() for folder in folders)

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
    content = read_settings_file(file) if file is not None else {}
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


def read_api_key(file: Path) -> str:
    """Return the key that a file holds.

    Raises
    ------
    SettingsError
        It cannot be read, or holds nothing.
    """
    try:
        key = file.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the API key in {file} cannot be read: {error}") from error
    if not key:
        raise SettingsError(f"{file} holds no API key")
    return key


def read_settings_file(file: Path) -> dict[str, Any]:
    """Return what a settings file says.

    Raises
    ------
    SettingsError
        It cannot be read, or holds no mapping.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"settings file {file} cannot be read: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {file} holds {type(content).__name__}, expected a mapping")
    return content


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a section, be it optional or not; None for a single setting."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_of(part))), None)


def _refuse_unknown_variables() -> None:
    # pydantic-settings looks only for the variables it knows, so a misspelt one would be ignored.
    for name in os.environ:
        if name.startswith(PREFIX):
            _check_variable(name)


def _check_variable(name: str) -> None:
    section: type[BaseModel] | None = Settings
    before = PREFIX
    for part in name[len(PREFIX) :].split("__"):
        if section is None:
            raise SettingsError(
                f"environment variable {name}: {before[:-2]} is a single setting, not a section"
            )
        field = section.model_fields.get(part.lower())
        if field is None:
            known = ", ".join(sorted(key.upper() for key in section.model_fields))
            raise SettingsError(
                f"environment variable {name} is no setting; after {before} comes one of {known}"
            )
        section = section_of(field.annotation)
        before += f"{part}__"


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
        elif not SECRET.isdisjoint(problem["loc"]):
            lines.append(f"setting {name!r}: {problem['msg']}; what consists of digits only needs quotes")
        elif isinstance(problem["input"], str | int | float) and len(problem["loc"]) > 1:
            lines.append(f"setting {name!r}: {problem['msg']}, got {problem['input']!r}")
        else:
            # A whole section may hold the key.
            lines.append(f"setting {name!r}: {problem['msg']}, got {type(problem['input']).__name__}")
    place = f" (file {file}, environment, or flags)" if file else " (environment or flags)"
    return "; ".join(lines) + place
