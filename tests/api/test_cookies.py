"""The refresh token in a cookie (contract section 4, login, refresh and logout)."""
from __future__ import annotations

import httpx
import pytest

from harness.checks import assert_invalid_refresh, assert_ok, assert_problem, assert_tokens
from harness.client import LOGOUT, REFRESH, Account, Client, Tokens, cookie_of, tokens_of
from harness.db import now_ms
from harness.fixtures import ServerFactory
from harness.server import Server

DAYS_14 = 14 * 24 * 3600


def assert_cookie(response: httpx.Response, *, secure: bool = False) -> str:
    """The Set-Cookie line as the contract has it; gives back the token."""
    cookie = cookie_of(response)
    expected = {"refresh", "path", "httponly", "samesite", "max-age"}
    assert set(cookie) == expected | ({"secure"} if secure else set()), cookie
    assert cookie["path"] == "/api/auth"
    assert cookie["samesite"] == "Lax"
    assert cookie["refresh"].startswith("wwr_")
    assert int(cookie["max-age"]) > 0
    return cookie["refresh"]


def assert_cookie_cleared(response: httpx.Response) -> None:
    cookie = cookie_of(response)
    assert cookie["refresh"] == ""
    assert cookie["max-age"] == "0"
    assert cookie["path"] == "/api/auth"


def sign_in(client: Client, delivery: str, account: Account | None = None) -> Tokens:
    account = account or client.new_account()
    body_token = delivery != "cookie"
    return tokens_of(client.login(account, delivery=delivery), body_token=body_token)


def test_delivery_body(client: Client) -> None:
    """The token is in the body only; so it is by default."""
    account = client.new_account()
    for response in (client.login(account, delivery="body"), client.login(account)):
        assert_tokens(response)
        assert "set-cookie" not in response.headers


def test_delivery_cookie(client: Client) -> None:
    """The token is in the cookie only, without Secure in development."""
    response = client.login(client.new_account(), delivery="cookie")
    assert_tokens(response, body_token=False)
    client.refresh_cookie(assert_cookie(response))
    assert abs(int(cookie_of(response)["max-age"]) - DAYS_14) <= 2


def test_delivery_both_is_one_chain(client: Client, server: Server) -> None:
    """One login is one session with one token, whichever way it travels."""
    account = client.new_account()
    response = client.login(account, delivery="both")
    body = assert_tokens(response)
    assert assert_cookie(response) == body["refresh_token"]
    assert server.db.count("sessions", tenant_id=account.tenant) == 1


@pytest.mark.parametrize("mode", ["body", "cookie", "both"])
def test_refresh_delivery_setting_is_the_default(make_server: ServerFactory, mode: str) -> None:
    """REFRESH_DELIVERY decides when the request does not, and only then."""
    with make_server(REFRESH_DELIVERY=mode).client() as client:
        account = client.new_account()
        response = client.login(account)
        assert_tokens(response, body_token=mode != "cookie")
        assert ("set-cookie" in response.headers) == (mode != "body")
        wish = "body" if mode == "cookie" else "cookie"
        response = client.login(account, delivery=wish)
        assert_tokens(response, body_token=wish == "body")
        assert ("set-cookie" in response.headers) == (wish == "cookie")


@pytest.mark.parametrize("delivery", ["", "Body", "header", "cookie "])
def test_delivery_of_another_kind_is_422(client: Client, delivery: str) -> None:
    """The three words and no other."""
    response = client.login(client.new_account(), delivery=delivery)
    assert_problem(response, 422, names="delivery")


def test_refresh_by_cookie_answers_by_cookie(client: Client) -> None:
    """No refresh_token in the body, a new cookie, and that one works in turn."""
    token = sign_in(client, "cookie").refresh
    for _ in range(3):
        response = client.refresh_cookie(token)
        assert_tokens(response, body_token=False)
        successor = assert_cookie(response)
        assert successor != token
        token = successor


def test_refresh_by_body_sets_no_cookie(client: Client) -> None:
    """The body flow stays in the body, also for a token that was first given in a cookie."""
    response = client.refresh(sign_in(client, "both").refresh)
    assert_tokens(response)
    assert "set-cookie" not in response.headers


def test_cookie_among_others(client: Client) -> None:
    """Other cookies before and after do not matter, nor do names that contain ours."""
    token = sign_in(client, "cookie").refresh
    line = f"a=b; xrefresh=no; refresh={token}; refreshx=no; z="
    assert_tokens(client.post(REFRESH, headers={"Cookie": line}), body_token=False)


