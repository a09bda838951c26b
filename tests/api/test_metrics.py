"""Metrics (contract section 7): every series from the start, closed label sets, exact counts."""
from __future__ import annotations

import random
import re
import secrets
import shutil
import socket
import struct
import subprocess
import time
import uuid
from collections import Counter

import httpx
import pytest

from harness.client import (
    JWKS, LOGIN, LOGOUT, REFRESH, REGISTER, Account, Client, fresh_password, fresh_tenant,
)
from harness.events import subjects
from harness.fixtures import ServerFactory
from harness.raw import RawReply, Volley, exchange, json_request, read_reply, request
from harness.server import Server
from harness.settings import slowness

TYPE = "text/plain; version=0.0.4; charset=utf-8"
WIDE = 32
THRESHOLD = 10

REASONS = {
    "auth_login_total": {
        "success": {"ok"},
        "failure": {"malformed", "invalid_email", "rate_limited", "not_found", "invalid_password",
                    "inactive", "locked", "hash_busy", "client_gone", "db_unavailable",
                    "internal"},
    },
    "auth_register_total": {
        "success": {"ok"},
        "failure": {"malformed", "invalid", "invalid_email", "weak_password", "rate_limited",
                    "exists", "hash_busy", "client_gone", "db_unavailable",
                    "internal"},
    },
    "auth_refresh_total": {
        "success": {"ok", "retried"},
        "failure": {"malformed", "rate_limited", "invalid", "expired", "revoked", "replayed",
                    "client_gone", "db_unavailable", "internal"},
    },
    "auth_logout_total": {
        "success": {"ok", "not_found"},
        "failure": {"malformed", "rate_limited", "invalid", "client_gone", "db_unavailable",
                    "internal"},
    },
}
LANES = ("db", "hash", "sign")
LE = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
OTHER_AT_START = {
    "auth_lockouts_total": [{}],
    "auth_signer_restarts_total": [{}],
    "auth_signature_faults_total": [{}],
    "auth_connections_refused_total": [{}],
    "auth_rate_limited_total": [{"scope": s} for s in ("ip", "email", "refresh", "register")],
    "auth_refresh_replay_total": [{"distance": d} for d in ("1", "2_5", "more")],
    "auth_lane_depth": [{"lane": lane} for lane in LANES],
    "auth_lane_busy": [{"lane": lane} for lane in LANES],
    "auth_lane_shed_total": [
        {"lane": lane, "why": why} for lane in LANES for why in ("full", "deadline", "gone")
    ],
    "auth_lane_wait_seconds_bucket": [{"lane": lane, "le": le} for lane in LANES for le in LE],
    "auth_lane_wait_seconds_sum": [{"lane": lane} for lane in LANES],
    "auth_lane_wait_seconds_count": [{"lane": lane} for lane in LANES],
    "auth_password_verify_duration_seconds_bucket": [
        {"result": result, "le": le} for result in ("ok", "fail", "error") for le in LE
    ],
    "auth_password_verify_duration_seconds_count": [
        {"result": result} for result in ("ok", "fail", "error")
    ],
    "watchword_log_lines_dropped_total": [{}],
    "auth_nats_publish_total": [{"event_type": s} for s in subjects()],
    "auth_nats_publish_fail_total": [{"event_type": s} for s in subjects()],
    "auth_outbox_backlog": [{}],
    "auth_outbox_oldest_seconds": [{}],
    "auth_outbox_dropped_total": [{}],
    "auth_sessions_live": [{}],
    "auth_sweep_deleted_total": [
        {"what": what} for what in ("sessions", "failed_logins", "idempotency_keys", "client_data")
    ],
}
PROCESS = (
    "process_cpu_seconds_total", "process_resident_memory_bytes", "process_threads",
    "process_open_fds", "process_max_fds", "process_start_time_seconds",
)
PATHS = {
    REGISTER: "POST", LOGIN: "POST", REFRESH: "POST", LOGOUT: "POST",
    "/api/auth/sessions": "GET", "/api/auth/sessions/{id}/revoke": "POST",
    "/api/auth/logout-all": "POST", JWKS: "GET", "/api/auth/jwks": "GET", "/health/live": "GET",
    "/healthz": "GET", "/health/ready": "GET", "/api/ready": "GET", "/metrics": "GET",
}

