"""Start, drain, stop, kill and start again (contract sections 1 and 4, health)."""
from __future__ import annotations

import socket
import threading
import time

import httpx
import pytest

from harness import ports
from harness.checks import assert_invalid_refresh, assert_tokens
from harness.client import LOGIN, REFRESH, SESSIONS, Account, tokens_of
from harness.fixtures import ServerFactory, StorageFactory
from harness.raw import json_request, parse, request
from harness.server import Server, run_command
from harness.settings import race_rounds, slowness

# A hash of about a second, to have time to look.
SLOW = {"ARGON_MEMORY_KB": "131072", "ARGON_ITERATIONS": "8", "MAX_CONCURRENT_HASHES": "1"}
FAST = {"ARGON_MEMORY_KB": "131072", "ARGON_ITERATIONS": "1", "MAX_CONCURRENT_HASHES": "1"}


def _wait_busy(server: Server, before: float) -> None:
    """Until it has worked a tenth of a second more than `before`: it is hashing."""
    deadline = time.monotonic() + 10 * slowness()
    while server.cpu_seconds() < before + 0.1:
        assert time.monotonic() < deadline, "no login got to its hash"
        time.sleep(0.005)


def _readiness(link: socket.socket) -> int | None:
    """What a connection opened before the end is told; None if it was closed."""
    try:
        link.sendall(request("GET", "/health/ready"))
        received = b""
        while True:
            chunk = link.recv(65536)
            received += chunk
            reply = parse(received, closed=not chunk)
            if reply is not None:
                return reply.status
    except (ConnectionResetError, BrokenPipeError):
        return None


def test_sigterm_lets_a_login_finish(make_server: ServerFactory) -> None:
    """The one in flight is answered 200, readiness is false from the signal on, exit code 0."""
    server = make_server(**SLOW)
    with server.client() as client:
        account = client.new_account()
        watcher = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        assert _readiness(watcher) == 200
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(client.login(account)))
        before = server.cpu_seconds()
        thread.start()
        _wait_busy(server, before)
        server.terminate()
        seen: list[int | None] = []
        while thread.is_alive() and (not seen or seen[-1] is not None):
            seen.append(_readiness(watcher))
            time.sleep(0.01)
        thread.join()
        watcher.close()
    server.wait_clean()
    assert answers, "the login was cut off"
    tokens = tokens_of(answers[0])
    assert seen and seen[-1] in (503, None), f"readiness during the drain: {seen[-5:]}"
    # only what was under way at the very moment of the signal may still have said 200
    assert seen.count(200) <= 2 or 503 in seen
    server.restart(**FAST)
    with server.client() as client:
        client.rotate(tokens.refresh)


def test_sigterm_sends_answers_to_the_last_byte(make_sqlite_server: ServerFactory) -> None:
    """Who reads slowly has the rest of the answer still in this process when the signal comes."""
    devices = 100
    server = make_sqlite_server(MAX_SESSIONS_PER_USER=str(devices))
    with server.client() as client:
        account = client.new_account()
        for _ in range(devices):
            access = client.sign_in(account, headers={"User-Agent": '"' * 255}).access
    with socket.socket() as link:
        link.settimeout(10 * slowness())
        # Small segments and a small window: the kernel takes but a part of the answer.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        link.connect(("127.0.0.1", server.port))
        link.sendall(request("GET", SESSIONS, headers={"Authorization": f"Bearer {access}"}))
        received = link.recv(64)
        server.terminate()
        time.sleep(1)
        assert server.running, "it did not wait for its answer to be read"
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while (reply := parse(received)) is None:
            chunk = link.recv(65536)
            assert chunk, f"cut off after {len(received)} bytes"
            received += chunk
    assert reply.status == 200 and len(reply.json()["sessions"]) == devices
    server.wait_clean()


