"""Requests whose end two readers may see at two places; a second request hides in each."""
from __future__ import annotations

from collections.abc import Iterator

from harness.client import REFRESH
from harness.malformed_http import all_http_cases

HOST = b"Host: auth.example.com\r\n"


def hidden(tag: str) -> bytes:
    """The second request; the log shows its tag if it is ever executed."""
    return (b"GET /api/auth/jwks HTTP/1.1\r\n" + HOST + b"X-Trace-Id: " + tag.encode()
            + b"\r\nConnection: close\r\n\r\n")


def _post(lines: bytes, body: bytes) -> bytes:
    head = f"POST {REFRESH} HTTP/1.1\r\n".encode() + HOST + b"Content-Type: application/json\r\n"
    return head + lines + b"\r\n" + body


CODINGS = (
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding:chunked",
    b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked ", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked", b"X: y\r\n Transfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
    b"Transfer_Encoding: chunked", b"Transfer-Encoding\x00: chunked",
)
LENGTHS = (
    b"Content-Length: 0\r\nContent-Length: %d", b"Content-Length: %d\r\nContent-Length: 0",
    b"Content-Length: 0, %d", b"Content-Length: +%d", b"Content-Length: -0\r\nX: %d",
    b"Content-Length: 0x%x", b"Content-Length: 0%d", b"Content-Length : %d",
    b"Content-Length: 0\r\n Content-Length: %d", b"Content-Length: 0\nContent-Length: %d",
    b"Content-Length: 0\rContent-Length: %d", b"Content_Length: %d", b"Content-Length:\x0b%d",
    b"Content-Length: 1844674407370955161%d", b"Content-Length: 4294967296\r\nX: %d",
)
CHUNKS = (
    b"0;a\n\r\n\r\n", b"0\n\n", b"0\r\r\n\r\n", b"0 \r\n\r\n", b"00000000000000000\r\n\r\n",
    b"0;a=\"\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nX : y\r\n\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"0x0\r\n\r\n", b"\r\n0\r\n\r\n",
    b"10000000000000000\r\n\r\n", b"1\r\nA0\r\n\r\n", b"1\r\nAX0\r\n\r\n", b"2\r\n{}\r0\r\n\r\n",
)


def _ambiguous(tag: str) -> Iterator[tuple[str, bytes]]:
    second = hidden(tag)
    for coding in CODINGS:
        ended = b"0\r\n\r\n" + second
        yield f"CL long, {coding!r}", _post(b"Content-Length: %d\r\n" % len(ended) + coding
                                            + b"\r\n", ended)
        short = b"Content-Length: 0\r\n" + coding + b"\r\n"
        yield f"CL short, {coding!r}", _post(short, b"%x\r\n" % len(second) + second
                                             + b"\r\n0\r\n\r\n")
    for length in LENGTHS:
        yield f"{length!r}", _post(length % len(second) + b"\r\n", second)
    for chunk in CHUNKS:
        yield f"chunk {chunk!r}", _post(b"Transfer-Encoding: chunked\r\n", chunk + second)


def all_cases() -> list[tuple[str, str, bytes]]:
    """Name, tag of the second request, bytes."""
    found: list[tuple[str, str, bytes]] = []

    def tag() -> str:
        return f"hidden-{len(found)}"

    for number, (name, _) in enumerate(list(_ambiguous("x"))):
        found.append((name, tag(), list(_ambiguous(tag()))[number][1]))
    for case in all_http_cases():
        found.append((case.name, tag(), case.data + hidden(tag())))
    return found
