"""Conventions of all answers, JWKS, health and the two listeners (contract sections 2 to 4)."""
from __future__ import annotations

import json
import re

import httpx
import pytest

from harness.checks import assert_problem, assert_tokens, media_type
from harness.client import (
    JWKS, LOGIN, LOGOUT, LOGOUT_ALL, REFRESH, REGISTER, REVOKE_NOBODY, SESSIONS, Account, Client,
)
from harness.fixtures import ServerFactory
from harness.keys import read_claims, read_header, unb64u
from harness.raw import exchange, exchange_all, json_request, request
from harness.server import Server
from harness.settings import ISSUER

JWKS_ALIAS = "/api/auth/jwks"
HEALTH = ["/health/live", "/healthz", "/health/ready", "/api/ready"]
GET_ROUTES = [JWKS, JWKS_ALIAS, SESSIONS, *HEALTH]
POST_ROUTES = [
    LOGIN, REGISTER, REFRESH, LOGOUT, LOGOUT_ALL, REVOKE_NOBODY,
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"]

# Trace ids


@pytest.mark.parametrize("trace", ["a", "A.b_c-9", "x" * 64, "0"])
def test_trace_id_is_taken_from_the_request(client: Client, trace: str) -> None:
    """1 to 64 characters of [A-Za-z0-9._-], in the header and in the body of errors."""
    headers = {"x-trace-id": trace}
    assert client.get("/health/live", headers=headers).headers["x-trace-id"] == trace
    problem = assert_problem(client.get("/nowhere", headers=headers), 404)
    assert problem["trace_id"] == trace


@pytest.mark.parametrize("trace", ["x" * 65, "a b", "a/b", 'a"b', "a;b", "<x>", "%41", "a,b"])
def test_trace_id_of_another_form_is_replaced(client: Client, trace: str) -> None:
    """Anything else is not echoed."""
    answer = client.get("/health/live", headers={"x-trace-id": trace})
    assert answer.headers["x-trace-id"] != trace


def test_trace_id_from_traceparent(client: Client) -> None:
    """The trace id of a W3C traceparent, if x-trace-id does not decide."""
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{parent}-01"}
    assert client.get("/health/live", headers=headers).headers["x-trace-id"] == trace
    headers["x-trace-id"] = "mine"
    assert client.get("/health/live", headers=headers).headers["x-trace-id"] == "mine"


@pytest.mark.parametrize("parent", [
    "x", "00-short-00f067aa0ba902b7-01", "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
    "00-4BF92F3577B34DA6A3CE929D0E0E473Z-00f067aa0ba902b7-01",
    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
])
def test_trace_id_from_a_bad_traceparent_is_new(client: Client, parent: str) -> None:
    """Malformed, all-zero and version ff are not used."""
    answer = client.get("/health/live", headers={"traceparent": parent})
    assert answer.headers["x-trace-id"] not in parent


def test_trace_id_is_new_each_time(client: Client) -> None:
    """Without one in the request every answer has its own."""
    seen = {client.get("/health/live").headers["x-trace-id"] for _ in range(20)}
    assert len(seen) == 20


def test_trace_id_is_in_the_log(client: Client, server: Server) -> None:
    """A login can be found by its trace id; the line knows route, status and address."""
    client.login(client.new_account(), headers={"x-trace-id": "find-me-7"})
    lines = [line for line in server.log_lines() if line.get("trace_id") == "find-me-7"]
    assert lines
    for line in lines:
        assert {"ts", "level", "event", "message"} <= set(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])


# Methods and paths


@pytest.mark.parametrize("path", GET_ROUTES + POST_ROUTES)
def test_method_matrix(client: Client, path: str) -> None:
    """Only the listed methods; all others are 405 with a true Allow."""
    allowed = {"GET", "HEAD"} if path in GET_ROUTES else {"POST"}
    for method in METHODS:
        response = client.request(method, path)
        if method in allowed:
            assert response.status_code != 405
            continue
        if method == "HEAD":
            assert response.status_code == 405
        else:
            assert_problem(response, 405)
        listed = {name.strip() for name in response.headers["allow"].split(",")}
        assert listed - {"OPTIONS"} == allowed


@pytest.mark.parametrize("path", [
    "/", "/api", "/api/", "/api/auth", "/api/auth/", "/api/auth/login/", "//api/auth/login",
    "/API/auth/login", "/api/auth/Login", "/api/auth/login/x", "/api/auth/login.json",
    "/.well-known/", "/.well-known/jwks.json/", "/.well-known/openid-configuration",
    "/api/auth/sessions/", "/api/auth/sessions/x", "/api/auth/sessions/x/revoke/y",
    "/api/auth/sessions//revoke", "/health", "/health/", "/metrics", "/debug", "/favicon.ico",
    "/api/auth/../auth/login", "/../../etc/passwd", "/api/auth/login;x=1", "/index.html",
    "/api/auth/login%00", "/api/auth/login%2f",
])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_path_is_404(client: Client, server: Server, method: str, path: str) -> None:
    """There is one spelling of each path; /metrics is not public by default."""
    reply = exchange(server.port, request(method, path, b"{}" if method == "POST" else b""))
    assert reply.status == 404
    assert reply.header("content-type") == "application/problem+json"


