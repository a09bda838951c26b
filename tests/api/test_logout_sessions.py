"""Logout, the session list and its ends (contract section 4)."""
from __future__ import annotations

import time
from datetime import datetime

import pytest

from harness.checks import (
    RFC3339,
    assert_invalid_refresh,
    assert_ok,
    assert_problem,
    media_type,
)
from harness.client import (
    LOGOUT, LOGOUT_ALL, REVOKE_NOBODY, SESSIONS, Account, Client, fresh_tenant,
)
from harness.keys import b64u, unb64u
from harness.server import Server


def test_logout_ends_the_session(client: Client, server: Server) -> None:
    """The token and its session are dead; the other sessions of the user live."""
    account = client.new_account()
    here, there = client.sign_in(account), client.sign_in(account)
    assert_ok(client.logout(here.refresh))
    assert_invalid_refresh(client.refresh(here.refresh))
    assert server.db.session(here.session_id)["revoked_at"] is not None
    client.rotate(there.refresh)


def test_logout_is_idempotent(client: Client) -> None:
    """Again, and for an ended session: 200 {"ok":true}."""
    token = client.new_session().refresh
    for _ in range(3):
        assert_ok(client.logout(token))


def test_logout_with_a_spent_token_ends_the_session(client: Client, server: Server) -> None:
    """Whoever says goodbye with an older token of the chain means the session."""
    first = client.new_session()
    second = client.rotate(first.refresh)
    third = client.rotate(second.refresh)
    assert_ok(client.logout(first.refresh))
    assert_invalid_refresh(client.refresh(third.refresh))
    assert server.db.session(first.session_id)["revoked_reason"] != "replay_detected"


def test_logout_with_an_expired_token(client: Client, server: Server) -> None:
    """200 as well."""
    tokens = client.new_session()
    server.db.set_idle_expiry(tokens.session_id, 1)
    assert_ok(client.logout(tokens.refresh))


def test_logout_with_an_unknown_token_of_the_right_form(client: Client) -> None:
    """A forged token is an unknown one: 200, and it ends nothing."""
    tokens = client.new_session()
    raw = bytearray(unb64u(tokens.refresh.removeprefix("wwr_")))
    raw[-1] ^= 1
    assert_ok(client.logout("wwr_" + b64u(bytes(raw))))
    client.rotate(tokens.refresh)


@pytest.mark.parametrize("token", ["x", "wwr_", "wwr_x", "wwr_" + "!" * 94, "wwr_" + "A" * 300])
def test_logout_with_garbage_is_401(client: Client, token: str) -> None:
    """What does not have a token's form is 401 invalid_refresh_token."""
    assert_invalid_refresh(client.logout(token))


def test_logout_without_any_token_is_400(client: Client) -> None:
    """As refresh: refresh_token_required."""
    assert_problem(client.post(LOGOUT, json={}), 400, "refresh_token_required")


def test_replay_after_logout_is_no_theft(client: Client, server: Server) -> None:
    """A token of a session ended by logout, spent or not, is simply refused, without an alarm."""
    tokens = client.new_session()
    second = client.rotate(tokens.refresh)
    third = client.rotate(second.refresh)
    client.logout(third.refresh)
    for token in (tokens, second, third):
        assert_invalid_refresh(client.refresh(token.refresh))
    time.sleep(0.1)
    alarms = server.log_lines("security.refresh_replay_detected")
    assert not [line for line in alarms if line.get("session_id") == tokens.session_id]


# GET /api/auth/sessions

MEMBERS = {
    "session_id", "tenant_id", "user_id", "device_info", "issued_at", "last_used_at",
    "expires_at", "absolute_expires_at", "current",
}


