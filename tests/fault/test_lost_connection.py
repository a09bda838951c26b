"""The connection to PostgreSQL breaks at every single message of an operation, in both directions.

A break before one of the service's messages: the server never saw the rest. A break before one of
the server's: it has done everything and may have committed, and nobody here knows. The client hears
503 and sends the same again; then it must be as if nothing had happened.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from relay import CLIENT, SERVER, Relay

from harness.checks import assert_invalid_refresh, assert_ok, assert_problem, assert_tokens
from harness.client import Account, Client, Tokens
from harness.fixtures import data_root  # noqa: F401
from harness.fixtures import _factory, _stop_all
from harness.postgres import Cluster
from harness.server import Server
from harness.settings import selected_stores, slowness
from harness.storage import postgres_storage


@dataclass
class Stage:
    """A server that reaches its database by way of a relay; one for all tests here."""

    server: Server
    relay: Relay


@pytest.fixture(scope="module")
def stage(postgres_cluster: Cluster, data_root: Callable[[], Path]) -> Iterator[Stage]:  # noqa: F811
    if "postgres" not in selected_stores():
        pytest.skip("this run leaves PostgreSQL out")
    servers: list[Server] = []
    with Relay(postgres_cluster.port) as relay:
        storage = postgres_storage(data_root(), postgres_cluster, port=relay.port)
        make = _factory(lambda: storage, servers)
        made = make(DB_POOL_SIZE="1", LOCKOUT_THRESHOLD="4", REFRESH_LEEWAY_SECONDS="60")
        yield Stage(made, relay)
        _stop_all(servers)


def _points(stage: Stage, act: Callable[[], httpx.Response]) -> list[tuple[str, int]]:
    """Every message of this use case, from a run in which nothing breaks."""
    stage.relay.count_from_now()
    assert act().status_code == 200
    counts = stage.relay.counts()
    assert min(counts.values()) >= 4, counts
    return [(sender, n + 1) for sender in (CLIENT, SERVER) for n in range(counts[sender])]


def _break(stage: Stage, point: tuple[str, int], act: Callable[[], httpx.Response]) -> None:
    """It breaks there, and the client is told to come again."""
    stage.relay.break_at(*point)
    answer = act()
    assert stage.relay.broken, f"{point} was not reached: {answer.status_code} {answer.text}"
    assert_problem(answer, 503, "unavailable", "temporarily unavailable")


def _again(act: Callable[[], httpx.Response]) -> httpx.Response:
    """As a client does: until it is not 503 any more."""
    deadline = time.monotonic() + 5 * slowness()
    while True:
        answer = act()
        if answer.status_code != 503 or time.monotonic() > deadline:
            return answer
        time.sleep(0.01)


def _each_point(
    stage: Stage, make: Callable[[Client], Callable[[], httpx.Response]],
    judge: Callable[[Client, tuple[str, int]], None],
) -> None:
    with stage.server.client() as client:
        points = _points(stage, make(client))
        print(f"{len(points)} points")
        for point in points:
            judge(client, point)


def _live(server: Server, account: Account) -> list[dict]:
    return server.db.live_sessions(account.tenant, account.user)


def test_registration(stage: Stage) -> None:
    """There is one account afterwards, and its password works."""
    db = stage.server.db

    def judge(client: Client, point: tuple[str, int]) -> None:
        account = Account()
        _break(stage, point, lambda: client.register(account))
        rows = db.count("credentials", tenant_id=account.tenant)
        answer = _again(lambda: client.register(account))
        if rows:
            assert point[0] == SERVER, "acknowledged by nobody, sent by nobody, yet there"
            assert_problem(answer, 409, "credential_exists")
        else:
            assert answer.status_code == 200, answer.text
        assert db.count("credentials", tenant_id=account.tenant) == 1
        client.sign_in(account)

    _each_point(stage, lambda client: lambda: client.register(Account()), judge)


def test_registration_with_a_key(stage: Stage) -> None:
    """With an idempotency key the client need not care whether it was the first or the second."""
    key = {"X-Idempotency-Key": "the-same-again"}

    def judge(client: Client, point: tuple[str, int]) -> None:
        account = Account()
        _break(stage, point, lambda: client.register(account, headers=key))
        assert _again(lambda: client.register(account, headers=key)).status_code == 200
        assert stage.server.db.count("credentials", tenant_id=account.tenant) == 1
        client.sign_in(account)

    _each_point(stage, lambda client: lambda: client.register(Account(), headers=key), judge)


def test_login(stage: Stage) -> None:
    """The retry opens a session that works; at most one was left behind unseen; no failure stays."""
    db = stage.server.db

    def judge(client: Client, point: tuple[str, int]) -> None:
        account = client.new_account()
        _break(stage, point, lambda: client.login(account))
        left = _live(stage.server, account)
        assert len(left) <= (1 if point[0] == SERVER else 0)
        fresh = assert_tokens(_again(lambda: client.login(account)))
        assert len(_live(stage.server, account)) == len(left) + 1
        assert db.throttle(account.tenant) == []
        client.rotate(fresh["refresh_token"])

    with stage.server.client() as client:
        known = client.new_account()
    _each_point(stage, lambda client: lambda: client.login(known), judge)


def test_login_that_breaks_is_no_failed_attempt(stage: Stage) -> None:
    """Not even when the right password is not given again: no attempt stays counted."""
    db = stage.server.db

    def judge(client: Client, point: tuple[str, int]) -> None:
        account = Account()
        assert _again(lambda: client.register(account)).status_code == 200
        _break(stage, point, lambda: client.login(account))
        deadline = time.monotonic() + 5 * slowness()
        while any(row["failures"] for row in db.throttle(account.tenant)):
            assert time.monotonic() < deadline, f"{point}: {db.throttle(account.tenant)}"
            time.sleep(0.02)

    with stage.server.client() as client:
        known = client.new_account()
    _each_point(stage, lambda client: lambda: client.login(known), judge)


def test_refund_that_breaks_is_made_once(stage: Stage) -> None:
    """Of a failure and a right password that opens nothing, the failure alone stays counted,
    wherever the refund of the other breaks."""
    db = stage.server.db

    def prepare(client: Client) -> Account:
        account = Account()
        assert _again(lambda: client.register(account)).status_code == 200
        [row] = db.rows("credentials", tenant_id=account.tenant)
        db.set_status(account.tenant, row["user_id"], "disabled")
        wrong = Account(account.tenant, account.email)
        assert client.login(wrong).status_code == 401
        return account

    def failures(account: Account) -> int:
        return db.throttle(account.tenant)[0]["failures"]

    def judge(client: Client, point: tuple[str, int]) -> None:
        account = prepare(client)
        stage.relay.break_at(*point)
        assert client.login(account).status_code in (403, 503)
        assert stage.relay.broken, point
        deadline = time.monotonic() + 5 * slowness()
        while failures(account) != 1 or not stage.server.is_ready():
            assert time.monotonic() < deadline, f"{point}: {failures(account)}"
            time.sleep(0.02)
        time.sleep(0.3)  # whatever was to be tried again has been
        assert failures(account) == 1, point

    with stage.server.client() as client:
        account = prepare(client)
        stage.relay.count_from_now()
        assert_problem(client.login(account), 403, "account_inactive")
        for sender, count in stage.relay.counts().items():
            for number in range(count):
                judge(client, (sender, number + 1))


def test_refresh(stage: Stage) -> None:
    """The retry gives the one successor; the chain is one, and moved by one."""
    db = stage.server.db

    def judge(client: Client, point: tuple[str, int]) -> None:
        tokens = client.new_session()
        _break(stage, point, lambda: client.refresh(tokens.refresh))
        moved = db.session(tokens.session_id)["generation"]
        assert moved == 0 or point[0] == SERVER
        first = assert_tokens(_again(lambda: client.refresh(tokens.refresh)))["refresh_token"]
        assert client.rotate(tokens.refresh).refresh == first
        assert db.session(tokens.session_id)["generation"] == 1
        second = client.rotate(first)
        assert db.count("sessions", tenant_id=tokens.claims["tenant_id"]) == 1
        client.rotate(second.refresh)
        assert_invalid_refresh(client.refresh(first))  # a replay, seen as such

    def once(client: Client) -> Callable[[], httpx.Response]:
        tokens = client.new_session()
        return lambda: client.refresh(tokens.refresh)

    _each_point(stage, once, judge)


def test_replay(stage: Stage) -> None:
    """A replay whose verdict was lost is a replay when it comes again, and the session is over."""

    def judge(client: Client, point: tuple[str, int]) -> None:
        tokens = client.new_session()
        head = client.rotate(client.rotate(tokens.refresh).refresh)
        _break(stage, point, lambda: client.refresh(tokens.refresh))
        assert_invalid_refresh(_again(lambda: client.refresh(tokens.refresh)))
        assert_invalid_refresh(client.refresh(head.refresh))

    with stage.server.client() as client:
        spent = client.new_session()
        client.rotate(client.rotate(spent.refresh).refresh)
        stage.relay.count_from_now()
        assert_invalid_refresh(client.refresh(spent.refresh))
        counts = stage.relay.counts()
        assert counts[CLIENT] > 8, counts  # the rotation, and the question why it did not happen
        for sender, count in counts.items():
            for number in range(count):
                judge(client, (sender, number + 1))


def test_logout(stage: Stage) -> None:
    """Sent again it is a success, and the session has ended."""

    def judge(client: Client, point: tuple[str, int]) -> None:
        tokens = client.new_session()
        _break(stage, point, lambda: client.logout(tokens.refresh))
        assert_ok(_again(lambda: client.logout(tokens.refresh)))
        assert_invalid_refresh(client.refresh(tokens.refresh))

    def once(client: Client) -> Callable[[], httpx.Response]:
        tokens = client.new_session()
        return lambda: client.logout(tokens.refresh)

    _each_point(stage, once, judge)


def test_logout_all(stage: Stage) -> None:
    """All or none ended at the break; after the retry all have."""

    def several(client: Client) -> tuple[Account, list[Tokens]]:
        account = client.new_account()
        return account, [client.sign_in(account) for _ in range(3)]

    def judge(client: Client, point: tuple[str, int]) -> None:
        account, tokens = several(client)
        _break(stage, point, lambda: client.logout_all(tokens[0].access))
        assert len(_live(stage.server, account)) in ((0, 3) if point[0] == SERVER else (3,))
        assert _again(lambda: client.logout_all(tokens[0].access)).status_code == 200
        assert _live(stage.server, account) == []
        for each in tokens:
            assert_invalid_refresh(client.refresh(each.refresh))

    def once(client: Client) -> Callable[[], httpx.Response]:
        tokens = several(client)[1]
        return lambda: client.logout_all(tokens[0].access)

    _each_point(stage, once, judge)
