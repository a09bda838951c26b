"""Whoever writes into a request writes nothing into the log but values: one line each, all of it JSON.

Hostile text in every place a client can put some. The log is looked at as bytes, at its most talkative.
"""
from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from harness.client import LOGIN, LOGOUT, REFRESH, REGISTER, SESSIONS, Account
from harness.fixtures import ServerFactory
from harness.raw import RawReply, exchange, request
from harness.server import Server

FORGED = '{"ts":"2026-01-01T00:00:00.000Z","level":"error","event":"forged","message":"x"}'
CANARY = "canary-7c1f"
UNSAMPLED = 0.06  # seconds between requests; of twenty refusals a second each has its line

# What could end a line, or a string, or drive the terminal of whoever reads the log.
TEXTS = {
    "LF": f"x\n{FORGED}\n",
    "CR": f"x\r{FORGED}\r",
    "CRLF": f"x\r\n{FORGED}\r\n",
    "quote": f'x"}}\n{FORGED}',
    "backslash": "x\\",
    "backslash quote": 'x\\"} {',
    "ESC": "\x1b[2J\x1b]0;pwned\x07",
    "NUL": "x\0y",
    "DEL": "x\x7f",
    "CSI": "\u009b2J",
    "NEL": f"x\u0085{FORGED}\u0085",
    "line separator": f"x\u2028{FORGED}\u2028",
    "paragraph separator": f"x\u2029{FORGED}",
    "right to left": "\u202egnp.exe\u202c \u2066x\u2069",
    "long": "L" * 5000,
    "long, not ASCII": "\U0001f600" * 1500,
    "looks like JSON": FORGED,
    "percent": "%n%s%0a%0d",
}
BYTES = {
    "invalid": b"\xff\xfe\xc3\x28",
    "cut short": b"x\xe2\x80",
    "surrogate": b"\xed\xa0\x80",
    "overlong": b"\xc0\x8a" + FORGED.encode(),
}
HOSTILE = {name: text.encode() for name, text in TEXTS.items()} | BYTES

# None of these may stand in a log as it is.
UNRULY = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def _header(name: str, path: str = LOGOUT) -> Callable[[bytes], bytes]:
    def make(value: bytes) -> bytes:
        body = json.dumps({"refresh_token": "x"} if path == LOGOUT else Account().body()).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
        return head + name.encode() + b": " + value + b"\r\n\r\n" + body

    return make


def _body(path: str, make_template: Callable[[], dict[str, Any]]) -> Callable[[bytes], bytes]:
    """The value in place of HERE, escaped where JSON wants it and no further."""

    def make(value: bytes) -> bytes:
        escaped = re.sub(rb'[\x00-\x1f"\\]', lambda m: b"\\u%04x" % m[0][0], value)
        body = json.dumps(make_template()).encode().replace(b"HERE", escaped)
        return request("POST", path, body, {"Connection": "close"})

    return make


def _member(path: str, name: str) -> Callable[[bytes], bytes]:
    whole = path in (LOGIN, REGISTER)
    return _body(path, lambda: {**(Account().body() if whole else {}), name: "HERE"})


