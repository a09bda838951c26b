"""Rotation, retry, replay and lifetimes of refresh tokens (architecture section 6)."""
from __future__ import annotations

import random
import time

import pytest

from harness.checks import assert_invalid_refresh, assert_problem, assert_tokens, masked
from harness.client import REFRESH, Client, Tokens, fresh_tenant
from harness.db import now_ms
from harness.fixtures import ServerFactory
from harness.keys import b64u, unb64u
from harness.raw import Volley, json_request, request
from harness.settings import new_secret
from harness.server import Server

REPLAY_LOG = "security.refresh_replay_detected"


@pytest.fixture(scope="module")
def no_leeway(make_shared_server: ServerFactory) -> Server:
    """REFRESH_LEEWAY_SECONDS=0: retry is off."""
    return make_shared_server(REFRESH_LEEWAY_SECONDS="0", MAX_SESSIONS_PER_USER="1000")


def chain(client: Client, start: Tokens, length: int) -> list[str]:
    """The first token and `length` successors."""
    tokens = [start.refresh]
    for _ in range(length):
        tokens.append(client.rotate(tokens[-1]).refresh)
    return tokens


def assert_replayed(server: Server, session_id: str) -> None:
    row = server.db.session(session_id)
    assert row["revoked_at"] is not None
    assert row["revoked_reason"] == "replay_detected"


def test_refresh_answers_as_login(client: Client) -> None:
    """The same members, a new token each time, for the same session and user."""
    tokens = client.new_session()
    seen = {tokens.refresh}
    for _ in range(5):
        response = client.refresh(tokens.refresh)
        assert assert_tokens(response)["expires_in"] == 900
        rotated = client.rotate(tokens.refresh)
        assert rotated.session_id == tokens.session_id
        assert rotated.refresh not in seen
        assert client.sessions(rotated.access).status_code == 200
        seen.add(rotated.refresh)
        tokens = rotated


def test_refresh_keeps_one_row(client: Client, server: Server) -> None:
    """Ten rotations: one session row, generation ten higher, another digest each time."""
    account = client.new_account()
    tokens = client.sign_in(account)
    before = server.db.session(tokens.session_id)
    digests = {before["token_digest"]}
    token = tokens.refresh
    for _ in range(10):
        token = client.rotate(token).refresh
        digests.add(server.db.session(tokens.session_id)["token_digest"])
    (after,) = server.db.rows("sessions", tenant_id=account.tenant)
    assert after["generation"] == before["generation"] + 10
    assert len(digests) == 11
    assert after["opened_at"] == before["opened_at"]


def test_refresh_ignores_tenant_id(client: Client) -> None:
    """The auth-rs member is accepted and means nothing: the token decides."""
    token = client.new_session().refresh
    token = assert_tokens(client.refresh(token, tenant_id=fresh_tenant()))["refresh_token"]
    assert_tokens(client.refresh(token, tenant_id="no uuid"))


def test_refresh_without_a_token_is_400(client: Client) -> None:
    """refresh_token_required, with and without a body."""
    assert_problem(client.post(REFRESH, json={}), 400, "refresh_token_required")
    assert_problem(client.post(REFRESH, json={"tenant_id": fresh_tenant()}), 400,
                   "refresh_token_required")
    assert_problem(client.post(REFRESH), 400, "refresh_token_required")


# Retry


def test_retry_gives_the_same_successor(client: Client, server: Server) -> None:
    """A lost answer: the predecessor gets the same bytes again, and a usable access token."""
    tokens = client.new_session()
    first = client.rotate(tokens.refresh)
    generation = server.db.session(tokens.session_id)["generation"]
    for _ in range(5):
        again = client.rotate(tokens.refresh)
        assert again.refresh == first.refresh
        assert again.session_id == tokens.session_id
        assert client.sessions(again.access).status_code == 200
    assert server.db.session(tokens.session_id)["generation"] == generation
    client.rotate(first.refresh)


def test_retry_by_cookie_and_body_alike(client: Client) -> None:
    """The way a token travels does not matter for what it is."""
    tokens = client.new_session()
    by_cookie = client.refresh_cookie(tokens.refresh)
    assert by_cookie.headers["set-cookie"].startswith("refresh=")
    by_body = client.rotate(tokens.refresh).refresh
    assert f"refresh={by_body};" in by_cookie.headers["set-cookie"]


def test_retry_after_the_successor_was_used_is_replay(client: Client, server: Server) -> None:
    """Using the successor closes the window at once."""
    first, second, third = chain(client, client.new_session(), 2)
    session_id = client.rotate(third).session_id
    assert_invalid_refresh(client.refresh(first))
    assert_replayed(server, session_id)