Series = tuple[str, frozenset[tuple[str, str]]]
_LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="[^"\\\n]*",?)+)\})? (NaN|[0-9.e+-]+)')


def key(name: str, **labels: str) -> Series:
    return name, frozenset(labels.items())


class Scrape:
    """One answer of /metrics, taken apart."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: dict[Series, float] = {}
        self.types: dict[str, str] = {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name not in self.types, f"{name} twice"
                self.types[name] = kind
            elif not line.startswith("# HELP "):
                match = _LINE.fullmatch(line)
                assert match, f"no sample: {line!r}"
                labels = dict(re.findall(r'([a-z_]+)="([^"]*)"', match[2] or ""))
                series = key(match[1], **labels)
                assert series not in self.values, f"{line} twice"
                self.values[series] = float(match[3])

    def get(self, name: str, **labels: str) -> float:
        return self.values[key(name, **labels)]

    def family(self, name: str) -> dict[Series, float]:
        return {series: value for series, value in self.values.items() if series[0] == name}

    def nonzero(self, name: str) -> dict[tuple[str, ...], int]:
        """By their label values in the order of the labels' names."""
        return {
            tuple(value for _, value in sorted(labels)): int(count)
            for (_, labels), count in self.family(name).items() if count
        }


def scrape(server: Server) -> Scrape:
    answer = server.ops("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


# What is there


def test_every_series_is_there_at_zero(make_server: ServerFactory) -> None:
    """A fresh start has every series of every outcome, all at 0."""
    found = scrape(make_server())
    wanted = [
        key(name, result=result, reason=reason)
        for name, results in REASONS.items()
        for result, reasons in results.items() for reason in reasons
    ]
    wanted += [key(name, **labels) for name, sets in OTHER_AT_START.items() for labels in sets]
    for series in wanted:
        assert found.values.get(series) == 0, series
    for name in (*REASONS, *OTHER_AT_START):
        assert set(found.family(name)) == {s for s in wanted if s[0] == name}, name
    assert found.family("auth_dependency_up") == {
        key("auth_dependency_up", dep="db"): 1, key("auth_dependency_up", dep="nats"): 0,
        key("auth_dependency_up", dep="ready"): 1,
    }
    busy = {labels for name in ("http_requests_total", "http_request_duration_seconds_count")
            for labels in found.nonzero(name)}
    assert busy <= {("GET", "/health/ready", status) for status in ("200", "503")}


def test_http_series_are_those_a_route_can_answer(server: Server) -> None:
    """Path is a route's template or other; GET routes have HEAD too; histograms match counters."""
    found = scrape(server)
    labels = [dict(labels) for _, labels in found.family("http_requests_total")]
    methods: dict[str, set[str]] = {}
    for label in labels:
        assert set(label) == {"path", "method", "status"}
        assert re.fullmatch(r"[2345]\d\d|other", label["status"])
        methods.setdefault(label["path"], set()).add(label["method"])
    assert methods.pop("other") == {"GET", "HEAD", "POST", "OPTIONS", "other"}
    assert methods == {p: {"GET", "HEAD"} if m == "GET" else {m} for p, m in PATHS.items()}
    assert len(labels) < 200
    for label in labels:
        for le in LE:
            assert key("http_request_duration_seconds_bucket", le=le, **label) in found.values
        count = found.get("http_request_duration_seconds_count", **label)
        assert count == found.get("http_requests_total", **label)


def test_promtool_finds_nothing(server: Server, client: Client) -> None:
    """`promtool check metrics` (Debian package prometheus) has no complaint."""
    client.new_session()
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: install prometheus"
    text = server.ops("/metrics").content
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_process_and_build(server: Server) -> None:
    """The usual process metrics agree with what the system says."""
    found = scrape(server)
    for name in PROCESS:
        assert found.get(name) > 0, name
    assert abs(found.get("process_resident_memory_bytes") / 1024 - server.memory_kb()) < 4096
    assert abs(found.get("process_cpu_seconds_total") - server.cpu_seconds()) < 1
    assert found.get("process_open_fds") < found.get("process_max_fds")
    assert abs(time.time() - found.get("process_start_time_seconds")) < 3600
    assert len(found.family("watchword_build_info")) == 1
    start = "process_start_time_seconds"
    assert scrape(server).get(start) == found.get(start), "moves"


# Where it is


def test_on_the_operations_listener(server: Server) -> None:
    """Content type, no caching, HEAD; other methods are 405."""
    answer = server.ops("/metrics")
    assert answer.headers["content-type"] == TYPE
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.endswith("\n")
    assert len(answer.content) < 250_000
    head = exchange(server.ops_port, request("HEAD", "/metrics"), head=True)
    assert (head.status, head.header("content-type"), head.rest) == (200, TYPE, b"")
    post = exchange(server.ops_port, request("POST", "/metrics", b"{}"))
    assert (post.status, post.header("allow")) == (405, "GET, HEAD")


def test_not_on_the_public_one(client: Client) -> None:
    """404, whatever the method: nothing tells that it exists."""
    for method in ("GET", "HEAD", "POST", "PUT"):
        assert client.request(method, "/metrics").status_code == 404


def test_on_the_public_one_if_asked(make_sqlite_server: ServerFactory) -> None:
    """METRICS_PUBLIC=true."""
    server = make_sqlite_server(METRICS_PUBLIC="true")
    with server.client() as client:
        answer = client.get("/metrics")
        assert (answer.status_code, answer.headers["content-type"]) == (200, TYPE)
        assert set(Scrape(answer.text).values) == set(scrape(server).values)
        assert client.post("/metrics").status_code == 405


def _slow_scrape(port: int) -> socket.socket:
    """A scrape whose answer is not read: the kernel takes but a part of it."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    link.connect(("127.0.0.1", port))
    link.sendall(request("GET", "/metrics"))
    return link


def test_slow_public_readers_do_not_blind_the_operator(make_sqlite_server: ServerFactory) -> None:
    """All places of the public listener are taken; those of the other are its own."""
    server = make_sqlite_server(METRICS_PUBLIC="true")
    links = [_slow_scrape(server.port) for _ in range(8)]
    try:
        for link in links:
            assert link.recv(1) == b"H"
        assert exchange(server.port, request("GET", "/metrics")).status == 503
        assert server.ops("/metrics").status_code == 200
    finally:
        for link in links:
            link.close()


def test_a_scrape_is_quiet_and_leaves_the_database_alone(make_server: ServerFactory) -> None:
    """No log line, no job in any lane."""
    server = make_server()
    lines = len(server.log_lines("http.request"))
    before = scrape(server)
    after = [scrape(server) for _ in range(5)][-1]
    for lane in LANES:
        name = "auth_lane_wait_seconds_count"
        assert after.get(name, lane=lane) == before.get(name, lane=lane)
    assert len(server.log_lines("http.request")) == lines


def test_a_scrape_is_cheap(server: Server) -> None:
    """Well below a millisecond of processor time, even on a slow machine below five."""
    with httpx.Client(base_url=f"http://127.0.0.1:{server.ops_port}", trust_env=False) as client:
        client.get("/metrics")
        before = server.cpu_seconds()
        for _ in range(100):
            client.get("/metrics")
        assert server.cpu_seconds() - before < 0.5 * slowness()


# Exact


class Script:
    """Fires requests 32 at a time and keeps its own count of the answers."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answers: Counter[tuple[str, str, str]] = Counter()

    def fire(self, path: str, bodies: list[object]) -> list[RawReply]:
        replies = []
        for start in range(0, len(bodies), WIDE):
            part = [json_request(path, body) for body in bodies[start:start + WIDE]]
            with Volley([self.server.port], len(part)) as volley:
                replies += volley.fire(part)
        self.answers.update(("POST", path, str(reply.status)) for reply in replies)
        return replies


def _register(script: Script, accounts: list[Account]) -> None:
    bodies = [account.body() for account in accounts]
    bodies += [accounts[i].body() for i in range(4)]  # after the first 32: these exist
    bodies += [accounts[0].body(email="nobody")] * 3
    bodies += [Account().body(password="short")] * 2
    bodies += [accounts[0].body(tenant_id=None)] * 5
    script.fire(REGISTER, bodies)


def _login(script: Script, accounts: list[Account]) -> list[str]:
    good = script.fire(LOGIN, [account.body() for account in accounts])
    script.fire(LOGIN, [
        (accounts[i] if i % 2 else Account()).body(password=fresh_password()) for i in range(WIDE)
    ])
    script.fire(LOGIN, [accounts[0].body(email="@")] * 2 + [accounts[0].body(extra=1)] * 3)
    return [reply.json()["refresh_token"] for reply in good]


def _lock(script: Script) -> None:
    target = Account()
    script.fire(LOGIN, [target.body() for _ in range(WIDE)])


def _refresh(script: Script, tokens: list[str]) -> list[str]:
    """All at once; then the first token of all 32 times more, which the leeway answers."""
    replies = script.fire(REFRESH, [{"refresh_token": token} for token in tokens])
    script.fire(REFRESH, [{"refresh_token": tokens[0]}] * WIDE)
    script.fire(REFRESH, [{"refresh_token": "wwr_x"}] * 2 + [{}] * 3)
    return [reply.json()["refresh_token"] for reply in replies]


def _replay(script: Script, first: str, rotations: int) -> None:
    """The ancestor so many generations back ends its session; again, it is revoked."""
    token = first
    for _ in range(rotations):
        token = script.fire(REFRESH, [{"refresh_token": token}])[0].json()["refresh_token"]
    for _ in range(2):
        script.fire(REFRESH, [{"refresh_token": first}])


def _logout(script: Script, tokens: list[str]) -> None:
    script.fire(LOGOUT, [{"refresh_token": token} for token in tokens] * 2)
    script.fire(LOGOUT, [{"refresh_token": "x"}] * 3)


def test_counts_are_exact(make_server: ServerFactory) -> None:
    """A script of 400 requests, 32 at a time; every counter equals what was done."""
    server = make_server(LOCKOUT_THRESHOLD=str(THRESHOLD))
    script = Script(server)
    accounts = [Account() for _ in range(WIDE)]
    _register(script, accounts)
    tokens = _login(script, accounts)
    _lock(script)
    tokens = _refresh(script, tokens)
    for token, rotations in zip(tokens, (2, 5, 6)):
        _replay(script, token, rotations)
    _logout(script, tokens[3:])
    found = scrape(server)

    assert found.nonzero("auth_register_total") == {
        ("ok", "success"): 32, ("exists", "failure"): 4, ("invalid_email", "failure"): 3,
        ("weak_password", "failure"): 2, ("malformed", "failure"): 5,
    }
    assert found.nonzero("auth_login_total") == {
        ("ok", "success"): 32, ("invalid_password", "failure"): 16,
        ("not_found", "failure"): 16 + THRESHOLD, ("locked", "failure"): WIDE - THRESHOLD,
        ("invalid_email", "failure"): 2, ("malformed", "failure"): 3,
    }
    assert found.get("auth_lockouts_total") == 1
    assert found.nonzero("auth_refresh_total") == {
        ("ok", "success"): 32 + 2 + 5 + 6, ("retried", "success"): 32,
        ("invalid", "failure"): 2, ("malformed", "failure"): 3, ("replayed", "failure"): 3,
        ("revoked", "failure"): 3,
    }
    assert found.nonzero("auth_refresh_replay_total") == {("2_5",): 2, ("more",): 1}
    assert found.nonzero("auth_logout_total") == {
        ("ok", "success"): 29, ("not_found", "success"): 29, ("invalid", "failure"): 3,
    }
    assert found.nonzero("auth_rate_limited_total") == {}
    verified = found.nonzero("auth_password_verify_duration_seconds_count")
    assert verified == {("ok",): 32, ("fail",): 32 + THRESHOLD}
    http = found.nonzero("http_requests_total")
    assert {k: v for k, v in http.items() if "health" not in k[1]} == dict(script.answers)
    assert found.nonzero("auth_lane_shed_total") == {}
    assert found.get("auth_lane_wait_seconds_count", lane="sign") == 32 + 32 + 2 + 5 + 6 + 32


def test_a_replay_one_generation_back(make_server: ServerFactory) -> None:
    """Without leeway every loser of a race is a replay at distance 1, once for each session."""
    server = make_server(REFRESH_LEEWAY_SECONDS="0")
    with server.client() as client:
        token = client.new_session().refresh
    with Volley([server.port], WIDE) as volley:
        replies = volley.fire([json_request(REFRESH, {"refresh_token": token})] * WIDE)
    assert [reply.status for reply in replies].count(200) == 1
    found = scrape(server)
    assert found.nonzero("auth_refresh_replay_total") == {("1",): 1}
    assert found.nonzero("auth_refresh_total") == {
        ("ok", "success"): 1, ("replayed", "failure"): 1, ("revoked", "failure"): WIDE - 2,
    }


def test_replays_are_counted_even_where_the_log_is_sampled(make_server: ServerFactory) -> None:
    """40 replays within a second or so: 20 lines a second are written, all are counted."""
    server = make_server()
    with server.client() as client:
        account = client.new_account()
        ancestors = []
        for _ in range(40):
            first = client.sign_in(account).refresh
            client.rotate(client.rotate(first).refresh)
            ancestors.append(first)
    script = Script(server)
    script.fire(REFRESH, [{"refresh_token": token} for token in ancestors])
    assert scrape(server).nonzero("auth_refresh_replay_total") == {("2_5",): 40}
    assert len(server.log_lines("security.refresh_replay_detected")) <= 40


@pytest.mark.parametrize("scope, settings, use", [
    ("ip", {"IP_RL_PER_SECOND": "1", "IP_RL_BURST": "8"}, LOGIN),
    ("email", {"LOGIN_PER_MIN_PER_EMAIL": "8"}, LOGIN),
    ("register", {"REGISTER_PER_MIN_PER_EMAIL": "8"}, REGISTER),
    ("refresh", {"REFRESH_PER_MIN_PER_TOKEN": "8"}, REFRESH),
])
def test_rate_limits_by_scope(
    make_sqlite_server: ServerFactory, scope: str, settings: dict[str, str], use: str
) -> None:
    """Each 429 counts in its own scope and in its use case."""
    server = make_sqlite_server(**settings)
    body: object = Account().body()
    if use == REFRESH:
        with server.client() as client:
            body = {"refresh_token": client.new_session().refresh}
    replies = Script(server).fire(use, [body] * WIDE)
    limited = sum(reply.status == 429 for reply in replies)
    assert limited >= WIDE - 9
    found = scrape(server)
    assert found.nonzero("auth_rate_limited_total") == {(scope,): limited}
    name = f"auth_{use.rpartition('/')[2]}_total"
    assert found.get(name, result="failure", reason="rate_limited") == limited


def test_what_was_done_counts_when_the_client_has_gone(make_server: ServerFactory) -> None:
    """A request whose connection is reset is counted once all the same."""
    server = make_server()
    links = []
    for _ in range(48):
        link = socket.create_connection(("127.0.0.1", server.port))
        link.sendall(json_request(LOGIN, Account().body()))
        links.append(link)
    _wait(server, "auth_lane_wait_seconds_count", 48, lane="db")
    for link in links:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()
    deadline = time.monotonic() + 10 * slowness()
    while sum(scrape(server).family("auth_login_total").values()) < 48:
        assert time.monotonic() < deadline, scrape(server).nonzero("auth_login_total")
        time.sleep(0.02)
    time.sleep(0.2)
    found = scrape(server)
    assert sum(found.family("auth_login_total").values()) == 48
    logins = {k: v for k, v in found.nonzero("http_requests_total").items() if k[1] == LOGIN}
    assert sum(logins.values()) == 48


def test_who_hangs_up_in_the_queue_was_not_refused(make_sqlite_server: ServerFactory) -> None:
    """It is no want of capacity if the turn of a client comes that has gone."""
    server = make_sqlite_server(MAX_CONCURRENT_HASHES="1", HASH_ACQUIRE_TIMEOUT_MS="30000",
                                ARGON_MEMORY_KB="65536",
                                ARGON_ITERATIONS=str(max(3, round(50 / slowness()))))
    links = []
    for queued in (None, 1, 2):
        link = socket.create_connection(("127.0.0.1", server.port))
        link.sendall(json_request(LOGIN, Account().body()))
        links.append(link)
        if queued is None:  # the first is being hashed before the others come
            _wait(server, "auth_lane_busy", 1, lane="hash")
        else:
            _wait(server, "auth_lane_depth", queued, lane="hash")
    for link in links:
        link.close()
    _wait(server, "auth_login_total", 2, result="failure", reason="client_gone")
    found = scrape(server)
    assert found.get("auth_lane_shed_total", lane="hash", why="gone") == 2
    assert found.get("auth_login_total", result="failure", reason="hash_busy") == 0
    assert server.log_lines("auth.hash_busy") == []


def test_what_cannot_be_hashed_is_refused_before_any_work(make_sqlite_server: ServerFactory) -> None:
    """Neither is its address folded nor its password's strength estimated, which takes longer than
    the refusal."""
    server = make_sqlite_server(MAX_CONCURRENT_HASHES="1", HASH_ACQUIRE_TIMEOUT_MS="200",
                                ARGON_MEMORY_KB="65536",
                                ARGON_ITERATIONS=str(max(3, round(50 / slowness()))))
    doubtful = ((REGISTER, Account(password="password").body()),
                (LOGIN, Account(email="nobody").body()))
    with server.client() as client, socket.create_connection(("127.0.0.1", server.port)) as busy:
        busy.sendall(json_request(LOGIN, Account().body()))
        _wait(server, "auth_lane_busy", 1, lane="hash")
        during = [client.post(path, json=body) for path, body in doubtful]
        assert [reply.json()["error"] for reply in during] == ["auth_busy"] * 2
        assert read_reply(busy).status == 401
        after = [client.post(path, json=body) for path, body in doubtful]
        assert [reply.json()["error"] for reply in after] == ["weak_password", "invalid_email"]
    assert scrape(server).get("auth_lane_depth", lane="hash") == 0


def _wait(server: Server, name: str, value: float, **labels: str) -> None:
    deadline = time.monotonic() + 30 * slowness()
    while scrape(server).get(name, **labels) < value:
        assert time.monotonic() < deadline, f"{name} does not reach {value}"
        time.sleep(0.01)


# Bounded


def _random_request(rng: random.Random) -> bytes:
    method = rng.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "FOO", "PATCH"])
    word = secrets.token_hex(rng.randrange(1, 20))
    path = rng.choice([
        f"/{word}", f"/api/auth/{word}", f"/api/auth/sessions/{uuid.uuid4()}/revoke", LOGIN,
        f"/metrics?x={word}", f"/health/{word}", f"/api/auth/sessions?user_id={uuid.uuid4()}",
    ])
    body = b"{}" if method in ("POST", "PUT") else b""
    return request(method, path, body, {"Connection": "close", "User-Agent": word})


