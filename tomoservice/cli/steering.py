"""What `pause`, `resume` and `stop` have in common: one thing done to several reconstructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tomoservice.cli.many import each
from tomoservice.cli.options import ServiceAddress

if TYPE_CHECKING:
    from tomoservice.client import Job


def steer(
    service: ServiceAddress, jobs: tuple[str, ...], action: Callable[[Job], None], done: Callable[[Job], str]
) -> None:
    """Do something to every reconstruction that is named, and print what came of it."""
    with service.connected() as tomo:

        def act(reference: str) -> None:
            job = tomo.job(reference)
            action(job)
            click.echo(f"{job.path}: {done(job)}")

        each(jobs, act)