def test_query_is_ignored_on_post(client: Client) -> None:
    """Tokens and credentials in the query are not looked at."""
    tokens = client.new_session()
    response = client.post(f"{REFRESH}?refresh_token={tokens.refresh}", json={})
    assert_problem(response, 400, "refresh_token_required")
    client.rotate(tokens.refresh)


@pytest.mark.parametrize("path", [JWKS, JWKS_ALIAS, *HEALTH])
def test_head_is_get_without_a_body(server: Server, client: Client, path: str) -> None:
    """The same status and headers, no body."""
    head = exchange(server.port, request("HEAD", path), head=True)
    get = client.get(path)
    assert head.status == get.status_code == 200
    assert head.rest == b""
    for name in ("content-type", "content-length", "etag", "cache-control"):
        assert head.header(name) == get.headers.get(name)


def test_head_on_sessions(client: Client) -> None:
    """HEAD works with a token too, and is 401 without."""
    access = client.new_session().access
    answer = client.request("HEAD", SESSIONS, bearer=access)
    assert (answer.status_code, answer.content) == (200, b"")
    assert client.request("HEAD", SESSIONS).status_code == 401


def test_keep_alive(server: Server) -> None:
    """Many requests on one connection, also after errors; pipelined ones are answered in order."""
    bad = json_request(LOGIN, {"tenant_id": 1})
    live = request("GET", "/health/live")
    data = (live + bad) * 5 + request("GET", "/nowhere", headers={"Connection": "close"})
    replies, closed = exchange_all(server.port, data)
    assert [reply.status for reply in replies] == [200, 422] * 5 + [404]
    assert closed


def test_content_type_variants_are_taken(client: Client) -> None:
    """application/json with parameters, +json, any case."""
    body = json.dumps({"refresh_token": "wwr_x"}).encode()
    for kind in (
        "application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8",
        "APPLICATION/JSON", "application/vnd.api+json", 'application/json; charset="utf-8"',
    ):
        response = client.post(REFRESH, content=body, headers={"Content-Type": kind})
        assert_problem(response, 401, "invalid_refresh_token")


def test_host_header_has_no_influence(client: Client) -> None:
    """Issuer and key set are what the settings say."""
    account = client.new_account()
    response = client.login(account, headers={"Host": "evil.example"})
    assert read_claims(assert_tokens(response)["access_token"])["iss"] == ISSUER
    evil = client.get(JWKS, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    assert evil.content == client.get(JWKS).content
    assert b"evil" not in evil.content


# JWKS


def test_jwks_form(client: Client, server: Server) -> None:
    """Public members only, base64url without padding or leading zeros, at least 2048 bits."""
    response = client.get(JWKS)
    assert response.status_code == 200
    assert media_type(response) == "application/json"
    assert response.headers["cache-control"] == "public, max-age=300"
    assert set(response.json()) == {"keys"}
    (key,) = response.json()["keys"]
    assert set(key) == {"kty", "use", "kid", "alg", "n", "e"}
    assert (key["kty"], key["use"], key["alg"], key["e"]) == ("RSA", "sig", "RS256", "AQAB")
    assert "=" not in key["n"]
    modulus = unb64u(key["n"])
    assert modulus[0] != 0
    assert int.from_bytes(modulus, "big").bit_length() >= 2048
    token = client.new_session().access
    assert read_header(token)["kid"] == key["kid"]


def test_jwks_alias(client: Client) -> None:
    """Both paths serve the same bytes and the same ETag."""
    one, two = client.get(JWKS), client.get(JWKS_ALIAS)
    assert one.content == two.content
    assert one.headers["etag"] == two.headers["etag"]


def test_jwks_not_modified(client: Client) -> None:
    """304 without a body on a matching If-None-Match: exact, weak, in a list, star."""
    etag = client.get(JWKS).headers["etag"]
    assert re.fullmatch(r'(W/)?"[^"]+"', etag)
    strong = etag.removeprefix("W/")
    for sent in (etag, strong, f"W/{strong}", f'"other", {strong}', "*"):
        answer = client.get(JWKS, headers={"If-None-Match": sent})
        assert (answer.status_code, answer.content) == (304, b""), sent
        assert answer.headers["etag"] == etag
        assert answer.headers["cache-control"] == "public, max-age=300"
    for sent in ('"other"', "other", strong.strip('"'), ""):
        assert client.get(JWKS, headers={"If-None-Match": sent}).status_code == 200, sent


# Health and operations


@pytest.mark.parametrize("path", ["/health/live", "/healthz"])
def test_liveness(client: Client, path: str) -> None:
    """200 {"status":"alive"}."""
    response = client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "alive"})
    assert media_type(response) == "application/json"


