"""Every security event there is, caused one after the other, with what each must leave behind.

Whoever plays a story keeps its own account of it: for each request the answer, the log lines and the
counts that follow.
"""
from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from .client import (
    LOGIN, LOGOUT, LOGOUT_ALL, REFRESH, REGISTER, SESSIONS, Account, Client, Tokens, fresh_password,
    fresh_tenant, tokens_of,
)
from .db import now_ms
from .server import Server
from .settings import slowness

THRESHOLD = 3
SETTINGS = {
    "LOCKOUT_THRESHOLD": str(THRESHOLD),
    "LOGIN_PER_MIN_PER_EMAIL": "8",
    "REGISTER_PER_MIN_PER_EMAIL": "4",
    "REFRESH_PER_MIN_PER_TOKEN": "8",
    "IP_RL_PER_SECOND": "1",
    "IP_RL_BURST": "10",
    "DB_TIMEOUT_MS": "20000", "HASH_ACQUIRE_TIMEOUT_MS": "60000",  # a busy machine is not the matter
}

REVOKE = SESSIONS + "/{id}/revoke"
COUNTED = {LOGIN: "auth_login_total", REGISTER: "auth_register_total",
           REFRESH: "auth_refresh_total", LOGOUT: "auth_logout_total"}
GOOD = {LOGIN: ("ok",), REGISTER: ("ok",), REFRESH: ("ok", "retried"), LOGOUT: ("ok", "not_found")}
VERIFIED = {"ok": "ok", "inactive": "ok", "invalid_password": "fail", "not_found": "fail"}
LOCKED_NOW = ("auth_lockouts_total",)
TOLD = {(REGISTER, "ok"): ("auth.user_registered",), (LOGIN, "ok"): ("auth.user_logged_in",),
        (REFRESH, "ok"): ("auth.token_refreshed",), (LOGOUT, "ok"): ("auth.user_logged_out",),
        (REFRESH, "replayed"): ("auth.refresh_replay_detected", "auth.session_revoked"),
        (REVOKE, "ok"): ("auth.session_revoked",)}

