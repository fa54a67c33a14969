"""`tomoservice cancel`: stop reconstructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tomoservice.cli.options import ServiceAddress, service_options
from tomoservice.cli.steering import find_job, steer

if TYPE_CHECKING:
    from tomoservice.client import Job

JOB_HELP = (
    "JOB is the path of a reconstruction, RUN/ID or ID, of which a unique beginning is enough; `last` is the "
    "newest."
)


@click.command(epilog=JOB_HELP)
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@service_options
def command(service: ServiceAddress, jobs: tuple[str, ...]) -> None:
    """Ask for reconstructions to be stopped.

    What is computed is kept, and `tomoservice retry` goes on with it.
    """
    steer(service, jobs, find_job, _cancel, lambda _: "asked to stop")


def _cancel(job: Job) -> None:
    from tomoservice.catalog.states import FINAL_STATES
    from tomoservice.errors import CatalogError

    state = job.state
    if state in FINAL_STATES:
        raise CatalogError(f"{job.path} is {state.value} already; there is nothing to stop")
    job.cancel()
