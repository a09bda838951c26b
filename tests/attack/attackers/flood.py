"""Many logins at once, at a chosen rate or as fast as answers come, each with its time."""
from __future__ import annotations

import itertools
import selectors
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass

from harness.raw import RawReply, parse


@dataclass(frozen=True)
class Timed:
    """An answer, and when its request was sent and it was there (monotonic seconds)."""

    reply: RawReply
    sent: float
    done: float

    @property
    def took(self) -> float:
        return self.done - self.sent


def statuses(answers: list[Timed]) -> Counter[int | None]:
    return Counter(answer.reply.status for answer in answers)


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Flood:
    """Sends the payloads in turn on as many connections as are needed, from one thread.

    With a rate: so many a second, answered or not. With a width: so many under way at any time.
    """

    def __init__(
        self, port: int, payloads: list[bytes], *, rate: float = 0, width: int = 0
    ) -> None:
        self.answers: list[Timed] = []
        self._port, self._rate, self._width = port, rate, width
        self._payloads = itertools.cycle(payloads)
        self._idle: list[socket.socket] = []
        self._waiting: dict[socket.socket, tuple[float, bytes]] = {}
        self._selector = selectors.DefaultSelector()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the sending and waits for what is under way."""
        self._stopped.set()
        self._thread.join(60)
        for link in [*self._idle, *self._waiting]:
            link.close()
        self._selector.close()

    def between(self, begin: float, end: float) -> list[Timed]:
        """What was answered in this time."""
        return [answer for answer in list(self.answers) if begin <= answer.done < end]

    def _connect(self) -> socket.socket:
        link = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(link, selectors.EVENT_READ)
        return link

    def _send(self) -> None:
        link = self._idle.pop() if self._idle else self._connect()
        self._waiting[link] = time.monotonic(), b""
        link.sendall(next(self._payloads))

    def _receive(self, link: socket.socket) -> None:
        try:
            chunk = link.recv(65536)
        except ConnectionResetError:
            chunk = b""
        done = time.monotonic()
        sent, received = self._waiting.pop(link, (done, b""))
        reply = parse(received + chunk, closed=not chunk)
        if reply is None:
            self._waiting[link] = sent, received + chunk
            return
        self.answers.append(Timed(reply, sent, done))
        if reply.closed:
            self._selector.unregister(link)
            link.close()
        else:
            self._idle.append(link)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set() or self._waiting:
            now = time.monotonic()
            while not self._stopped.is_set() and self._wants(now, due):
                self._send()
                due += 1 / self._rate if self._rate else 0
            left = max(0.0, min(0.05, due - now)) if self._rate else 0.05
            for key, _ in self._selector.select(left):
                self._receive(key.fileobj)

    def _wants(self, now: float, due: float) -> bool:
        return now >= due if self._rate else len(self._waiting) < self._width


def volley(port: int, payloads: list[bytes], timeout: float = 60) -> list[Timed]:
    """All at the same moment on connections that are open already."""
    links = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in payloads]
    received = {link: b"" for link in links}
    sent: dict[socket.socket, float] = {}
    answers: list[Timed] = []
    with selectors.DefaultSelector() as selector:
        for link, payload in zip(links, payloads):
            sent[link] = time.monotonic()
            link.sendall(payload)
            selector.register(link, selectors.EVENT_READ)
        deadline = time.monotonic() + timeout
        while selector.get_map():
            assert time.monotonic() < deadline, "answers are missing"
            for key, _ in selector.select(1):
                link, done = key.fileobj, time.monotonic()
                chunk = link.recv(65536)
                received[link] += chunk
                reply = parse(received[link], closed=not chunk)
                if reply is not None:
                    answers.append(Timed(reply, sent[link], done))
                    selector.unregister(link)
    for link in links:
        link.close()
    return answers
