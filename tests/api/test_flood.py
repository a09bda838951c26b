"""A log that nobody reads, and floods that want to fill the disk: the service goes on either way."""
from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator

import pytest
from harness.client import LOGIN, REFRESH, Account
from harness.fixtures import ServerFactory
from harness.raw import json_request
from harness.server import Server
from harness.settings import slowness
from harness.storage import sqlite_storage

# note.c: lines a second of one kind of refusal.
PER_SECOND = 20


def _metric(server: Server, pattern: str) -> int:
    found = re.search(rf"^{pattern} (\d+)$", server.ops("/metrics").text, re.M)
    assert found, pattern
    return int(found.group(1))


def _refused(server: Server) -> int:
    return _metric(server, re.escape('auth_refresh_total{result="failure",reason="malformed"}'))


def _flood(server: Server, payload: bytes, count: int) -> float:
    """As fast as one connection takes them; how long it took."""
    import socket

    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = link.makefile("rb")
        for _ in range(count):
            link.sendall(payload)
            length = 0
            while (line := reader.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            reader.read(length)
    return time.monotonic() - begin


def test_flood_of_bad_requests_does_not_fill_the_log(make_sqlite_server: ServerFactory) -> None:
    """A few lines a second, which say how many are missing; the counter has every one."""
    server = make_sqlite_server()
    payload = json_request(REFRESH, {"nonsense": "x" * 200})
    count, before = 3000, len(server.log_lines())
    seconds = _flood(server, payload, count)
    time.sleep(1.1)
    _flood(server, payload, 1)  # tells of the last ones that were left out
    lines = server.log_lines("http.request")
    assert _refused(server) == count + 1
    assert len(lines) <= PER_SECOND * (seconds + 3)
    assert len(server.log_lines()) - before <= len(lines) + 2
    assert len(lines) + sum(line.get("suppressed", 0) for line in lines) == count + 1
    print(f"{count} requests in {seconds:.1f} s, {len(lines)} lines")


def _wait_sampled(server: Server) -> None:
    """Until a line says that others before it were left out."""
    deadline = time.monotonic() + 10 * slowness()
    while not any("suppressed" in line for line in server.log_lines("http.request")):
        assert time.monotonic() < deadline, "nothing is left out"
        time.sleep(0.05)


def test_flood_hides_nothing_else(make_sqlite_server: ServerFactory) -> None:
    """While one kind is sampled, another's line and every success are written."""
    server = make_sqlite_server()
    over = threading.Event()

    def flood_on_and_on() -> None:
        while not over.is_set():
            _flood(server, json_request(REFRESH, {"nonsense": 1}), 200)

    flood = threading.Thread(target=flood_on_and_on)
    flood.start()
    try:
        with server.client() as client:
            account = client.new_account()
            _wait_sampled(server)
            traces = [client.login(account).headers["x-trace-id"] for _ in range(30)]
            answers = [client.login(account, password="wrong horse battery"), client.get("/nowhere")]
            assert flood.is_alive()
    finally:
        over.set()
        flood.join()
    traces += [answer.headers["x-trace-id"] for answer in answers]
    written = {line.get("trace_id") for line in server.log_lines("http.request")}
    assert [trace for trace in traces if trace not in written] == []


@pytest.fixture
def unread(new_sqlite_storage) -> Iterator[tuple[Server, int]]:  # noqa: ANN001
    """A server whose log is a pipe that nobody reads, and the end to read it by."""
    reading, writing = os.pipe()
    server = Server(new_sqlite_storage(), {"LOG_LEVEL": "debug"})
    server.start(output=writing)
    os.close(writing)
    yield server, reading
    server.kill()
    os.close(reading)


def _drain(reading: int) -> list[bytes]:
    os.set_blocking(reading, False)
    data = b""
    while True:
        try:
            chunk = os.read(reading, 65536)
        except BlockingIOError:
            break
        if not chunk:
            break
        data += chunk
    return data.splitlines()


def test_full_pipe_holds_nobody_up(unread: tuple[Server, int]) -> None:
    """Logins go on at their pace, what cannot be written is counted, and whole lines come again
    once somebody reads."""
    server, reading = unread
    with server.client() as client:
        account = client.new_account()
        _flood(server, json_request(LOGIN, Account().body(password="x" * 20)), 300)
        _flood(server, b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n", 400)
        dropped = _metric(server, "watchword_log_lines_dropped_total")
        assert dropped > 0, "the pipe is not full"
        times = []
        for _ in range(40):
            begin = time.monotonic()
            client.sign_in(account)
            times.append(time.monotonic() - begin)
        assert max(times) < 2 * slowness()
        more = _metric(server, "watchword_log_lines_dropped_total")
        assert more >= dropped + 40
        lines = _drain(reading)
        assert len(lines) > 50
        trace = client.login(account).headers["x-trace-id"]
    lines += _drain(reading)
    told = [json.loads(line) for line in lines]
    assert trace in {line.get("trace_id") for line in told}


def test_reader_that_is_gone_holds_nobody_up(unread: tuple[Server, int]) -> None:
    """The log's reader has died: no signal, no wait, every line counted."""
    server, reading = unread
    with server.client() as client:
        account = client.new_account()
        os.close(os.dup(reading))
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, reading)  # the pipe's only reader is gone
        os.close(null)
        before = _metric(server, "watchword_log_lines_dropped_total")
        for _ in range(10):
            client.sign_in(account)
        assert _metric(server, "watchword_log_lines_dropped_total") >= before + 10
