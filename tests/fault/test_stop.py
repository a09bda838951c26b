"""Requests at the last moment: while the process ends, on a connection that was kept alive."""
from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.client import LOGIN, Account
from harness.fixtures import ServerFactory
from harness.raw import RawReply, json_request, read_reply, request
from harness.server import Server
from harness.settings import fault_binary

# A hash that takes longer than the half second of a pause.
SLOW = {"ARGON_MEMORY_KB": "131072", "ARGON_ITERATIONS": "16", "MAX_CONCURRENT_HASHES": "1"}


def _ask(link: socket.socket, data: bytes) -> RawReply:
    link.sendall(data)
    return read_reply(link)


@contextmanager
def _kept_alive(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as link:
        assert _ask(link, request("GET", "/health/live")).status == 200
        yield link


def _login_in_the_pause(make: ServerFactory, point: str) -> RawReply:
    """The answer to a login that comes while the process, about to end, stays at that point."""
    server = make(binary=fault_binary(), WATCHWORD_PAUSE_AT=point, **SLOW)
    with server.client() as client:
        account: Account = client.new_account()
    with _kept_alive(server) as link:
        server.terminate()
        server.wait_log("service.draining")
        time.sleep(0.1)
        reply = _ask(link, json_request(LOGIN, account.body()))
    server.wait_clean()
    return reply


def test_login_after_the_last_look_is_waited_for(make_sqlite_server: ServerFactory) -> None:
    """Nothing was in flight any more, and then something is."""
    reply = _login_in_the_pause(make_sqlite_server, "http.closing")
    assert reply.status == 200 and reply.header("connection") == "close"


def test_login_that_cannot_be_waited_for_is_refused(make_sqlite_server: ServerFactory) -> None:
    """On the spot, with an answer that says to come again."""
    reply = _login_in_the_pause(make_sqlite_server, "http.closed")
    assert reply.status == 503 and reply.json()["error"] == "unavailable"
    assert reply.header("retry-after") == "1" and reply.header("connection") == "close"