# A count: the metric's name, and its label values in the order of the labels' names.
Count = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One request, and what there must be of it."""

    event: str
    trace: str
    address: str
    route: str
    status: int
    reason: str
    lines: tuple[str, ...]  # security events with a line of their own
    counts: tuple[Count, ...]
    told: tuple[str, ...]  # the subjects of the events that consumers get


class Story:
    """One teller: accounts, sessions and addresses of his own."""

    def __init__(self, server: Server, pause: float = 0) -> None:
        self.server = server
        self.pause = pause  # before each request, so that no line is sampled out
        self.client: Client = server.client(**{"User-Agent": "teller"})
        self.entries: list[Entry] = []
        self.answers: list[httpx.Response] = []
        self.passwords: set[str] = set()

    # Telling

    def tell(
        self, event: str, method: str, path: str, status: int, reason: str, *,
        lines: tuple[str, ...] = (), counts: tuple[Count, ...] = (), told: tuple[str, ...] = (),
        route: str | None = None, **options: Any,
    ) -> httpx.Response:
        """Send one request that must be answered so."""
        response = self._send(event, method, path, None, options)
        assert response.status_code == status, f"{event}: {response.status_code} {response.text}"
        self._write(event, response, method, route or path, reason, lines, counts, told)
        return response

    def _send(
        self, event: str, method: str, path: str, address: str | None, options: dict[str, Any]
    ) -> httpx.Response:
        time.sleep(self.pause)
        trace = f"{event}.{secrets.token_hex(8)}"
        address = address or self.fresh_address()
        headers = {"X-Trace-Id": trace, "X-Forwarded-For": address}
        response = self.client.request(method, path, headers=headers, **options)
        response.extensions["address"] = address
        self.answers.append(response)
        if (password := (options.get("json") or {}).get("password")) is not None:
            self.passwords.add(password)
        assert response.headers["x-trace-id"] == trace
        if response.headers["content-type"] == "application/problem+json":
            assert response.json()["trace_id"] == trace
        return response

    def _write(
        self, event: str, response: httpx.Response, method: str, route: str, reason: str,
        lines: tuple[str, ...], counts: tuple[Count, ...], told: tuple[str, ...] = (),
    ) -> None:
        status = response.status_code
        own: list[Count] = [("http_requests_total", method, route, str(status)), *counts]
        if route in COUNTED:
            result = "success" if reason in GOOD[route] else "failure"
            own.append((COUNTED[route], reason, result))
        if route == LOGIN and reason in VERIFIED:
            own.append(("auth_password_verify_duration_seconds_count", VERIFIED[reason]))
        self.entries.append(Entry(
            event, response.headers["x-trace-id"], response.extensions["address"], route, status,
            reason, lines, tuple(own), TOLD.get((route, reason), ()) + told))

    def until_limited(
        self, event: str, scope: str, path: str, status: int, reason: str,
        body: Callable[[], dict[str, Any]], *, address: str | None = None,
        take: Callable[[httpx.Response], None] = lambda _: None,
    ) -> None:
        """The same request again and again, answered so, until it is refused by a limit."""
        tries = round(40 * slowness())  # whoever is slow gets some of the budget back meanwhile
        for _ in range(tries):
            response = self._send(event, "POST", path, address, {"json": body()})
            if response.status_code == 429:
                self._write(event, response, "POST", path, "rate_limited", ("auth.rate_limited",),
                            (("auth_rate_limited_total", scope),))
                return
            assert response.status_code == status, f"{event}: {response.text}"
            self._write(f"{event}_not_yet", response, "POST", path, reason, (), ())
            take(response)
        raise AssertionError(f"{event}: no limit within {tries} requests")

    @staticmethod
    def fresh_address() -> str:
        return ".".join(str(part) for part in (10, *secrets.token_bytes(3)))

    # What was told

    def counts(self) -> Counter[Count]:
        return Counter(count for entry in self.entries for count in entry.counts)

    # The events

    def register(self, event: str, status: int, reason: str, body: Any) -> httpx.Response:
        return self.tell(event, "POST", REGISTER, status, reason, json=body)

    def login(
        self, event: str, status: int, reason: str, body: Any, *, locks: bool = False
    ) -> httpx.Response:
        failed = reason in ("invalid_password", "not_found")
        lines = ("auth.login_failed",) * failed + ("auth.lockout",) * locks
        return self.tell(event, "POST", LOGIN, status, reason, lines=lines,
                         counts=(LOCKED_NOW,) * locks, told=("auth.account_locked",) * locks,
                         json=body)

    def refresh(self, event: str, status: int, reason: str, token: str) -> httpx.Response:
        return self.tell(event, "POST", REFRESH, status, reason, json={"refresh_token": token})

    def logout(self, event: str, status: int, reason: str, token: str) -> httpx.Response:
        return self.tell(event, "POST", LOGOUT, status, reason, json={"refresh_token": token})

    def new_account(self, event: str = "registered") -> Account:
        account = Account()
        user = self.register(event, 200, "ok", account.body()).json()["user_id"]
        return Account(account.tenant, account.email, account.password, user)

    def sign_in(self, account: Account, event: str = "logged_in") -> Tokens:
        return tokens_of(self.login(event, 200, "ok", account.body()))

    def play(self) -> None:
        account = self.new_account()
        self._registrations(account)
        self._logins(account)
        self._locks()
        self._refreshes(account)
        self._sessions(account)
        self._limits()

    def _registrations(self, account: Account) -> None:
        self.register("register_again", 409, "exists", account.body())
        self.register("register_weak", 400, "weak_password", Account().body(password="short"))
        self.register("register_no_address", 400, "invalid_email", account.body(email="nobody"))
        self.register("register_incomplete", 422, "malformed", account.body(password=None))

    def _logins(self, account: Account) -> None:
        wrong = fresh_password()
        self.login("wrong_password", 401, "invalid_password", account.body(password=wrong))
        self.sign_in(account, "logged_in_after_failure")
        self.login("unknown_account", 401, "not_found", Account().body())
        self.login("wrong_tenant", 401, "not_found", account.body(tenant_id=fresh_tenant()))
        self.login("login_no_address", 400, "invalid_email", account.body(email="@"))
        self.login("login_unknown_member", 400, "malformed", account.body(admin=True))
        off = self.new_account()
        self.server.db.set_status(off.tenant, off.user, "disabled")
        self.login("disabled_wrong_password", 401, "invalid_password", off.body(password=wrong))
        self.login("disabled_right_password", 403, "inactive", off.body())

    def _lock(self, event: str, account: Account, reason: str) -> None:
        body = account.body(password=fresh_password())
        for _ in range(THRESHOLD - 1):
            self.login(f"{event}_not_yet", 401, reason, body)
        self.login(event, 401, reason, body, locks=True)

    def _locks(self) -> None:
        account, invented = self.new_account(), Account()
        self._lock("account_locked", account, "invalid_password")
        self.login("login_while_locked", 423, "locked", account.body())
        self._lock("invented_account_locked", invented, "not_found")
        self.server.db.expire_lock(account.tenant)
        self.sign_in(account, "logged_in_after_lock")

    def _refreshes(self, account: Account) -> None:
        first = self.sign_in(account).refresh
        second = tokens_of(self.refresh("refreshed", 200, "ok", first)).refresh
        self.refresh("refresh_retried", 200, "retried", first)
        tokens_of(self.refresh("refreshed", 200, "ok", second))
        self.tell("refresh_replayed", "POST", REFRESH, 401, "replayed",
                  lines=("security.refresh_replay_detected",),
                  counts=(("auth_refresh_replay_total", "2_5"),), json={"refresh_token": first})
        self.refresh("refresh_of_ended_session", 401, "revoked", second)
        self.refresh("refresh_forged", 401, "invalid", first[:-4] + "AAAA")
        late = self.sign_in(self.new_account())
        self.server.db.set_idle_expiry(late.session_id, now_ms() - 1000)
        self.refresh("refresh_expired", 401, "expired", late.refresh)
        self.tell("refresh_without_token", "POST", REFRESH, 400, "malformed", json={})

    def _sessions(self, account: Account) -> None:
        tokens, other = self.sign_in(account), self.sign_in(account)
        self.tell("sessions_listed", "GET", SESSIONS, 200, "ok", bearer=tokens.access)
        self.tell("sessions_without_token", "GET", SESSIONS, 401, "invalid")
        path = REVOKE.replace("{id}", other.session_id)
        self.tell("session_revoked", "POST", path, 200, "ok", route=REVOKE, bearer=tokens.access)
        self.tell("session_revoked_again", "POST", path, 404, "not_found", route=REVOKE,
                  bearer=tokens.access)
        self.logout("logged_out", 200, "ok", tokens.refresh)
        self.logout("logged_out_again", 200, "not_found", tokens.refresh)
        self.logout("logout_garbage", 401, "invalid", "garbage")
        last = self.sign_in(account)
        live = len(self.server.db.live_sessions(account.tenant, account.user))
        self.tell("logged_out_everywhere", "POST", LOGOUT_ALL, 200, "ok", bearer=last.access,
                  told=("auth.session_revoked",) * live)

    def _limits(self) -> None:
        account = self.new_account()
        self.until_limited("register_limited", "register", REGISTER, 409, "exists", account.body)
        self.until_limited("login_limited", "email", LOGIN, 200, "ok", account.body)
        token = [self.sign_in(self.new_account()).refresh]
        self.until_limited(
            "refresh_limited", "refresh", REFRESH, 200, "ok", lambda: {"refresh_token": token[0]},
            take=lambda response: token.__setitem__(0, tokens_of(response).refresh))
        self.until_limited("address_limited", "ip", REFRESH, 400, "malformed", dict,
                           address=self.fresh_address())
