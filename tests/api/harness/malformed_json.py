"""Requests that are good HTTP with a bad body, media type, token, method or path.

Each case is the bytes of a request and the only status (or statuses) it may be answered with.
"""
from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .client import LOGIN, LOGOUT, REFRESH, REGISTER, SESSIONS
from .raw import request

TENANT = "0190a6c0-0000-7000-8000-00000000aaaa"
EMAIL = "nobody@example.com"
PASSWORD = "violet kettle orbits dusk"

BODY = {
    LOGIN: {"tenant_id": TENANT, "email": EMAIL, "password": PASSWORD},
    REGISTER: {"tenant_id": TENANT, "email": EMAIL, "password": PASSWORD},
    REFRESH: {"refresh_token": "wwr_x"},
    LOGOUT: {"refresh_token": "wwr_x"},
}


@dataclass(frozen=True)
class Case:
    """One request, the statuses allowed, and what the message must name."""

    name: str
    data: bytes
    status: tuple[int | None, ...]
    names: str | None = None


def _post(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    return request("POST", path, body, headers)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _with(path: str, **changes: Any) -> bytes:
    return _json({**BODY[path], **changes})


def _nested(depth: int) -> bytes:
    """A login whose password is made of arrays, `depth` levels in all."""
    arrays = "[" * (depth - 1) + "]" * (depth - 1)
    return _with(LOGIN).replace(_json(PASSWORD), arrays.encode())


def _raw_password(text: bytes) -> bytes:
    return _with(LOGIN).replace(_json(PASSWORD), text)


GOOD = _with(LOGIN)
WHERE = f'"{PASSWORD}"'.encode()

SYNTAX: dict[str, bytes] = {
    "empty body": b"",
    "blanks": b" \n\t ",
    "open brace": b"{",
    "close brace": b"}",
    "open bracket": b"[",
    "array": b"[]",
    "array around the object": b"[" + GOOD + b"]",
    "string": b'"x"',
    "null": b"null",
    "true": b"true",
    "number": b"1",
    "cut": GOOD[:-1],
    "cut in a string": GOOD[:-4],
    "trailing comma": GOOD[:-1] + b",}",
    "leading comma": b"{," + GOOD[1:],
    "two commas": GOOD.replace(b", ", b",,", 1),
    "missing comma": GOOD.replace(b", ", b" ", 1),
    "missing colon": GOOD.replace(b": ", b" ", 1),
    "equals sign": GOOD.replace(b": ", b"=", 1),
    "single quotes": GOOD.replace(b'"', b"'"),
    "member without quotes": GOOD.replace(b'"email"', b"email"),
    "comment": GOOD[:-1] + b"/* x */}",
    "line comment": b"// x\n" + GOOD,
    "trailing letter": GOOD + b"x",
    "trailing brace": GOOD + b"}",
    "two objects": GOOD + GOOD,
    "two objects, one a line": GOOD + b"\n" + GOOD,
    "trailing NUL": GOOD + b"\x00",
    "leading NUL": b"\x00" + GOOD,
    "BOM": b"\xef\xbb\xbf" + GOOD,
    "UTF-16 LE": GOOD.decode().encode("utf-16-le"),
    "UTF-16 BE with BOM": b"\xfe\xff" + GOOD.decode().encode("utf-16-be"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "gzip without saying so": gzip.compress(GOOD),
    "form data": b"tenant_id=x&email=y&password=z",
    "XML": b"<login/>",
    "NaN": _raw_password(b"NaN"),
    "Infinity": _raw_password(b"Infinity"),
    "-Infinity": _raw_password(b"-Infinity"),
    "nan": _raw_password(b"nan"),
    "undefined": _raw_password(b"undefined"),
    "True": _raw_password(b"True"),
    "number with a leading zero": _raw_password(b"01"),
    "number with a plus": _raw_password(b"+1"),
    "number without digits before the dot": _raw_password(b".5"),
    "number without digits after the dot": _raw_password(b"1."),
    "number in hex": _raw_password(b"0x10"),
    "number with a bad exponent": _raw_password(b"1e"),
    "raw newline in a string": _raw_password(b'"violet kettle\norbits dusk"'),
    "raw tab in a string": _raw_password(b'"violet kettle\torbits dusk"'),
    "raw NUL in a string": _raw_password(b'"violet kettle\x00orbits dusk"'),
    "raw escape character in a string": _raw_password(b'"violet \x1b[0m kettle orbits"'),
    "NUL escape in a password": _raw_password(b'"violet kettle \\u0000 orbits dusk"'),
    "NUL escape in an e-mail": GOOD.replace(b"nobody@", b"nobody\\u0000@"),
    "NUL escape in a member name": GOOD.replace(b'"email"', b'"email\\u0000"'),
    "bad escape": _raw_password(b'"violet \\x kettle orbits"'),
    "short unicode escape": _raw_password(b'"violet kettle orbits \\u12"'),
    "bad unicode escape": _raw_password(b'"violet kettle \\u12G4 orbits"'),
    "lone high surrogate": _raw_password(b'"violet kettle \\ud800 orbits"'),
    "lone low surrogate": _raw_password(b'"violet kettle \\udc00 orbits"'),
    "surrogates in the wrong order": _raw_password(b'"violet kettle \\udc00\\ud800 orbits"'),
    "two high surrogates": _raw_password(b'"violet kettle \\ud800\\ud800 orbits"'),
    "high surrogate at the end": _raw_password(b'"violet kettle orbits \\ud83d"'),
    "byte FF": _raw_password(b'"violet kettle \xff orbits"'),
    "Latin-1": _raw_password(b'"violet kettle caf\xe9 orbits"'),
    "overlong slash": _raw_password(b'"violet kettle \xc0\xaf orbits"'),
    "overlong NUL": _raw_password(b'"violet kettle \xc0\x80 orbits"'),
    "surrogate in UTF-8": _raw_password(b'"violet kettle \xed\xa0\x80 orbits"'),
    "beyond Unicode": _raw_password(b'"violet kettle \xf4\x90\x80\x80 orbits"'),
    "cut UTF-8": _raw_password(b'"violet kettle orbits \xe2\x82"'),
    "lone continuation byte": _raw_password(b'"violet kettle \x80 orbits"'),
    "bad UTF-8 in a member name": GOOD[:-1] + b',"\xff":1}',
    "tenant_id twice": GOOD[:-1] + f',"tenant_id":"{TENANT}"}}'.encode(),
    "email twice": GOOD[:-1] + b',"email":"other@example.com"}',
    "password twice": GOOD[:-1] + b',"password":"other"}',
    "password twice, once escaped": GOOD[:-1] + b',"p\\u0061ssword":"other"}',
    "a member twice below": _raw_password(b'{"a":1,"a":2}'),
    "depth 9": _nested(9),
    "depth 100": _nested(100),
    "depth 5000": _nested(5000),
    "depth 5000, never closed": b"[" * 5000,
    "objects of depth 1000, never closed": b'{"a":' * 1000,
}


def syntax_cases() -> Iterator[Case]:
    """What is no acceptable JSON text at all: 400."""
    for name, body in SYNTAX.items():
        yield Case(f"syntax: {name}", _post(LOGIN, body), (400,))
    for path in (REGISTER, REFRESH, LOGOUT):
        for name in ("cut", "array", "trailing letter", "BOM", "byte FF", "null"):
            yield Case(f"syntax: {name} on {path}", _post(path, SYNTAX[name]), (400,))
    twice = b'{"refresh_token":"wwr_x","refresh_token":"wwr_y"}'
    for path in (REFRESH, LOGOUT):
        yield Case(f"syntax: refresh_token twice on {path}", _post(path, twice), (400,))


def shape_cases() -> Iterator[Case]:
    """Good JSON of the wrong shape: 422 naming the member."""
    wrong = {"null": None, "true": True, "integer": 1, "real": 1.5, "array": [], "object": {}}
    for path, body in BODY.items():
        for member in body:
            for kind, value in wrong.items():
                sent = _post(path, _with(path, **{member: value}))
                yield Case(f"shape: {member} {kind} on {path}", sent, (422,), member)
            if path in (LOGIN, REGISTER):
                less = {name: value for name, value in body.items() if name != member}
                yield Case(f"shape: {member} missing on {path}", _post(path, _json(less)), (422,),
                           member)
    for text in ("", "x", TENANT[:-1], TENANT + "0", "{" + TENANT + "}", TENANT.replace("-", "_"),
                 "0" * 1000, "' OR 1=1 --", "ø" * 32):
        yield Case(f"shape: tenant_id {text[:40]!r}", _post(LOGIN, _with(LOGIN, tenant_id=text)),
                   (422,), "tenant_id")
    for value in (1, True, [], {}, "x", ""):
        yield Case(f"shape: user_id {value!r}", _post(REGISTER, _with(REGISTER, user_id=value)),
                   (422,), "user_id")
    for value in (1, True, [], {}, "x", ""):
        yield Case(f"shape: delivery {value!r}", _post(LOGIN, _with(LOGIN, delivery=value)),
                   (422,), "delivery")
    yield Case("shape: depth 8", _post(LOGIN, _nested(8)), (422,), "password")
    yield Case("shape: huge integer", _post(LOGIN, _raw_password(b"9" * 30)), (400, 422))
    yield Case("shape: huge real", _post(LOGIN, _raw_password(b"1e400")), (400, 422))
    yield Case("shape: integer of 10,000 digits", _post(LOGIN, _raw_password(b"9" * 10000)),
               (400, 422))


def unknown_cases() -> Iterator[Case]:
    """Members nobody asked for: 400 naming the member."""
    for member in ("is_admin", "role", "sub", "Email", "email ", "__proto__", "password_hash",
                   "session_id", "refresh_token", "user_id", "status", "tenantId"):
        yield Case(f"unknown: {member} on login", _post(LOGIN, _with(LOGIN, **{member: "x"})),
                   (400,), member.strip())
    for member in ("is_admin", "delivery", "password_hash", "status", "created_at"):
        yield Case(f"unknown: {member} on register",
                   _post(REGISTER, _with(REGISTER, **{member: "x"})), (400,), member)
    for path in (REFRESH, LOGOUT):
        for member in ("refreshToken", "token", "session_id", "password"):
            yield Case(f"unknown: {member} on {path}", _post(path, _with(path, **{member: "x"})),
                       (400,), member)
    yield Case("unknown: empty name", _post(LOGIN, _with(LOGIN, **{"": 1})), (400,))
    many = {f"m{n}": n for n in range(1000)}
    yield Case("unknown: 1,000 members", _post(LOGIN, _with(LOGIN, **many)), (400,))
    yield Case("unknown: name of 4 KiB", _post(LOGIN, _with(LOGIN, **{"n" * 4096: 1})), (400,))


def value_cases() -> Iterator[Case]:
    """Good shape, impossible values."""
    for email in ("", "x", "@", "a@", "a@b@c.example", "a b@example.com", "a@exa\nmple.com",
                  "\u202ea@example.com", "a@" + "x" * 300 + ".com", "x" * 5000):
        for path in (LOGIN, REGISTER):
            yield Case(f"value: e-mail {email[:30]!r} on {path}",
                       _post(path, _with(path, email=email)), (400,))
    for password in ("", "short", "passwordpassword", "p" * 257, "\U0001f600" * 300):
        yield Case(f"value: password {password[:20]!r}",
                   _post(REGISTER, _with(REGISTER, password=password)), (400,))
    for token in ("x", "wwr_", "wwr_x", "wwr_" + "A" * 94, "wwr_" + "=" * 94, "\u00e9" * 98,
                  "wwr_" + "A" * 10000, " ", "null"):
        for path in (REFRESH, LOGOUT):
            # 94 letters have a token's form: for logout an unknown token, and that is fine
            known_form = path == LOGOUT and token == "wwr_" + "A" * 94
            yield Case(f"value: token {token[:24]!r} ({len(token)}) on {path}",
                       _post(path, _with(path, refresh_token=token)),
                       (200, 401) if known_form else (401,))
    for path in (REFRESH, LOGOUT):
        yield Case(f"value: no token on {path}", _post(path, b"{}"), (400,))
        yield Case(f"value: empty token on {path}", _post(path, _with(path, refresh_token="")),
                   (400, 401))
        for cookie in ("refresh=x", "refresh=wwr_", "refresh=" + "A" * 4000, 'refresh="wwr_x"',
                       "refresh=%00", "refresh=wwr_x; refresh=wwr_y", "refresh=\xe9"):
            yield Case(f"value: cookie {cookie[:24]!r} on {path}",
                       _post(path, b"", {"Cookie": cookie}), (401,))


def size_cases() -> Iterator[Case]:
    """Around 16 KiB and far beyond."""
    small = _with(REFRESH)
    yield Case("size: 16 KiB", _post(REFRESH, small.ljust(16384)), (401,))
    yield Case("size: 16 KiB and 1", _post(REFRESH, small.ljust(16385)), (413,))
    yield Case("size: 64 KiB", _post(REFRESH, small.ljust(65536)), (413,))
    yield Case("size: 1 MiB", _post(LOGIN, _with(LOGIN, password="p" * (1 << 20))), (413, None))
    for path in (REGISTER, LOGOUT):
        yield Case(f"size: 17,000 on {path}", _post(path, _json(BODY[path]).ljust(17000)), (413,))
    chunk = b"%x\r\n%s\r\n" % (8192, b" " * 8192)
    chunked = {"Transfer-Encoding": "chunked"}
    head = request("POST", REFRESH, b"", chunked).replace(b"Content-Length: 0\r\n", b"")
    yield Case("size: 24 KiB in chunks", head + chunk * 3 + b"0\r\n\r\n", (413,))
    yield Case("size: 16 KiB in chunks", head + b"%x\r\n%s\r\n" % (len(small), small)
               + b"0\r\n\r\n", (401,))


def media_cases() -> Iterator[Case]:
    """Only JSON: 415."""
    kinds = ("text/plain", "text/json", "application/x-www-form-urlencoded", "application/xml",
             "multipart/form-data; boundary=x", "application/jsonx", "application", "json", "",
             "application/json, text/plain", "application/json; charset=utf-16",
             "application/json; charset=latin-1", "image/json", "*/*", "application/*",
             "application/octet-stream", "application/ json", "application/+json/x")
    for kind in kinds:
        yield Case(f"media: {kind!r}", _post(LOGIN, GOOD, {"Content-Type": kind}), (415,))
    none = _post(LOGIN, GOOD).replace(b"Content-Type: application/json\r\n", b"")
    yield Case("media: none", none, (415,))
    for path in (REGISTER, REFRESH, LOGOUT):
        sent = _post(path, _with(path), {"Content-Type": "text/plain"})
        yield Case(f"media: text on {path}", sent, (415,))
    double = _post(LOGIN, GOOD).replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain\r\n\r\n", 1)
    yield Case("media: two types", double, (400, 415))
    packed = _post(LOGIN, gzip.compress(GOOD), {"Content-Encoding": "gzip"})
    yield Case("media: gzip", packed, (400, 415))


def token_cases() -> Iterator[Case]:
    """Bearer tokens that are none, and ids that are none."""
    for value in ("", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Bearer ..", "bearer",
                  "Bearer " + "A" * 3000, "Bearer \xe9", "Bearer wwr_x", "Basic eDp5", "x",
                  "Bearer eyJhbGciOiJub25lIn0.e30."):
        sent = request("GET", SESSIONS, headers={"Authorization": value})
        yield Case(f"bearer: {value[:30]!r}", sent, (401,))
    for part in (TENANT, "x", "%27", "%00", "..%2f", "A" * 1000):
        yield Case(f"bearer: none for session {part[:20]!r}",
                   request("POST", f"{SESSIONS}/{part}/revoke"), (401, 404))
    long_key = {"X-Idempotency-Key": "k" * 256}
    sent = _post(REGISTER, _with(REGISTER), long_key)
    yield Case("header: X-Idempotency-Key of 256", sent, (400,))


def all_json_cases() -> list[Case]:
    groups = (syntax_cases, shape_cases, unknown_cases, value_cases, size_cases, media_cases,
              token_cases)
    return [case for group in groups for case in group()]