@pytest.mark.parametrize("path", ["/health/ready", "/api/ready"])
def test_readiness_is_without_detail_in_public(client: Client, path: str) -> None:
    """200; versions, addresses and dependencies are not for everybody."""
    response = client.get(path)
    assert response.status_code == 200
    assert set(response.json()) == {"status"}


def test_operations_listener(server: Server) -> None:
    """Metrics, health and readiness with detail are there, the API is not."""
    metrics = server.ops("/metrics")
    assert metrics.status_code == 200
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    for name in ("auth_login_total", "auth_refresh_replay_total", "http_requests_total"):
        assert f"# TYPE {name} counter" in metrics.text
    for path in HEALTH:
        assert server.ops(path).status_code == 200
    assert len(server.ops("/api/ready").json()) > 1
    assert server.ops(SESSIONS).status_code == 404


def test_metrics_count_a_replay(make_server: ServerFactory) -> None:
    """Every series exists at 0 from the start; a replay raises its own by one."""
    server = make_server()
    pattern = re.compile(r'^auth_refresh_replay_total\{distance="(.+)"\} (\d+)', re.M)
    assert dict(pattern.findall(server.ops("/metrics").text)) == {"1": "0", "2_5": "0", "more": "0"}
    with server.client() as client:
        first = client.new_session()
        client.rotate(client.rotate(client.rotate(first.refresh).refresh).refresh)
        client.refresh(first.refresh)
    counts = dict(pattern.findall(server.ops("/metrics").text))
    assert counts == {"1": "0", "2_5": "1", "more": "0"}


def test_metrics_can_be_public(make_sqlite_server: ServerFactory) -> None:
    """METRICS_PUBLIC=true puts /metrics on the public listener."""
    server = make_sqlite_server(METRICS_PUBLIC="true")
    with server.client() as client:
        response = client.get("/metrics")
        assert response.status_code == 200
        assert "auth_login_total" in response.text


# CORS


def _preflight(client: Client, origin: str) -> httpx.Response:
    headers = {
        "Origin": origin, "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    return client.request("OPTIONS", LOGIN, headers=headers)


def test_cors_is_off(client: Client) -> None:
    """No Access-Control header at all unless origins are listed."""
    account = Account()
    for response in (
        _preflight(client, "https://app.example"),
        client.login(account, headers={"Origin": "https://app.example"}),
    ):
        assert not [name for name in response.headers if name.startswith("access-control-")]


def test_a_cache_keeps_answers_for_origins_apart(make_sqlite_server: ServerFactory) -> None:
    """The key set may be cached: what was fetched without an Origin is not for a browser's page."""
    server = make_sqlite_server(CORS_ORIGINS="https://app.example")
    with server.client() as client:
        for headers in ({}, {"Origin": "https://other.example"}, {"Origin": "https://app.example"}):
            assert client.get(JWKS, headers=headers).headers["vary"] == "Origin"


def test_preflight_allows_what_a_page_may_send(make_sqlite_server: ServerFactory) -> None:
    """Every request header that means something here; a browser drops the request otherwise."""
    server = make_sqlite_server(CORS_ORIGINS="https://app.example")
    with server.client() as client:
        allowed = _preflight(client, "https://app.example").headers["access-control-allow-headers"]
        assert set(allowed.split(", ")) == {
            "authorization", "content-type", "traceparent", "x-idempotency-key", "x-trace-id",
        }


def test_cors_for_exactly_the_listed_origins(make_sqlite_server: ServerFactory) -> None:
    """Credentials for these, nothing for similar ones."""
    server = make_sqlite_server(CORS_ORIGINS="https://app.example,https://b.example:8443")
    with server.client() as client:
        for origin in ("https://app.example", "https://b.example:8443"):
            response = client.login(Account(), headers={"Origin": origin})
            assert response.headers["access-control-allow-origin"] == origin
            assert response.headers["access-control-allow-credentials"] == "true"
            assert "origin" in response.headers["vary"].lower()
            preflight = _preflight(client, origin)
            assert preflight.status_code in (200, 204)
            assert preflight.headers["access-control-allow-origin"] == origin
            assert "POST" in preflight.headers["access-control-allow-methods"]
        for origin in (
            "http://app.example", "https://app.example.evil", "https://evilapp.example",
            "https://app.example:444", "https://b.example", "null", "*",
        ):
            response = client.login(Account(), headers={"Origin": origin})
            assert "access-control-allow-origin" not in response.headers
            assert "access-control-allow-origin" not in _preflight(client, origin).headers
