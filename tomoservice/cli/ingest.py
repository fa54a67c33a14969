"""`tomoservice ingest`: publish a scan file as a run."""

from __future__ import annotations

from pathlib import Path

import click

from tomoservice.cli.many import each
from tomoservice.cli.options import ServiceAddress, service_options
from tomoservice.cli.stopping import stop_signals

Positive = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--copy", is_flag=True, help="Copy it into the data folder, of a service on this machine.")
@click.option("--sample", help="Name of the sample, instead of what the file says.")
@click.option("--energy", type=Positive, help="Photon energy in keV, instead of what the file says.")
@click.option("--pixel-size", type=Positive, help="Size of a pixel at the sample in um, likewise.")
@click.option("--distance", type=Positive, help="Distance from sample to detector in mm, likewise.")
@service_options
def command(
    service: ServiceAddress,
    files: tuple[str, ...],
    sample: str | None,
    energy: float | None,
    pixel_size: float | None,
    distance: float | None,
    *,
    copy: bool,
) -> None:
    """Publish every FILE as a Bluesky run and print its uid.

    FILE is a scan in HDF5 (DXchange or NXtomo) in a folder that the service reads: it stays where it is. The
    same content makes the same run, however often it is published.
    """
    from tomoservice.catalog.ingest import ScanFacts, ingest

    if copy and service.data is None:
        raise click.UsageError("--copy: say where the data folder of the service is, with --data")
    target = service.data / "raw" if copy and service.data is not None else None
    facts = ScanFacts(sample_name=sample, energy_kev=energy, pixel_size_um=pixel_size, distance_mm=distance)
    with service.connected() as tomo, stop_signals() as stopped:

        def publish(file: str) -> None:
            done = ingest(tomo.root, Path(file), facts, copy_to=target, cancelled=stopped)
            said = (
                f"{file}: published"
                if done.created
                else f"{file}: is there already, as {done.path}; left as it is"
            )
            click.echo(said, err=True)
            click.echo(done.run_uid)

        each(files, publish)