def test_retry_of_the_predecessor_only(client: Client, server: Server) -> None:
    """Grandparents are replays even inside the leeway; the head dies."""
    tokens = client.new_session()
    first, second, third = chain(client, tokens, 2)
    assert_invalid_refresh(client.refresh(first))
    assert_replayed(server, tokens.session_id)
    for token in (third, second, first):
        assert_invalid_refresh(client.refresh(token))


def test_retry_ends_with_the_leeway(client: Client, server: Server) -> None:
    """Nine seconds after the rotation it is a retry, after eleven a replay."""
    tokens = client.new_session()
    successor = client.rotate(tokens.refresh)
    server.db.age_rotation(tokens.session_id, 8)
    assert client.rotate(tokens.refresh).refresh == successor.refresh
    server.db.age_rotation(tokens.session_id, 3)
    assert_invalid_refresh(client.refresh(tokens.refresh))
    assert_replayed(server, tokens.session_id)
    assert_invalid_refresh(client.refresh(successor.refresh))


def test_retry_does_not_prolong_its_window(client: Client, server: Server) -> None:
    """Retrying again and again does not move the time of the rotation."""
    tokens = client.new_session()
    client.rotate(tokens.refresh)
    server.db.age_rotation(tokens.session_id, 6)
    client.rotate(tokens.refresh)
    server.db.age_rotation(tokens.session_id, 6)
    assert_invalid_refresh(client.refresh(tokens.refresh))


@pytest.mark.parametrize("end", ["idle", "absolute", "logout", "disabled"])
def test_retry_of_an_ended_session_is_refused(client: Client, server: Server, end: str) -> None:
    """The window opens nothing that is closed."""
    account = client.new_account()
    tokens = client.sign_in(account)
    successor = client.rotate(tokens.refresh)
    if end == "idle":
        server.db.set_idle_expiry(tokens.session_id, now_ms() - 1)
    elif end == "absolute":
        server.db.set_absolute_expiry(tokens.session_id, now_ms() - 1)
    elif end == "logout":
        client.logout(successor.refresh)
    else:
        server.db.set_status(account.tenant, account.user, "disabled")
    assert_invalid_refresh(client.refresh(tokens.refresh))
    assert_invalid_refresh(client.refresh(successor.refresh))


def test_leeway_zero_turns_retry_off(no_leeway: Server) -> None:
    """The second use of a token ends the session."""
    with no_leeway.client() as client:
        tokens = client.new_session()
        successor = client.rotate(tokens.refresh)
        assert_invalid_refresh(client.refresh(tokens.refresh))
        assert_replayed(no_leeway, tokens.session_id)
        assert_invalid_refresh(client.refresh(successor.refresh))


# Replay


def test_replay_of_any_ancestor_kills_the_head(no_leeway: Server) -> None:
    """Chains of 1 to 50 rotations, a random ancestor: the head is dead, other sessions live."""
    with no_leeway.client() as client, Volley([no_leeway.port], 50) as volley:
        account = client.new_account()
        sibling = client.sign_in(account)
        starts = [client.sign_in(account) for _ in range(50)]
        chains = [[start.refresh] for start in starts]
        for step in range(50):  # chain n grows to n + 1 rotations
            growing = chains[step:]
            sent = [json_request(REFRESH, {"refresh_token": links[-1]}) for links in growing]
            idle = [request("GET", "/health/live")] * step
            for links, reply in zip(growing, volley.fire(sent + idle)):
                assert reply.status == 200
                links.append(reply.json()["refresh_token"])
        for start, links in zip(starts, chains):
            ancestor = random.randrange(len(links) - 1)
            assert_invalid_refresh(client.refresh(links[ancestor]))
            assert_replayed(no_leeway, start.session_id)
            assert_invalid_refresh(client.refresh(links[-1]))
            assert_invalid_refresh(client.refresh(links[ancestor + 1]))
        assert [len(links) for links in chains] == list(range(2, 52))
        client.rotate(sibling.refresh)


def test_replay_of_every_ancestor_of_one_depth(client: Client, server: Server) -> None:
    """With the leeway on: from the grandparent to the very first."""
    account = client.new_account()
    for ancestor in range(6):
        tokens = client.sign_in(account)
        links = chain(client, tokens, 7)
        assert_invalid_refresh(client.refresh(links[ancestor]))
        assert_replayed(server, tokens.session_id)
        assert_invalid_refresh(client.refresh(links[-1]))


