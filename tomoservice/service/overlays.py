"""Tiled configurations laid over each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import yaml
from tiled.utils import expand_environment_variables

from tomoservice.errors import SettingsError
from tomoservice.settings import Settings

BASE = "embedded.yml"
WITH_DATABASE = "production.yml"


def layered_configuration(settings: Settings) -> dict[str, Any]:
    """Return the Tiled configuration that the settings ask for, with words in braces still in it.

    Raises
    ------
    SettingsError
        The file named by ``service.configuration`` cannot be read.
    """
    content: dict[str, Any] = {}
    for layer in _layers(settings):
        content = overlaid(content, layer)
    return content


def _layers(settings: Settings) -> Iterator[Mapping[str, Any]]:
    yield _shipped(BASE)
    if settings.service.database is not None:
        yield _shipped(WITH_DATABASE)
    if settings.service.configuration is not None:
        yield _given(settings)


def _shipped(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((files("tiled_config") / name).read_text(encoding="utf-8"))
    return content


def _given(settings: Settings) -> dict[str, Any]:
    path = settings.service.configuration
    if path is None:
        return {}
    try:
        content = expand_environment_variables(yaml.safe_load(path.expanduser().read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"service.configuration: {path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(
            f"service.configuration: {path} holds {type(content).__name__}, expected a mapping"
        )
    return content


def overlaid(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid over it.

    Mappings are merged, null removes what was there, and anything else takes its place.
    """
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            below = merged.get(key)
            merged[key] = overlaid(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
