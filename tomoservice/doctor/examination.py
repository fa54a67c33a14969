"""All checks, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tomoservice.doctor.backends import check_database, check_streaming
from tomoservice.doctor.channel_access import check_channel_access
from tomoservice.doctor.cluster import check_dask
from tomoservice.doctor.finding import Finding, wrong
from tomoservice.doctor.machine import check_gpu, check_kernels, check_memory, check_packages
from tomoservice.doctor.service import check_service
from tomoservice.doctor.storage import check_raw_folders, check_storage
from tomoservice.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """What is examined."""

    settings: Settings
    """Where things are said to be."""
    uri: str | None = None
    """Address of the running service; None if nobody knows."""
    api_key: str | None = None
    """Key that may write."""
    pvs: tuple[str, ...] = ()
    """Process variables to search for."""


CHECKS: dict[str, Callable[[Place], Iterator[Finding]]] = {
    "packages": lambda _: check_packages(),
    "storage": lambda place: check_storage(place.settings),
    "raw folders": lambda place: check_raw_folders(place.settings),
    "database": lambda place: check_database(place.settings),
    "streaming": lambda place: check_streaming(place.settings),
    "service": lambda place: check_service(place.uri, place.api_key),
    "memory": lambda place: check_memory(place.settings),
    "kernels": lambda _: check_kernels(),
    "GPU": lambda _: check_gpu(),
    "Dask": lambda place: check_dask(place.settings),
    "Channel Access": lambda place: check_channel_access(place.pvs),
}


def examine(place: Place) -> Iterator[Finding]:
    """Yield what every check finds, as it is found."""
    for subject, check in CHECKS.items():
        try:
            yield from check(place)
        except Exception as error:
            # The boundary of an examination: one part that breaks must not hide the others.
            logger.exception("the check of %s broke", subject)
            yield wrong(
                subject, f"the check broke: {type(error).__name__}: {error}", "run it with -v and report it"
            )