def _path(prefix: str) -> Callable[[bytes], bytes]:
    return lambda value: (b"GET " + prefix.encode() + value
                          + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


PLACES: dict[str, Callable[[bytes], bytes]] = {
    "User-Agent": _header("User-Agent"),
    "X-Trace-Id": _header("X-Trace-Id"),
    "traceparent": _header("traceparent"),
    "X-Forwarded-For": _header("X-Forwarded-For"),
    "Forwarded": _header("Forwarded"),
    "Cookie": _header("Cookie"),
    "Authorization": _header("Authorization"),
    "X-Idempotency-Key": _header("X-Idempotency-Key", REGISTER),
    "Origin": _header("Origin"),
    "header name": lambda value: _header("X-" + value.decode("latin-1"))(b"x"),
    "path": _path("/"),
    "query": _path(f"{SESSIONS}?user_id="),
    "session id": _path(f"{SESSIONS}/"),
    "method": lambda value: value + b" / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "tenant_id": _member(LOGIN, "tenant_id"),
    "email": _member(LOGIN, "email"),
    "password": _member(LOGIN, "password"),
    "delivery": _member(LOGIN, "delivery"),
    "member name": _body(LOGIN, lambda: {"HERE": "x"}),
    "registered e-mail": _member(REGISTER, "email"),
    "user_id": _member(REGISTER, "user_id"),
    "refresh token": _member(REFRESH, "refresh_token"),
    "logout token": _member(LOGOUT, "refresh_token"),
}


@pytest.fixture(scope="module")
def talkative(make_shared_server: ServerFactory) -> Server:
    server = make_shared_server(LOG_LEVEL="debug", LOCKOUT_THRESHOLD="2")
    server.wait_log("service.development")
    return server


def raw_lines(server: Server) -> list[bytes]:
    """By line feeds alone; the last one ends in one as well."""
    log = server.whole_log()
    assert not log or log.endswith(b"\n")
    return log.split(b"\n")[:-1]


def assert_sound(line: bytes) -> dict[str, Any]:
    """One object, no member twice, nothing unruly, no value beyond its limit."""
    text = line.decode("utf-8")
    assert not UNRULY.search(text), f"unruly characters: {line!r}"

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), f"a member twice: {line!r}"
        return dict(pairs)

    found = json.loads(text, object_pairs_hook=once)
    assert isinstance(found, dict)
    assert found["event"] != "forged"
    for value in found.values():
        assert not isinstance(value, str) or len(value.encode()) <= 256
    return found


@pytest.mark.parametrize("place", PLACES)
def test_hostile_text_stays_a_value(talkative: Server, place: str) -> None:
    """Each request has one http.request line and the lines of its own events; no more, all sound."""
    before = len(raw_lines(talkative))
    replies: list[RawReply] = []
    for value in HOSTILE.values():
        time.sleep(UNSAMPLED)
        data = PLACES[place](value + CANARY.encode())
        replies.append(exchange(talkative.port, data, timeout=20))
    traces = [reply.header("x-trace-id") for reply in replies]
    answered = [trace for trace in traces if trace is not None]
    assert len(set(answered)) == len(answered)
    talkative.wait_log("http.request", 1)
    lines = [assert_sound(line) for line in raw_lines(talkative)[before:]]
    told = [line for line in lines if line["event"] == "http.request"]
    assert {line["trace_id"] for line in told} == set(answered)
    assert len(told) == len(answered)
    assert {line["event"] for line in lines} <= {
        "http.request", "auth.login_failed", "auth.lockout", "auth.rate_limited"}
    if place not in ("User-Agent", "X-Trace-Id"):
        assert not any(CANARY in json.dumps(line) for line in lines), "kept in the log"


def test_a_value_that_was_cut_says_so(talkative: Server) -> None:
    """256 bytes are kept as they are; of more, 253 and an ellipsis."""
    for agent, wanted in (("A" * 256, "A" * 256), ("A" * 257, "A" * 253 + "…"),
                          ("é" * 200, "é" * 126 + "…")):
        time.sleep(UNSAMPLED)
        trace = uuid.uuid4().hex
        data = _header("User-Agent")(agent.encode()).replace(
            b"Host: x", b"Host: x\r\nX-Trace-Id: " + trace.encode())
        exchange(talkative.port, data, timeout=20)
        talkative.wait_log("http.request", 1)
        (line,) = [line for line in map(assert_sound, raw_lines(talkative))
                   if line["event"] == "http.request" and line["trace_id"] == trace]
        assert line["user_agent"] == wanted


@pytest.mark.parametrize("broken", [
    b'{"event":"a"}{"event":"b"}', b'{"event":"forged"}', b'{"event":"a","event":"b"}',
    b'{"event":"a","x":"\xe2\x80\xa8"}', b'{"event":"a","x":"\xc2\x9b2J"}', b'{"event":"a","x":"\xff"}',
    b'{"event":"a","x":"\x1b[2J"}', b'{"event":"a","x":"' + b"L" * 257 + b'"}', b'["a"]', b"",
])
def test_an_unsound_line_would_be_found(broken: bytes) -> None:
    """Control."""
    assert_sound(b'{"event":"a","x":"\\u2028 caf\xc3\xa9"}')
    with pytest.raises((AssertionError, ValueError)):
        assert_sound(broken)
