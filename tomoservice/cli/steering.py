"""What commands that steer have in common: one thing done to several reconstructions, or batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from tomoservice.cli.many import each
from tomoservice.cli.options import ServiceAddress

if TYPE_CHECKING:
    from tomoservice.client import Batch, Job, Tomo

Steered = TypeVar("Steered", "Job", "Batch")


def find_job(tomo: Tomo, reference: str) -> Job:
    """Return a reconstruction."""
    return tomo.job(reference)


def find_batch(tomo: Tomo, reference: str) -> Batch:
    """Return a batch."""
    return tomo.find_batch(reference)


def steer(
    service: ServiceAddress,
    references: tuple[str, ...],
    find: Callable[[Tomo, str], Steered],
    action: Callable[[Steered], None],
    done: Callable[[Steered], str],
) -> None:
    """Do something to everything that is named, and print what came of it."""
    with service.connected() as tomo:

        def act(reference: str) -> None:
            found = find(tomo, reference)
            action(found)
            click.echo(f"{found.path}: {done(found)}")

        each(references, act)
