"""One action on several things, of which some may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from tomoservice.errors import TomoserviceError


def each(items: Iterable[str], action: Callable[[str], None]) -> None:
    """Do something to every item; those that fail do not stop the others.

    Raises
    ------
    TomoserviceError
        After the last one, if any failed; the only one's own error if there is no other item.
    """
    wanted = list(items)
    failed = 0
    for item in wanted:
        try:
            action(item)
        except TomoserviceError as error:
            if len(wanted) == 1:
                raise
            failed += 1
            click.echo(f"{item}: {error}", err=True)
    if failed:
        raise TomoserviceError(f"{failed} of {len(wanted)} failed")
