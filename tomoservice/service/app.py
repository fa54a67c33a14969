"""The ASGI application: Tiled, configured by a file that an engineer can read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import SecretStr
from tiled.catalog.adapter import Collision
from tiled.config import Config, construct_build_app_kwargs
from tiled.server.app import build_app
from tiled.structures.core import Spec, StructureFamily
from tiled.validation_registration import ValidationRegistry

from tiled_config.access import define_tags
from tiled_config.guard import guard, refuse
from tiled_config.place import KnownPlace
from tiled_config.streaming import keep_little
from tomoservice.catalog import names
from tomoservice.catalog.states import State
from tomoservice.compute.cluster import DaskComputer
from tomoservice.compute.launch import find_cluster
from tomoservice.freed_memory import give_back_freed_memory
from tomoservice.garbage import spare_what_is_there
from tomoservice.service.answers import explain_errors
from tomoservice.service.api import office_routes
from tomoservice.service.database import check_address, prepare_database
from tomoservice.service.dependencies import keep_dependencies
from tomoservice.service.describer import Describer
from tomoservice.service.office import Office, open_office
from tomoservice.service.overlays import layered_configuration
from tomoservice.service.page import PATH, page_application
from tomoservice.service.readers import Readers
from tomoservice.service.submitter import Submitter
from tomoservice.service.volumes import VolumeAdapters
from tomoservice.settings import Settings, read_api_key

GIVE_BACK_S = 30.0
"""How often memory that was freed is given back to the system."""


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
    """Return the Tiled configuration of the service, filled in from the settings."""
    if settings.service.database is not None:
        check_address(settings.service.database.get_secret_value())
    values: dict[str, Any] = {
        "data": str(settings.data_folder),
        "volumes": str(settings.volumes_folder),
        "raw_folders": [str(folder.expanduser().resolve()) for folder in settings.service.raw_folders],
        "api_key": api_key,
        "anonymous": settings.service.anonymous_read,
        "database": _revealed(settings.service.database),
        "streaming": _revealed(settings.service.streaming) or "memory",
    }
    return {key: _fill(section, values) for key, section in layered_configuration(settings).items()}


def _revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def make_app(
    settings: Settings, api_key: str, uri: Callable[[], str], on_queued: Callable[[], None] | None = None
) -> Any:
    """Return the ASGI application of the embedded service.

    Parameters
    ----------
    settings : Settings
        Where data is kept, and who may read.
    api_key : str
        Key that may write.
    uri : callable
        Returns the address of the service once it is known, where workers reach it.
    on_queued : callable, optional
        Called when a reconstruction is being queued, which stands in the catalogue a moment later.
    """
    # Registers the compression filters that detectors use, for whoever reads raw frames through Tiled.
    import hdf5plugin  # noqa: F401

    configuration = tiled_configuration(settings, api_key)
    catalog = configuration["catalog"]
    if not catalog.get("init_if_not_exists"):
        prepare_database(catalog["uri"], settings.data_folder)
    config = Config.model_validate(configuration)
    arguments = construct_build_app_kwargs(config)
    tree, tasks = arguments["tree"], arguments["tasks"]
    find = partial(find_cluster, settings.data_folder, settings.compute)
    computer = DaskComputer(find, settings.compute.resource)
    key = _key_for_work(settings, api_key)
    readers = Readers(computer, uri, key, settings)
    describer = Describer(uri, key, settings, readers, computer)
    adapters = VolumeAdapters(tree, settings.volumes_folder, readers, config.response_bytesize_limit)
    tree.context.adapters_by_mimetype[names.COMPUTED_MIMETYPE] = adapters
    guard(tree)
    submitter = Submitter(uri, key)
    heard = {
        names.RECONSTRUCTION_SPEC: _Told(describer.hear, on_queued),
        names.SWEEP_SPEC: _Told(describer.hear),
        names.BATCH_SPEC: _Told(lambda _state: submitter.poke()),
        names.ADDITION_SPEC: _Told(lambda _state: submitter.poke()),
    }
    registry = _any_version(arguments["validation_registry"], heard)
    arguments["validation_registry"] = registry
    if settings.service.access_tags is not None:
        file = settings.service.access_tags.expanduser()
        tasks["startup"].append(partial(define_tags, file, tree.context.database_settings))
    tasks["startup"].append(_creating_top_containers(tree))
    tasks["startup"].append(_keeping_little(tree))
    office = open_office(settings, readers, submitter, uri, tree)
    arguments["include_routers"] = [*arguments["include_routers"], *office_routes()]
    tasks["startup"].append(_starting(describer, submitter))
    tasks["startup"].append(_sparing)
    tasks["background"] += [readers.join, _give_back_memory]
    tasks["shutdown"].append(_stopping(office, describer, submitter))
    keep_dependencies()
    app = build_app(**arguments)
    app.state.tomoservice = office
    app.add_exception_handler(RuntimeError, refuse)
    app.add_middleware(KnownPlace)
    explain_errors(app)
    app.mount(PATH, page_application())
    return app


def _key_for_work(settings: Settings, api_key: str) -> Callable[[], str]:
    """Return what gives the key by which the service itself reads and writes nodes."""
    file = settings.conductor.api_key_file
    if file is None:
        return lambda: api_key
    # Where people have accounts, it is made once the service runs for the first time.
    return partial(read_api_key, file)


async def _sparing() -> None:
    spare_what_is_there()


async def _give_back_memory() -> None:
    """Give back freed memory now and then, for as long as the service runs."""
    while True:
        await asyncio.sleep(GIVE_BACK_S)
        await asyncio.to_thread(give_back_freed_memory)


def _starting(*threads: Describer | Submitter) -> Callable[[], Awaitable[None]]:
    async def start() -> None:
        for thread in threads:
            thread.start()

    return start


def _stopping(office: Office, *threads: Describer | Submitter) -> Callable[[], Awaitable[None]]:
    async def stop() -> None:
        for thread in threads:
            await asyncio.to_thread(thread.stop)
        await office.close()
        await office.readers.close()

    return stop


@dataclass(frozen=True)
class _Told:
    """Who is told of nodes."""

    on_creation: Callable[[str], None]
    """Called with the state of every new node that the validator lets pass; it is empty of what has none."""
    on_queued: Callable[[], None] | None = None
    """Called for every node, new or not, that is queued by what is being written."""

    def tell(self, metadata: Mapping[str, Any], *, is_new: bool) -> None:
        """Tell of a node that gets this metadata, which the validator has let pass."""
        state = str(metadata.get("status", {}).get("state", ""))
        if is_new:
            self.on_creation(state)
        if self.on_queued is not None and state == State.QUEUED:
            self.on_queued()


def _any_version(registry: ValidationRegistry, heard: Mapping[str, _Told]) -> AnyVersionRegistry:
    """Return the validators; whoever is named with a spec is told of the nodes with it."""
    replaced = AnyVersionRegistry()
    # Tiled offers no way to list a registry.
    for spec, validator in registry._lookup.items():
        told = heard.get(spec.name)
        replaced.register(Spec(spec.name), validator if told is None else _telling(validator, told))
    return replaced


def _telling(validator: Callable[..., Any], told: _Told) -> Callable[..., Any]:
    """Return the validator; somebody is told of every node that it lets pass."""

    async def validate(spec: Spec, metadata: Any, entry: Any, *rest: Any) -> Any:
        result = await validator(spec, metadata, entry, *rest)
        told.tell(result or metadata, is_new=entry is None)
        return result

    return validate


def _keeping_little(tree: Any) -> Callable[[], Awaitable[None]]:
    async def keep() -> None:
        # The tree has connected to it by now.
        keep_little(tree.context.streaming_cache)

    return keep


def _creating_top_containers(tree: Any) -> Callable[[], Awaitable[None]]:
    async def create() -> None:
        # Before the first request, so that nobody finds a service without them.
        for key, specs in (
            (names.RAW, [Spec(names.RAW_SPEC, version=names.RAW_SPEC_VERSION)]),
            (names.PROCESSED, []),
            (names.RECIPES, []),
            (names.BATCHES, []),
            (names.LIVE, []),
        ):
            with suppress(Collision):
                await tree.create_node(
                    StructureFamily.container, {}, key=key, specs=specs, access_tags=tree.access_tags
                )

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