def _time(text: str) -> float:
    assert RFC3339.fullmatch(text), text
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def test_sessions_list_has_exactly_these_members(client: Client) -> None:
    """No token material, times in RFC 3339, the device that logged in."""
    account = client.new_account()
    tokens = client.sign_in(account, headers={"User-Agent": "probe/2"})
    response = client.sessions(tokens.access)
    assert response.status_code == 200
    assert media_type(response) == "application/json"
    assert set(response.json()) == {"sessions"}
    (session,) = response.json()["sessions"]
    assert set(session) == MEMBERS
    assert session["session_id"] == tokens.session_id
    assert (session["tenant_id"], session["user_id"]) == (account.tenant, account.user)
    assert session["device_info"] == {"ip": "127.0.0.1", "user_agent": "probe/2"}
    assert session["current"] is True
    issued = _time(session["issued_at"])
    assert abs(issued - time.time()) < 5
    assert abs(_time(session["last_used_at"]) - issued) < 1
    assert abs(_time(session["expires_at"]) - issued - 14 * 86400) < 5
    assert abs(_time(session["absolute_expires_at"]) - issued - 30 * 86400) < 5


def test_sessions_list_is_newest_first_and_knows_the_current(client: Client) -> None:
    """Order by opening time; `current` is the session of the token used."""
    account = client.new_account()
    tokens = []
    for _ in range(3):
        tokens.append(client.sign_in(account))
        time.sleep(0.003)
    listed = client.session_list(tokens[1].access)
    assert [s["session_id"] for s in listed] == [t.session_id for t in reversed(tokens)]
    assert [s["current"] for s in listed] == [False, True, False]


def test_sessions_list_shows_live_sessions_of_this_user_only(
    client: Client, server: Server
) -> None:
    """Ended and expired ones and those of others are not in it."""
    account = client.new_account()
    keep, ended, idle, old = (client.sign_in(account) for _ in range(4))
    client.new_session()
    client.sign_in(client.new_account(tenant=account.tenant))
    client.logout(ended.refresh)
    server.db.set_idle_expiry(idle.session_id, 1)
    server.db.set_absolute_expiry(old.session_id, 1)
    assert [s["session_id"] for s in client.session_list(keep.access)] == [keep.session_id]


def test_sessions_list_follows_a_refresh(client: Client) -> None:
    """last_used_at moves, issued_at and the absolute end do not."""
    tokens = client.new_session()
    (before,) = client.session_list(tokens.access)
    time.sleep(0.01)
    rotated = client.rotate(tokens.refresh)
    (after,) = client.session_list(rotated.access)
    assert _time(after["last_used_at"]) > _time(before["last_used_at"])
    for member in ("issued_at", "absolute_expires_at", "session_id"):
        assert after[member] == before[member]


def test_sessions_query_must_match_the_token(client: Client) -> None:
    """tenant_id and user_id in the query are checked against the token: 403 if they differ."""
    account = client.new_account()
    access = client.sign_in(account).access
    good = f"?tenant_id={account.tenant}&user_id={account.user}"
    assert client.sessions(access, good).status_code == 200
    assert client.sessions(access, f"?tenant_id={account.tenant.upper()}").status_code == 200
    other = fresh_tenant()
    for query in (
        f"?tenant_id={other}", f"?user_id={other}", f"?tenant_id={account.tenant}&user_id={other}",
        f"?tenant_id={other}&user_id={account.user}",
    ):
        assert_problem(client.sessions(access, query), 403)


@pytest.mark.parametrize("method,path", [
    ("GET", SESSIONS), ("POST", REVOKE_NOBODY), ("POST", LOGOUT_ALL),
])
@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer x", "Basic eDp5"])
def test_sessions_need_an_access_token(
    client: Client, method: str, path: str, authorization: str | None
) -> None:
    """Without a bearer access token: 401."""
    headers = {} if authorization is None else {"Authorization": authorization}
    assert_problem(client.request(method, path, headers=headers), 401)


# Revoke and logout-all


def test_revoke_ends_that_session_only(client: Client, server: Server) -> None:
    """200; the session is dead for reason user_revoked, its siblings live."""
    account = client.new_account()
    here, there = client.sign_in(account), client.sign_in(account)
    response = client.revoke(here.access, there.session_id)
    assert response.status_code == 200
    assert_invalid_refresh(client.refresh(there.refresh))
    assert server.db.session(there.session_id)["revoked_reason"] == "user_revoked"
    client.rotate(here.refresh)
    assert len(client.session_list(here.access)) == 1


