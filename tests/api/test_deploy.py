"""The proxy configurations of deploy/: what they promise, over TLS, in front of a running service."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.client import LOGIN, REFRESH, REGISTER, SESSIONS, Account
from harness.fixtures import ServerFactory
from harness.tls_proxy import NAME, TlsProxy


@pytest.fixture(params=["nginx", "haproxy"])
def proxy(
    request: pytest.FixtureRequest, make_sqlite_server: ServerFactory, tmp_path: Path
) -> Iterator[TlsProxy]:
    tmp_path.chmod(0o755)
    with TlsProxy(request.param, make_sqlite_server(METRICS_PUBLIC="true"), tmp_path) as made:
        yield made


def test_a_user_comes_through(proxy: TlsProxy) -> None:
    """Over HTTP/2 and 1.1; the address is the client's, whatever the client says of itself."""
    account = Account()
    assert proxy.ask(REGISTER, account.body()).status == 200
    forged = [f"-H{name}: {value}" for name, value in (
        ("X-Forwarded-For", "203.0.113.7"), ("Forwarded", "for=203.0.113.7"))]
    for version, flag in (("HTTP/2", "--http2"), ("HTTP/1.1", "--http1.1")):
        reply = proxy.ask(LOGIN, account.body(), flag, *forged)
        assert (reply.status, reply.version) == (200, version), reply
        assert reply.headers["strict-transport-security"] == "max-age=63072000"
        assert reply.headers["cache-control"] == "no-store"
        tokens = reply.json()
        assert proxy.ask(REFRESH, {"refresh_token": tokens["refresh_token"]}).status == 200
    listed = proxy.ask(SESSIONS, None, f"-HAuthorization: Bearer {tokens['access_token']}").json()
    assert {session["device_info"]["ip"] for session in listed["sessions"]} == {"127.0.0.1"}


def test_what_stays_outside(proxy: TlsProxy) -> None:
    """Clear text, other names, metrics, old TLS and large bodies."""
    for path in (LOGIN, "/.well-known/jwks.json"):
        answer = proxy.say_clear(f"GET {path} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 403"), answer
    assert proxy.curl("-k", f"https://other.example:{proxy.tls_port}/").returncode == 35
    assert proxy.curl("--tls-max", "1.1", f"https://{NAME}:{proxy.tls_port}/").returncode == 35
    assert proxy.ask("/metrics").status == 404
    assert proxy.ask(LOGIN, {"x": "a" * 20000}).status == 413
    assert proxy.ask("/.well-known/jwks.json").status == 200
