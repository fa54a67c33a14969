"""`tomoservice export`: a volume for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tomoservice.cli.options import RowRange
from tomoservice.cli.progress import progress_bar
from tomoservice.cli.reconstruct import known_format
from tomoservice.cli.stopping import stop_signals

if TYPE_CHECKING:
    from tomoservice.export import ExportOptions, StoredVolume
    from tomoservice.recipe.stages.output import FixedRange, PercentileRange

Ends = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the volume is."""

    name: str
    uri: str | None
    api_key: str | None


@click.command()
@click.argument("source")
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path), callback=known_format)
@click.option("--uri", help="Address of the service that has the reconstruction SOURCE.")
@click.option(
    "--api-key",
    envvar="TILED_API_KEY",
    help="Key for the service, where reading needs one.  [default: from TILED_API_KEY]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "uint16", "uint8"]),
    help="Type of the numbers.  [default: as the volume is stored]",
)
@click.option(
    "--range",
    "fixed",
    type=(float, float),
    metavar="LOW HIGH",
    help="Grey values that become 0 and the largest number of uint16 or uint8.",
)
@click.option(
    "--percentiles",
    type=(float, float),
    metavar="LOW HIGH",
    help="The same by percent of the voxels that lie below.  [default: 0.01 99.99]",
)
@click.option("--z", type=RowRange(), default="0:", help="Slices, from A to before B.")
@click.option("--y", type=RowRange(), default="0:", help="Rows of a slice.")
@click.option("--x", type=RowRange(), default="0:", help="Columns of a slice.")
@click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
def command(
    source: str,
    output: Path,
    uri: str | None,
    api_key: str | None,
    dtype: str | None,
    fixed: Ends,
    percentiles: Ends,
    z: tuple[int, int | None],
    y: tuple[int, int | None],
    x: tuple[int, int | None],
    *,
    overwrite: bool,
) -> None:
    """Write the volume SOURCE to OUT in a form that other programs read.

    SOURCE is a reconstruction of the service at --uri, by its path or its key, or a volume on disk: the
    folder of a reconstruction, or an .h5, .zarr or .ome.zarr that tomoservice wrote. The ending of OUT names
    the format: .h5 (NXtomoproc), .ome.zarr (OME-Zarr at several resolutions), .zarr (a Zarr array), .tiff (a
    directory with a file per slice). OUT appears only when it is whole, and carries the record of how the
    volume was made.

    \b
    Examples:
      tomoservice export 3f9c0a7d5e21 tooth.ome.zarr --uri http://127.0.0.1:8000
      tomoservice export tooth-volume.h5 tooth.tiff --dtype uint16 --z 100:200
    """
    from tomoservice.export import ExportOptions

    options = ExportOptions(
        dtype=dtype,  # type: ignore[arg-type]
        grey_range=_grey_range(dtype, fixed, percentiles),
        z=z,
        y=y,
        x=x,
        overwrite=overwrite,
    )
    with stop_signals() as stopped, _opened(Place(source, uri, api_key)) as volume:
        _export(volume, output, options, stopped)


def _export(volume: StoredVolume, output: Path, options: ExportOptions, stopped: Callable[[], bool]) -> None:
    from tomoservice.export import export_volume
    from tomoservice.export.exporting import slices_of

    with progress_bar("exporting", slices_of(volume, options), "slices") as advance:
        form = export_volume(volume, output, options, advance=advance, cancelled=stopped)
    shape = " x ".join(str(size) for size in form.shape)
    told = f"{output}: {shape} (z, y, x), {form.dtype}"
    if form.scaling:
        told += f"; grey value in {form.units or 'the unit of the volume'} = {form.slope:.6g} x number"
        told += f" + {form.offset:.6g}" if form.offset >= 0 else f" - {-form.offset:.6g}"
    click.echo(told)


def _grey_range(dtype: str | None, fixed: Ends, percentiles: Ends) -> FixedRange | PercentileRange | None:
    from pydantic import ValidationError

    from tomoservice.recipe.stages.output import FixedRange, PercentileRange

    if fixed is None and percentiles is None:
        return None
    if dtype not in {"uint16", "uint8"}:
        raise click.UsageError("--range and --percentiles need --dtype uint16 or uint8")
    if fixed is not None and percentiles is not None:
        raise click.UsageError("give --range or --percentiles, not both")
    try:
        if fixed is not None:
            return FixedRange(low=fixed[0], high=fixed[1])
        low, high = percentiles or (0.0, 100.0)
        return PercentileRange(low=low, high=high)
    except ValidationError as error:
        name = "--range" if fixed is not None else "--percentiles"
        raise click.UsageError(f"{name}: {error.errors()[0]['msg']}") from error


@contextmanager
def _opened(place: Place) -> Iterator[StoredVolume]:
    """Open the volume where it is."""
    if place.uri is None:
        from tomoservice.export import open_volume

        path = Path(place.name)
        if not path.exists():
            raise click.UsageError(
                f"there is no {place.name} on disk; for one in a service give its address by --uri"
            )
        with open_volume(path) as volume:
            yield volume
        return
    from tomoservice.catalog.nodes import find_reconstruction
    from tomoservice.client import connect
    from tomoservice.compute.published import service_volume

    with connect(place.uri, place.api_key) as tomo:
        yield service_volume(find_reconstruction(tomo.root, place.name))
