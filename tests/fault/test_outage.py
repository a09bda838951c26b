"""PostgreSQL goes away under light load: fast and honest answers, no harm done, and back by itself.

Each test has a PostgreSQL of its own. Times hold for a machine that is not busy with other things;
WATCHWORD_TEST_SLOW stretches them.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from crowd import Answer, Crowd
from relay import Relay

from harness.checks import assert_problem, assert_tokens
from harness.client import REFRESH, Account
from harness.fixtures import ServerFactory, data_root  # noqa: F401
from harness.postgres import Cluster
from harness.raw import Volley, count_statuses, json_request
from harness.server import Server
from harness.settings import prompt_slack, slowness
from harness.storage import postgres_storage

DB_TIMEOUT = 2.0  # more than the slack, so that whoever waits twice is seen
HEALED_WITHIN = 10 * slowness()
DOWN_FOR = 6.0
POOL = 4
THRESHOLD = 4
# The probe, the sweep and the census of passwords have a connection of their own.
CONNECTIONS_MAX = POOL + 3


def _prompt() -> float:
    """What the service promises, and what the machine may add."""
    return DB_TIMEOUT + prompt_slack() * slowness()


@pytest.fixture
def relay(own_cluster: Cluster) -> Iterator[Relay]:
    with Relay(own_cluster.port) as made:
        yield made


@pytest.fixture
def start(
    own_cluster: Cluster, data_root: Callable[[], Path], make_sqlite_server: ServerFactory  # noqa: F811
) -> Callable[..., Server]:
    """A server on this test's PostgreSQL, by way of a port if one is given."""

    def make(port: int | None = None, **settings: str) -> Server:
        return make_sqlite_server(
            postgres_storage(data_root(), own_cluster, port=port),
            DB_TIMEOUT_MS=str(int(DB_TIMEOUT * 1000)), DB_POOL_SIZE=str(POOL),
            LOCKOUT_THRESHOLD=str(THRESHOLD), REFRESH_LEEWAY_SECONDS="60", **settings)

    return make


@contextmanager
def _firewall(port: int) -> Iterator[None]:
    """Packets from and to the port vanish."""
    table = f"watchword_test_{os.getpid()}"
    rules = "".join(f"add rule inet {table} in tcp {end}port {port} drop\n" for end in "sd")
    subprocess.run(
        ["nft", "-f", "-"], check=True, text=True,
        input=f"add table inet {table}\n"
              f"add chain inet {table} in {{ type filter hook input priority 0; }}\n{rules}")
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


def _descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _assert_honest(answers: list[Answer]) -> None:
    """Success or 503, whenever it was: no token was ever called bad, nobody locked out, no 500."""
    odd = [a for a in answers if a.status not in (200, 503)]
    assert not odd, odd[:5]
    for answer in answers:
        assert answer.status == 200 or '"error":"unavailable"' in answer.text, answer


def _assert_down(crowd: Crowd, begin: float, end: float) -> None:
    """All that was asked while nothing could be had: 503, and soon."""
    told = crowd.since(begin, end)
    assert len(told) > 20 / slowness(), "too little load to judge by"
    assert {a.status for a in told} == {503}, Counter((a.what, a.status) for a in told)
    late = max(told, key=lambda a: a.took)
    print(f"{len(told)} answers while down, slowest {late.took * 1e3:.0f} ms ({late.what})")
    assert late.took <= _prompt(), late


def _assert_prompt(crowd: Crowd, hit: float, end: float) -> None:
    """Also what was under way when it began."""
    told = [a for a in crowd.since(0) if a.done > hit and a.sent < end]
    late = max(told, key=lambda a: a.done - max(a.sent, hit))
    waited = late.done - max(late.sent, hit)
    print(f"slowest answer from the outage on: {waited * 1e3:.0f} ms ({late.what}, {late.status})")
    assert waited <= _prompt(), late


def _assert_keys_go_on(crowd: Crowd, hit: float, end: float) -> None:
    during = crowd.of("keys", hit, end)
    before = crowd.of("keys", 0, hit)
    assert {a.status for a in before + during} == {200}
    slow = [_percentile([a.took for a in part], 0.9) for part in (before, during)]
    print(f"JWKS p90 {slow[0] * 1e3:.1f} ms before, {slow[1] * 1e3:.1f} ms during")
    assert slow[1] <= max(5 * slow[0], 0.05) * slowness()


def _assert_ready_at_once(crowd: Crowd) -> None:
    """Readiness is read from memory, whatever the database does."""
    times = [a.took for a in crowd.of("ready")]
    assert _percentile(times, 0.95) <= 0.1 * slowness(), max(times)


