"""Documents over NATS JetStream, where there is a server."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import wait_for
from tests.service.transports.contract import FacilityContract, Send, TransportContract, numbers, uid_of
from tests.service.transports.lines import Sender, listening
from tomoservice.client import Tomo
from tomoservice.service.running import RunningService

nats = pytest.importorskip("nats", reason="nats-py is not installed")
from callbacks.nats import NatsPublisher, NatsSource, consumer_of  # noqa: E402

NATS = os.environ.get("TOMOSERVICE_TEST_NATS", "nats://127.0.0.1:4222")


@pytest.fixture(scope="module")
def subject() -> Iterator[str]:
    """A subject of our own; its stream is removed afterwards. Skips where there is no server."""
    name = f"tomoservice-test-{uuid.uuid4().hex[:8]}"

    async def remove() -> None:
        client = await nats.connect(NATS, connect_timeout=2, allow_reconnect=False)
        with_stream = client.jetstream()
        try:
            await with_stream.delete_stream(name)
        except nats.js.errors.NotFoundError:
            pass
        finally:
            await client.close()

    try:
        asyncio.run(remove())
    except (OSError, nats.errors.Error, TimeoutError) as error:
        pytest.skip(f"no NATS at TOMOSERVICE_TEST_NATS={NATS}: {error!r}")
    yield name
    asyncio.run(remove())


def until_listening(subject: str, consumer: str) -> None:
    """Wait until the server hands out to a listener: the first time, it gets what is sent from then on."""

    async def is_listening() -> bool:
        client = await nats.connect(NATS, allow_reconnect=False)
        try:
            return bool((await client.jetstream().consumer_info(subject, consumer)).num_waiting)
        except nats.js.errors.NotFoundError:
            return False
        finally:
            await client.close()

    wait_for(lambda: asyncio.run(is_listening()))


@contextmanager
def running(source: NatsSource, take: Any) -> Iterator[None]:
    """Let a source bring documents to a function, in a thread."""
    thread = threading.Thread(target=source.run, args=(take,))
    thread.start()
    try:
        yield
    finally:
        source.stop()
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture(scope="class")
def send(
    subject: str, quiet_service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Send]:
    source = NatsSource(NATS, subject=subject, consumer="contract")
    spool = tmp_path_factory.mktemp("spool")
    with (
        NatsPublisher(NATS, subject=subject) as publisher,
        listening(quiet_service, source, spool, publish=True),
    ):
        until_listening(subject, "contract")
        yield Sender(publisher).send


class TestNats(TransportContract):
    """What every transport does."""


# What a run consists of is the same on every way; two of them do every time.
@pytest.mark.long
class TestNatsFacilities(FacilityContract):
    """The same with files."""


def test_who_was_down_gets_what_was_sent_meanwhile_and_nothing_twice(
    subject: str, quiet_service: RunningService, tomo: Tomo, tmp_path: Path
) -> None:
    earlier, first, second = numbers(), numbers(), numbers()
    with NatsPublisher(NATS, subject=subject) as publisher:
        Sender(publisher).send(earlier)
        assert publisher.wait(20)
        source = NatsSource(NATS, subject=subject, consumer="other")
        with listening(quiet_service, source, tmp_path, publish=True) as heard:
            until_listening(subject, "other")
            # Its listener goes while the run goes on.
            Sender(publisher).send(first[:4])
            wait_for(lambda: len(heard) == 4)
        Sender(publisher).send([*first[4:], *second])
        assert publisher.wait(20)
    again = NatsSource(NATS, subject=subject, consumer="other")
    with listening(quiet_service, again, tmp_path, publish=True) as rest:
        for run in (first, second):
            wait_for(lambda run=run: bool(tomo.reconstructions(uid_of(run))))
    assert [*heard, *rest] == [name for name, _ in [*first, *second]]
    for run in (first, second):
        assert sorted(tomo.raw[uid_of(run)]["primary"]["x"].read()) == [0, 1, 2]
    assert tomo.reconstructions(uid_of(earlier)) == []
    assert [*tmp_path.glob("*.start"), *tmp_path.glob("*.jsonl")] == []


def test_a_second_listener_of_the_same_name_waits_until_the_first_has_gone(
    subject: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    name = consumer_of(tmp_path)
    assert name not in (consumer_of(tmp_path / "other"), "tomoservice")
    came: dict[str, list[str]] = {"first": [], "second": []}

    def taker(who: str) -> Any:
        return lambda kind, _: came[who].append(kind)

    one, other = (NatsSource(NATS, subject=subject, consumer=name) for _ in came)
    with NatsPublisher(NATS, subject=subject) as publisher, running(one, taker("first")):
        until_listening(subject, name)
        with running(other, taker("second")), caplog.at_level(logging.WARNING):
            wait_for(lambda: f"another listener has the name {name}" in caplog.text)
            Sender(publisher).send(numbers())
            wait_for(lambda: "stop" in came["first"])
            assert came["second"] == []
            one.stop()
            Sender(publisher).send(numbers())
            wait_for(lambda: "stop" in came["second"])
    assert len(came["first"]) == len(came["second"]) == 6


def test_a_name_that_an_earlier_version_left_keeps_the_order_from_now_on(subject: str) -> None:
    docs = numbers()

    async def leave_some() -> None:
        client = await nats.connect(NATS, allow_reconnect=False)
        stream = client.jetstream()
        config = nats.js.api.ConsumerConfig(
            durable_name="older", ack_wait=2, max_ack_pending=100, deliver_policy="new", ack_policy="explicit"
        )
        await stream.add_consumer(subject, config)
        taking = await stream.pull_subscribe(f"{subject}.>", durable="older", stream=subject)
        with NatsPublisher(NATS, subject=subject) as publisher:
            Sender(publisher).send(docs)
            assert publisher.wait(20)
        # In hand, and never handled.
        assert len(await taking.fetch(4, timeout=5)) == 4
        await client.close()

    with NatsPublisher(NATS, subject=subject) as publisher:
        Sender(publisher).send([])
        assert publisher.wait(20)
    asyncio.run(leave_some())
    came: list[str] = []
    with running(NatsSource(NATS, subject=subject, consumer="older"), lambda name, _: came.append(name)):
        wait_for(lambda: "stop" in came and len(came) >= 6, 60)

    async def config_now() -> Any:
        client = await nats.connect(NATS, allow_reconnect=False)
        try:
            return (await client.jetstream().consumer_info(subject, "older")).config
        finally:
            await client.close()

    assert asyncio.run(config_now()).max_ack_pending == 1
    assert sorted(came) == sorted(name for name, _ in docs)


KILLED = """
import sys, time
import callbacks.nats as ours

