"""POST /api/auth/login (contract section 4)."""
from __future__ import annotations

import socket
import time
import uuid

import pytest

from harness.checks import assert_invalid_credentials, assert_problem, assert_tokens, masked
from harness.client import LOGIN, Account, Client, fresh_email, fresh_tenant
from harness.fixtures import ServerFactory
from harness.keys import unb64u
from harness.raw import Volley, count_statuses, exchange, json_request, read_reply
from harness.server import Server


def test_login_answers_exactly_this(client: Client) -> None:
    """Token type, lifetimes of 900 s, an access token and a wwr_ token; nothing else."""
    response = client.login(client.new_account())
    body = assert_tokens(response)
    assert body["expires_in"] == 900
    assert body["access_token"].count(".") == 2
    assert "set-cookie" not in response.headers


def test_login_refresh_token_has_256_random_bits(client: Client) -> None:
    """The token ends in generation 0 or 1, 32 random bytes and 16 of mac, after the session id."""
    account = client.new_account()
    tokens = [client.sign_in(account) for _ in range(5)]
    raws = [unb64u(t.refresh.removeprefix("wwr_")) for t in tokens]
    assert len({len(raw) for raw in raws}) == 1
    assert len({raw[-48:-16] for raw in raws}) == 5
    for token, raw in zip(tokens, raws):
        assert raw[-68:-52] == uuid.UUID(token.session_id).bytes


def test_login_opens_a_session_each_time(client: Client, server: Server) -> None:
    """Two logins are two sessions, with ids of their own and one row each."""
    account = client.new_account()
    first, second = client.sign_in(account), client.sign_in(account)
    assert first.session_id != second.session_id
    ids = {row["id"] for row in server.db.live_sessions(account.tenant, account.user)}
    assert ids == {first.session_id, second.session_id}


@pytest.mark.parametrize("member", ["session_id", "family_id", "refresh_token", "user_id"])
def test_login_lets_nobody_choose_ids(client: Client, member: str) -> None:
    """Members that would name a session or user are unknown here."""
    account = client.new_account()
    assert_problem(client.login(account, **{member: fresh_tenant()}), 400, names=member)


def _strangers(account: Account) -> dict[str, Account]:
    return {
        "wrong password": Account(account.tenant, account.email),
        "unknown account": Account(account.tenant, fresh_email(), account.password),
        "wrong tenant": Account(fresh_tenant(), account.email, account.password),
        "unknown tenant and account": Account(),
    }


def test_login_refusals_are_byte_identical(client: Client, server: Server) -> None:
    """Unknown account, wrong password, wrong tenant, disabled: status, headers and body alike."""
    account = client.new_account()
    answers = {name: client.login(who) for name, who in _strangers(account).items()}
    server.db.set_status(account.tenant, account.user, "disabled")
    answers["disabled"] = client.login(Account(account.tenant, account.email))
    for answer in answers.values():
        assert_invalid_credentials(answer)
    shapes = {name: masked(answer) for name, answer in answers.items()}
    assert all(shape == shapes["wrong password"] for shape in shapes.values()), shapes


def test_login_disabled_account(client: Client, server: Server) -> None:
    """403 account_inactive after the right password only, and no session."""
    account = client.new_account()
    server.db.set_status(account.tenant, account.user, "disabled")
    assert_problem(client.login(account), 403, "account_inactive", "account inactive")
    assert_invalid_credentials(client.login(Account(account.tenant, account.email)))
    assert server.db.live_sessions(account.tenant, account.user) == []
    server.db.set_status(account.tenant, account.user, "active")
    assert_tokens(client.login(account))


@pytest.mark.parametrize("email", ["a", "@", "a@", "a b@example.com", ""])
def test_login_with_no_address_is_400(client: Client, email: str) -> None:
    """400 invalid_email "invalid email"."""
    response = client.login(Account(email=email))
    assert_problem(response, 400, "invalid_email", "invalid email")


@pytest.mark.parametrize("password", ["", "x", "short", "p" * 257, "p" * 5000])
def test_login_with_an_impossible_password_is_401(client: Client, password: str) -> None:
    """The policy for new passwords is not told at login: too short or long is just wrong."""
    account = client.new_account()
    assert_invalid_credentials(client.login(Account(account.tenant, account.email, password)))


def test_login_with_a_1_mib_password_is_413(client: Client, server: Server) -> None:
    """Refused by size before any hash; the service stays up."""
    body = Account(password="p" * (1 << 20)).body()
    reply = exchange(server.port, json_request(LOGIN, body))
    assert reply.status in (413, None)
    assert client.get("/health/live").status_code == 200


def test_login_records_user_agent_and_address(client: Client, server: Server) -> None:
    """The session row knows who opened it."""
    account = client.new_account()
    headers = {"User-Agent": "probe/1.0 (test)", "X-Forwarded-For": "203.0.113.7"}
    tokens = client.sign_in(account, headers=headers)
    row = server.db.session(tokens.session_id)
    assert row["user_agent"] == "probe/1.0 (test)"
    assert row["client_ip"] == "203.0.113.7"


# MAX_SESSIONS_PER_USER


@pytest.fixture(scope="module")
def capped(make_shared_server: ServerFactory) -> Server:
    return make_shared_server(MAX_SESSIONS_PER_USER="3", LOCKOUT_THRESHOLD="100")


def test_session_cap_ends_the_oldest(capped: Server) -> None:
    """With a cap of 3 the fourth login ends the first session, and no other user's."""
    with capped.client() as client:
        account, neighbour = client.new_account(), client.new_account()
        kept = client.sign_in(neighbour)
        tokens = [client.sign_in(account) for _ in range(4)]
        live = {row["id"] for row in capped.db.live_sessions(account.tenant, account.user)}
        assert live == {t.session_id for t in tokens[1:]}
        assert_problem(client.refresh(tokens[0].refresh), 401, "invalid_refresh_token")
        for token in tokens[1:]:
            client.rotate(token.refresh)
        client.rotate(kept.refresh)


def test_session_cap_holds_under_50_parallel_logins(capped: Server) -> None:
    """50 logins at once: all 200, three sessions live, and these three work."""
    with capped.client() as client:
        account = client.new_account()
        with Volley([capped.port], 50) as volley:
            replies = volley.fire([json_request(LOGIN, account.body())] * 50)
        assert count_statuses(replies) == {200: 50}
        live = capped.db.live_sessions(account.tenant, account.user)
        assert len(live) == 3
        good = 0
        for reply in replies:
            good += client.refresh(reply.json()["refresh_token"]).status_code == 200
        assert good == 3


def test_parallel_good_logins_do_not_lock(server: Server, client: Client) -> None:
    """30 simultaneous right passwords are no attack: nobody is told 423 or 401."""
    account = client.new_account()
    with Volley([server.port], 30) as volley:
        replies = volley.fire([json_request(LOGIN, account.body())] * 30)
    assert count_statuses(replies) == {200: 30}


def test_slow_body_is_no_wait_for_a_hash(make_sqlite_server: ServerFactory) -> None:
    """An idle service hashes what came later than HASH_ACQUIRE_TIMEOUT_MS after its header section."""
    server = make_sqlite_server(HASH_ACQUIRE_TIMEOUT_MS="1000")
    with server.client() as client:
        account = client.new_account()
    head, _, body = json_request(LOGIN, account.body()).partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as link:
        link.sendall(head + b"\r\n\r\n" + body[:1])
        time.sleep(1.5)
        link.sendall(body[1:])
        reply = read_reply(link)
    assert reply.status == 200, reply.body
