"""Callbacks in the RunEngine's own process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from callbacks import ReconstructionTrigger, RunPublisher
from tests.service.transports.contract import (
    RULES,
    FacilityContract,
    Send,
    TransportContract,
    numbers,
    uid_of,
)
from tests.service.transports.lines import Sender
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService


@pytest.fixture(scope="class")
def send(quiet_service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    spool = tmp_path_factory.mktemp("spool")
    where = (quiet_service.uri, quiet_service.api_key)
    with (
        ReconstructionTrigger(*where, spool=spool, rules=RULES) as trigger,
        RunPublisher(*where, spool=spool) as publisher,
    ):
        yield Sender(trigger, publisher).send


class TestInProcess(TransportContract):
    """What every transport does."""


class TestInProcessFacilities(FacilityContract):
    """The same with files."""


def test_a_stop_document_that_comes_first(quiet_service: RunningService, tomo: Tomo, tmp_path: Path) -> None:
    docs = numbers()
    where = (quiet_service.uri, quiet_service.api_key)
    with RunPublisher(*where, spool=tmp_path) as publisher:
        Sender(publisher).send(docs)
        assert publisher.wait(20)
    with ReconstructionTrigger(*where, spool=tmp_path, rules=RULES) as trigger:
        Sender(trigger).send(docs[::-1])
        assert trigger.wait(20)
    assert len(tomo.reconstructions(uid_of(docs))) == 1
