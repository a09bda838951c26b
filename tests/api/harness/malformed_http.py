"""Requests that are broken as HTTP: refused with 400 (or the end of the connection), nothing
behind them on the same connection is ever taken for a request.
"""
from __future__ import annotations

import json
from collections.abc import Iterator

from .client import REFRESH
from .malformed_json import Case

BODY = json.dumps({"refresh_token": "wwr_x"}).encode()
LIVE = b"GET /health/live HTTP/1.1\r\n"
HOST = b"Host: 127.0.0.1\r\n"
REFUSED = (400, None)
# A second request, hidden behind the first: it must never be answered.
HIDDEN = b"GET /api/auth/jwks HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def _post(lines: list[bytes], body: bytes = BODY) -> bytes:
    """A refresh with these lines in place of Content-Length."""
    head = f"POST {REFRESH} HTTP/1.1\r\n".encode() + HOST + b"Content-Type: application/json\r\n"
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def _chunked(body: bytes) -> bytes:
    return _post([b"Transfer-Encoding: chunked"], body)


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


def length_cases() -> Iterator[Case]:
    """Where does the body end?"""
    te = b"Transfer-Encoding: chunked"
    yield Case("CL and TE", _post([LENGTH, te], CHUNKS), REFUSED)
    yield Case("TE and CL", _post([te, LENGTH], CHUNKS), REFUSED)
    yield Case("CL 0 and TE", _post([b"Content-Length: 0", te], CHUNKS), REFUSED)
    yield Case("two different CL", _post([LENGTH, b"Content-Length: 5"]), REFUSED)
    yield Case("two equal CL and another", _post([LENGTH, LENGTH, b"Content-Length: 0"]), REFUSED)
    yield Case("CL list", _post([LENGTH + b", 5"]), REFUSED)
    for value in (b"+27", b"-1", b"0x1b", b"2 7", b"1e1", b"abc", b"27x", b"\"27\"", b"27;",
                  b"27.0", b"", b"\xb2\xb7"):
        yield Case(f"CL {value.decode('latin-1')!r}", _post([b"Content-Length: " + value]), REFUSED)
    for number in (b"99999999999999999999", b"18446744073709551643", b"9223372036854775808"):
        sent = _post([b"Content-Length: " + number])
        yield Case(f"CL {number.decode()}", sent, (400, 413, None))
    yield Case("CL with a blank before the colon",
               _post([b"Content-Length : %d" % len(BODY)]), REFUSED)


def transfer_cases() -> Iterator[Case]:
    """Transfer codings and chunks."""
    for value in (b"xchunked", b"chunked, chunked", b"chunked, identity", b"identity, chunked",
                  b"gzip, chunked", b"chunked, gzip", b"gzip", b"identity", b"chunk", b"",
                  b"chunked;q=1", b"\"chunked\"", b"\x0bchunked", b"cow"):
        name = f"TE {value.decode('latin-1')!r}"
        allowed = (400, 501, None)
        yield Case(name, _post([b"Transfer-Encoding: " + value], CHUNKS), allowed)
    yield Case("TE twice", _post([b"Transfer-Encoding: chunked"] * 2, CHUNKS), REFUSED)
    yield Case("TE with a blank before the colon",
               _post([b"Transfer-Encoding : chunked"], CHUNKS), REFUSED)
    yield Case("TE after a tab", _post([b"\tTransfer-Encoding: chunked"], CHUNKS), REFUSED)
    for size in (b"zz", b"-1", b"+5", b"0x5", b"FFFFFFFFFFFFFFFFF", b"10000000000000000",
                 b" 5", b"", b"5 5", b"\xb2"):
        sent = _chunked(size + b"\r\nhello\r\n0\r\n\r\n")
        yield Case(f"chunk size {size.decode('latin-1')!r}", sent, (400, 413, None))
    yield Case("chunk longer than its size", _chunked(b"3\r\nhello\r\n0\r\n\r\n"), REFUSED)
    yield Case("chunk without an end of line", _chunked(b"5\r\nhello0\r\n\r\n"), REFUSED)
    yield Case("TE with a NUL", _post([b"Transfer-Encoding: chunked\x00", b"X-A: y"], CHUNKS),
               REFUSED)


def forgiven_cases() -> Iterator[Case]:
    """What libmicrohttpd 0.9.75 takes for a canonical request, and leaves no trace of: both
    proxies in deploy/ refuse it or write it anew.
    """
    yield Case("chunks ended by LF", _chunked(b"5\nhello\n0\n\n"), (400,))
    yield Case("NUL at the end of the header section",
               _post([b"Transfer-Encoding: chunked\x00"], CHUNKS), (401,))


