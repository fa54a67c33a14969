"""`tomoservice retry`: queue failed or cancelled reconstructions again."""

from __future__ import annotations

import click

from tomoservice.cli.cancel import JOB_HELP
from tomoservice.cli.many import each
from tomoservice.cli.options import ServiceAddress, service_options


@click.command(epilog=JOB_HELP)
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@service_options
def command(service: ServiceAddress, jobs: tuple[str, ...]) -> None:
    """Queue failed or cancelled reconstructions once more. What was computed before is used."""
    with service.connected() as tomo:

        def retry(reference: str) -> None:
            job = tomo.job(reference)
            job.queue_again()
            click.echo(f"{job.path}: queued again")

        each(jobs, retry)
