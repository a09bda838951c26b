"""A tiny client of the public interface; every answer it sees is checked for the common rules."""
from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from . import keys
from .checks import assert_common, assert_tokens

LOGIN = "/api/auth/login"
REGISTER = "/api/auth/register"
REFRESH = "/api/auth/refresh"
LOGOUT = "/api/auth/logout"
SESSIONS = "/api/auth/sessions"
LOGOUT_ALL = "/api/auth/logout-all"
REVOKE_NOBODY = f"{SESSIONS}/0190a6c0-0000-7000-8000-00000000dead/revoke"
JWKS = "/.well-known/jwks.json"


def fresh_tenant() -> str:
    return str(uuid.uuid4())


def fresh_email() -> str:
    return f"user-{secrets.token_hex(8)}@example.com"


def fresh_password() -> str:
    """24 random characters: long enough and beyond any estimator."""
    return secrets.token_urlsafe(18)


@dataclass(frozen=True)
class Account:
    """What a user knows; `user` is empty for an account that was never registered."""

    tenant: str = field(default_factory=fresh_tenant)
    email: str = field(default_factory=fresh_email)
    password: str = field(default_factory=fresh_password)
    user: str = ""

    def body(self, **changes: Any) -> dict[str, Any]:
        """The members of register and login; a change to None takes a member away."""
        whole = {"tenant_id": self.tenant, "email": self.email, "password": self.password}
        whole.update(changes)
        return {name: value for name, value in whole.items() if value is not None}


@dataclass(frozen=True)
class Tokens:
    """The good answer of login or refresh."""

    access: str
    refresh: str
    response: httpx.Response

    @property
    def claims(self) -> dict[str, Any]:
        return keys.read_claims(self.access)

    @property
    def session_id(self) -> str:
        return self.claims["sid"]


def tokens_of(response: httpx.Response, *, body_token: bool = True) -> Tokens:
    """The tokens of an answer that must be a good one, from the body or else the cookie."""
    found = assert_tokens(response, body_token=body_token)
    refresh = found.get("refresh_token") or cookie_of(response).get("refresh", "")
    return Tokens(found["access_token"], refresh, response)


def cookie_of(response: httpx.Response) -> dict[str, str]:
    """The one Set-Cookie line as its parts in lower case; flags have an empty value."""
    lines = response.headers.get_list("set-cookie")
    assert len(lines) == 1, f"Set-Cookie: {lines}"
    parts: dict[str, str] = {}
    for number, part in enumerate(lines[0].split(";")):
        name, _, value = part.strip().partition("=")
        parts[name if number == 0 else name.lower()] = value
    return parts


class Client:
    """httpx with keep-alive and without a cookie memory: tests say what they send."""

    def __init__(self, url: str, *, timeout: float, headers: dict[str, str]) -> None:
        self.http = httpx.Client(
            base_url=url, timeout=timeout, headers=headers, trust_env=False,
            follow_redirects=False,
        )

    def close(self) -> None:
        self.http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
        cookie: str | None = None,
        bearer: str | None = None,
    ) -> httpx.Response:
        sent = dict(headers or {})
        if cookie is not None:
            sent["Cookie"] = f"refresh={cookie}"
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        response = self.http.request(method, path, json=json, content=content, headers=sent)
        self.http.cookies.clear()
        assert_common(response)
        return response

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    # The use cases: the plain verb gives the answer, whatever it is.

    def register(self, account: Account, *, headers: Any = None, **extra: Any) -> httpx.Response:
        return self.post(REGISTER, json=account.body(**extra), headers=headers)

    def login(self, account: Account, *, headers: Any = None, **extra: Any) -> httpx.Response:
        return self.post(LOGIN, json=account.body(**extra), headers=headers)

    def refresh(self, token: str, *, headers: Any = None, **extra: Any) -> httpx.Response:
        return self.post(REFRESH, json={"refresh_token": token, **extra}, headers=headers)

    def refresh_cookie(self, token: str) -> httpx.Response:
        return self.post(REFRESH, cookie=token)

    def logout(self, token: str) -> httpx.Response:
        return self.post(LOGOUT, json={"refresh_token": token})

    def sessions(self, access: str, query: str = "") -> httpx.Response:
        return self.get(SESSIONS + query, bearer=access)

    def revoke(self, access: str, session_id: str, **options: Any) -> httpx.Response:
        return self.post(f"{SESSIONS}/{session_id}/revoke", bearer=access, **options)

    def logout_all(self, access: str) -> httpx.Response:
        return self.post(LOGOUT_ALL, bearer=access)

    # The same, where the test is about something else and it must go well.

    def new_account(self, **fields: Any) -> Account:
        """Register an account with random or given fields."""
        wanted = Account(**fields)
        response = self.register(wanted)
        assert response.status_code == 200, response.text
        user = response.json()["user_id"]
        return Account(wanted.tenant, wanted.email, wanted.password, user)

    def sign_in(self, account: Account, *, headers: Any = None) -> Tokens:
        return tokens_of(self.login(account, headers=headers))

    def new_session(self) -> Tokens:
        """Log a new account in."""
        return self.sign_in(self.new_account())

    def rotate(self, token: str) -> Tokens:
        return tokens_of(self.refresh(token))

    def session_list(self, access: str) -> list[dict[str, Any]]:
        response = self.sessions(access)
        assert response.status_code == 200, response.text
        return response.json()["sessions"]
