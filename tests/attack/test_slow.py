"""Clients that take their time: each is let go by a deadline, and nobody else notices.

The deadlines are those of src/serve.c: ten seconds for a request, a minute for an idle connection.
The minute is waited for with WATCHWORD_SLOW=1 only.
"""
from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from attackers.flood import percentile
from attackers.sizes import slow_is_wanted
from harness.client import JWKS, REFRESH
from harness.fixtures import ServerFactory
from harness.raw import exchange, json_request, parse, request
from harness.server import Server
from harness.settings import slowness

REQUEST_SECONDS = 10
IDLE_SECONDS = 60
GRACE = 6  # the service looks at its connections every few seconds
CROWD = 1_000
BODY = json_request(REFRESH, {"refresh_token": "wwr_" + "x" * 200})


@pytest.fixture(scope="module")
def target(module_sqlite_server: ServerFactory) -> Server:
    return module_sqlite_server()


@pytest.fixture
def open_link(target: Server) -> Iterator[Callable[[], socket.socket]]:
    links: list[socket.socket] = []

    def make() -> socket.socket:
        links.append(socket.create_connection(("127.0.0.1", target.port), timeout=10))
        return links[-1]

    yield make
    for link in links:
        link.close()


def _latencies(target: Server, seconds: float) -> list[float]:
    """A normal client on a connection of its own each time."""
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        assert exchange(target.port, request("GET", JWKS, headers={"Connection": "close"})).status \
            == 200
        times.append(time.monotonic() - begin)
        time.sleep(0.02)
    return times


def _assert_unmoved(before: list[float], during: list[float]) -> None:
    """Half of all as quick as ever, and nearly all within a quarter of a second."""
    idle, middle, late = (percentile(before, 0.5), percentile(during, 0.5),
                          percentile(during, 0.99))
    print(f"median {middle * 1e3:.2f} ms (idle {idle * 1e3:.2f}), p99 {late * 1e3:.2f} ms")
    assert middle <= max(3 * idle, 0.005)
    assert late <= 0.250


def _ended(link: socket.socket, wait: float) -> bool:
    """Does the connection end within this time?"""
    with selectors.DefaultSelector() as selector:
        selector.register(link, selectors.EVENT_READ)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if selector.select(max(0.0, deadline - time.monotonic())):
                try:
                    if not link.recv(65536):
                        return True
                except ConnectionResetError:
                    return True
    return False


def _drip(link: socket.socket, data: bytes) -> float:
    """A byte a second until the other side has enough; how long that took."""
    begin = time.monotonic()
    for byte in data:
        try:
            link.sendall(bytes([byte]))
        except (BrokenPipeError, ConnectionResetError):
            break
        if _ended(link, 1) or time.monotonic() - begin > REQUEST_SECONDS + 2 * GRACE:
            break
    return time.monotonic() - begin


def test_slow_requests_are_let_go(
    target: Server, open_link: Callable[[], socket.socket]
) -> None:
    """Slow headers, a slow body, a header that never ends: closed after ten seconds."""
    head, body = BODY.split(b"\r\n\r\n")
    starts = [b"", head + b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b"P",
              head[:-4] + b"\r\nExpect: 100-continue\r\n\r\n"]
    rest = [BODY, body, b"y" * 100, BODY[1:], body]
    before = _latencies(target, 1)
    links = []
    for start in starts:
        links.append(open_link())
        links[-1].sendall(start)
    with ThreadPoolExecutor(len(links)) as pool:
        jobs = [pool.submit(_drip, link, data) for link, data in zip(links, rest)]
        during = _latencies(target, 5)
        took = [job.result() for job in jobs]
    print("closed after", [f"{seconds:.1f}" for seconds in took])
    assert max(took) <= REQUEST_SECONDS + GRACE, took
    _assert_unmoved(before, during)


def test_slow_reader_does_not_hold_others_up(
    target: Server, open_link: Callable[[], socket.socket]
) -> None:
    """Answers nobody reads: many are asked for on one connection, others are served."""
    before = _latencies(target, 1)
    for _ in range(20):
        link = open_link()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        link.setblocking(False)
        try:
            for _ in range(5_000):
                link.send(request("GET", JWKS))
        except BlockingIOError:
            pass
    _assert_unmoved(before, _latencies(target, 3))
    assert target.memory_kb() < 400_000


def test_idle_connections_do_not_stop_others(
    target: Server, open_link: Callable[[], socket.socket]
) -> None:
    """A thousand that say nothing, or have half said it."""
    before = _latencies(target, 1)
    links = [open_link() for _ in range(CROWD)]
    for link in links[::2]:
        link.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n")
    _assert_unmoved(before, _latencies(target, 3))


@pytest.mark.skipif(not slow_is_wanted(), reason="a minute of waiting: WATCHWORD_SLOW=1")
def test_idle_connection_is_let_go(
    target: Server, open_link: Callable[[], socket.socket]
) -> None:
    """After a request was answered, and before any was sent: a minute."""
    used, unused = open_link(), open_link()
    used.sendall(request("GET", "/health/live"))
    received = b""
    while parse(received) is None:
        received += used.recv(65536)
    begin = time.monotonic()
    for link in (used, unused):
        assert _ended(link, max(1.0, begin + IDLE_SECONDS + GRACE - time.monotonic()))
    assert time.monotonic() - begin >= REQUEST_SECONDS - 1


SHARE, GREEDY = 40, 200
STRANGERS = {"TRUSTED_PROXIES": "10.0.0.0/8"}  # loopback would be a trusted proxy, without a limit


