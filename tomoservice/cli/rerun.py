"""`tomoservice rerun`: do reconstructions again, and say whether they come out the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tomoservice.cli.cancel import JOB_HELP
from tomoservice.cli.many import each
from tomoservice.cli.options import ServiceAddress, service_options
from tomoservice.errors import TomoserviceError

if TYPE_CHECKING:
    from tomoservice.client import Job


@click.command(epilog=JOB_HELP)
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True)
@click.option(
    "--wait",
    is_flag=True,
    help="Wait until all are finished, and say how they came out; exit status 1 if one has failed, or "
    "differs for no reason: the versions and the type of processor are the same.",
)
@service_options
def command(service: ServiceAddress, jobs: tuple[str, ...], *, wait: bool) -> None:
    """Queue finished reconstructions again, by the values that they were computed with.

    A rerun is refused, or fails before anything is computed, if the raw files are not what they were. By the
    same versions, on the same type of processor, it comes out the same to the last bit.
    """
    begun: list[Job] = []
    with service.connected() as tomo:

        def rerun(reference: str) -> None:
            begun.append(tomo.rerun(reference))
            click.echo(begun[-1].path)

        def follow(path: str) -> None:
            comparison = tomo.job(path).wait().comparison
            if comparison is not None and comparison.is_unexplained:
                raise TomoserviceError(f"{path} is {comparison}")
            click.echo(f"{path} is {comparison}", err=True)

        try:
            each(jobs, rerun)
        finally:
            if wait:
                each((job.path for job in begun), follow)
