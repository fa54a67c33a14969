"""`tomoservice retry`: queue failed, cancelled or virtual reconstructions."""

from __future__ import annotations

import click

from tomoservice.cli.cancel import JOB_HELP
from tomoservice.cli.options import ServiceAddress, service_options
from tomoservice.cli.steering import find_job, steer


@click.command(epilog=JOB_HELP)
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@service_options
def command(service: ServiceAddress, jobs: tuple[str, ...]) -> None:
    """Queue failed or cancelled reconstructions once more, or virtual ones.

    What was computed before is used.
    """
    steer(service, jobs, find_job, lambda job: job.queue_again(), lambda _: "queued again")