def _assert_kept(server: Server, crowd: Crowd) -> None:
    """Every 200 was true."""
    db, kept = server.db, crowd.promises
    credentials = {row["user_id"] for row in db.rows("credentials")}
    emails = {row["email"] for row in db.rows("credentials")}
    sessions = {row["id"]: row for row in db.rows("sessions")}
    assert credentials
    assert [a.email for a in kept.registered if a.email not in emails] == []
    assert [t.session_id for _, t in kept.opened if t.session_id not in sessions] == []
    assert [s for s in kept.ended if sessions[s]["revoked_at"] is None] == []
    with server.client() as client:
        for token in kept.heads.values():
            assert_tokens(client.refresh(token))
        for account in kept.registered[-3:]:
            client.sign_in(account)


def _assert_nobody_pays(server: Server) -> None:
    """No attempt of the load, all with the right password, is counted as failed any more."""
    deadline = time.monotonic() + 3 * slowness()
    while True:
        counted = [row for row in server.db.rows("login_throttle") if row["failures"] > 0]
        if not counted or time.monotonic() > deadline:
            assert not counted, counted
            return
        time.sleep(0.05)


def _assert_no_leak(server: Server, cluster: Cluster, descriptors: int) -> None:
    deadline = time.monotonic() + 30 * slowness()
    while True:
        states, now = cluster.connections(), _descriptors(server)
        if len(states) <= CONNECTIONS_MAX and now <= descriptors + 2:
            assert "idle in transaction" not in states
            return
        assert time.monotonic() < deadline, (states, now, descriptors)
        time.sleep(0.2)


def _ordeal(
    server: Server, cluster: Cluster, hurt: Callable[[], object], heal: Callable[[], object]
) -> None:
    """Load, outage, healing; then everything that must be true of it."""
    with Crowd(server) as crowd:
        time.sleep(1.5)
        descriptors = _descriptors(server)
        hit = time.monotonic()
        hurt()
        hurt_done = time.monotonic()
        noticed = crowd.wait_for("ready", 503, hit, DB_TIMEOUT + 2 * slowness())
        time.sleep(DOWN_FOR * slowness())
        begin_heal = time.monotonic()
        heal()
        healed = time.monotonic()
        back = crowd.wait_for("ready", 200, healed, HEALED_WITHIN)
        for what in ("login", "refresh", "register", "list"):
            crowd.wait_for(what, 200, healed, HEALED_WITHIN)
        settled = time.monotonic() + 0.5
        time.sleep(2)
        calm = Counter(a.status for a in crowd.since(settled))
        print(f"not ready after {(noticed - hit) * 1e3:.0f} ms, ready {(back - healed) * 1e3:.0f}"
              f" ms after healing; then {dict(calm)}")
        assert set(calm) == {200}
        before = Counter(a.status for a in crowd.since(0) if a.done < hit)
        assert set(before) == {200}, before
        _assert_no_leak(server, cluster, descriptors)
    _assert_honest(crowd.since(0))
    _assert_down(crowd, hurt_done, begin_heal - _prompt())
    _assert_prompt(crowd, hit, begin_heal - _prompt())
    _assert_keys_go_on(crowd, hit, healed)
    _assert_ready_at_once(crowd)
    _assert_nobody_pays(server)
    _assert_kept(server, crowd)


def test_stopped(start: Callable[..., Server], own_cluster: Cluster) -> None:
    """It dies, its port refuses, it comes back with what was committed."""
    _ordeal(start(), own_cluster, own_cluster.stop, own_cluster.start)


def test_frozen(start: Callable[..., Server], own_cluster: Cluster) -> None:
    """It takes connections and statements and never answers."""
    _ordeal(start(), own_cluster, own_cluster.freeze, own_cluster.thaw)


def test_cut_off(start: Callable[..., Server], own_cluster: Cluster, relay: Relay) -> None:
    """The way there goes silent; nobody is told."""
    _ordeal(start(relay.port), own_cluster, relay.cut, relay.heal)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None,
                    reason="a firewall rule needs root and nft")
def test_firewalled(start: Callable[..., Server], own_cluster: Cluster) -> None:
    """The kernel drops every packet: also what was on its way, and the farewells."""
    wall = _firewall(own_cluster.port)
    _ordeal(start(), own_cluster, wall.__enter__, lambda: wall.__exit__(None, None, None))


def test_read_only(start: Callable[..., Server], own_cluster: Cluster) -> None:
    """It answers and takes no writes, as a standby: down, for reading too. What was opened meanwhile
    would stay like that for life."""
    server = start()
    name = server.db.url.rsplit("/", 1)[1]

    def hurt() -> None:
        own_cluster.refuse_writes(name)
        own_cluster.terminate_connections()

    _ordeal(server, own_cluster, hurt, lambda: own_cluster.refuse_writes(name, refuse=False))
    assert any("read-only" in line.get("detail", "") for line in server.log_lines("database.down"))


