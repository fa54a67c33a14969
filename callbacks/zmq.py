"""Documents over 0MQ, from a RunEngine to whoever wants them; as msgpack, never as pickles.

A proxy (``bluesky-0MQ-proxy``) stands between both. Nothing is kept: what is sent while nobody listens is
lost.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from bluesky.callbacks.zmq import Publisher
from zmq.constants import SocketOption, SocketType
from zmq.sugar.context import Context

from callbacks.arrival import Deliver
from callbacks.packing import pack, unpack

logger = logging.getLogger(__name__)

AGAIN_S = 1.0
LOOK_MS = 200
MOST_WAITING = 100_000
"""Documents that wait in memory while the disk is full; of more than that the latest are lost."""


def zmq_publisher(address: str, *, prefix: bytes = b"") -> Any:
    """Return what a RunEngine has to be subscribed to so that its documents go to a proxy.

    Bluesky's own publisher with documents as msgpack: its default, pickle, runs whatever a sender wants.

    Parameters
    ----------
    address : str
        Where the proxy takes documents in, ``127.0.0.1:5567``.
    prefix : bytes
        Tells several RunEngines apart; without a space.
    """
    return Publisher(address, prefix=prefix, serializer=pack)


class ZmqSource:
    """Brings the documents that a proxy hands out, whenever there is a proxy.

    The connection is made again by 0MQ itself when the proxy comes back. What is no document is left out.

    Parameters
    ----------
    address : str
        Where the proxy hands documents out, ``127.0.0.1:5568``.
    prefix : bytes
        Only documents with this prefix; by default all.
    """

    def __init__(self, address: str, *, prefix: bytes = b"") -> None:
        self._address = address
        self._prefix = prefix
        self._stopped = threading.Event()
        self._said: set[str] = set()

    def run(self, deliver: Deliver) -> None:
        """Bring documents, one after the other, until `stop` is called."""
        with Context() as context, context.socket(SocketType.SUB) as receiver:
            receiver.setsockopt(SocketOption.RCVHWM, MOST_WAITING)
            receiver.setsockopt(SocketOption.LINGER, 0)
            receiver.connect(f"tcp://{self._address.removeprefix('tcp://')}")
            receiver.subscribe(b"")
            while not self._stopped.is_set():
                if receiver.poll(LOOK_MS):
                    self._handle(receiver.recv(), deliver)

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    def _handle(self, message: bytes, deliver: Deliver) -> None:
        try:
            # As Bluesky's publisher makes it.
            prefix, kind, content = message.split(b" ", 2)
            if self._prefix and prefix != self._prefix:
                return
            name, doc = kind.decode(), unpack(content)
        except ValueError as error:
            self._say_once(
                "unpacked",
                "0MQ at %s: what arrives is no msgpack (%s); subscribe the RunEngine to "
                "callbacks.zmq.zmq_publisher, not to a Publisher that sends pickles",
                self._address,
                error,
            )
            return
        try:
            self._deliver(name, doc, deliver)
        except Exception:
            # Whatever else is sent there must not end it.
            logger.warning("0MQ at %s: a message could not be handled", self._address, exc_info=True)

    def _deliver(self, name: str, doc: dict[str, Any], deliver: Deliver) -> None:
        """Hand a document out, until it is taken: nobody sends it again."""
        while not self._stopped.is_set():
            try:
                deliver(name, doc)
            except OSError as error:
                self._say_once("disk", "0MQ at %s: %s; documents wait", self._address, error)
                self._stopped.wait(AGAIN_S)
            else:
                self._said.discard("disk")
                return

    def _say_once(self, topic: str, message: str, *arguments: object) -> None:
        level = logging.DEBUG if topic in self._said else logging.WARNING
        self._said.add(topic)
        logger.log(level, message, *arguments)
