"""A TCP relay that can make everything that passes late."""
from __future__ import annotations

import heapq
import selectors
import socket
import threading
import time


class SlowRelay:
    """Listens on `port`; what comes is passed on after `delay` seconds, in order."""

    def __init__(self, target_port: int) -> None:
        self.delay = 0.0
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._late: list[tuple[float, int, socket.socket, bytes]] = []
        self._number = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "SlowRelay":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join(10)

    def _run(self) -> None:
        while not self._ended:
            wait = max(0.0, self._late[0][0] - time.monotonic()) if self._late else 0.1
            for key, _ in self._selector.select(min(wait, 0.1)):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._take(key.fileobj)
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, target, data = heapq.heappop(self._late)
                self._pass_on(target, data)
        for end in list(self._peers):
            end.close()
        self._listener.close()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            near.close()
            return
        for end, peer in ((near, far), (far, near)):
            self._peers[end] = peer
            self._selector.register(end, selectors.EVENT_READ)

    def _take(self, source: socket.socket) -> None:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._drop(source)
            return
        self._number += 1
        due = time.monotonic() + self.delay
        heapq.heappush(self._late, (due, self._number, self._peers[source], data))

    def _pass_on(self, target: socket.socket, data: bytes) -> None:
        try:
            if target in self._peers:
                target.sendall(data)
        except OSError:
            self._drop(target)

    def _drop(self, end: socket.socket) -> None:
        for each in (end, self._peers[end]):
            self._selector.unregister(each)
            del self._peers[each]
            each.close()
