"""The process is killed at a named point of a use case: what was promised still holds.

The program is a build with failure points (WATCHWORD_FAULT_BIN, default build-fault/watchword);
WATCHWORD_FAIL_AT names the point where it kills itself. Without that variable it is an ordinary
server, and serves as the one before and after the crash.
"""
from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from harness.checks import (
    assert_invalid_credentials,
    assert_invalid_refresh,
    assert_problem,
    assert_tokens,
)
from harness.client import Account, Client, Tokens
from harness.fixtures import ServerFactory
from harness.server import Server
from harness.settings import fault_binary

ROTATE = ["rotate.begin", "rotate.updated", "rotate.committed", "rotate.signed"]
LOGIN = ["login.begin", "login.reserved", "login.hashed", "login.signed", "login.opened",
         "login.committed"]
UNJUDGED = LOGIN[:3]  # the points that a wrong password gets to
REGISTER = ["register.hashed", "register.inserted", "register.committed"]
COMMITTED = {"rotate.committed", "rotate.signed", "login.committed", "register.committed"}
# Written but not acknowledged: PostgreSQL, which was sent the statement and the end of the transaction
# together, may have committed it already or roll it back. SQLite, killed before its COMMIT, forgets it.
EITHER = {"rotate.updated", "login.opened", "register.inserted"}


def _normal(make_server: ServerFactory, leeway: str = "60") -> Server:
    return make_server(binary=fault_binary(), REFRESH_LEEWAY_SECONDS=leeway, LOCKOUT_THRESHOLD="3")


def _crash(server: Server, point: str, act: Callable[[Client], object]) -> None:
    """Restart armed, act, see the process die by its own hand, restart disarmed."""
    server.restart(WATCHWORD_FAIL_AT=point)
    with server.client() as client:
        with pytest.raises(httpx.TransportError):
            act(client)
    server.wait_killed()
    server.restart(WATCHWORD_FAIL_AT=None)


def _crash_refresh(server: Server, point: str) -> Tokens:
    """A session whose next refresh dies at the point; its last acknowledged tokens."""
    with server.client() as client:
        tokens = client.rotate(client.new_session().refresh)
    _crash(server, point, lambda client: client.refresh(tokens.refresh))
    return tokens


def _assert_done(server: Server, point: str, times: int) -> None:
    """What the point interrupted has happened this often: 1 behind the commit, else 0."""
    either = point in EITHER and not server.storage.is_sqlite
    allowed = {0, 1} if either else {1} if point in COMMITTED else {0}
    assert times in allowed, f"{point}: done {times} times"


def _attempts_used(server: Server, point: str) -> set[int]:
    """How many attempts a login that died at the point may have cost: it is written down before the
    hash, and cleared together with the session."""
    if point in ("login.hashed", "login.signed"):
        return {1}
    if point in ("login.reserved", "login.opened"):
        return {int(point == "login.opened")} if server.storage.is_sqlite else {0, 1}
    return {0}


def _live(server: Server, tokens: Tokens) -> int:
    return len(server.db.live_sessions(tokens.claims["tenant_id"], tokens.claims["sub"]))


@pytest.mark.parametrize("point", ROTATE)
def test_rotation_killed_at(make_server: ServerFactory, point: str) -> None:
    """The answer was lost: presenting the same token again works, and one chain lives."""
    server = _normal(make_server)
    tokens = _crash_refresh(server, point)
    with server.client() as client:
        first = client.rotate(tokens.refresh)
        assert client.rotate(tokens.refresh).refresh == first.refresh
        assert client.sessions(first.access).status_code == 200
        second = client.rotate(first.refresh)
        assert _live(server, tokens) == 1
        assert server.db.count("sessions", tenant_id=tokens.claims["tenant_id"]) == 1
        third = client.rotate(second.refresh)
        assert_invalid_refresh(client.refresh(first.refresh))
        for token in (first, second, third):
            assert_invalid_refresh(client.refresh(token.refresh))
        assert _live(server, tokens) == 0


@pytest.mark.parametrize("point", ROTATE)
def test_rotation_killed_at_is_durable_where_committed(
    make_server: ServerFactory, point: str
) -> None:
    """The generation moved by one behind the commit, by none before the write."""
    server = _normal(make_server)
    with server.client() as client:
        tokens = client.new_session()
    before = server.db.session(tokens.session_id)["generation"]
    _crash(server, point, lambda client: client.refresh(tokens.refresh))
    after = server.db.session(tokens.session_id)["generation"]
    _assert_done(server, point, after - before)


