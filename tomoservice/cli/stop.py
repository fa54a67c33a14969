"""`tomoservice stop`: end reconstructions, and keep what there is of their volumes."""

from __future__ import annotations

import click

from tomoservice.cli.cancel import JOB_HELP
from tomoservice.cli.options import ServiceAddress, service_options
from tomoservice.cli.steering import find_job, steer


@click.command(epilog=JOB_HELP)
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@service_options
def command(service: ServiceAddress, jobs: tuple[str, ...]) -> None:
    """End reconstructions, and keep what there is of their volumes: it stays readable, the rest reads as NaN.

    `tomoservice retry` completes them.
    """
    steer(
        service,
        jobs,
        find_job,
        lambda job: job.stop(),
        lambda _: "asked to stop; what is computed stays readable",
    )
