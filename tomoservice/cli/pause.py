"""`tomoservice pause`: leave reconstructions alone for the time being."""

from __future__ import annotations

import click

from tomoservice.cli.cancel import JOB_HELP
from tomoservice.cli.options import ServiceAddress, service_options
from tomoservice.cli.steering import find_job, steer


@click.command(epilog=JOB_HELP)
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@service_options
def command(service: ServiceAddress, jobs: tuple[str, ...]) -> None:
    """Leave reconstructions alone until `tomoservice resume`, and keep what is computed.

    One that is being computed is put aside within a slab.
    """
    steer(
        service,
        jobs,
        find_job,
        lambda job: job.pause(),
        lambda job: "paused" if job.state.value == "paused" else "asked to pause",
    )
