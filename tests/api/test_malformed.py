"""Nothing malformed is accepted, nothing malformed leaves a trace (contract section 3)."""
from __future__ import annotations

import json
import socket

import pytest

from harness.checks import assert_problem
from harness.client import LOGIN, REGISTER, Account, Client
from harness.fixtures import ServerFactory
from harness.malformed_http import HIDDEN, all_http_cases, forgiven_cases
from harness.malformed_json import Case, all_json_cases
from harness.raw import RawReply, exchange, exchange_all, json_request, request
from harness.server import Server

JSON_CASES = {case.name: case for case in all_json_cases()}
HTTP_CASES = {case.name: case for case in all_http_cases()}
FORGIVEN_CASES = {case.name: case for case in forgiven_cases()}


@pytest.fixture(scope="module")
def target(make_shared_server: ServerFactory) -> Server:
    """A server with an account, so that there are rows that could change."""
    server = make_shared_server()
    with server.client() as client:
        client.new_session()
    return server


def assert_untouched(target: Server, before: str) -> None:
    """The database is as it was, the service alive."""
    assert target.db.checksum() == before, "a malformed request changed the database"
    assert exchange(target.port, request("GET", "/health/live")).status == 200


def assert_problem_bytes(reply: RawReply, case: Case) -> None:
    """Errors of ours have our form, and name the member at fault."""
    assert reply.header("content-type") == "application/problem+json"
    assert reply.header("cache-control") == "no-store"
    assert reply.header("x-content-type-options") == "nosniff"
    problem = json.loads(reply.body)
    assert problem["status"] == reply.status
    assert problem["trace_id"] == reply.header("x-trace-id")
    if case.names is not None:
        assert case.names in problem["message"], problem


def test_the_table_is_large_enough() -> None:
    """At least 150 requests, no name twice."""
    assert len(JSON_CASES) + len(HTTP_CASES) >= 150
    assert len(JSON_CASES) == len(all_json_cases())
    assert len(HTTP_CASES) == len(all_http_cases())


@pytest.mark.parametrize("name", JSON_CASES)
def test_malformed_request(target: Server, name: str) -> None:
    """Exactly this status, a problem document, nothing changed."""
    case = JSON_CASES[name]
    before = target.db.checksum()
    reply = exchange(target.port, case.data)
    assert reply.status in case.status, f"{reply.status}: {reply.body[:300]!r}"
    if reply.status is not None and reply.status >= 400:
        assert_problem_bytes(reply, case)
    assert_untouched(target, before)


@pytest.mark.parametrize("name", FORGIVEN_CASES)
def test_forgiven_http_is_one_request(target: Server, name: str) -> None:
    """What the HTTP library forgives is still one request with one answer, and changes nothing."""
    case = FORGIVEN_CASES[name]
    before = target.db.checksum()
    replies, _ = exchange_all(target.port, case.data + HIDDEN)
    assert replies[0].status in case.status
    assert [reply.status for reply in replies[1:]] in ([], [200])  # the one that does follow
    assert_untouched(target, before)


@pytest.mark.parametrize("name", HTTP_CASES)
def test_malformed_http(target: Server, name: str) -> None:
    """Refused; whatever follows on the connection is not taken for a request."""
    case = HTTP_CASES[name]
    before = target.db.checksum()
    replies, closed = exchange_all(target.port, case.data + HIDDEN)
    first = replies[0].status if replies else None
    assert first in case.status, f"{first}, {[r.status for r in replies]}"
    smuggled = [reply for reply in replies[1:] if reply.status == 200]
    if first == 400 or first is None:
        assert closed, "the connection stays open after a request of unknown extent"
        assert not smuggled, "bytes after a broken request were answered"
    assert_untouched(target, before)


def test_methods_in_lower_case_are_unknown(target: Server) -> None:
    """Methods are case-sensitive."""
    for method in ("get", "Get", "post"):
        status = exchange(target.port, request(method, "/health/live")).status
        assert status in (400, 405, 501)


