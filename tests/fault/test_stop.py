"""Requests at the last moment: while the process ends, on a connection that was kept alive; and while
a start fails whose listeners are up."""
from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.client import LOGIN, REGISTER, Account
from harness.fixtures import ServerFactory
from harness.preload import build_library
from harness.raw import RawReply, json_request, read_reply, request
from harness.server import Server
from harness.settings import fault_binary, preloaded, slowness

# A hash that takes longer than the half second of a pause.
SLOW = {"ARGON_MEMORY_KB": "131072", "ARGON_ITERATIONS": "16", "MAX_CONCURRENT_HASHES": "1"}


def _ask(link: socket.socket, data: bytes) -> RawReply:
    link.sendall(data)
    return read_reply(link)


@contextmanager
def _kept_alive(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20 * slowness()) as link:
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


def test_last_wrong_password_has_left_the_gate_before_that_goes(
    make_sqlite_server: ServerFactory
) -> None:
    """It has waited for its time, and is answered by a thread that is of no lane: the process ends
    while that thread has yet to give up the call's place at the gate."""
    server = make_sqlite_server(binary=fault_binary(), ARGON_MEMORY_KB="19456", ARGON_ITERATIONS="2")
    with server.client() as client:
        account = client.new_account()
    server.restart(WATCHWORD_PAUSE_AT="flow.resumed", MALLOC_PERTURB_="165", ARGON_ITERATIONS="3")
    with _kept_alive(server) as link:
        assert _ask(link, json_request(LOGIN, account.body(password="wrong"))).status == 401
        server.terminate()
    server.wait_clean()


# Two seconds after it was asked for, the kernel has no seccomp filter for the process that faces
# the network; the processes that it forks get theirs.
NO_SECCOMP = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

static pid_t network;

__attribute__((constructor)) static void set_up(void) { network = getpid(); }

long syscall(long number, ...)
{
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    if (number == SYS_seccomp && getpid() == network) {
        sleep(2);
        errno = EINVAL;
        return -1;
    }
    return ((long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"))(number, a, b, c, d, e, f);
}
"""


def test_start_that_fails_answers_what_has_come(
    make_sqlite_server: ServerFactory, tmp_path: Path
) -> None:
    """It listens before it is confined. If that fails, the hash threads have not begun yet, and
    somebody may wait for them already: exit code 1 all the same, and no request is cut off."""
    library = build_library(tmp_path, NO_SECCOMP)
    server = make_sqlite_server(SANDBOX="require", **preloaded(library))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20 * slowness()) as link:
        reply = _ask(link, json_request(REGISTER, Account().body()))
    assert reply.status == 200
    assert server.process.wait(timeout=20 * slowness()) == 1
    server.kill()
    assert "SANDBOX" in server.last_log()