@pytest.mark.parametrize("lines", [
    ('a="b; refresh={}',), ('a=b"; refresh={}',), ('a="b;c"; refresh={}; d="e',),
    ('refresh="{}"; a=b',), ("a=b;refresh={} ;c",), ("=a; b; ; refresh = {}",),
    ("a=b", "refresh={}"), ("refresh={}", "a=b"), ("a=b; refresh={}; refresh=no",),
])
def test_cookie_among_odd_ones(client: Client, lines: tuple[str, ...]) -> None:
    """What other sites of the domain have set, quotes and all; gateways may leave several lines."""
    token = sign_in(client, "cookie").refresh
    response = client.http.post(REFRESH, headers=[("Cookie", line.format(token)) for line in lines])
    client.http.cookies.clear()
    assert_tokens(response, body_token=False)


def test_other_cookies_are_no_token(client: Client) -> None:
    """Without one named refresh there is none: 400 refresh_token_required."""
    for line in ("a=b", "xrefresh=y", "Refresh=wwr_x", "refreshx=wwr_x", "refresh", "a=refresh=x"):
        response = client.post(REFRESH, headers={"Cookie": line})
        assert_problem(response, 400, "refresh_token_required")


def test_cookie_wins_over_a_good_body(client: Client) -> None:
    """A bad cookie is refused although the body has a good token, which stays unused."""
    good = client.new_session()
    response = client.post(REFRESH, json={"refresh_token": good.refresh}, cookie="wwr_bad")
    assert_invalid_refresh(response)
    assert_cookie_cleared(response)
    client.rotate(good.refresh)


@pytest.mark.parametrize("body", [b"{", b"null", b'{"refresh_token":7}', b'{"x":1}', b"\xff"])
def test_cookie_wins_over_a_bad_body(client: Client, body: bytes) -> None:
    """With a cookie the body is not judged at all."""
    token = sign_in(client, "cookie").refresh
    for headers in ({"Content-Type": "application/json"}, {"Content-Type": "text/plain"}):
        response = client.post(REFRESH, content=body, cookie=token, headers=headers)
        assert_tokens(response, body_token=False)
        token = assert_cookie(response)


def test_refused_cookie_is_cleared(client: Client) -> None:
    """401 takes the cookie away: garbage, ended and replayed."""
    first = sign_in(client, "cookie").refresh
    second = assert_cookie(client.refresh_cookie(first))
    assert_cookie(client.refresh_cookie(second))
    for token in ("wwr_x", "x", first, second):
        response = client.refresh_cookie(token)
        assert_invalid_refresh(response)
        assert_cookie_cleared(response)


def test_logout_by_cookie(client: Client) -> None:
    """The session ends and the cookie is cleared."""
    token = sign_in(client, "cookie").refresh
    response = client.post(LOGOUT, cookie=token)
    assert_ok(response)
    assert_cookie_cleared(response)
    assert_invalid_refresh(client.refresh_cookie(token))


def test_logout_by_body_clears_the_cookie_too(client: Client) -> None:
    """200 and a cleared cookie, whichever way the token came."""
    response = client.logout(client.new_session().refresh)
    assert_ok(response)
    assert_cookie_cleared(response)


def test_cookie_never_outlives_the_session(client: Client, server: Server) -> None:
    """Max-Age is cut at the absolute end of the session."""
    tokens = sign_in(client, "cookie")
    server.db.set_absolute_expiry(tokens.session_id, now_ms() + 60_000)
    cookie = cookie_of(client.refresh_cookie(tokens.refresh))
    assert 50 <= int(cookie["max-age"]) <= 60


def test_cookie_lifetime_follows_the_idle_setting(make_server: ServerFactory) -> None:
    """REFRESH_IDLE_MINUTES wins over REFRESH_TOKEN_TTL_DAYS."""
    server = make_server(REFRESH_IDLE_MINUTES="30", REFRESH_TOKEN_TTL_DAYS="14")
    with server.client() as client:
        response = client.login(client.new_account(), delivery="cookie")
        assert 1795 <= int(cookie_of(response)["max-age"]) <= 1800


def test_cookie_is_secure_outside_development(make_server: ServerFactory) -> None:
    """In production every cookie, and the clearing of one, carries Secure."""
    storage = make_server().storage  # migrated by a development start
    server = make_server(storage, ENV="production", REGISTER_OPEN="true")
    with server.client() as client:
        response = client.login(client.new_account(), delivery="both")
        token = assert_cookie(response, secure=True)
        assert_cookie(client.refresh_cookie(token), secure=True)
        cleared = client.post(LOGOUT, cookie=token)
        assert "secure" in cookie_of(cleared)
