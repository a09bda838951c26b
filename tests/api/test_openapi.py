"""docs/openapi.yaml holds: what the service answers is what the document says it may answer."""
from __future__ import annotations

import json
import re
from typing import Any

import httpx
import jsonschema
import pytest
import yaml

from harness.client import (
    JWKS, LOGIN, LOGOUT, LOGOUT_ALL, REFRESH, REGISTER, REVOKE_NOBODY, SESSIONS, Account, Client,
    cookie_of, fresh_email, fresh_tenant,
)
from harness.fixtures import ServerFactory
from harness.server import Server
from harness.settings import REPO

DOCUMENT = yaml.safe_load((REPO / "docs" / "openapi.yaml").read_text())
# In the description, for every path; and what HTTP itself adds.
EVERYWHERE = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
UNSAID = {
    "allow", "connection", "content-length", "content-type", "date", "vary",
    "x-content-type-options",
}


def _inline(node: Any) -> Any:
    """The node with each $ref replaced by what it stands for."""
    if isinstance(node, list):
        return [_inline(child) for child in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = DOCUMENT
        for part in node["$ref"][2:].split("/"):
            target = target[part]
        return _inline(target)
    return {name: _inline(child) for name, child in node.items()}


def _check_headers(response: httpx.Response, said: dict[str, Any]) -> None:
    expected = {name.lower(): header for name, header in said.items()}
    for name, header in expected.items():
        assert name in response.headers or not header.get("required"), f"no {name}"
        if name in response.headers:
            value: Any = response.headers[name]
            if header["schema"]["type"] == "integer":
                value = int(value)
            jsonschema.validate(value, header["schema"])
    unsaid = set(response.headers) - set(expected) - UNSAID
    assert not unsaid, f"headers that the document does not name: {unsaid}"


def hold(response: httpx.Response) -> httpx.Response:
    """The answer is one of those that the document has for its operation."""
    path = response.request.url.path
    path = re.sub("(?<=/sessions/)[^/]*(?=/revoke$)", "{session_id}", path)
    operation = DOCUMENT["paths"][path][response.request.method.lower()]
    said = _inline(operation["responses"].get(str(response.status_code)))
    if said is None:
        assert EVERYWHERE.get(response.status_code) == response.json()["error"], response.text
        return response
    _check_headers(response, said.get("headers", {}))
    if "content" not in said:
        assert not response.content
        return response
    content = said["content"].get(response.headers["content-type"])
    assert content is not None, response.headers["content-type"]
    if "json" in response.headers["content-type"]:
        answer = response.json()
        jsonschema.validate(answer, content["schema"])
        if "error" in answer:
            assert answer["error"] in content["examples"], f"not among the examples: {answer}"
            assert answer["title"] == content["examples"][answer["error"]]["value"]["title"]
    return response


def test_what_is_not_said_is_found() -> None:
    """The control."""
    good = {"content-type": "application/json", "cache-control": "no-store", "x-trace-id": "a"}
    problem = {**good, "content-type": "application/problem+json"}
    body = {
        "status": 409, "title": "Conflict", "error": "credential_exists", "message": "m",
        "trace_id": "a",
    }
    request = httpx.Request("POST", "http://h" + REGISTER)

    def answer(status: int, headers: dict[str, str], body: Any) -> httpx.Response:
        return httpx.Response(status, headers=headers, content=json.dumps(body), request=request)

    hold(answer(409, problem, body))
    for wrong in (
        answer(409, good, body),
        answer(409, {**problem, "x-other": "1"}, body),
        answer(409, {**problem, "cache-control": "private"}, body),
        answer(409, problem, {**body, "error": "other"}),
        answer(409, problem, {**body, "detail": "x"}),
        answer(410, problem, body),
        answer(200, good, {"ok": True}),
    ):
        with pytest.raises((AssertionError, jsonschema.ValidationError)):
            hold(wrong)


def _examples(media: dict[str, Any]) -> list[Any]:
    named = [example["value"] for example in media.get("examples", {}).values()]
    return named + ([media["example"]] if "example" in media else [])


def test_example_requests_are_understood(client: Client) -> None:
    """Whoever is registered by the one can log in by the others; the tokens are made up."""
    tenant = fresh_tenant()
    answers: dict[str, list[int]] = {}
    for path, operations in DOCUMENT["paths"].items():
        body = operations.get("post", {}).get("requestBody", {"content": {}})
        for media in body["content"].values():
            for example in _examples(media):
                if "tenant_id" in example:
                    example = {**example, "tenant_id": tenant}
                response = hold(client.post(path, json=example))
                answers.setdefault(path, []).append(response.status_code)
    assert answers == {REGISTER: [200], LOGIN: [200, 200], REFRESH: [401], LOGOUT: [200]}


BODIES = [
    b"", b"{", b"[]", b'{"a":1}', b"{}", b'{"tenant_id":1}', b'{"refresh_token":1}',
    b'{"refresh_token":"x"}', b'{"refresh_token":"wwr_' + b"A" * 94 + b'"}', b" " * 20000,
    b'{"tenant_id":"x","email":"a@b.example","password":"x"}',
    b'{"tenant_id":"0190a6c0-0000-7000-8000-000000000001","email":"a","password":"x"}',
    b'{"tenant_id":"0190a6c0-0000-7000-8000-000000000001","email":"a@b.example","password":"x"}',
    b'{"tenant_id":"0190a6c0-0000-7000-8000-00000000dead"}',
]


@pytest.mark.parametrize("path", [REGISTER, LOGIN, REFRESH, LOGOUT, LOGOUT_ALL, REVOKE_NOBODY])
def test_refusals(client: Client, path: str) -> None:
    """Bodies of every wrong kind, with and without a content type and an access token."""
    access = client.new_session().access
    for body in BODIES:
        body = body.replace(b"a@b.example", fresh_email().encode())  # no limit is to be met
        for headers in ({"Content-Type": "application/json"}, {}):
            for bearer in (access, None):
                hold(client.post(path, content=body, headers=headers, bearer=bearer))


def test_the_use_cases(client: Client, server: Server) -> None:
    """Each of them well and badly, the token in the body and as a cookie."""
    account = Account()
    user = hold(client.register(account)).json()["user_id"]
    hold(client.register(account))
    hold(client.register(Account(), headers={"X-Idempotency-Key": "k" * 256}))
    for delivery in ("body", "cookie", "both"):
        login = hold(client.login(account, delivery=delivery))
    token = login.json()["refresh_token"]
    successor = hold(client.refresh_cookie(token))
    hold(client.refresh(cookie_of(successor)["refresh"]))
    hold(client.refresh_cookie("x"))
    access = login.json()["access_token"]
    for bearer in (access, "x"):
        hold(client.sessions(bearer))
        hold(client.sessions(bearer, "?tenant_id=x"))
        hold(client.get(SESSIONS, bearer=bearer, content=b" " * 20000))
        hold(client.revoke(bearer, "x"))
    for session in client.session_list(access):
        hold(client.revoke(access, session["session_id"]))
    for cookie in (token, "x"):
        hold(client.post(LOGOUT, cookie=cookie))
    hold(client.logout_all(access))
    server.db.set_status(account.tenant, user, "disabled")
    assert hold(client.login(account)).status_code == 403


def test_limits_and_registration_token(make_sqlite_server: ServerFactory) -> None:
    """401 of register, 423 and 429."""
    server = make_sqlite_server(
        REGISTER_TOKEN="0123456789abcdef", LOCKOUT_THRESHOLD="1", LOGIN_PER_MIN_PER_EMAIL="2",
    )
    account = Account()
    with server.client() as client:
        assert hold(client.register(account)).status_code == 401
        assert [hold(client.login(account)).status_code for _ in range(3)] == [401, 423, 429]


def test_what_is_read(client: Client, server: Server) -> None:
    """The key set and health; the operations listener has detail."""
    for path in (JWKS, "/api/auth/jwks"):
        etag = hold(client.get(path)).headers["etag"]
        assert hold(client.get(path, headers={"If-None-Match": etag})).status_code == 304
    for path in ("/health/live", "/healthz", "/health/ready", "/api/ready"):
        hold(client.get(path))
    for path in ("/health/live", "/healthz", "/health/ready", "/api/ready", "/metrics"):
        hold(server.ops(path))
