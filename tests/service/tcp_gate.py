"""A way to a server that can be shut: connections break, and new ones are refused, as if it were down."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PIECE = 1 << 16


class Gate:
    """Passes TCP connections on to a port of this machine, while it is open."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._ends: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._door: socket.socket | None = None
        self.port = 0
        self.open()

    def open(self) -> None:
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", self.port))
        door.listen()
        self.port = door.getsockname()[1]
        self._door = door
        self._start(self._admit, door)

    def shut(self) -> None:
        with self._lock:
            ends = [*self._ends, *([self._door] if self._door else [])]
            self._ends.clear()
            self._door = None
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _admit(self, door: socket.socket) -> None:
        while True:
            try:
                here, _ = door.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                if self._door is not door:
                    here.close()
                    there.close()
                    return
                self._ends |= {here, there}
            self._start(self._pump, here, there)
            self._start(self._pump, there, here)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def gate_to(target: int) -> Iterator[Gate]:
    gate = Gate(target)
    try:
        yield gate
    finally:
        gate.shut()