@pytest.mark.parametrize("point", ROTATE)
def test_rotation_killed_at_without_leeway(make_server: ServerFactory, point: str) -> None:
    """Leeway 0: the old token works, or nothing does; never two chains."""
    server = _normal(make_server, leeway="0")
    tokens = _crash_refresh(server, point)
    with server.client() as client:
        answer = client.refresh(tokens.refresh)
        if answer.status_code == 200:
            _assert_done(server, point, 0)
            head = client.rotate(assert_tokens(answer)["refresh_token"])
            assert _live(server, tokens) == 1
            assert_invalid_refresh(client.refresh(tokens.refresh))
            assert_invalid_refresh(client.refresh(head.refresh))
        else:
            _assert_done(server, point, 1)
            assert_invalid_refresh(answer)
            assert_invalid_refresh(client.refresh(tokens.refresh))
        assert _live(server, tokens) == 0
        assert server.db.count("sessions", tenant_id=tokens.claims["tenant_id"]) == 1


@pytest.mark.parametrize("point", ROTATE)
def test_rotation_killed_again_and_again(make_server: ServerFactory, point: str) -> None:
    """Three crashes in a row at the same point, retries of one token: still one chain."""
    server = _normal(make_server)
    tokens = _crash_refresh(server, point)
    for _ in range(2):
        # A retry does not rotate: it may pass the later points without reaching the earlier.
        server.restart(WATCHWORD_FAIL_AT=point)
        with server.client() as client:
            try:
                client.refresh(tokens.refresh)
            except httpx.TransportError:
                server.wait_killed()
        server.restart(WATCHWORD_FAIL_AT=None)
    with server.client() as client:
        client.rotate(client.rotate(tokens.refresh).refresh)
        assert _live(server, tokens) == 1


@pytest.mark.parametrize("point", LOGIN)
def test_login_killed_at(make_server: ServerFactory, point: str) -> None:
    """The user tries again and is in; no lock, no broken row, at most one orphaned session."""
    server = _normal(make_server)
    with server.client() as client:
        account = client.new_account()
        kept = client.sign_in(account)
    _crash(server, point, lambda client: client.login(account))
    with server.client() as client:
        sessions = server.db.live_sessions(account.tenant, account.user)
        _assert_done(server, point, len(sessions) - 1)
        fresh = client.sign_in(account)
        assert client.rotate(fresh.refresh).session_id == fresh.session_id
        client.rotate(kept.refresh)
        listed = client.session_list(fresh.access)
        assert len(listed) == len(sessions) + 1


@pytest.mark.parametrize("point,password", [
    *((point, "right") for point in LOGIN), *((point, "wrong") for point in UNJUDGED)])
def test_login_killed_at_does_not_hide_guesses(
    make_server: ServerFactory, point: str, password: str
) -> None:
    """Crashing the service does not buy guesses: the attempt that died counts once it is written down,
    whatever its password was, and the account locks in time and not before."""
    server = _normal(make_server)
    with server.client() as client:
        account = client.new_account()
    wrong = Account(account.tenant, account.email)
    _crash(server, point, lambda client: client.login(account if password == "right" else wrong))
    with server.client() as client:
        answers = [client.login(wrong).status_code for _ in range(4)]
    guesses = answers.count(401)
    assert answers == guesses * [401] + (4 - guesses) * [423]
    assert 3 - guesses in _attempts_used(server, point)


@pytest.mark.parametrize("point", UNJUDGED)
def test_wrong_login_killed_at(make_server: ServerFactory, point: str) -> None:
    """A wrong password that died on the way lets nobody in later."""
    server = _normal(make_server)
    with server.client() as client:
        account = client.new_account()
    wrong = Account(account.tenant, account.email)
    _crash(server, point, lambda client: client.login(wrong))
    with server.client() as client:
        assert server.db.live_sessions(account.tenant, account.user) == []
        assert_invalid_credentials(client.login(wrong))
        assert_tokens(client.login(account))


@pytest.mark.parametrize("point", REGISTER)
def test_registration_killed_at(make_server: ServerFactory, point: str) -> None:
    """There is an account whose password works, or none and registering again makes it."""
    server = _normal(make_server)
    account = Account()
    _crash(server, point, lambda client: client.register(account))
    with server.client() as client:
        rows = server.db.count("credentials", tenant_id=account.tenant)
        _assert_done(server, point, rows)
        answer = client.register(account)
        if rows:
            assert_problem(answer, 409, "credential_exists")
        else:
            assert answer.status_code == 200
        assert_tokens(client.login(account))
        assert server.db.count("credentials", tenant_id=account.tenant) == 1


@pytest.mark.parametrize("point", REGISTER)
def test_registration_with_a_key_killed_at(make_server: ServerFactory, point: str) -> None:
    """With X-Idempotency-Key the client just sends it again: 200, and one account."""
    server = _normal(make_server)
    account, key = Account(), {"X-Idempotency-Key": "once-only"}
    _crash(server, point, lambda client: client.register(account, headers=key))
    with server.client() as client:
        answers = [client.register(account, headers=key) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        assert server.db.count("credentials", tenant_id=account.tenant) == 1
        assert_tokens(client.login(account))
