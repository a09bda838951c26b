"""A client for stopwatches: a request leaves in one piece.

httpx sends header and body one after the other, and without TCP_NODELAY the body waits for the
acknowledgement of the header, which a kernel may hold back for 40 ms: nothing shorter can be seen.
"""
from __future__ import annotations

import http.client
import json
import time
from typing import Any

from harness.client import LOGIN, LOGOUT, REFRESH, Account


class Prompt:
    """One connection to a service."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.took = 0.0  # seconds that the latest answer took

    def __enter__(self) -> "Prompt":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        payload = json.dumps(body).encode()
        begin = time.monotonic()
        self._connection.request("POST", path, payload, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        text = answer.read()
        self.took = time.monotonic() - begin
        return answer.status, json.loads(text)

    def login(self, account: Account) -> str:
        """The session's refresh token."""
        status, answer = self.post(LOGIN, account.body())
        assert status == 200, answer
        return str(answer["refresh_token"])

    def refresh(self, token: str) -> str:
        """The token after this one."""
        status, answer = self.post(REFRESH, {"refresh_token": token})
        assert status == 200, answer
        return str(answer["refresh_token"])

    def logout(self, token: str) -> None:
        status, answer = self.post(LOGOUT, {"refresh_token": token})
        assert status == 200, answer
