"""Documents over NATS JetStream: kept by the server until each listener has had them.

A document is a message with the subject ``{subject}.{kind}``, as `bluesky-nats` sends them, too; its content
is msgpack.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import logging
import queue
import re
import socket
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import nats
from nats.errors import MaxPayloadError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from callbacks.arrival import Deliver
from callbacks.packing import pack, unpack
from callbacks.spooling import SpoolingCallback

logger = logging.getLogger(__name__)

LOOK_S = 0.5
IDLE_S = 0.05
"""How often the publisher looks for what is to be sent, when nothing is."""
ANOTHER_S = 0.2
LOOKS_FOR_ANOTHER = 4
"""Who listens under a name asks for messages nearly all the time; he is seen in one of these looks."""
AGAIN_S = 2.0
CONNECT_S = 5.0
ACK_S = 30.0
"""How long a message may take to be handled before the server hands it out again: as long waits whoever
follows a listener that was killed."""
GRACE_S = 0.7
"""How long what is going on may take to end in order."""
AT_ONCE = 1
"""Messages that are out at a time. Of more, those that a killed listener had not handled would come again
after newer ones, and documents in another order are of no use."""
MOST_WAITING = 100_000
"""Documents that wait in memory for a server that does not answer; of more than that the latest are lost."""
AT_EXIT_S = 30.0
TOO_LARGE = 10054
"""Error code of JetStream for a message that is larger than its stream allows."""


def consumer_of(spool: Path) -> str:
    """Return the name under which the server remembers what a listener on this machine has had.

    Listeners with spools of their own each get every document, as each of two halves of a run is useless.
    """
    place = hashlib.sha256(str(spool.expanduser().resolve()).encode()).hexdigest()[:8]
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())
    return f"tomoservice-{host}-{place}"


class NatsSource:
    """Brings the documents in a stream from where this listener left off, whichever process that was.

    The stream is made if there is none. A document counts as had when it has been handled without an error.
    Begun for the first time, it leaves alone what is there already. The server hands each document to one
    listener of a name, so a second one waits until the first has gone.

    Parameters
    ----------
    address : str
        NATS server, ``nats://127.0.0.1:4222``.
    subject : str
        What the subjects of documents begin with.
    consumer : str
        Name under which the server remembers what this listener has had.
    """

    def __init__(self, address: str, *, subject: str = "bluesky", consumer: str) -> None:
        self._address = address
        self._subject = subject
        self._consumer = consumer
        self._stopped = threading.Event()

    def run(self, deliver: Deliver) -> None:
        """Bring documents, one after the other, until `stop` is called."""
        asyncio.run(_until(self._stopped, self._run(deliver)))

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    async def _run(self, deliver: Deliver) -> None:
        said = ""
        while not self._stopped.is_set():
            try:
                await self._listen(deliver)
            except Exception as error:  # noqa: BLE001 - the boundary of this thread, which logs it
                level = logging.DEBUG if said == repr(error) else logging.WARNING
                said = repr(error)
                logger.log(level, "NATS at %s: %r; trying again", self._address, error)
                await self._pause(AGAIN_S)

    async def _pause(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            if not self._stopped.is_set():
                await asyncio.sleep(LOOK_S)

    async def _listen(self, deliver: Deliver) -> None:
        client = await _connected(self._address)
        try:
            stream = client.jetstream()
            name = await _stream_of(stream, self._subject)
            await self._wait_until_alone(stream, name)
            await self._keep_order(stream, name)
            subscription = await stream.pull_subscribe(
                f"{self._subject}.>",
                durable=self._consumer,
                stream=name,
                config=ConsumerConfig(
                    ack_wait=ACK_S, max_ack_pending=AT_ONCE, deliver_policy=DeliverPolicy.NEW
                ),
            )
            while not self._stopped.is_set():
                try:
                    (message,) = await subscription.fetch(AT_ONCE, timeout=LOOK_S)
                except TimeoutError:
                    continue
                if self._stopped.is_set():
                    # For whoever listens next.
                    await message.nak()
                else:
                    await self._handle(message, deliver)
        finally:
            await client.close()

    async def _keep_order(self, stream: Any, name: str) -> None:
        """Have the server keep the order under a name that an earlier version has left there."""
        try:
            config = (await stream.consumer_info(name, self._consumer)).config
        except NotFoundError:
            return
        if config.max_ack_pending != AT_ONCE:
            config.max_ack_pending, config.ack_wait = AT_ONCE, ACK_S
            await stream.add_consumer(name, config)

    async def _wait_until_alone(self, stream: Any, name: str) -> None:
        said = False
        while await self._is_another(stream, name) and not self._stopped.is_set():
            if not said:
                logger.warning(
                    "NATS at %s: another listener has the name %s, and each would get half of the documents; "
                    "waiting until it has gone (or give this one another name by --consumer)",
                    self._address,
                    self._consumer,
                )
            said = True
            await self._pause(AGAIN_S)

    async def _is_another(self, stream: Any, name: str) -> bool:
        """Tell whether somebody else listens under this name."""
        for _ in range(LOOKS_FOR_ANOTHER):
            try:
                if (await stream.consumer_info(name, self._consumer)).num_waiting:
                    return True
            except NotFoundError:
                return False
            await asyncio.sleep(ANOTHER_S)
        return False

    async def _handle(self, message: Any, deliver: Deliver) -> None:
        name = message.subject.rpartition(".")[2]
        try:
            doc = unpack(message.data)
        except ValueError as error:
            logger.warning("NATS at %s: %s is no document: %s", self._address, message.subject, error)
            await message.term()
            return
        try:
            deliver(name, doc)
        except BaseException:
            await message.nak()
            raise
        await message.ack()


class NatsPublisher(SpoolingCallback):
    """Sends the documents of a RunEngine to NATS JetStream without ever holding a scan up.

    Documents wait in memory while the server does not answer; they are lost with the process, which waits
    half a minute for them when it ends. The server drops those that it has got already. A document larger
    than it takes (a megabyte unless it is told otherwise) is lost, and said to be.

    Parameters
    ----------
    address : str
        NATS server, ``nats://127.0.0.1:4222``.
    subject : str
        What the subjects of documents begin with. A stream for them is made if there is none.
    """

    def __init__(self, address: str, *, subject: str = "bluesky") -> None:
        self._address = address
        self._subject = subject
        self._waiting: queue.Queue[tuple[str, bytes] | None] = queue.Queue()
        self._unsent = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tomoservice-nats", daemon=True)
        self._thread.start()
        # A script may end right after its scan.
        atexit.register(self.close, AT_EXIT_S)

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Keep a document until it has been sent."""
        try:
            content = pack(doc)
        except Exception:
            logger.warning("a %s document cannot be sent to NATS", name, exc_info=True)
            return
        with self._lock:
            if self._unsent >= MOST_WAITING:
                logger.warning("a %s document is lost: too many wait for NATS at %s", name, self._address)
                return
            self._unsent += 1
        self._waiting.put((name, content))

    def is_settled(self) -> bool:
        """Tell whether every document is with the server."""
        with self._lock:
            return self._unsent == 0

    def close(self, timeout_s: float = 60.0) -> None:
        """Send what can be sent now, and end the thread. The rest is lost."""
        atexit.unregister(self.close)
        self.wait(timeout_s)
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(timeout_s)
        if self._unsent:
            logger.warning("%d documents have not been sent to NATS at %s", self._unsent, self._address)

    def _work(self) -> None:
        asyncio.run(_until(self._closing, self._send_all()))

    async def _send_all(self) -> None:
        item: tuple[str, bytes] | None = None
        said = ""
        while not self._closing.is_set():
            try:
                client = await _connected(self._address)
                try:
                    stream = client.jetstream()
                    await _stream_of(stream, self._subject)
                    while True:
                        item = item or await self._next()
                        if item is None:
                            return
                        await self._send(stream, *item)
                        item = None
                finally:
                    await client.close()
            except Exception as error:  # noqa: BLE001 - the boundary of this thread, which logs it
                level = logging.DEBUG if said == repr(error) else logging.WARNING
                said = repr(error)
                logger.log(level, "NATS at %s: %r; documents wait in memory", self._address, error)
                await asyncio.sleep(LOOK_S)

    async def _next(self) -> tuple[str, bytes] | None:
        # No thread waits for it: when the interpreter ends, it would wait for that thread.
        while True:
            try:
                return self._waiting.get_nowait()
            except queue.Empty:
                await asyncio.sleep(IDLE_S)

    async def _send(self, stream: Any, name: str, content: bytes) -> None:
        identity = hashlib.sha256(name.encode() + content).hexdigest()
        try:
            await stream.publish(
                f"{self._subject}.{name}", content, timeout=CONNECT_S, headers={"Nats-Msg-Id": identity}
            )
        except (MaxPayloadError, APIError) as error:
            if isinstance(error, APIError) and error.err_code != TOO_LARGE:
                raise
            logger.warning(
                "a %s document of %d bytes is lost: NATS at %s does not take one as large; raise its "
                "max_payload, or keep images out of documents",
                name,
                len(content),
                self._address,
            )
        with self._lock:
            self._unsent -= 1


async def _until(ended: threading.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do something until it is over; soon after `ended` is set it is broken off, whatever it waits for."""
    task = asyncio.ensure_future(work)
    while not (task.done() or ended.is_set()):
        await asyncio.wait([task], timeout=LOOK_S / 5)
    await asyncio.wait([task], timeout=GRACE_S)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def _connected(address: str) -> Any:
    async def say(error: Exception) -> None:
        logger.debug("NATS at %s: %r", address, error)

    return await nats.connect(
        address,
        connect_timeout=CONNECT_S,
        # Whoever uses it begins again with everything.
        allow_reconnect=False,
        max_reconnect_attempts=1,
        error_cb=say,
    )


async def _stream_of(stream: Any, subject: str) -> str:
    """Return the name of the stream that keeps a subject; one is made if there is none."""
    try:
        return str(await stream.find_stream_name_by_subject(f"{subject}.>"))
    except NotFoundError:
        name = subject.replace(".", "-")
        await stream.add_stream(name=name, subjects=[f"{subject}.>"], max_age=7 * 86400)
        return name