ours.ACK_S = 2.0

def take(name, doc):
    print(name, flush=True)
    if name == "event":
        time.sleep(100)

ours.NatsSource(sys.argv[1], subject=sys.argv[2], consumer="killed").run(take)
"""


def test_what_a_killed_listener_had_in_hand_comes_again_before_all_that_is_newer(subject: str) -> None:
    docs = [*numbers(), *numbers()]
    came: list[str] = []
    with NatsPublisher(NATS, subject=subject) as publisher:
        listener = subprocess.Popen(
            [sys.executable, "-c", KILLED, NATS, subject], stdout=subprocess.PIPE, text=True
        )
        with listener:
            until_listening(subject, "killed")
            Sender(publisher).send(docs)
            assert publisher.wait(20)
            assert listener.stdout is not None
            had = [listener.stdout.readline().strip() for _ in range(3)]
            listener.kill()
    with running(NatsSource(NATS, subject=subject, consumer="killed"), lambda name, _: came.append(name)):
        wait_for(lambda: came.count("stop") == 2)
    assert had == ["start", "descriptor", "event"]
    assert came == [name for name, _ in docs[2:]]


def test_what_the_disk_refuses_comes_again(subject: str) -> None:
    came: list[str] = []
    source = NatsSource(NATS, subject=subject, consumer="full")

    def take(name: str, doc: object) -> None:
        came.append(name)
        if len(came) == 1:
            raise OSError(28, "no space left on device")

    with NatsPublisher(NATS, subject=subject) as publisher, running(source, take):
        until_listening(subject, "full")
        Sender(publisher).send(numbers())
        wait_for(lambda: "stop" in came)
    assert came[0] == came[1] == "start"


def test_a_document_that_is_too_large_does_not_hold_up_the_others(
    subject: str, caplog: pytest.LogCaptureFixture
) -> None:
    with NatsPublisher(NATS, subject=subject) as publisher:
        publisher("event", {"data": {"image": b"x" * 2**21}})
        Sender(publisher).send(numbers())
        assert publisher.wait(20)
    assert "a event document of 2097" in caplog.text
    assert caplog.text.count("is lost") == 1


SCRIPT = """
import sys
from callbacks.nats import NatsPublisher
publisher = NatsPublisher(sys.argv[1], subject=sys.argv[2])
for name in ("start", "stop"):
    publisher(name, {"uid": sys.argv[3], "run_start": sys.argv[3], "name": name})
"""


def test_a_script_that_ends_right_after_its_scan_has_sent_it(subject: str) -> None:
    uid, came = str(uuid.uuid4()), []
    source = NatsSource(NATS, subject=subject, consumer="script")

    def take(name: str, doc: Mapping[str, Any]) -> None:
        came.append((name, doc.get("run_start")))

    with running(source, take):
        until_listening(subject, "script")
        subprocess.run([sys.executable, "-c", SCRIPT, NATS, subject, uid], check=True, timeout=40)
        wait_for(lambda: ("stop", uid) in came)


def test_a_server_that_is_not_there_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    publisher = NatsPublisher("nats://127.0.0.1:1")
    Sender(publisher).send(numbers())
    assert not publisher.wait(0.2)
    publisher.close(1)
    assert "6 documents have not been sent to NATS" in caplog.text