def test_read_only_from_one_moment_to_the_next(
    start: Callable[..., Server], own_cluster: Cluster
) -> None:
    """Connections that are there take no writes any more: seen without any request, and until it is
    over."""
    server = start()
    with server.client() as client:
        account = client.new_account()
        token = client.sign_in(account).refresh
        own_cluster.refuse_all_writes()
        deadline = time.monotonic() + 2 * slowness()
        while server.is_ready():
            assert time.monotonic() < deadline, "ready without a database to write to"
            time.sleep(0.02)
        for _ in range(10):
            assert_problem(client.refresh(token), 503, "unavailable", "temporarily unavailable")
            assert_problem(client.login(account), 503, "unavailable", "temporarily unavailable")
            assert not server.is_ready()
            time.sleep(0.1)
        own_cluster.refuse_all_writes(refuse=False)
        _wait_ready(server)
        for _ in range(3 * POOL):
            token = client.rotate(token).refresh
            client.sign_in(account)


def test_connections_terminated(start: Callable[..., Server], own_cluster: Cluster) -> None:
    """Again and again all connections are ended from the other side: a moment's trouble each."""
    server = start()
    with Crowd(server) as crowd:
        time.sleep(1)
        descriptors = _descriptors(server)
        ended = []
        for _ in range(6):
            ended.append(own_cluster.terminate_connections())
            time.sleep(1)
        assert min(ended) >= 2
        told = Counter(a.status for a in crowd.since(0))
        calm = Counter(a.status for a in crowd.since(time.monotonic() - 0.5))
        print(f"{ended} connections ended: {dict(told)}")
        assert set(calm) == {200}
        assert told[503] <= told[200] / 4
        _assert_no_leak(server, own_cluster, descriptors)
    _assert_honest(crowd.since(0))
    _assert_nobody_pays(server)
    _assert_kept(server, crowd)


def test_attempts_while_down_do_not_count(
    start: Callable[..., Server], own_cluster: Cluster
) -> None:
    """More wrong and right logins than would lock, all during the outage: nobody is locked."""
    server = start()
    with server.client() as client:
        account = client.new_account()
        own_cluster.freeze()
        try:
            for _ in range(THRESHOLD + 2):
                for password in (account.password, "wrong horse battery staple"):
                    answer = client.login(account, password=password)
                    assert_problem(answer, 503, "unavailable", "temporarily unavailable")
        finally:
            own_cluster.thaw()
        _wait_ready(server)
        wrong = Account(account.tenant, account.email)
        codes = [client.login(wrong).status_code for _ in range(THRESHOLD - 1)]
        assert codes == [401] * (THRESHOLD - 1)
        client.sign_in(account)


def _wait_ready(server: Server) -> None:
    deadline = time.monotonic() + HEALED_WITHIN
    while not server.is_ready():
        assert time.monotonic() < deadline, "not ready again"
        time.sleep(0.02)


def test_started_while_down(start: Callable[..., Server], own_cluster: Cluster) -> None:
    """The service starts without its database, says so, and serves when it comes."""
    server = start()
    with server.client() as client:
        account = client.new_account()
    server.stop()
    own_cluster.stop()
    server.start(wait=False)
    deadline = time.monotonic() + 15 * slowness()
    while True:
        try:
            assert not server.is_ready()
            answer = server.client().login(account)
            break
        except Exception as problem:  # not listening yet
            assert time.monotonic() < deadline, problem
            time.sleep(0.05)
    assert_problem(answer, 503, "unavailable")
    assert server.ops("/health/live").status_code == 200
    down = server.wait_log("database.down")
    assert any("connect" in line.get("detail", "") for line in down), down
    own_cluster.start()
    _wait_ready(server)
    with server.client() as client:
        client.sign_in(account)
    server.wait_log("database.up")


def test_a_held_row_does_not_stop_the_others(
    start: Callable[..., Server], own_cluster: Cluster
) -> None:
    """Somebody's transaction holds one session: its refresh gets a 503 in time, all else goes on."""
    server = start()
    with server.client() as client:
        held, free = client.new_session(), client.new_session()
        with server.db.held_session(held.session_id):
            begin = time.monotonic()
            answer = client.refresh(held.refresh)
            took = time.monotonic() - begin
            assert_problem(answer, 503, "unavailable")
            assert DB_TIMEOUT / 4 * 0.9 <= took <= DB_TIMEOUT * 0.9 * slowness()
            assert server.is_ready()
            assert_tokens(client.refresh(free.refresh))
        assert_tokens(client.refresh(held.refresh))


def test_the_isolation_level_is_ours(start: Callable[..., Server]) -> None:
    """A database whose transactions are repeatable read by default: simultaneous uses of one token
    wait for each other all the same, instead of failing."""
    import psycopg2

    server = start()
    with psycopg2.connect(server.db.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        [(name,)] = cursor.fetchall()
        cursor.execute(
            f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'")
    connection.close()
    server.restart()
    with server.client() as client, Volley([server.port], 16) as volley:
        token = client.new_session().refresh
        for _ in range(10):
            replies = volley.fire([json_request(REFRESH, {"refresh_token": token})] * 16)
            assert count_statuses(replies) == {200: 16}
            [token] = {reply.json()["refresh_token"] for reply in replies}
