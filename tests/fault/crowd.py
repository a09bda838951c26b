"""Light load of every sensitive use case, with a record of each answer, for the outage tests."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from harness.client import Account, Tokens
from harness.client import JWKS, LOGIN, LOGOUT, LOGOUT_ALL, REFRESH, REGISTER, SESSIONS
from harness.server import Server

PAUSE = 0.03


@dataclass(frozen=True)
class Answer:
    """One answer; times are monotonic."""

    what: str
    status: int
    sent: float
    done: float
    text: str

    @property
    def took(self) -> float:
        return self.done - self.sent


@dataclass
class Promises:
    """What a 200 has promised, to be checked when all is over."""

    registered: list[Account] = field(default_factory=list)
    opened: list[tuple[Account, Tokens]] = field(default_factory=list)
    heads: dict[int, str] = field(default_factory=dict)  # refresh token of each chain's head
    ended: list[str] = field(default_factory=list)  # session ids


class Crowd:
    """`with Crowd(server) as crowd:` threads that log in, refresh, register, log out and list."""

    def __init__(self, server: Server, refreshers: int = 2) -> None:
        self.server = server
        self.answers: list[Answer] = []
        self.promises = Promises()
        self._stopped = threading.Event()
        self._failures: list[BaseException] = []
        with server.client() as client:
            self._account = client.new_account()
            self._chains = [client.new_session().refresh for _ in range(refreshers)]
            self._lister = client.new_session()
        self._threads = [self._thread(self._logins), self._thread(self._registrations),
                         self._thread(self._listings), self._thread(self._keys),
                         self._thread(self._readiness)]
        self._threads += [self._thread(self._refreshes, i) for i in range(refreshers)]

    def _thread(self, work: Callable[..., None], *arguments: int) -> threading.Thread:
        def run() -> None:
            try:
                with httpx.Client(base_url=self.server.url, timeout=60, trust_env=False) as http:
                    work(http, *arguments)
            except BaseException as failure:  # noqa: BLE001 - told in the main thread
                self._failures.append(failure)

        return threading.Thread(target=run, daemon=True)

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
        if self._failures:
            raise self._failures[0]

    def since(self, begin: float, end: float = float("inf")) -> list[Answer]:
        """Answers to what was sent in this time, but for keys and readiness."""
        return [a for a in list(self.answers)
                if begin <= a.sent < end and a.what not in ("keys", "ready")]

    def of(self, what: str, begin: float = 0, end: float = float("inf")) -> list[Answer]:
        return [a for a in list(self.answers) if a.what == what and begin <= a.sent < end]

    def wait_for(self, what: str, status: int, begin: float, seconds: float) -> float:
        """When it was first answered so after `begin`; it must be within the time."""
        deadline = time.monotonic() + seconds
        while True:
            good = [a.done for a in self.of(what, begin) if a.status == status]
            if good:
                return min(good)
            assert time.monotonic() < deadline, f"{what}: no {status} in {seconds} s"
            time.sleep(0.01)

    # The threads

    def _ask(self, http: httpx.Client, what: str, method: str, path: str, *,
             body: object = None, bearer: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        sent = time.monotonic()
        response = http.request(method, path, json=body, headers=headers)
        self.answers.append(
            Answer(what, response.status_code, sent, time.monotonic(), response.text))
        self._stopped.wait(PAUSE)
        return response

    def _logins(self, http: httpx.Client) -> None:
        """Log in, and every other time out again."""
        for number in _numbers(self._stopped):
            response = self._ask(http, "login", "POST", LOGIN, body=self._account.body())
            if response.status_code != 200:
                continue
            found = response.json()
            tokens = Tokens(found["access_token"], found["refresh_token"], response)
            self.promises.opened.append((self._account, tokens))
            if number % 2:
                done = self._ask(http, "logout", "POST", LOGOUT,
                                 body={"refresh_token": tokens.refresh})
                if done.status_code == 200:
                    self.promises.ended.append(tokens.session_id)

    def _refreshes(self, http: httpx.Client, chain: int) -> None:
        """Rotate for ever; what was not answered well is sent again."""
        token = self._chains[chain]
        for _ in _numbers(self._stopped):
            response = self._ask(http, "refresh", "POST", REFRESH, body={"refresh_token": token})
            if response.status_code == 200:
                token = response.json()["refresh_token"]
            self.promises.heads[chain] = token

    def _registrations(self, http: httpx.Client) -> None:
        for _ in _numbers(self._stopped):
            account = Account()
            response = self._ask(http, "register", "POST", REGISTER, body=account.body())
            if response.status_code == 200:
                self.promises.registered.append(account)

    def _listings(self, http: httpx.Client) -> None:
        """A session of its own account, listed; now and then all of them ended."""
        tokens = self._lister
        for number in _numbers(self._stopped):
            if number % 4 == 3:
                done = self._ask(http, "logout_all", "POST", LOGOUT_ALL, bearer=tokens.access)
                if done.status_code == 200:
                    self.promises.ended.append(tokens.session_id)
            else:
                self._ask(http, "list", "GET", SESSIONS, bearer=tokens.access)

    def _keys(self, http: httpx.Client) -> None:
        for _ in _numbers(self._stopped):
            self._ask(http, "keys", "GET", JWKS)

    def _readiness(self, http: httpx.Client) -> None:
        for _ in _numbers(self._stopped):
            self._ask(http, "ready", "GET", "/health/ready")


def _numbers(stopped: threading.Event):
    number = 0
    while not stopped.is_set():
        yield number
        number += 1