def test_well_formed_oddities_are_answered(target: Server) -> None:
    """The control: what looks odd but is right HTTP works."""
    live = b"GET /health/live HTTP/1.1\r\n"
    right = [
        live + b"hOsT:127.0.0.1\r\n\r\n",
        live + b"Host:   127.0.0.1  \r\nX-Empty:\r\n\r\n",
        live + b"Host: 127.0.0.1\r\nX-A: \tb\tc \r\n\r\n",
        live + b"Host: 127.0.0.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(30)) + b"\r\n",
        b"GET /health/live HTTP/1.0\r\n\r\n",
        b"GET /health/live?x=%ZZ&y HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"\r\nGET /health/live HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    for data in right:
        assert exchange(target.port, data).status == 200, data
    body = b'{"refresh_token":"wwr_x"}'
    head = b"POST /api/auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    for chunks in (
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        b"%X;ext=1\r\n%s\r\n0\r\n\r\n" % (len(body), body),
        b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n",
        b"0%x\r\n%s\r\n00\r\nTrailer: x\r\n\r\n" % (len(body), body),
    ):
        assert exchange(target.port, chunked + chunks).status == 401, chunks
    split = head + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body)
    assert exchange(target.port, split + body).status == 401


def test_error_text_tells_nothing_internal(target: Server) -> None:
    """No file, library, SQL or address in any error of the tables."""
    words = (".c:", "src/", "sqlite", "postgres", "psql", "libpq", "jansson", "select ", "argon",
             "microhttpd", "openssl", "0x7f", "null)", "line 1", "errno")
    for case in JSON_CASES.values():
        if 413 in case.status:
            continue
        text = exchange(target.port, case.data).body.decode(errors="replace").lower()
        for word in words:
            assert word not in text, f"{case.name}: {text}"


def test_values_are_not_echoed(client: Client) -> None:
    """What was sent is not sent back, but for the name of a member, and that is cut."""
    canary = "canary" * 500
    for body in ({"tenant_id": canary}, {canary: 1}, {"tenant_id": canary, "email": canary}):
        text = client.post("/api/auth/login", json=body).text
        assert canary not in text
        assert len(text) < 1000


@pytest.mark.parametrize(("body", "message"), [
    (b'{"a":1,"\\u0061":2}', "body has a member twice"),
    (b'{"a":1e999}', "body has a number out of range"),
    (b'{"a":12345678901234567890123}', "body has a number out of range"),
    (b'{"a":"\\u0000"}', "body has a NUL character"),
    (b'{"a":"\xe9"}', "body is not UTF-8"),
    (b'{"a":1}{}', "body is not valid JSON"),
    (b"[]", "body must be a JSON object"),
])
def test_what_other_readers_take_for_json_is_told_apart(
    client: Client, body: bytes, message: str
) -> None:
    """A message that is wrong sends whoever reads it to look in the wrong place."""
    answer = client.post(
        "/api/auth/login", content=body, headers={"Content-Type": "application/json"}
    )
    assert_problem(answer, 400, "malformed_body", message)


@pytest.mark.parametrize("lead", ["", "a", "aa", "aaa"])
def test_a_long_name_is_cut_between_characters(client: Client, lead: str) -> None:
    """Half a character at the cut does not spoil those before it."""
    message = client.post("/api/auth/login", json={lead + "\u7528" * 60: 1}).json()["message"]
    assert message.startswith("unknown member: " + lead + "\u7528" * 19), ascii(message)
    assert "\ufffd" not in message


@pytest.mark.parametrize("member", ["tenant_id", "email", "password", "delivery", "user_id"])
def test_a_short_value_is_not_echoed_either(client: Client, member: str) -> None:
    """One that would fit into any message, each time the only thing that is wrong."""
    canary = "canary-7f3a"
    for path in (LOGIN, REGISTER):
        answer = client.post(path, json={**Account().body(), member: canary})
        assert answer.status_code >= 400
        assert canary not in answer.text + str(answer.headers), path


def test_tokens_paths_and_queries_are_not_echoed(client: Client) -> None:
    """Neither in the text nor in a header."""
    canary = "canary-7f3a"
    access = client.new_session().access
    for answer in (client.refresh(canary), client.logout(canary), client.refresh_cookie(canary),
                   client.sessions(canary), client.sessions(access, f"?user_id={canary}"),
                   client.revoke(access, canary), client.get(f"/{canary}"),
                   client.post(REGISTER, json=Account(password=canary).body(),
                               headers={"X-Idempotency-Key": canary * 30})):
        assert answer.status_code >= 400
        assert canary not in answer.text + str(answer.headers), answer.request.url


def test_slow_request_does_not_hold_others_up(target: Server) -> None:
    """Fifty half-sent requests: the next client is answered at once."""
    links = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(50)]
    try:
        for number, link in enumerate(links):
            data = json_request("/api/auth/refresh", {"refresh_token": "wwr_x"})
            link.sendall(data[: 10 + number * 3])
        assert exchange(target.port, request("GET", "/health/live"), timeout=2).status == 200
    finally:
        for link in links:
            link.close()
