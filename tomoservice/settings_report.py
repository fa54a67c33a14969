"""Every setting with its value and where that came from, and the JSON schema of them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from tomoservice.settings import PREFIX, Settings, load_settings, read_settings_file, section_of


class Origin(StrEnum):
    """Where a value came from; later ones win over earlier ones."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class SettingValue:
    """One setting as it is in effect."""

    name: str
    """Its place in the tree, ``service.port``."""
    value: Any
    """Its value; a secret shows itself as stars."""
    origin: Origin
    """Where the value came from."""

    @property
    def shown(self) -> Any:
        """The value in plain JSON types, secrets as stars."""
        return _plain(self.value)


def setting_names(model: type[BaseModel] = Settings, before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every single setting: its place in the tree, and its field."""
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is None:
            yield f"{before}{name}", field
        else:
            yield from setting_names(section, f"{before}{name}.")


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper().replace(".", "__")


def effective_settings(
    file: Path | None = None, flags: Mapping[str, Any] | None = None
) -> list[SettingValue]:
    """Return every setting with its value and where that came from.

    Parameters
    ----------
    file, flags
        As for `load_settings`.

    Raises
    ------
    SettingsError
        A file that cannot be read, an unknown key, or a value that does not fit.
    """
    settings = load_settings(file, flags)
    trees = {
        Origin.FLAG: flags or {},
        Origin.ENVIRONMENT: EnvSettingsSource(Settings)(),
        Origin.FILE: {} if file is None else read_settings_file(file),
    }
    found = []
    for name, _ in setting_names():
        path = name.split(".")
        origin = next((origin for origin, tree in trees.items() if _gives(tree, path)), Origin.DEFAULT)
        found.append(SettingValue(name, _value(settings, path), origin))
    return found


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of the settings."""
    schema = Settings.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _gives(tree: Any, path: list[str]) -> bool:
    """Tell whether a tree says something of a setting, or of the whole section that it is in."""
    for part in path:
        if not isinstance(tree, Mapping):
            break
        if part not in tree:
            return False
        tree = tree[part]
    return tree is not None


def _value(settings: Any, path: list[str]) -> Any:
    for part in path:
        # A section that is optional and absent.
        settings = None if settings is None else getattr(settings, part)
    return settings


def _plain(value: Any) -> Any:
    match value:
        case SecretStr() | Path():
            return str(value)
        case tuple() | list():
            return [_plain(item) for item in value]
        case _:
            return value
