"""What the routes of one server process share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from tomoservice.service.clerk import Clerk
from tomoservice.service.events import Events
from tomoservice.service.readers import Readers
from tomoservice.service.run_facts import RunFacts
from tomoservice.service.submitter import Submitter
from tomoservice.service.thumbnails import Thumbnails
from tomoservice.settings import Settings
from tomoservice.sources.run_outline import RunOutliner


@dataclass(frozen=True)
class Office:
    """Whom a route asks for what it cannot do itself."""

    settings: Settings
    """Where data lie."""
    readers: Readers
    """Have things computed for whoever asks."""
    clerk: Clerk
    """Does in Tiled what somebody asks for, in their name."""
    runs: RunFacts
    """Knows what runs are like inside."""
    thumbnails: Thumbnails
    """Small pictures of runs."""
    events: Events
    """Tells what happens."""
    outliner: RunOutliner
    """Knows what they look like from outside."""
    submitter: Submitter
    """Makes the items of batches."""

    async def close(self) -> None:
        """Give up what nobody will hear of any more."""
        await self.events.close()
        await self.thumbnails.close()
        await self.clerk.close()
        await self.runs.close()


def open_office(
    settings: Settings, readers: Readers, submitter: Submitter, uri: Callable[[], str], tree: Any
) -> Office:
    """Return the office of a server process.

    Parameters
    ----------
    settings : Settings
        Where data lie.
    readers : Readers
        Have things computed.
    submitter : Submitter
        Makes the items of batches.
    uri : callable
        Returns the address of the service.
    tree : CatalogContainerAdapter
        Root of the catalogue.
    """
    return Office(
        settings=settings,
        readers=readers,
        clerk=Clerk(uri),
        runs=RunFacts(),
        thumbnails=Thumbnails(settings.data_folder / "thumbnails"),
        events=Events(tree),
        outliner=RunOutliner(),
        submitter=submitter,
    )


def office_of(request: Request) -> Office:
    """Return the office of the server process that answers a request."""
    return cast("Office", request.app.state.tomoservice)


TheOffice = Annotated[Office, Depends(office_of)]
