"""The ASGI application: Tiled, configured by a file that an engineer can read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any

import yaml
from tiled.catalog.adapter import Collision
from tiled.config import Config, construct_build_app_kwargs
from tiled.server.app import build_app
from tiled.structures.core import Spec, StructureFamily
from tiled.validation_registration import ValidationRegistry

from tomoservice.catalog import names
from tomoservice.settings import Settings

CONFIGURATION = "embedded.yml"


class AnyVersionRegistry(ValidationRegistry):
    """Validators by the name of a spec.

    Tiled looks a validator up by name and version, so a client could get past ours by inventing a
    version.
    """

    def dispatch(self, spec: Spec) -> Callable[..., Any]:
        """Return the validator for any version of a spec."""
        validator: Callable[..., Any] = super().dispatch(Spec(spec.name))
        return validator

    def __contains__(self, spec: Spec) -> bool:
        return bool(super().__contains__(Spec(spec.name)))


def tiled_configuration(settings: Settings, api_key: str) -> dict[str, Any]:
    """Return the embedded server's Tiled configuration, filled in from the settings."""
    text = (files("tiled_config") / CONFIGURATION).read_text(encoding="utf-8")
    values: dict[str, Any] = {
        "data": str(settings.data_folder),
        "volumes": str(settings.volumes_folder),
        "raw_folders": [str(folder.expanduser().resolve()) for folder in settings.service.raw_folders],
        "api_key": api_key,
        "anonymous": settings.service.anonymous_read,
    }
    filled = _fill(yaml.safe_load(text), values)
    if not isinstance(filled, dict):
        raise TypeError(f"{CONFIGURATION} holds {type(filled).__name__}, expected a mapping")
    return filled


def make_app(settings: Settings, api_key: str) -> Any:
    """Return the ASGI application of the embedded service.

    Parameters
    ----------
    settings : Settings
        Where data is kept, and who may read.
    api_key : str
        Key that may write.
    """
    config = Config.model_validate(tiled_configuration(settings, api_key))
    arguments = construct_build_app_kwargs(config)
    arguments["validation_registry"] = _any_version(arguments["validation_registry"])
    arguments["tasks"]["startup"].append(_creating_top_containers(arguments["tree"]))
    return build_app(**arguments)


def _any_version(registry: ValidationRegistry) -> AnyVersionRegistry:
    replaced = AnyVersionRegistry()
    # Tiled offers no way to list a registry.
    for spec, validator in registry._lookup.items():
        replaced.register(Spec(spec.name), validator)
    return replaced


def _creating_top_containers(tree: Any) -> Callable[[], Awaitable[None]]:
    async def create() -> None:
        # Before the first request, so that nobody finds a service without them.
        for key, specs in (
            (names.RAW, [Spec(names.RAW_SPEC, version=names.RAW_SPEC_VERSION)]),
            (names.PROCESSED, []),
        ):
            with suppress(Collision):
                await tree.create_node(StructureFamily.container, {}, key=key, specs=specs)

    return create


def _fill(value: Any, values: Mapping[str, Any]) -> Any:
    """Replace ``{name}``: a text that is nothing but a name becomes the value itself, lists are joined."""
    if isinstance(value, dict):
        return {key: _fill(item, values) for key, item in value.items()}
    if isinstance(value, list):
        filled: list[Any] = []
        for item in value:
            new = _fill(item, values)
            if isinstance(new, list) and isinstance(item, str):
                filled.extend(new)
            else:
                filled.append(new)
        return filled
    if not isinstance(value, str):
        return value
    whole = value.removeprefix("{").removesuffix("}")
    if value == f"{{{whole}}}" and whole in values:
        return values[whole]
    for name, replacement in values.items():
        value = value.replace(f"{{{name}}}", str(replacement))
    return value
