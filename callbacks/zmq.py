"""Documents over 0MQ, from a RunEngine to whoever wants them; as msgpack, never as pickles.

A proxy (``bluesky-0MQ-proxy``) stands between both. Nothing is kept: what is sent while nobody listens is
lost. Connections are encrypted if both ends have keys (CURVE).
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Any

from bluesky.callbacks.zmq import ClientCurve, Publisher
from zmq.constants import Event, PollEvent, SocketOption, SocketType
from zmq.error import ZMQError
from zmq.sugar.context import Context
from zmq.sugar.poll import Poller
from zmq.sugar.socket import Socket
from zmq.utils.monitor import recv_monitor_message

from callbacks.arrival import Deliver
from callbacks.curve import read_keys
from callbacks.packing import pack, unpack

logger = logging.getLogger(__name__)

AGAIN_S = 1.0
LOOK_MS = 200
MOST_WAITING = 100_000
"""Documents that wait in memory while the disk is full; of more than that the latest are lost."""
KEY_OPTIONS = (SocketOption.CURVE_PUBLICKEY, SocketOption.CURVE_SECRETKEY, SocketOption.CURVE_SERVERKEY)
REFUSALS = Event.HANDSHAKE_FAILED_AUTH | Event.HANDSHAKE_FAILED_PROTOCOL | Event.HANDSHAKE_FAILED_NO_DETAIL


def zmq_publisher(address: str, *, prefix: bytes = b"", curve: ClientCurve | None = None) -> Any:
    """Return what a RunEngine has to be subscribed to so that its documents go to a proxy.

    Bluesky's own publisher with documents as msgpack: its default, pickle, runs whatever a sender wants.

    Parameters
    ----------
    address : str
        Where the proxy takes documents in, ``127.0.0.1:5567``.
    prefix : bytes
        Tells several RunEngines apart; without a space.
    curve : ClientCurve, optional
        Keys, if the proxy takes documents in encrypted: what `callbacks.curve.client_curve` returns.

    Raises
    ------
    SettingsError
        A file has no key.
    """
    if curve is not None:
        read_keys(curve)
    return Publisher(address, prefix=prefix, serializer=pack, curve_config=curve)


class ZmqSource:
    """Brings the documents that a proxy hands out, whenever there is a proxy.

    The connection is made again by 0MQ itself when the proxy comes back. What is no document is left out.

    Parameters
    ----------
    address : str
        Where the proxy hands documents out, ``127.0.0.1:5568``.
    prefix : bytes
        Only documents with this prefix; by default all.
    curve : ClientCurve, optional
        Keys, if the proxy hands documents out encrypted: what `callbacks.curve.client_curve` returns.

    Raises
    ------
    SettingsError
        A file has no key.
    """

    def __init__(self, address: str, *, prefix: bytes = b"", curve: ClientCurve | None = None) -> None:
        self._address = address
        self._prefix = prefix
        self._curve = curve
        self._keys = None if curve is None else read_keys(curve)
        self._again_at: float | None = None
        self._stopped = threading.Event()
        self._said: set[str] = set()

    def run(self, deliver: Deliver) -> None:
        """Bring documents, one after the other, until `stop` is called."""
        with (
            Context() as context,
            context.socket(SocketType.SUB) as receiver,
            receiver.get_monitor_socket(REFUSALS | Event.HANDSHAKE_SUCCEEDED) as monitor,
        ):
            receiver.setsockopt(SocketOption.RCVHWM, MOST_WAITING)
            receiver.setsockopt(SocketOption.LINGER, 0)
            self._encrypt(receiver)
            receiver.connect(self._endpoint)
            receiver.subscribe(b"")
            poller = Poller()
            poller.register(receiver, PollEvent.POLLIN)
            poller.register(monitor, PollEvent.POLLIN)
            while not self._stopped.is_set():
                ready = dict(poller.poll(LOOK_MS))
                if monitor in ready:
                    self._note(recv_monitor_message(monitor)["event"])
                self._connect_again(receiver)
                if receiver in ready:
                    self._handle(receiver.recv(), deliver)
            # Otherwise the monitor's other end keeps the context from closing.
            receiver.disable_monitor()

    def stop(self) -> None:
        """End `run`."""
        self._stopped.set()

    @property
    def _endpoint(self) -> str:
        return f"tcp://{self._address.removeprefix('tcp://')}"

    def _encrypt(self, receiver: Socket[bytes]) -> None:
        if self._keys is not None:
            for option, key in zip(KEY_OPTIONS, self._keys, strict=True):
                receiver.setsockopt(option, key)

    def _note(self, event: int) -> None:
        """Say why there is no connection; once, until there is one."""
        if event == Event.HANDSHAKE_SUCCEEDED:
            self._said.discard("refused")
            return
        self._again_at = time.monotonic() + AGAIN_S
        if self._curve is None:
            reason = "which may want an encrypted one: give it keys (listen: --client-key and --server-key)"
        elif event == Event.HANDSHAKE_FAILED_AUTH:
            own = self._curve.secret_path
            reason = f"as the proxy does not know the key in {own}: put its public half where the proxy looks"
        else:
            proxys = self._curve.server_public_key
            reason = f"as the proxy does not encrypt, or has another key than the one in {proxys}"
        self._say_once(
            "refused", "0MQ at %s: there is no connection, %s; trying again", self._address, reason
        )

    def _connect_again(self, receiver: Socket[bytes]) -> None:
        """Connect after a refusal, which 0MQ takes for final."""
        if self._again_at is not None and time.monotonic() > self._again_at:
            self._again_at = None
            with suppress(ZMQError):
                # Some refusals have ended it already.
                receiver.disconnect(self._endpoint)
            receiver.connect(self._endpoint)

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