def test_sigterm_is_quick_when_idle(make_sqlite_server: ServerFactory) -> None:
    """Idle keep-alive connections and half-sent requests do not keep it."""
    server = make_sqlite_server()
    links = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for link in links[10:]:
        link.sendall(b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Le")
    with server.client() as client:
        client.get("/health/live")
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 10 * slowness()
    for link in links:
        link.close()


def test_sigint_stops_as_well(make_sqlite_server: ServerFactory) -> None:
    """Ctrl-C in a terminal."""
    server = make_sqlite_server()
    server.process.send_signal(2)
    server.wait_clean()


def test_start_on_the_same_data_and_port(make_server: ServerFactory) -> None:
    """Everything is still there, and the port can be taken again at once."""
    server = make_server()
    server._fixed_ports = {"PORT", "OPS_PORT"}
    with server.client() as client:
        account = client.new_account()
        tokens = client.sign_in(account)
        ended = client.sign_in(account)
        client.logout(ended.refresh)
        for _ in range(3):
            server.restart()
            tokens = client.rotate(tokens.refresh)
            assert client.sessions(tokens.access).status_code == 200
            assert_invalid_refresh(client.refresh(ended.refresh))
        assert_tokens(client.login(account))


def test_port_in_use_is_exit_1(make_sqlite_server: ServerFactory,
                               new_sqlite_storage: StorageFactory) -> None:
    """It says which setting, and the first goes on."""
    first = make_sqlite_server()
    storage = new_sqlite_storage()
    for name, port in (("PORT", first.port), ("OPS_PORT", first.ops_port)):
        settings = {**first.settings, "DATABASE_URL": storage.url, "PORT": str(ports.free_port()),
                    "DATA_DIR": str(storage.data_dir), "OPS_PORT": str(ports.free_port())}
        settings[name] = str(port)
        done = run_command(["serve"], settings)
        assert done.code == 1
        assert name in done.err
    assert first.is_ready()


def test_an_ipv6_listener_is_named_as_an_url_does(make_sqlite_server: ServerFactory) -> None:
    """In the log, and in the issuer it has by default."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6")
    server = make_sqlite_server(HOST="::", OPS_HOST="::", JWT_ISSUER=None)
    [line] = server.wait_log("service.started")
    assert line["address"] == f"[::]:{server.port}"
    assert line["operations_address"] == f"[::]:{server.ops_port}"
    with server.client() as client:
        claims = client.sign_in(client.new_account()).claims
    assert claims["iss"] == f"http://[::]:{server.port}"


class Load:
    """Threads that refresh, each remembering the last token it was given. Who is told that the
    service is about to end goes away."""

    def __init__(self, server: Server, starts: list[str]) -> None:
        self.tokens = list(starts)
        self.rotations = 0
        self.ending = False
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(server.port, number))
            for number in range(len(starts))
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, port: int, number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            while not self._stop.is_set():
                try:
                    body = {"refresh_token": self.tokens[number]}
                    response = http.post(REFRESH, json=body, timeout=10)
                except httpx.TransportError:
                    return
                if response.status_code == 503 and self.ending:
                    return
                assert response.status_code == 200, response.text
                self.tokens[number] = response.json()["refresh_token"]
                self.rotations += 1

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("round_number", range(3))
def test_kill_under_load_loses_nothing_acknowledged(
    make_server: ServerFactory, round_number: int
) -> None:
    """kill -9 while eight sessions refresh: after the restart every last token works, once each
    has one chain, and every account that was answered 200 can log in."""
    server = make_server(REFRESH_LEEWAY_SECONDS="60")
    with server.client() as client:
        accounts = [client.new_account() for _ in range(8)]
        starts = [client.sign_in(account).refresh for account in accounts]
        load = Load(server, starts)
        deadline = time.monotonic() + 10 * slowness()
        while load.rotations < 40 + 25 * round_number and time.monotonic() < deadline:
            time.sleep(0.002)
        late = client.new_account()
    server.kill()
    load.end()
    assert load.rotations >= 40
    server.restart()
    with server.client() as client:
        for account, token in zip(accounts, load.tokens):
            successor = client.rotate(token).refresh
            client.rotate(successor)
            assert len(server.db.live_sessions(account.tenant, account.user)) == 1
        assert_tokens(client.login(late))


def test_sigterm_under_load_ends_well(make_sqlite_server: ServerFactory) -> None:
    """Connections that are kept alive refresh up to the very end, round after round: exit code 0,
    and every last token works."""
    server = make_sqlite_server(REFRESH_LEEWAY_SECONDS="60")
    with server.client() as client:
        tokens = [client.new_session().refresh for _ in range(16)]
    for _ in range(race_rounds()):
        load = Load(server, tokens)
        deadline = time.monotonic() + 10 * slowness()
        while load.rotations < 64 and time.monotonic() < deadline:
            time.sleep(0.002)
        load.ending = True
        server.terminate()
        server.wait_clean()
        load.end()
        tokens = load.tokens
        server.start()
    with server.client() as client:
        for token in tokens:
            client.rotate(token)


def test_kill_during_hashing_leaves_no_lock(make_server: ServerFactory) -> None:
    """A login that died in its hash has cost at most one attempt."""
    server = make_server(**SLOW, LOCKOUT_THRESHOLD="3")
    with server.client() as client:
        account = client.new_account()
    link = socket.create_connection(("127.0.0.1", server.port))
    before = server.cpu_seconds()
    link.sendall(json_request(LOGIN, account.body()))
    _wait_busy(server, before)
    server.kill()
    link.close()
    server.restart(**FAST)
    with server.client() as client:
        wrong = Account(account.tenant, account.email)
        assert client.login(wrong).status_code == 401
        assert_tokens(client.login(account))
