"""HTTP by hand: malformed requests, and many requests at the same moment."""
from __future__ import annotations

import json
import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from .settings import slowness


@dataclass
class RawReply:
    """An answer as bytes came; status None means that none came."""

    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    closed: bool = False
    rest: bytes = b""

    def header(self, name: str) -> str | None:
        for key, value in self.headers:
            if key == name.lower():
                return value
        return None

    def json(self) -> Any:
        return json.loads(self.body)


def parse(data: bytes, *, closed: bool = False, head: bool = False) -> RawReply | None:
    """The first complete answer in `data`, None if more bytes are needed."""
    start, separator, after = data.partition(b"\r\n\r\n")
    if not separator:
        return RawReply(closed=True, rest=data) if closed else None
    lines = start.decode("latin-1").split("\r\n")
    version, status, *_ = lines[0].split(" ", 2)
    assert version.startswith("HTTP/1."), f"no HTTP answer: {lines[0]!r}"
    if status == "100":
        return parse(after, closed=closed, head=head)
    headers = [(k.strip().lower(), v.strip()) for k, _, v in (x.partition(":") for x in lines[1:])]
    reply = RawReply(int(status), headers, closed=closed)
    length = reply.header("content-length")
    if head or reply.status in (204, 304):
        reply.rest = after
    elif length is not None:
        if len(after) < int(length):
            return RawReply(closed=True, rest=data) if closed else None
        reply.body, reply.rest = after[: int(length)], after[int(length):]
    elif closed:
        reply.body = after
    else:
        return None
    if (reply.header("connection") or "").lower() == "close":
        reply.closed = True
    return reply


def exchange(port: int, data: bytes, *, timeout: float = 5, head: bool = False) -> RawReply:
    """Send bytes on a new connection; the first answer, or the end of the connection."""
    received, closed = _talk(port, data, timeout, until_closed=False, head=head)
    reply = parse(received, closed=closed, head=head)
    assert reply is not None, f"no answer and no end within {timeout} s; got {received!r}"
    return reply


def read_reply(link: socket.socket) -> RawReply:
    """The next answer on a connection on which nothing else is under way."""
    received = b""
    while (reply := parse(received)) is None:
        chunk = link.recv(65536)
        assert chunk, f"cut off after {received!r}"
        received += chunk
    return reply


def exchange_all(port: int, data: bytes, *, timeout: float = 5) -> tuple[list[RawReply], bool]:
    """Send bytes and read until the server closes, or falls silent; all answers."""
    received, closed = _talk(port, data, timeout, until_closed=True, head=False)
    replies = []
    while received:
        reply = parse(received, closed=closed)
        if reply is None or reply.status is None:
            break
        replies.append(reply)
        received = reply.rest
    return replies, closed


def _talk(
    port: int, data: bytes, timeout: float, *, until_closed: bool, head: bool
) -> tuple[bytes, bool]:
    deadline = time.monotonic() + timeout * slowness()
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as link:
        try:
            link.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has had enough; there may be an answer all the same
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return received, False
            link.settimeout(left)
            try:
                chunk = link.recv(65536)
            except ConnectionResetError:
                return received, True
            except socket.timeout:
                return received, False
            if not chunk:
                return received, True
            received += chunk
            if not until_closed and parse(received, head=head) is not None:
                return received, False


def request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """A well-formed request; a header given here replaces ours."""
    lines = {"Host": "127.0.0.1"}
    if body or method == "POST":
        lines["Content-Length"] = str(len(body))
        lines["Content-Type"] = "application/json"
    lines.update(headers or {})
    text = f"{method} {path} HTTP/1.1\r\n"
    text += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return text.encode("latin-1") + b"\r\n" + body


def json_request(path: str, value: Any, headers: dict[str, str] | None = None) -> bytes:
    return request("POST", path, json.dumps(value).encode(), headers)


class Volley:
    """Open connections, loaded and fired at once: a race as fair as one machine can make it."""

    def __init__(self, ports: list[int], size: int) -> None:
        """`size` connections, dealt in turn to the ports."""
        self._ports = [ports[i % len(ports)] for i in range(size)]
        self._links: list[socket.socket | None] = [None] * size

    def __enter__(self) -> "Volley":
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            if link is not None:
                link.close()

    def _link(self, number: int) -> socket.socket:
        link = self._links[number]
        if link is None:
            link = socket.create_connection(("127.0.0.1", self._ports[number]), timeout=10)
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._links[number] = link
        return link

    def fire(self, payloads: list[bytes], *, timeout: float = 60) -> list[RawReply]:
        """One request on each connection; the answers in the same order."""
        assert len(payloads) == len(self._links)
        links = [self._link(i) for i in range(len(payloads))]
        for link, payload in zip(links, payloads):
            link.settimeout(10)
            link.sendall(payload)
        return self._collect(links, time.monotonic() + timeout * slowness())

    def _collect(self, links: list[socket.socket], deadline: float) -> list[RawReply]:
        replies: list[RawReply | None] = [None] * len(links)
        received = [b""] * len(links)
        with selectors.DefaultSelector() as selector:
            for number, link in enumerate(links):
                selector.register(link, selectors.EVENT_READ, number)
            while selector.get_map():
                assert time.monotonic() < deadline, "answers are missing"
                for key, _ in selector.select(timeout=1):
                    number = key.data
                    chunk = _receive(links[number])
                    received[number] += chunk
                    reply = parse(received[number], closed=not chunk)
                    if reply is not None:
                        replies[number] = reply
                        selector.unregister(links[number])
        for number, reply in enumerate(replies):
            if reply is None or reply.closed:
                links[number].close()
                self._links[number] = None
        return [reply or RawReply() for reply in replies]


def _receive(link: socket.socket) -> bytes:
    try:
        return link.recv(65536)
    except ConnectionResetError:
        return b""


def count_statuses(replies: list[RawReply]) -> dict[int | None, int]:
    counts: dict[int | None, int] = {}
    for reply in replies:
        counts[reply.status] = counts.get(reply.status, 0) + 1
    return counts
