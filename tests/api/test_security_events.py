"""Every security event once: in the answer, in the log, in the counters and in the stream of events,
under one trace id.

harness/story.py causes them and keeps its own account; here the service's account must be the same.
"""
from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.client import LOGIN, REFRESH, Account
from harness.events import assert_sound, wait_events
from harness.fixtures import ServerFactory
from harness.nats import NatsServer
from harness.raw import Volley, json_request
from harness.server import Server
from harness.settings import slowness
from harness.story import SETTINGS, Count, Entry, Story
from test_metrics import scrape
from test_secrecy import assert_absent, needles

WIDE = 32
OWN_LINES = ("auth.login_failed", "auth.lockout", "auth.rate_limited", "auth.hash_busy",
             "security.refresh_replay_detected")
COUNTERS = ("auth_login_total", "auth_register_total", "auth_refresh_total", "auth_logout_total",
            "auth_lockouts_total", "auth_rate_limited_total", "auth_refresh_replay_total",
            "auth_password_verify_duration_seconds_count", "http_requests_total")


def _health(labels: tuple[str, ...]) -> bool:
    return any("health" in value for value in labels)


def counted(server: Server) -> Counter[Count]:
    """All counters of events that are not 0, without the health checks of the harness."""
    found = scrape(server)
    return Counter({
        (name, *labels): value for name in COUNTERS
        for labels, value in found.nonzero(name).items() if not _health(labels)})


def lines_by_trace(server: Server) -> dict[str, list[dict[str, Any]]]:
    result: dict[str, list[dict[str, Any]]] = {}
    for line in server.log_lines():
        result.setdefault(line.get("trace_id", ""), []).append(line)
    return result


def assert_lines(entry: Entry, lines: list[dict[str, Any]], *, sampled: bool) -> None:
    """One line for the request and one for each security event in it, and no other."""
    events = Counter(line["event"] for line in lines)
    wanted = Counter(("http.request", *entry.lines))
    if sampled:  # some may have been left out, but never what went well
        refused = entry.reason not in ("ok", "retried")
        events |= wanted & Counter((*OWN_LINES, "http.request") if refused else OWN_LINES)
    assert events == wanted, f"{entry.event}: {lines}"
    for line in lines:
        assert line["client_ip"] == entry.address, entry.event
        assert line["user_agent"] == "teller"
        if line["event"] == "http.request":
            assert (line["route"], line["status"], line["reason"]) == (
                entry.route, entry.status, entry.reason), entry.event
            assert "fault" not in line and line["level"] == "info"


def settle(server: Server, traces: int) -> dict[str, list[dict[str, Any]]]:
    """The log once it tells of so many requests: an answer may be read before its line is."""
    deadline = time.monotonic() + 5 * slowness()
    while written_or_suppressed(server, Counter({"http.request": 1})).total() < traces:
        assert time.monotonic() < deadline, "the log does not tell of every request"
        time.sleep(0.05)
    return lines_by_trace(server)


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats").start()
    yield server
    server.kill()


def assert_told(nats: NatsServer, entries: list[Entry]) -> None:
    """Consumers get each change once, under its trace id, and nothing else."""
    wanted = Counter((entry.trace, subject) for entry in entries for subject in entry.told)
    found = wait_events(nats, wanted.total(), seconds=60)
    assert_sound(found)
    assert Counter((m.event["trace_id"], m.subject) for m in found) == wanted
    assert len({m.event["event_id"] for m in found}) == len(found)


def test_thirty_events_one_by_one(make_server: ServerFactory, nats: NatsServer) -> None:
    """Each has exactly the lines, counts and events it must have, and its trace id everywhere."""
    server = make_server(NATS_URL=nats.url, **SETTINGS)
    story = Story(server, pause=0.12)
    story.play()
    events = {entry.event for entry in story.entries if not entry.event.endswith("_not_yet")}
    assert len(events) >= 30, sorted(events)
    lines = settle(server, len(story.entries))
    for entry in story.entries:
        assert_lines(entry, lines[entry.trace], sampled=False)
    told = {entry.trace for entry in story.entries} | {""}
    assert {line["event"] for trace in set(lines) - told for line in lines[trace]} == set()
    assert counted(server) == story.counts()
    assert_told(nats, story.entries)


def test_thirty_events_thirty_two_at_once(make_server: ServerFactory, nats: NatsServer) -> None:
    """The same by 32 tellers at once: counters and events exact, everything that went well with its
    line, and what a flood left out of the log is stated in it."""
    server = make_server(NATS_URL=nats.url, **SETTINGS)
    stories = [Story(server) for _ in range(WIDE)]
    failures: list[BaseException] = []

    def play(story: Story) -> None:
        try:
            story.play()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=play, args=(story,)) for story in stories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    time.sleep(2)  # the next line of each event then says how many are missing
    stories.append(Story(server, pause=0.12))
    stories[-1].play()
    entries = [entry for story in stories for entry in story.entries]
    assert counted(server) == sum((story.counts() for story in stories), Counter())
    lines = settle(server, len(entries))
    for entry in entries:
        assert_lines(entry, lines.get(entry.trace, []), sampled=True)
    wanted = Counter(line for entry in entries for line in ("http.request", *entry.lines))
    assert written_or_suppressed(server, wanted) == wanted
    assert_told(nats, entries)