def test_revoke_takes_ids_in_any_form(client: Client) -> None:
    """Upper case and without hyphens."""
    account = client.new_account()
    access = client.sign_in(account).access
    for write in (str.upper, lambda text: text.replace("-", "")):
        victim = client.sign_in(account)
        assert client.revoke(access, write(victim.session_id)).status_code == 200
        assert_invalid_refresh(client.refresh(victim.refresh))


def test_revoke_of_what_is_not_ours_is_404(client: Client) -> None:
    """Unknown ids and sessions of other users or tenants look the same and stay alive."""
    account = client.new_account()
    access = client.sign_in(account).access
    neighbour = client.sign_in(client.new_account(tenant=account.tenant))
    stranger = client.new_session()
    for session_id in (fresh_tenant(), neighbour.session_id, stranger.session_id):
        assert_problem(client.revoke(access, session_id), 404)
    client.rotate(neighbour.refresh)
    client.rotate(stranger.refresh)


def test_the_same_user_id_in_another_tenant_is_a_stranger(client: Client) -> None:
    """Whoever registers may choose the id: with somebody else's, in a tenant of one's own, their
    sessions are neither seen nor ended."""
    account = client.new_account()
    victim = client.sign_in(account)
    namesake = Account()
    registered = client.register(namesake, user_id=account.user)
    assert registered.json()["user_id"] == account.user
    own = client.sign_in(namesake)
    assert [s["session_id"] for s in client.session_list(own.access)] == [own.session_id]
    assert_problem(client.revoke(own.access, victim.session_id), 404)
    assert client.logout_all(own.access).status_code == 200
    assert_invalid_refresh(client.refresh(own.refresh))
    client.rotate(victim.refresh)


@pytest.mark.parametrize("session_id", ["x", "0" * 31, "%00", "..", "'%20OR%201=1--", "0" * 200])
def test_revoke_of_no_id_is_404(client: Client, session_id: str) -> None:
    """A path that holds no UUID names no session."""
    assert_problem(client.revoke(client.new_session().access, session_id), 404)


def test_revoke_body_must_match_the_token(client: Client) -> None:
    """{tenant_id,user_id} is accepted if it matches, 403 if not, and then nothing ends."""
    account = client.new_account()
    here, there = client.sign_in(account), client.sign_in(account)
    wrong = {"tenant_id": account.tenant, "user_id": fresh_tenant()}
    assert_problem(client.revoke(here.access, there.session_id, json=wrong), 403)
    right = {"tenant_id": account.tenant, "user_id": account.user}
    assert client.revoke(here.access, there.session_id, json=right).status_code == 200
    assert_invalid_refresh(client.refresh(there.refresh))


def test_revoke_of_a_foreign_session_with_its_owner_in_the_body(client: Client) -> None:
    """Naming the victim does not help: the token decides."""
    victim_account = client.new_account()
    victim = client.sign_in(victim_account)
    access = client.new_session().access
    body = {"tenant_id": victim_account.tenant, "user_id": victim_account.user}
    assert client.revoke(access, victim.session_id, json=body).status_code in (403, 404)
    client.rotate(victim.refresh)


def test_logout_all_ends_every_session_of_the_user(client: Client, server: Server) -> None:
    """All of the user's, in every state of rotation; nobody else's."""
    account = client.new_account()
    tokens = [client.sign_in(account) for _ in range(5)]
    rotated = client.rotate(tokens[0].refresh)
    neighbour = client.sign_in(client.new_account(tenant=account.tenant))
    response = client.logout_all(tokens[1].access)
    assert response.status_code == 200
    for token in [t.refresh for t in tokens] + [rotated.refresh]:
        assert_invalid_refresh(client.refresh(token))
    rows = server.db.rows("sessions", tenant_id=account.tenant, user_id=account.user)
    assert {row["revoked_reason"] for row in rows} == {"logout_all"}
    client.rotate(neighbour.refresh)
    client.sign_in(account)


def test_disabled_account_does_not_refresh(client: Client, server: Server) -> None:
    """The sessions of a disabled account are refused like any dead one."""
    account = client.new_account()
    tokens = client.sign_in(account)
    server.db.set_status(account.tenant, account.user, "disabled")
    assert_invalid_refresh(client.refresh(tokens.refresh))