def header_cases() -> Iterator[Case]:
    """Header lines."""
    lines = {
        "two Hosts": HOST + b"Host: evil.example\r\n",
        "two equal Hosts": HOST + HOST,
        "no Host": b"X: y\r\n",
        "Host with blanks": b"Host: a b\r\n",
        "Host list": b"Host: a, b\r\n",
        "obs-fold": HOST + b"X-A: one\r\n two\r\n",
        "obs-fold with a tab": HOST + b"X-A: one\r\n\ttwo\r\n",
        "obs-fold of the first line": b" x\r\n" + HOST,
        "header without a colon": HOST + b"nonsense\r\n",
        "header without a name": HOST + b": x\r\n",
        "blank before the colon": HOST + b"X-A : x\r\n",
        "blank in the name": HOST + b"X A: x\r\n",
        "NUL in the name": HOST + b"X\x00A: x\r\n",
        "NUL in the value": HOST + b"X-A: x\x00y\r\n",
        "bare CR in the value": HOST + b"X-A: x\ry\r\n",
        "bare CR before a header": HOST + b"X-A: x\rHost: evil\r\n",
        "brackets in the name": HOST + b"X[A]: x\r\n",
        "letter beyond ASCII in the name": HOST + b"X\xe9: x\r\n",
        "control character in the name": HOST + b"X\x01: x\r\n",
    }
    for name, text in lines.items():
        yield Case(name, LIVE + text + b"\r\n", REFUSED)
    yield Case("bare LF everywhere", b"GET /health/live HTTP/1.1\nHost: x\n\n", REFUSED)
    yield Case("bare LF after the first line", b"GET /health/live HTTP/1.1\n" + HOST + b"\r\n",
               REFUSED)
    yield Case("bare LF after a header", LIVE + b"Host: x\n" + b"X-A: y\r\n\r\n", REFUSED)
    yield Case("bare LF as the end of the headers", LIVE + HOST + b"\n", REFUSED)


def line_cases() -> Iterator[Case]:
    """Request lines."""
    tail = b"\r\n" + HOST + b"\r\n"
    odd = {
        "no version": (b"GET /health/live", REFUSED),
        "lower-case version": (b"GET /health/live http/1.1", REFUSED),
        "version 2": (b"GET /health/live HTTP/2.0", (400, 505, None)),
        "version 0.9": (b"GET /health/live HTTP/0.9", (400, 505, None)),
        "version 1.1x": (b"GET /health/live HTTP/1.1x", (400, 505, None)),
        "version 11": (b"GET /health/live HTTP/11", (400, 505, None)),
        "version XTTP": (b"GET /health/live XTTP/1.1", REFUSED),
        "blank in the target": (b"GET /health/ live HTTP/1.1", REFUSED),
        "two blanks": (b"GET  /health/live HTTP/1.1", REFUSED),
        "tabs": (b"GET\t/health/live\tHTTP/1.1", REFUSED),
        "leading blank": (b" GET /health/live HTTP/1.1", REFUSED),
        "no target": (b"GET HTTP/1.1", REFUSED),
        "method only": (b"GET", REFUSED),
        "empty method": (b" /health/live HTTP/1.1", REFUSED),
        "brackets in the method": (b"G[E]T /health/live HTTP/1.1", (400, 405, 501, None)),
        "NUL in the target": (b"GET /health/live\x00 HTTP/1.1", (400, 404, None)),
        "NUL in the method": (b"G\x00T /health/live HTTP/1.1", (400, 405, 501, None)),
        "target without a slash": (b"GET health/live HTTP/1.1", (400, 404, None)),
        "absolute target of another host":
            (b"GET http://evil.example/health/live HTTP/1.1", (400, 404, None)),
        "CONNECT": (b"CONNECT 127.0.0.1:80 HTTP/1.1", (400, 404, 405, 501, None)),
        "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", REFUSED),
        "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n", (400, 505, None)),
        "binary": (bytes(range(1, 10)) + b"\x80\x81\xff", REFUSED),
        "answer": (b"HTTP/1.1 200 OK", (400, 505, None)),
    }
    for name, (line, allowed) in odd.items():
        yield Case(f"request line: {name}", line + tail, allowed)


def large_cases() -> Iterator[Case]:
    """Header sections and targets too large."""
    large = (431, None)
    yield Case("one header of 64 KiB", LIVE + HOST + b"X-A: " + b"x" * 65536 + b"\r\n\r\n", large)
    huge = b"X-A: " + b"x" * (1 << 20)
    yield Case("one header of 1 MiB", LIVE + HOST + huge + b"\r\n\r\n", large)
    many = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 50) for n in range(5000))
    yield Case("5,000 headers", LIVE + HOST + many + b"\r\n", large)
    yield Case("header name of 64 KiB", LIVE + HOST + b"X" * 65536 + b": y\r\n\r\n", large)
    for size in (65536, 1 << 20):
        line = b"GET /" + b"a" * size + b" HTTP/1.1\r\n"
        yield Case(f"target of {size}", line + HOST + b"\r\n", (400, 404, 414, 431, None))
        line = b"GET /health/live?" + b"a" * size + b" HTTP/1.1\r\n"
        yield Case(f"query of {size}", line + HOST + b"\r\n", (400, 414, 431, None))
    line = b"A" * 65536 + b" /health/live HTTP/1.1\r\n"
    yield Case("method of 64 KiB", line + HOST + b"\r\n", (400, 405, 414, 431, 501, None))


def all_http_cases() -> list[Case]:
    groups = (length_cases, transfer_cases, header_cases, line_cases, large_cases)
    return [case for group in groups for case in group()]