def test_replay_is_logged_with_both_presenters(client: Client, server: Server) -> None:
    """One warning with distance, age, address and agent of both; no token in it."""
    victim = {"User-Agent": "victim/1", "X-Forwarded-For": "203.0.113.1"}
    thief = {"User-Agent": "thief/1", "X-Forwarded-For": "203.0.113.66"}
    tokens = client.sign_in(client.new_account(), headers=victim)
    token = tokens.refresh
    for _ in range(3):
        token = assert_tokens(client.refresh(token, headers=victim))["refresh_token"]
    assert_invalid_refresh(client.refresh(tokens.refresh, headers=thief))
    assert_invalid_refresh(client.refresh(token, headers=victim))
    server.wait_log(REPLAY_LOG)
    lines = [line for line in server.log_lines(REPLAY_LOG)
             if line.get("session_id") == tokens.session_id]
    assert len(lines) == 1
    told = str(lines[0])
    for fact in ("victim/1", "thief/1", "203.0.113.1", "203.0.113.66"):
        assert fact in told
    assert lines[0]["distance"] == 3
    assert 0 <= lines[0]["age_seconds"] < 60
    assert tokens.claims["sub"] in told


def test_replay_spares_other_users_and_sessions(client: Client) -> None:
    """Only the session of the token ends."""
    account = client.new_account()
    here, there = client.sign_in(account), client.sign_in(account)
    colleague = client.sign_in(client.new_account(tenant=account.tenant))
    links = chain(client, here, 3)
    assert_invalid_refresh(client.refresh(links[0]))
    client.rotate(there.refresh)
    client.rotate(colleague.refresh)
    client.sign_in(account)


def test_access_token_outlives_the_next_refresh(client: Client) -> None:
    """Rotation does not end the access token given before."""
    tokens = client.new_session()
    client.rotate(tokens.refresh)
    assert client.sessions(tokens.access).status_code == 200


# Lifetimes


@pytest.mark.parametrize("kind", ["idle", "absolute"])
def test_expiry_is_exact(client: Client, server: Server, kind: str) -> None:
    """A moment before the end it works, from the end on it does not."""
    set_expiry = getattr(server.db, f"set_{kind}_expiry")
    tokens = client.new_session()
    set_expiry(tokens.session_id, now_ms() + 1500)
    rotated = client.rotate(tokens.refresh)
    end = now_ms() + 300
    set_expiry(tokens.session_id, end)
    while now_ms() <= end:
        time.sleep(0.02)
    assert_invalid_refresh(client.refresh(rotated.refresh))
    other = client.new_session()
    set_expiry(other.session_id, now_ms())
    assert_invalid_refresh(client.refresh(other.refresh))


def test_refresh_extends_the_idle_end_only(client: Client, server: Server) -> None:
    """14 days from now again; the absolute end stays where login put it."""
    tokens = client.new_session()
    opened = server.db.session(tokens.session_id)
    assert opened["absolute_expires_at"] - opened["opened_at"] == 30 * 86400 * 1000
    assert opened["idle_expires_at"] - opened["opened_at"] == 14 * 86400 * 1000
    server.db.set_idle_expiry(tokens.session_id, now_ms() + 60_000)
    client.rotate(tokens.refresh)
    row = server.db.session(tokens.session_id)
    assert abs(row["idle_expires_at"] - now_ms() - 14 * 86400 * 1000) < 5000
    assert row["absolute_expires_at"] == opened["absolute_expires_at"]


def test_refresh_near_the_absolute_end_does_not_outlive_it(
    client: Client, server: Server
) -> None:
    """However often it is used, the session ends when it must."""
    tokens = client.new_session()
    end = now_ms() + 1200
    server.db.set_absolute_expiry(tokens.session_id, end)
    token = tokens.refresh
    while now_ms() < end - 400:
        token = client.rotate(token).refresh
    assert server.db.session(tokens.session_id)["absolute_expires_at"] == end
    while now_ms() <= end:
        time.sleep(0.02)
    assert_invalid_refresh(client.refresh(token))


def test_lifetimes_follow_the_settings(make_sqlite_server: ServerFactory) -> None:
    """REFRESH_TOKEN_TTL_DAYS and REFRESH_ABSOLUTE_MAX_DAYS."""
    server = make_sqlite_server(REFRESH_TOKEN_TTL_DAYS="2", REFRESH_ABSOLUTE_MAX_DAYS="3")
    with server.client() as client:
        row = server.db.session(client.new_session().session_id)
        assert row["idle_expires_at"] - row["opened_at"] == 2 * 86400 * 1000
        assert row["absolute_expires_at"] - row["opened_at"] == 3 * 86400 * 1000


# Forgeries