def test_the_series_are_closed(make_sqlite_server: ServerFactory) -> None:
    """Random paths, methods, tenants, addresses: not one series more, and nothing unforeseen."""
    server = make_sqlite_server()
    before = scrape(server)
    rng = random.Random(7)
    for _ in range(300):
        exchange(server.port, _random_request(rng), head=True)
    exchange(server.port, request("POST", LOGIN, b" " * 20000))
    exchange(server.port, request("GET", "/", headers={"Transfer-Encoding": "x"}))
    script = Script(server)
    script.fire(LOGIN, [Account(tenant=fresh_tenant()).body() for _ in range(40)])
    after = scrape(server)
    assert set(after.values) == set(before.values)
    assert after.types == before.types
    unforeseen = {"path": "other", "method": "other", "status": "other"}
    assert after.get("http_requests_total", **unforeseen) == 0
    assert after.get("http_requests_total", path="other", method="POST", status="413") == 1
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", after.text), "an id is in a label"


def _wait_status(server: Server, status: int) -> None:
    deadline = time.monotonic() + 10 * slowness()
    while server.ops("/metrics").status_code != status:
        assert time.monotonic() < deadline, f"/metrics does not come to {status}"
        time.sleep(0.05)


def test_slow_readers_do_not_pile_up(make_sqlite_server: ServerFactory) -> None:
    """At most eight texts wait for clients that do not read them; the next is told to come again."""
    server = make_sqlite_server()
    links = []
    for _ in range(8):
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        link.connect(("127.0.0.1", server.ops_port))
        link.sendall(request("GET", "/metrics") * 200)  # more than the system's buffers hold
        links.append(link)
    _wait_status(server, 503)
    refused = server.ops("/metrics")
    assert refused.headers["retry-after"] == "1"
    assert server.ops("/health/live").status_code == 200
    for link in links:
        link.close()
    _wait_status(server, 200)
