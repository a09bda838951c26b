"""One request is one request: to the service alone, and to a proxy with the service behind it.

Each request hides a second one that carries a tag. If the service ever executes it, its log says
so. What a proxy answers as two requests were two; more in the log than it answered is smuggling.
"""
from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attackers.ambiguous import HOST, all_cases, hidden
from attackers.proxies import PROXIES, Proxy
from harness.fixtures import ServerFactory
from harness.raw import RawReply, exchange, exchange_all
from harness.server import Server

CASES = all_cases()
REFUSALS = {None, 400, 413, 414, 431, 501, 505}
# Odd, but every reader sees the same end: other headers, zeros, extensions, trailers.
WELL_FRAMED = {
    "CL long, b'Transfer_Encoding: chunked'", "b'Content_Length: %d'",
    r"chunk b'00000000000000000\r\n\r\n'", r"""chunk b'0;a="\r\n\r\n'""",
    r"chunk b'0\r\nTrailer: x\r\n\r\n'", r"chunk b'0\r\nContent-Length: 5\r\n\r\n'",
    r"chunk b'0\r\nX : y\r\n\r\n'",
    # libmicrohttpd 0.9.75 takes LF for CRLF in chunk lines, as RFC 9112 section 2.2 lets it; the proxies
    # in deploy/ pass no such chunk on (test_behind_a_proxy_one_request_is_one).
    r"chunk b'0\n\n'", r"chunk b'0;a\n\r\n\r\n'",
}
_probes = itertools.count()


@pytest.fixture(scope="module")
def target(module_sqlite_server: ServerFactory) -> Server:
    return module_sqlite_server(LOG_LEVEL="debug")


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, target: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    made = Proxy(request.param, target, folder)
    yield made
    made.stop()


def _executed(server: Server) -> Counter[str]:
    """How many requests with each trace id have reached the service."""
    return Counter(line.get("trace_id", "") for line in server.log_lines("http.request"))


def _all_answers(port: int) -> dict[str, tuple[list[RawReply], bool]]:
    """Every case, several at a time; by tag: the answers, and whether the connection ended."""
    def ask(case: tuple[str, str, bytes]) -> tuple[list[RawReply], bool]:
        return exchange_all(port, case[2], timeout=1.5)

    with ThreadPoolExecutor(24) as pool:
        return {case[1]: answer for case, answer in zip(CASES, pool.map(ask, CASES))}


def _probe(port: int) -> None:
    """A plain request gets its own answer, not what an earlier one has left behind."""
    tag = f"probe-{next(_probes)}"
    sent = b"GET /health/live HTTP/1.1\r\n" + HOST + b"X-Trace-Id: " + tag.encode() + b"\r\n\r\n"
    reply = exchange(port, sent)
    assert reply.status == 200 and reply.header("x-trace-id") == tag, reply


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 100
    assert len({tag for _, tag, _ in CASES}) == len(CASES)
    assert WELL_FRAMED <= {name for name, _, _ in CASES}


def test_alone_nothing_behind_a_broken_request_is_executed(target: Server) -> None:
    """Refused, closed, and the second request is never seen."""
    before = _executed(target)
    answers = _all_answers(target.port)
    _probe(target.port)
    after = _executed(target)
    wrong = []
    for name, tag, _ in CASES:
        replies, closed = answers[tag]
        first = replies[0].status if replies else None
        executed = after[tag] - before[tag]
        refused = first in REFUSALS and name not in WELL_FRAMED
        if executed > (0 if refused else len(replies) - 1) or (refused and not closed):
            wrong.append(f"{name}: {[r.status for r in replies]}, closed {closed}, {executed}")
    assert not wrong, "\n".join(wrong)


def test_control_two_requests_are_two(target: Server) -> None:
    """Pipelining is no smuggling: both are executed, and the log shows the tag."""
    first = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    replies, closed = exchange_all(target.port, first + hidden("control-alone"))
    assert [reply.status for reply in replies] == [200, 200] and closed
    assert _executed(target)["control-alone"] == 1


def test_behind_a_proxy_one_request_is_one(target: Server, proxy: Proxy) -> None:
    """The service executes no second request that the proxy has not answered as one."""
    before = _executed(target)
    answers = _all_answers(proxy.port)
    for _ in range(20):
        _probe(proxy.port)
    after = _executed(target)
    wrong = []
    for name, tag, _ in CASES:
        replies, _ = answers[tag]
        executed = after[tag] - before[tag]
        if executed > max(0, len(replies) - 1):
            wrong.append(f"{name}: {[r.status for r in replies]}, executed {executed}")
    assert not wrong, "\n".join(wrong)
    total = sum(after.values()) - sum(before.values())
    assert total <= 20 + sum(len(replies) for replies, _ in answers.values()) + 20


def test_control_a_proxy_passes_two_requests(target: Server, proxy: Proxy) -> None:
    """Two requests that are two arrive as two."""
    before = _executed(target)["control-proxy"]
    first = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    replies, _ = exchange_all(proxy.port, first + hidden("control-proxy"))
    assert [reply.status for reply in replies] == [200, 200]
    assert _executed(target)["control-proxy"] == before + 1