def test_any_altered_byte_is_refused_and_harms_nothing(client: Client) -> None:
    """Each byte of the token in turn: 401, and the true token still works."""
    tokens = client.new_session()
    raw = unb64u(tokens.refresh.removeprefix("wwr_"))
    for position in range(len(raw)):
        altered = bytearray(raw)
        altered[position] ^= 1 << random.randrange(8)
        assert_invalid_refresh(client.refresh("wwr_" + b64u(bytes(altered))))
    client.rotate(tokens.refresh)


def test_malformed_tokens_are_refused_and_harm_nothing(client: Client) -> None:
    """Cut, longer, other prefix or alphabet, blanks, spare bits: 401."""
    tokens = client.new_session()
    token, body = tokens.refresh, tokens.refresh.removeprefix("wwr_")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    forms = [token[:n] for n in range(1, len(token), 7)]
    forms += [token + "A", token + "AA", token + "=", token + "==", token * 2, body, token[1:]]
    forms += ["WWR_" + body, "wwr-" + body, " " + token, token + " ", token + "\n", "wwr_" + token]
    forms += [token.swapcase(), "wwr_" + body[::-1], f"Bearer {token}", "wwr_" + "A" * len(body)]
    forms += [token.replace(body[5], "+", 1), token[:40] + " " + token[40:], "x" * 10_000]
    forms += ["wwr_" + "é" * 40, "wwr_" + "\u212a" * 94, "wwr_%00", "'; DROP TABLE sessions; --"]
    if len(body) % 4:
        last = alphabet.index(body[-1])
        forms += [token[:-1] + alphabet[last ^ bit] for bit in (1, 2)]
    for form in forms:
        if form != token:
            assert_invalid_refresh(client.refresh(form))
    client.rotate(token)


def test_spliced_tokens_are_refused(client: Client) -> None:
    """Parts of two good tokens of one user do not make a third."""
    account = client.new_account()
    one, two = client.sign_in(account), client.sign_in(account)
    raws = [unb64u(t.refresh.removeprefix("wwr_")) for t in (one, two)]
    for cut in (-52, -48, -32, -16):
        assert_invalid_refresh(client.refresh("wwr_" + b64u(raws[0][:cut] + raws[1][cut:])))
    client.rotate(one.refresh)
    client.rotate(two.refresh)


def test_token_of_another_secret_is_refused(make_server: ServerFactory) -> None:
    """Same database, other SERVICE_SECRET: 401; with SERVICE_SECRET_PREVIOUS it works."""
    old = new_secret()
    new = new_secret(old)
    server = make_server(SERVICE_SECRET=old, REFRESH_LEEWAY_SECONDS="60")
    with server.client() as client:
        account = client.new_account()
        tokens = client.sign_in(account)
    server.restart(SERVICE_SECRET=new)
    with server.client() as client:
        assert_invalid_refresh(client.refresh(tokens.refresh))
    server.restart(SERVICE_SECRET=new, SERVICE_SECRET_PREVIOUS=old)
    with server.client() as client:
        rotated = client.rotate(tokens.refresh)
        assert client.rotate(tokens.refresh).refresh == rotated.refresh
    server.restart(SERVICE_SECRET=new, SERVICE_SECRET_PREVIOUS=None)
    with server.client() as client:
        client.rotate(rotated.refresh)
        client.sign_in(account)


def test_all_refusals_are_byte_identical(client: Client, server: Server) -> None:
    """Unknown, forged, cut, expired, ended, replayed, disabled: one answer."""
    def session() -> Tokens:
        return client.new_session()

    idle, absolute, ended, revoked, disabled = (session() for _ in range(5))
    server.db.set_idle_expiry(idle.session_id, 1)
    server.db.set_absolute_expiry(absolute.session_id, 1)
    client.logout(ended.refresh)
    client.revoke(revoked.access, revoked.session_id)
    server.db.set_status(disabled.claims["tenant_id"], disabled.claims["sub"], "disabled")
    replayed = chain(client, session(), 2)
    mac = bytearray(unb64u(session().refresh.removeprefix("wwr_")))
    mac[-1] ^= 255
    presented = {
        "garbage": "x", "cut": session().refresh[:-1], "forged": "wwr_" + b64u(bytes(mac)),
        "idle": idle.refresh, "absolute": absolute.refresh, "ended": ended.refresh,
        "revoked": revoked.refresh, "disabled": disabled.refresh, "replayed": replayed[0],
        "dead head": replayed[-1], "access token": idle.access,
    }
    shapes = {}
    for name, token in presented.items():
        response = client.refresh(token)
        assert_invalid_refresh(response)
        shapes[name] = masked(response)
    assert all(shape == shapes["garbage"] for shape in shapes.values()), shapes
