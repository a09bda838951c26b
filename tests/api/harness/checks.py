"""What the contract says of every answer, of every error and of every answer with tokens."""
from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import httpx

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
REFRESH_TOKEN = re.compile(r"wwr_[A-Za-z0-9_-]+")
TRACE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_TITLES = {
    413: {"Content Too Large", "Payload Too Large", "Request Entity Too Large"},
    422: {"Unprocessable Content", "Unprocessable Entity"},
}


def media_type(response: httpx.Response) -> str:
    return response.headers.get("content-type", "").split(";")[0].strip().lower()


def assert_common(response: httpx.Response) -> None:
    """Contract section 3: trace id, nosniff, no server version; and never a 500."""
    assert response.status_code != 500, response.text
    trace = response.headers.get_list("x-trace-id")
    assert len(trace) == 1 and TRACE_ID.fullmatch(trace[0]), f"x-trace-id: {trace}"
    assert response.headers.get("x-content-type-options") == "nosniff"
    assert "server" not in response.headers, response.headers["server"]
    assert "x-powered-by" not in response.headers
    if response.status_code in (423, 429, 503):
        assert re.fullmatch(r"[1-9]\d*", response.headers.get("retry-after", "")), "Retry-After"


def assert_problem(
    response: httpx.Response,
    status: int,
    error: str | None = None,
    message: str | None = None,
    *,
    names: str | None = None,
) -> dict[str, Any]:
    """The answer is this error and nothing more; `names` must occur in its message."""
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    assert media_type(response) == "application/problem+json"
    assert response.headers.get("cache-control") == "no-store"
    problem = response.json()
    assert set(problem) == {"status", "title", "error", "message", "trace_id"}, problem
    assert problem["status"] == status
    assert problem["title"] in _TITLES.get(status, {HTTPStatus(status).phrase}), problem["title"]
    assert problem["trace_id"] == response.headers["x-trace-id"]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", problem["error"]), problem["error"]
    assert isinstance(problem["message"], str) and problem["message"]
    if error is not None:
        assert problem["error"] == error, problem
    if message is not None:
        assert problem["message"] == message, problem
    if names is not None:
        assert names in problem["message"], f"{names!r} is not named: {problem['message']!r}"
    return problem


def assert_invalid_credentials(response: httpx.Response) -> None:
    assert_problem(response, 401, "invalid_credentials", "invalid credentials")


def assert_invalid_refresh(response: httpx.Response) -> None:
    assert_problem(response, 401, "invalid_refresh_token", "invalid refresh token")


def assert_locked(response: httpx.Response) -> None:
    assert_problem(response, 423, "account_locked", "account temporarily locked")


def assert_rate_limited(response: httpx.Response) -> int:
    """A 429; gives back its Retry-After."""
    assert_problem(response, 429, "rate_limited", "rate limited")
    return int(response.headers["retry-after"])


def assert_ok(response: httpx.Response) -> None:
    """200 {"ok":true}."""
    assert response.status_code == 200, response.text
    assert media_type(response) == "application/json"
    assert response.json() == {"ok": True}


def assert_tokens(response: httpx.Response, *, body_token: bool = True) -> dict[str, Any]:
    """The exact body of a good login or refresh."""
    assert response.status_code == 200, f"{response.status_code}: {response.text}"
    assert media_type(response) == "application/json"
    assert response.headers.get("cache-control") == "no-store"
    found = response.json()
    members = {"token_type", "access_token", "expires_in", "expires_in_seconds"}
    assert set(found) == members | ({"refresh_token"} if body_token else set()), sorted(found)
    assert found["token_type"] == "Bearer"
    assert type(found["expires_in"]) is int and found["expires_in"] > 0
    assert found["expires_in_seconds"] == found["expires_in"]
    if body_token:
        assert REFRESH_TOKEN.fullmatch(found["refresh_token"]), found["refresh_token"]
    return found


def masked(response: httpx.Response) -> tuple[int, list[tuple[str, str]], str]:
    """An answer without what may differ between two equal ones: trace id and date."""
    trace = response.headers["x-trace-id"]
    headers = [
        (name.decode().lower(), value.decode().replace(trace, "TRACE"))
        for name, value in response.headers.raw
        if name.lower() != b"date"
    ]
    return response.status_code, headers, response.text.replace(trace, "TRACE")