def written_or_suppressed(server: Server, events: Counter[str]) -> Counter[str]:
    return Counter({
        event: sum(1 + line.get("suppressed", 0) for line in server.log_lines(event))
        for event in events})


def test_what_is_turned_away_is_counted_exactly(make_server: ServerFactory) -> None:
    """503 auth_busy: as many in the counters and in the log as were answered."""
    server = make_server(MAX_CONCURRENT_HASHES="1", HASH_ACQUIRE_TIMEOUT_MS="50")
    answered: Counter[str] = Counter()
    for _ in range(4):
        with Volley([server.port], WIDE) as volley:
            replies = volley.fire([json_request(LOGIN, Account().body()) for _ in range(WIDE)])
        answered.update(str(reply.status) for reply in replies)
        assert {reply.json()["error"] for reply in replies if reply.status == 503} <= {"auth_busy"}
        time.sleep(1.1)
    busy, failed = answered.pop("503"), answered.pop("401")
    assert not answered and busy > WIDE and failed > 0
    found = scrape(server)
    assert found.nonzero("auth_login_total") == {
        ("hash_busy", "failure"): busy, ("not_found", "failure"): failed}
    assert sum(found.nonzero("auth_lane_shed_total").values()) >= busy
    last = len(server.log_lines("auth.hash_busy"))
    with Volley([server.port], WIDE) as volley:  # so that the last ones left out are stated
        replies = volley.fire([json_request(LOGIN, Account().body()) for _ in range(WIDE)])
    more = sum(reply.status == 503 for reply in replies)
    lines = server.log_lines("auth.hash_busy")
    assert len(lines) > last
    assert busy <= sum(1 + line.get("suppressed", 0) for line in lines) <= busy + more


def _as_sent(response: httpx.Response) -> bytes:
    return b"\n".join(b"%b: %b" % field for field in response.headers.raw) + response.content


def test_no_answer_log_or_metric_holds_a_secret(make_server: ServerFactory) -> None:
    """After everything that can happen, at the most talkative level: no password, hash, key or server
    secret anywhere, and tokens in the answers that are for them alone."""
    pepper = secrets.token_bytes(32)
    server = make_server(
        LOG_LEVEL="debug", PASSWORD_PEPPER="p1:" + base64.b64encode(pepper).decode(), **SETTINGS)
    story = Story(server)
    story.play()
    said = [_as_sent(response) for response in story.answers]
    everything = b"\n".join([*said, server.ops("/metrics").content, server.whole_log()])
    secret = server.settings["SERVICE_SECRET"] or ""
    hidden = {"server secret": secret.encode(), "its bytes": bytes.fromhex(secret),
              "pepper": pepper, "hash": b"$argon2id$", "key": b"PRIVATE KEY"}
    for what, value in hidden.items():
        assert_absent(everything, needles(value) | {value}, what)
    assert len(story.passwords) > 10
    for password in story.passwords - {"short"}:
        assert_absent(everything, needles(password.encode()), "password")
    for response, bytes_sent in zip(story.answers, said):
        given = response.status_code == 200 and response.url.path in (LOGIN, REFRESH)
        assert (b"wwr_" in bytes_sent) == (b"eyJ" in bytes_sent) == given, bytes_sent
    log = server.whole_log()
    assert b"wwr_" not in log and b"eyJ" not in log


def test_start_and_stop_are_told_once(make_server: ServerFactory) -> None:
    """service.started, service.draining, service.stopped: one line each, in this order."""
    server = make_server()
    server.stop()
    told = [line["event"] for line in server.log_lines() if line["event"].startswith("service.")]
    assert told == ["service.started", "service.development", "service.draining",
                    "service.stopped"]


@pytest.mark.parametrize("broken", ["line", "trace", "reason", "count"])
def test_the_comparison_sees_what_is_wrong(make_sqlite_server: ServerFactory, broken: str) -> None:
    """Control: a line twice, under another trace id, with another reason; a count too many."""
    server = make_sqlite_server(**SETTINGS)
    story = Story(server)
    story.login("unknown_account", 401, "not_found", Account().body())
    (entry,) = story.entries
    lines = settle(server, 1)[entry.trace]
    assert_lines(entry, lines, sampled=False)
    assert counted(server) == story.counts()
    if broken == "count":
        assert counted(server) != story.counts() + Counter([entry.counts[0]])
        return
    wrong = json.loads(json.dumps(lines))
    if broken == "line":
        wrong.append(wrong[0])
    elif broken == "trace":
        wrong = wrong[1:]
    else:
        wrong[-1]["reason"] = "ok"
    with pytest.raises(AssertionError):
        assert_lines(entry, wrong, sampled=False)
