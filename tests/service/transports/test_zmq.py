"""Documents over 0MQ, through Bluesky's own proxy."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq
from bluesky.callbacks.zmq import Publisher

from callbacks.packing import pack
from callbacks.zmq import ZmqSource, zmq_publisher
from tests.service.conftest import wait_for
from tests.service.dask_processes import free_port
from tests.service.transports.contract import FacilityContract, Send, TransportContract, numbers, uid_of
from tests.service.transports.lines import Sender, listening, until_connected, zmq_proxy
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService


@pytest.fixture(scope="class")
def send(quiet_service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    into, out = free_port(), free_port()
    source = ZmqSource(f"127.0.0.1:{out}")
    spool = tmp_path_factory.mktemp("spool")
    with (
        closing(zmq_publisher(f"127.0.0.1:{into}")) as publisher,
        zmq_proxy(into, out),
        listening(quiet_service, source, spool, publish=True) as heard,
    ):
        until_connected(publisher, heard)
        yield Sender(publisher).send


class TestZmq(TransportContract):
    """What every transport does."""


# What a run consists of is the same on every way; two of them do every time.
@pytest.mark.long
class TestZmqFacilities(FacilityContract):
    """The same with files."""


def test_it_goes_on_when_the_proxy_comes_back_and_over_pickles(
    quiet_service: RunningService, tomo: Tomo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    into, out = free_port(), free_port()
    source = ZmqSource(f"127.0.0.1:{out}")
    docs = numbers()
    with (
        closing(zmq_publisher(f"127.0.0.1:{into}")) as publisher,
        closing(Publisher(f"127.0.0.1:{into}")) as pickling,
        listening(quiet_service, source, tmp_path, publish=True) as heard,
    ):
        with zmq_proxy(into, out):
            until_connected(publisher, heard)
        with zmq_proxy(into, out):
            until_connected(publisher, heard)
            with caplog.at_level(logging.WARNING):
                pickling("start", docs[0][1])
                wait_for(lambda: "what arrives is no msgpack" in caplog.text)
            Sender(publisher).send(docs)
            wait_for(lambda: bool(tomo.reconstructions(uid_of(docs))))


def test_nothing_is_lost_over_what_is_no_document_or_a_full_disk(caplog: pytest.LogCaptureFixture) -> None:
    address = f"127.0.0.1:{free_port()}"
    source = ZmqSource(address, prefix=b"ours")
    came: list[str] = []

    def take(name: str, doc: object) -> None:
        came.append(name)
        if came == ["start"]:
            raise OSError(28, "no space left on device")
        if name == "event":
            raise KeyError("descriptor")

    thread = threading.Thread(target=source.run, args=(take,))
    with zmq.Context() as context, context.socket(zmq.XPUB) as sender:
        sender.bind(f"tcp://{address}")
        thread.start()
        assert sender.poll(20_000), "somebody subscribes"
        sender.send(b"one")
        sender.send(b"ours \xff " + pack({}))
        for name in ("start", "nonsense", "event", "stop"):
            sender.send(b"theirs start " + pack({}))
            sender.send(b" ".join([b"ours", name.encode(), pack({"uid": "a b"})]))
        wait_for(lambda: "stop" in came)
        source.stop()
        thread.join(5)
    assert not thread.is_alive()
    assert came == ["start", "start", "nonsense", "event", "stop"]
    assert caplog.text.count("no msgpack") == caplog.text.count("no space left on device") == 1
    source.stop()
