"""Watching Tiled alone: nothing of this project is where the scan runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from callbacks import ReconstructionTrigger, RunPublisher
from callbacks.from_tiled import MARKER, TiledSource
from tests.service.conftest import wait_for
from tests.service.transports.contract import (
    RULES,
    FacilityContract,
    Send,
    TransportContract,
    numbers,
    uid_of,
)
from tests.service.transports.lines import Sender, listening
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService


def source_of(service: RunningService, spool: Path) -> TiledSource:
    return TiledSource(service.uri, service.api_key, folder=spool, poll_s=0.5)


@pytest.fixture(scope="class")
def send(quiet_service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    spool = tmp_path_factory.mktemp("spool")
    with (
        listening(quiet_service, source_of(quiet_service, spool), spool, publish=False),
        RunPublisher(quiet_service.uri, quiet_service.api_key, spool=spool / "runs") as publisher,
    ):
        wait_for((spool / MARKER).exists)
        yield Sender(publisher).send


class TestTiled(TransportContract):
    """What every transport does."""


class TestTiledFacilities(FacilityContract):
    """The same with files."""


def test_who_was_down_catches_up(quiet_service: RunningService, tomo: Tomo, tmp_path: Path) -> None:
    with listening(quiet_service, source_of(quiet_service, tmp_path), tmp_path, publish=False):
        wait_for((tmp_path / MARKER).exists)
    docs = numbers()
    with RunPublisher(quiet_service.uri, quiet_service.api_key, spool=tmp_path) as publisher:
        Sender(publisher).send(docs)
        assert publisher.wait(20)
    assert tomo.reconstructions(uid_of(docs)) == []
    with listening(quiet_service, source_of(quiet_service, tmp_path), tmp_path, publish=False):
        wait_for(lambda: bool(tomo.reconstructions(uid_of(docs))))


def test_two_listeners_and_a_trigger_make_one(
    quiet_service: RunningService, tomo: Tomo, tmp_path: Path
) -> None:
    docs = numbers()
    where = (quiet_service.uri, quiet_service.api_key)
    spools = [tmp_path / name for name in "abc"]
    with (
        listening(quiet_service, source_of(quiet_service, spools[0]), spools[0], publish=False) as one,
        listening(quiet_service, source_of(quiet_service, spools[1]), spools[1], publish=False) as two,
        ReconstructionTrigger(*where, spool=spools[2], rules=RULES) as trigger,
        RunPublisher(*where, spool=tmp_path) as publisher,
    ):
        wait_for(lambda: all((spool / MARKER).exists() for spool in spools[:2]))
        Sender(publisher, trigger).send(docs)
        wait_for(lambda: one == two == ["start", "stop"])
        assert trigger.wait(20)
    assert len(tomo.reconstructions(uid_of(docs))) == 1