def _is_served(link: socket.socket) -> bool:
    """Is a request answered on this connection? If it was refused, it ends instead."""
    received = b""
    with contextlib.suppress(ConnectionError):
        link.sendall(request("GET", "/health/live"))
        while (reply := parse(received)) is None:
            chunk = link.recv(65536)
            if not chunk:
                return False
            received += chunk
        return reply.status == 200
    return False


class Crowd:
    """Connections of one loopback address that have sent half a request."""

    def __init__(self, server: Server, source: str = "127.0.0.1") -> None:
        self.server, self.source = server, source
        self.links: list[socket.socket] = []

    def grow(self, count: int) -> int:
        """So many more are tried; those that are served are kept, with half of another request."""
        new = [socket.create_connection(("127.0.0.1", self.server.port), timeout=10 * slowness(),
                                        source_address=(self.source, 0)) for _ in range(count)]
        kept = [link for link in new if _is_served(link)]
        self.links += kept
        for link in new:
            if link in kept:
                link.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n")
            else:
                link.close()
        return len(kept)

    def answered(self) -> int:
        """How many are served once they send the other half."""
        count = 0
        for link in self.links:
            link.sendall(b"\r\n")
            count += link.recv(65536).startswith(b"HTTP/1.1 200 ")
        return count

    def shrink(self, count: int) -> None:
        for link in self.links[:count]:
            link.close()
        del self.links[:count]

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self.shrink(len(self.links))


def _refused(server: Server) -> int:
    text = server.ops("/metrics").text
    [line] = [x for x in text.splitlines() if x.startswith("auth_connections_refused_total ")]
    return int(line.split()[1])


def test_one_address_gets_no_more_than_its_share(make_sqlite_server: ServerFactory) -> None:
    """It holds as many connections as it may; others come in as ever; what it lets go is free."""
    server = make_sqlite_server(CONNECTIONS_PER_ADDRESS=str(SHARE), **STRANGERS)
    time.sleep(0.5 * slowness())  # the connection that saw it become ready has been let go
    with Crowd(server) as greedy, Crowd(server, "127.0.0.2") as other:
        assert greedy.grow(GREEDY) == SHARE
        assert _refused(server) == GREEDY - SHARE
        assert greedy.grow(5) == 0
        assert other.grow(SHARE) == SHARE
        assert other.answered() == SHARE
        greedy.shrink(10)
        deadline = time.monotonic() + 5 * slowness()
        regained = 0
        while regained < 10 and time.monotonic() < deadline:
            regained += greedy.grow(1)
        assert regained == 10
        assert greedy.grow(5) == 0
        assert greedy.answered() == SHARE
    [line] = server.log_lines("http.connections_refused")
    assert line["client_ip"] == "127.0.0.1"


def test_share_is_what_refuses(make_sqlite_server: ServerFactory) -> None:
    """The control: with a share that is large enough, or for a trusted proxy, all come in."""
    large = make_sqlite_server(CONNECTIONS_PER_ADDRESS=str(GREEDY), **STRANGERS)
    proxy = make_sqlite_server(CONNECTIONS_PER_ADDRESS=str(SHARE))
    for server in (large, proxy):
        with Crowd(server) as crowd:
            assert crowd.grow(GREEDY) == GREEDY
            assert crowd.answered() == GREEDY
        assert _refused(server) == 0


def test_share_is_exact_under_a_rush(make_sqlite_server: ServerFactory) -> None:
    """Connections that come and go on all network threads at once leave nothing behind."""
    server = make_sqlite_server(CONNECTIONS_PER_ADDRESS=str(SHARE), **STRANGERS)

    def rush(_: int) -> None:
        for number in range(200):
            with contextlib.suppress(ConnectionError), socket.create_connection(
                    ("127.0.0.1", server.port), timeout=10) as link:
                if number % 3 == 0:  # a reset
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(rush, range(16)))
    time.sleep(0.5 * slowness())
    with Crowd(server) as crowd:
        assert crowd.grow(GREEDY) == SHARE


def test_header_floods_are_refused(target: Server) -> None:
    """Headers without end, large or many: 431 or the end of the connection, memory as before."""
    before = target.memory_kb()
    live = b"GET /health/live HTTP/1.1\r\nHost: a\r\n"
    floods = [live + b"X: " + b"y" * (1 << 21), live + b"X: y\r\n" * 200_000,
              live + b"".join(b"X%d:\r\n" % n for n in range(100_000))]
    for _ in range(10):
        for flood in floods:
            assert exchange(target.port, flood).status in (431, 400, None)
    assert target.memory_kb() - before < 8 * 1024
    assert exchange(target.port, request("GET", "/health/live")).status == 200


def test_forged_addresses_buy_nothing(module_sqlite_server: ServerFactory) -> None:
    """An untrusted peer with a hundred claims about who it is: one bucket."""
    server = module_sqlite_server(TRUSTED_PROXIES="10.0.0.0/8", IP_RL_PER_SECOND="1",
                                  IP_RL_BURST="5")
    begin, passed = time.monotonic(), 0
    for number in range(100):
        claims = [("X-Forwarded-For", f"198.51.100.{number}"), ("X-Real-IP", f"192.0.2.{number}"),
                  ("Forwarded", f"for=203.0.113.{number}")]
        headers = dict(claims if number % 2 else claims[:1])
        sent = json_request(REFRESH, {"refresh_token": f"wwr_{number}"}, headers)
        passed += exchange(server.port, sent).status != 429
    assert passed <= 5 + (time.monotonic() - begin) + 1, passed
