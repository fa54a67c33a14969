"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tomoservice.devices import DeviceChoice
from tomoservice.errors import DeviceError, RecipeError, SettingsError
from tomoservice.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from tomoservice.client import Tomo

INPUT_HELP = "INPUT is an HDF5 file (DXchange or NXtomo) or a directory of TIFF frames with a file of angles."

MEMORY_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


class RotationAxis(click.ParamType["float | str"]):
    """A column, or `auto`."""

    name = "column|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Return the column, or "auto"."""
        if isinstance(value, float) or value == "auto":
            return float(value) if isinstance(value, float) else "auto"
        try:
            column = float(value)
        except ValueError:
            column = math.nan
        if not math.isfinite(column):
            self.fail(f"{value!r} is neither a detector column nor 'auto'", param, ctx)
        return column


class RowRange(click.ParamType["tuple[int, int | None]"]):
    """A half-open range of rows, A:B; either may be left out."""

    name = "A:B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        """Return the first row, and the row after the last or None."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d*):(\d*)", value)
        if not match:
            self.fail(f"{value!r} is not of the form A:B (first row, and the row after the last)", param, ctx)
        start, stop = int(match[1] or 0), int(match[2]) if match[2] else None
        if stop is not None and stop <= start:
            self.fail(f"{value!r} holds no row; B must be greater than A", param, ctx)
        return start, stop


class Limits(click.ParamType["tuple[float | None, float | None]"]):
    """Values from A to B, both included; either may be left out."""

    name = "A:B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | None, float | None]:
        """Return the lowest and the highest value, None for no limit."""
        if isinstance(value, tuple):
            return value
        low, colon, high = value.partition(":")
        try:
            limits = tuple(float(part) if part.strip() else None for part in (low, high if colon else low))
        except ValueError:
            self.fail(f"{value!r} is not of the form A:B (lowest and highest value)", param, ctx)
        return limits[0], limits[1]


class MemorySize(click.ParamType["int"]):
    """A number of bytes with an optional unit K, M, G or T."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"([\d.]+)\s*([kmgt]?)(?:i?b)?", value.strip().lower())
        try:
            size = int(float(match[1]) * MEMORY_UNITS[match[2]]) if match else 0
        except ValueError:
            size = 0
        if size <= 0:
            self.fail(f"{value!r} is no size; write 500M or 16G", param, ctx)
        return size


class DeviceName(click.ParamType["DeviceChoice"]):
    """What computes slices."""

    name = "auto|cpu|cuda|cuda:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> DeviceChoice:
        """Return the choice."""
        if isinstance(value, DeviceChoice):
            return value
        try:
            return DeviceChoice.parse(value)
        except DeviceError as error:
            self.fail(str(error), param, ctx)


class RecipeName(click.ParamType["Recipe"]):
    """A recipe file, or the name of a recipe that the package ships."""

    name = "file|name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Recipe:
        """Return the recipe."""
        if isinstance(value, Recipe):
            return value
        try:
            return load_recipe(value)
        except RecipeError as error:
            self.fail(str(error), param, ctx)


scan_input = click.argument("input_path", metavar="INPUT", type=click.Path(path_type=Path, exists=True))

angles_option = click.option(
    "--angles",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Angles in degrees, one per projection (text or .npy), instead of those that the scan has.",
)

recipe_option = click.option(
    "--recipe",
    type=RecipeName(),
    default="default",
    show_default=True,
    help="Recipe file (YAML or JSON), or the name of one that the package ships.",
)

rows_option = click.option("--rows", type=RowRange(), help="Detector rows, from A to before B.")

memory_option = click.option(
    "--memory",
    type=MemorySize(),
    help="Memory budget, 16G say.  [default: half of what is free]",
)


device_option = click.option(
    "--device",
    type=DeviceName(),
    default="auto",
    show_default=True,
    help="What computes slices: auto (a CUDA device if there is one), cpu, cuda, or cuda:1 for the second.",
)

DATA_FOLDER = Path("tomoservice-data")
DEFAULT_URI = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where the service is, and what lets us in."""

    uri: str
    """Address, ``http://host:port``."""
    api_key: str | None = None
    """Key that may write, if there is one."""
    data: Path | None = None
    """Its data folder, if the service runs on this machine."""

    @contextmanager
    def connected(self) -> Iterator[Tomo]:
        """Connect, and close the connection at the end.

        Raises
        ------
        ServiceUnavailableError
            Nobody answers.
        CatalogError
            The service wants a key, or another one.
        """
        import tomoservice

        with tomoservice.connect(self.uri, self.api_key) as tomo:
            yield tomo

    @classmethod
    def found(cls, uri: str | None, api_key: str | None, data: Path | None) -> ServiceAddress:
        """Return the service that is meant: the one that is named, else one that runs in a data folder.

        Raises
        ------
        SettingsError
            No service runs in the data folder that was given.
        """
        from tomoservice.service.folder import read_info, stored_api_key

        folder = (data or DATA_FOLDER).expanduser().resolve()
        info = read_info(folder)
        running = info.uri if info is not None else None
        if data is not None and uri is None and running is None:
            raise SettingsError(
                f"no service runs in {folder}; start one with `tomoservice serve --data {data}`, or say "
                "where it is with --uri"
            )
        # A folder's key goes to its own service, unless somebody says that the two belong together.
        if data is None and (running is None or uri not in (None, running)):
            return cls(uri or DEFAULT_URI, api_key)
        return cls(uri or running or DEFAULT_URI, api_key or stored_api_key(folder), folder)


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which service a command talks to; it gets a `ServiceAddress` as `service`."""

    @click.option(
        "--uri",
        envvar="TOMOSERVICE_URI",
        show_envvar=True,
        help=f"Address of the service.  [default: that of the data folder's service, else {DEFAULT_URI}]",
    )
    @click.option(
        "--api-key",
        envvar="TILED_API_KEY",
        show_envvar=True,
        help="Key that may write.  [default: that of the data folder's service]",
    )
    @click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"Data folder of a service on this machine.  [default: {DATA_FOLDER}]",
    )
    @wraps(command)
    def with_address(
        *arguments: Any, uri: str | None, api_key: str | None, data: Path | None, **options: Any
    ) -> Any:
        return command(*arguments, service=ServiceAddress.found(uri, api_key, data), **options)

    return with_address


def priority_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option that says how urgent something is."""
    return click.option(
        "--priority",
        type=click.Choice(["normal", "background"]),
        default=default,
        show_default=True,
        help="How urgent it is; what is in the background gives way to everything else.",
    )


def adapted(
    recipe: Recipe,
    rows: tuple[int, int | None] | None = None,
    rotation_axis: float | str | None = None,
) -> Recipe:
    """Return the recipe as other options of a command change it."""
    if rows is not None:
        frames = recipe.dump()["frames"] | {"rows": {"start": rows[0], "stop": rows[1]}}
        recipe = recipe.changed(frames=frames)
    if rotation_axis == "auto":
        recipe = recipe.changed(rotation_axis={"method": "auto"})
    elif rotation_axis is not None:
        recipe = recipe.changed(rotation_axis={"method": "value", "value": rotation_axis})
    return recipe
