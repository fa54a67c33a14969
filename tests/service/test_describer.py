"""Who makes volumes readable: what comes late, comes again, or is odd, and how it stops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiled.structures.core import Spec
from tiled.validation_registration import ValidationRegistry

from tests.service.conftest import wait_for
from tests.service.scans import SmallScan, documents, publish
from tomoservice.catalog.nodes import ensure_container, reconstruction_spec
from tomoservice.catalog.record import ReconstructionRecord
from tomoservice.client import Tomo
from tomoservice.compute.base import Priority
from tomoservice.compute.local import LocalComputer
from tomoservice.compute.orders import RunAddress, VolumeOrder
from tomoservice.errors import MissingDataError
from tomoservice.service import describer as module
from tomoservice.service.app import _any_version, _Told
from tomoservice.service.describer import Describer
from tomoservice.service.outlines import Outlines
from tomoservice.service.running import RunningService
from tomoservice.settings import Settings

AT_15_5 = {"rotation_axis": {"method": "value", "value": 15.5}}


class Orders:
    """What the service tells its workers, without a server around it."""

    def __init__(self, service: RunningService) -> None:
        self._service = service

    def run(self, run_uid: str, access_tags: Sequence[str]) -> RunAddress:
        return RunAddress(self._service.uri, run_uid, self._service.api_key, None, tuple(access_tags))

    def order(self, record: ReconstructionRecord, folder: Path) -> VolumeOrder:
        return VolumeOrder(self.run(record.run_uid, ()), record.metadata.recipe, "recipe", str(folder))


class WholeTurn(SmallScan):
    """May be a half-acquisition, so that the size of a slice depends on the axis."""

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        return np.linspace(0.0, 360.0, self.angles, endpoint=False)


@pytest.fixture
def uid(publish_run: Callable[..., str]) -> str:
    return publish_run()


def create(tomo: Tomo, uid: str, key: str, recipe: dict[str, Any] = AT_15_5, **status: Any) -> Any:
    metadata = {"recipe": recipe, "status": {"state": "virtual", **status}}
    room = ensure_container(tomo.root["processed"], uid)
    return room.create_container(key, metadata=metadata, specs=[reconstruction_spec()])


def is_described(node: Any) -> bool:
    return "volume" in list(node)


def test_one_that_comes_again_under_the_same_key(tomo: Tomo, uid: str) -> None:
    for _ in range(2):
        node = create(tomo, uid, "again")
        wait_for(lambda node=node: is_described(node))  # type: ignore[misc]
        node.delete(recursive=True, external_only=False)


def test_one_that_is_queued_after_its_volume_was_removed(tomo: Tomo, uid: str) -> None:
    node = create(tomo, uid, "removed")
    wait_for(lambda: is_described(node))
    node["volume"].delete(external_only=False)
    node.update_metadata({"status": {"state": "queued", "time": time.time()}})
    wait_for(lambda: is_described(node))


def test_one_that_is_older_than_what_is_searched_for_when_its_run_comes(tomo: Tomo, raw_folder: Path) -> None:
    scan = list(documents(SmallScan(), raw_folder))
    uid = scan[0][1]["uid"]
    slack_s = module.SLACK_S
    # Young enough to be found at first, also by a service that is busy, and too old soon after that.
    late = create(tomo, uid, "late", time=time.time() - slack_s + 2.5)
    time.sleep(3.5)
    create(tomo, uid, "other")
    time.sleep(1.0)
    assert not is_described(late)
    publish(tomo.raw, iter(scan))
    create(tomo, uid, "another")
    wait_for(lambda: is_described(late))


def test_an_array_that_says_it_is_virtual_keeps_nobody_waiting(tomo: Tomo, uid: str) -> None:
    room = ensure_container(tomo.root["processed"], uid)
    said = {"status": {"state": "virtual", "time": time.time()}, "requested_at": 1.0}
    odd = room.write_array(np.zeros(3), key="array", metadata=said)
    node = create(tomo, uid, "beside")
    wait_for(lambda: is_described(node), 8)
    assert odd.refresh().metadata["status"]["state"] == "virtual"


@pytest.fixture
def busy() -> Iterator[tuple[LocalComputer, threading.Event]]:
    """A place of work that does something else, until it is told that this is enough."""
    computer, enough = LocalComputer(), threading.Event()
    computer.put(Priority.INTERACTIVE, lambda _bench: enough.wait())
    yield computer, enough
    enough.set()
    computer.close()


def test_a_search_for_the_axis_keeps_nobody_waiting(
    tomo: Tomo,
    publish_run: Callable[..., str],
    quiet_service: RunningService,
    settings: Settings,
    busy: tuple[LocalComputer, threading.Event],
) -> None:
    computer, enough = busy
    uid = publish_run(WholeTurn())
    describer = Describer(
        lambda: quiet_service.uri, lambda: quiet_service.api_key, settings, Orders(quiet_service), computer
    )
    describer.start()
    try:
        slow = create(tomo, uid, "slow", {})
        describer.poke()
        quick = create(tomo, uid, "quick")
        wait_for(lambda: is_described(quick))
        assert not is_described(slow)
        enough.set()
        wait_for(lambda: is_described(slow), 50)
    finally:
        began = time.monotonic()
        describer.stop()
    assert time.monotonic() - began < 3


def test_an_end_does_not_wait_for_a_search(
    quiet_service: RunningService, busy: tuple[LocalComputer, threading.Event]
) -> None:
    answers: list[bool] = []
    outlines = Outlines(busy[0], lambda: answers.append(True))
    outlines.start()
    order = VolumeOrder(Orders(quiet_service).run("nobody", ()), {}, "recipe", "/nowhere")
    assert outlines.ask("a", order) is None
    assert outlines.ask("b", order) is None
    assert "a" in outlines
    outlines.forget("a")
    assert "a" not in outlines
    began = time.monotonic()
    outlines.stop(5.0)
    assert time.monotonic() - began < 3


def test_an_error_comes_to_whoever_asks(quiet_service: RunningService) -> None:
    computer, answered = LocalComputer(), threading.Event()
    outlines = Outlines(computer, answered.set)
    outlines.start()
    order = VolumeOrder(Orders(quiet_service).run("nobody", ()), {}, "recipe", "/nowhere")
    assert outlines.ask("a", order) is None
    assert answered.wait(30)
    with pytest.raises(MissingDataError, match="nobody"):
        outlines.ask("a", order)
    outlines.stop(5.0)
    computer.close()


def test_what_is_new_and_what_is_queued_is_told() -> None:
    told: list[str] = []

    async def accept(*_: Any) -> None:
        """Let everything pass."""

    registry = ValidationRegistry()
    registry.register(Spec("TomoReconstruction"), accept)
    listeners = _Told(lambda _state: told.append("new"), lambda: told.append("queued"))
    validate = _any_version(registry, {"TomoReconstruction": listeners}).dispatch(
        Spec("TomoReconstruction", version="1")
    )

    def passing(state: str, entry: str | None) -> list[str]:
        told.clear()
        asyncio.run(validate(None, {"status": {"state": state}}, entry, None, None))
        return told

    assert passing("running", "an entry") == []
    assert passing("virtual", None) == ["new"]
    assert passing("queued", None) == ["new", "queued"]
    # Somebody tries a failed one again.
    assert passing("queued", "an entry") == ["queued"]
