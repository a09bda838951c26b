"""A TCP relay in front of PostgreSQL that can go silent, or break at a chosen protocol message."""
from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

CLIENT, SERVER = "client", "server"
# Of the probe, the sweep and the count of passwords by their parameters.
_BY_ITSELF = (b"FROM migrations", b"'sweep_due'", b"(tenant_id, user_id) > ")


@dataclass
class _Reader:
    """Splits one direction of a connection into protocol messages."""

    untyped: bool  # the first message of a client has no type
    buffer: bytes = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The whole messages so far, each with its type (b"" for the first)."""
        self.buffer += data
        found = []
        while True:
            head = 0 if self.untyped else 1
            if len(self.buffer) < head + 4:
                return found
            (length,) = struct.unpack("!I", self.buffer[head:head + 4])
            if len(self.buffer) < head + length:
                return found
            message, self.buffer = self.buffer[:head + length], self.buffer[head + length:]
            found.append((message[:head], message))
            self.untyped = False


@dataclass(eq=False)
class _Link:
    """One connection through the relay."""

    near: socket.socket  # to the service
    far: socket.socket  # to PostgreSQL
    readers: dict[str, _Reader] = field(default_factory=lambda: {
        CLIENT: _Reader(untyped=True), SERVER: _Reader(untyped=False)})
    statements: dict[bytes, bytes] = field(default_factory=dict)
    counted: bool = False  # what goes on now is an operation of a use case


class Relay:
    """Listens on `port`. In its quiet times nothing passes, nothing is closed, nobody is told."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._links: dict[socket.socket, _Link] = {}
        self._lock = threading.Lock()
        self._quiet = False
        self._ended = False
        self._counts = {CLIENT: 0, SERVER: 0}
        self._break_at: tuple[str, int] | None = None
        self.broken = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join(10)

    # What tests ask of it

    def cut(self) -> None:
        """From now on nothing passes, as behind a firewall that drops."""
        with self._lock:
            self._quiet = True

    def heal(self) -> None:
        """What was open when it went silent is lost for good; new connections pass."""
        with self._lock:
            self._quiet = False
            for link in set(self._links.values()):
                self._drop(link)

    def count_from_now(self) -> None:
        with self._lock:
            self._counts = {CLIENT: 0, SERVER: 0}

    def counts(self) -> dict[str, int]:
        """Messages of use cases, by sender, since `count_from_now`."""
        with self._lock:
            return dict(self._counts)

    def break_at(self, sender: str, number: int) -> None:
        """Reset the connection instead of passing the number-th message (from 1) of the sender."""
        with self._lock:
            self._counts = {CLIENT: 0, SERVER: 0}
            self._break_at = (sender, number)
            self.broken = False

    # How it does it

    def _run(self) -> None:
        while not self._ended:
            if self._quiet:
                time.sleep(0.005)
                continue
            for key, _ in self._selector.select(0.02):
                with self._lock:
                    if self._quiet:
                        break
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._links:
                        self._pass_on(key.fileobj)
        with self._lock:
            for link in set(self._links.values()):
                self._drop(link)
        self._listener.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            near.close()
            return
        link = _Link(near, far)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links[end] = link
            self._selector.register(end, selectors.EVENT_READ)

    def _drop(self, link: _Link, *, reset: bool = False) -> None:
        for end in (link.near, link.far):
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._selector.unregister(end)
            del self._links[end]
            end.close()

    def _pass_on(self, source: socket.socket) -> None:
        link = self._links[source]
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        if not data:
            return self._drop(link)
        sender = CLIENT if source is link.near else SERVER
        target = link.far if sender == CLIENT else link.near
        for kind, message in link.readers[sender].feed(data):
            self._learn(link, sender, kind, message)
            if self._is_the_one(link, sender):
                return self._drop(link, reset=True)
            try:
                target.sendall(message)
            except OSError:
                return self._drop(link)

    def _learn(self, link: _Link, sender: str, kind: bytes, message: bytes) -> None:
        """Which statements are the operation of a use case: not preparing, nor what runs by itself."""
        if sender == SERVER:
            return
        if kind == b"P":
            name, sql = message[5:].split(b"\0")[:2]
            link.statements[name] = sql
            link.counted = False
        elif kind == b"B":
            name = message[5:].split(b"\0")[1]
            sql = link.statements.get(name, b"")
            link.counted = not any(mark in sql for mark in _BY_ITSELF)

    def _is_the_one(self, link: _Link, sender: str) -> bool:
        if not link.counted:
            return False
        self._counts[sender] += 1
        if self._break_at != (sender, self._counts[sender]):
            return False
        self._break_at, self.broken = None, True
        return True
