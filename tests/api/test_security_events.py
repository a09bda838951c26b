"""Every security event once: in the answer, in the log, in the counters and in the stream of events,
under one trace id.

harness/story.py causes them and keeps its own account; here the service's account must be the same.
"""
from __future__ import annotations

import base64
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
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

Line = dict[str, Any]


def _ours(labels: tuple[str, ...]) -> bool:
    return any("health" in value or value == "/metrics" for value in labels)


def counted(server: Server) -> Counter[Count]:
    """All counters of events that are not 0, without what the harness itself asks for."""
    found = scrape(server)
    return Counter({
        (name, *labels): value for name in COUNTERS
        for labels, value in found.nonzero(name).items() if not _ours(labels)})


def by_trace(lines: list[Line]) -> dict[str, list[Line]]:
    result: dict[str, list[Line]] = {}
    for line in lines:
        result.setdefault(line.get("trace_id", ""), []).append(line)
    return result


def assert_lines(entry: Entry, lines: list[Line], *, sampled: bool) -> None:
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


def assert_no_others(entries: list[Entry], lines: dict[str, list[Line]]) -> None:
    """No line under a trace id that no request had."""
    told = {entry.trace for entry in entries} | {""}
    assert {line["event"] for trace in set(lines) - told for line in lines[trace]} == set()


def settle(server: Server, traces: int) -> dict[str, list[Line]]:
    """The log once it tells of so many requests: an answer may be read before its line is."""
    deadline = time.monotonic() + 5 * slowness()
    while written_or_suppressed(server.log_lines(), {"http.request"}).total() < traces:
        assert time.monotonic() < deadline, "the log does not tell of every request"
        time.sleep(0.05)
    return by_trace(server.log_lines())


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "nats").start()
    yield server
    server.kill()


def assert_told(nats: NatsServer, entries: list[Entry], *, seconds: float = 60) -> None:
    """Consumers get each change once, under its trace id, and nothing else."""
    wanted = Counter((entry.trace, subject) for entry in entries for subject in entry.told)
    found = wait_events(nats, wanted.total(), seconds=seconds)
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
    assert_no_others(story.entries, lines)
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
    assert written_or_suppressed(server.log_lines(), set(wanted)) == wanted
    assert_told(nats, entries)


def written_or_suppressed(lines: list[Line], events: set[str]) -> Counter[str]:
    """How often each of these events is told of in these lines."""
    told: Counter[str] = Counter()
    for line in lines:
        if line["event"] in events:
            told[line["event"]] += 1 + line.get("suppressed", 0)
    return told


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


@pytest.fixture
def told_well(make_sqlite_server: ServerFactory) -> tuple[Server, Story]:
    """A refusal and a success, about which everything is right."""
    server = make_sqlite_server(**SETTINGS)
    story = Story(server)
    story.login("unknown_account", 401, "not_found", Account().body())
    story.new_account()
    lines = settle(server, 2)
    for entry in story.entries:
        for sampled in (False, True):
            assert_lines(entry, lines[entry.trace], sampled=sampled)
    assert_no_others(story.entries, lines)
    assert counted(server) == story.counts()
    return server, story


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("broken", ["line", "reason"])
def test_a_wrong_line_would_be_seen(
    told_well: tuple[Server, Story], broken: str, sampled: bool
) -> None:
    """Control: a line twice, or with another reason."""
    server, story = told_well
    for entry in story.entries:
        wrong = by_trace(server.log_lines())[entry.trace]
        if broken == "line":
            wrong.append(wrong[0])
        else:
            wrong[-1]["reason"] = "limited"
        with pytest.raises(AssertionError):
            assert_lines(entry, wrong, sampled=sampled)


def test_another_trace_id_would_be_seen(told_well: tuple[Server, Story]) -> None:
    """Control: each line in turn has gone to another trace id, where it is not to be either."""
    server, story = told_well
    for number, line in enumerate(server.log_lines()):
        for entry in story.entries:
            if line.get("trace_id") != entry.trace:
                continue
            wrong = server.log_lines()
            wrong[number]["trace_id"] = "elsewhere"
            lines = by_trace(wrong)
            with pytest.raises(AssertionError):
                assert_lines(entry, lines.get(entry.trace, []), sampled=False)
            with pytest.raises(AssertionError):
                assert_no_others(story.entries, lines)


def test_a_line_left_out_would_be_seen(told_well: tuple[Server, Story]) -> None:
    """Control: where lines are sampled a success still needs its own, a refusal need not have any,
    and what is missing must be stated by another line."""
    server, story = told_well
    refusal, success = story.entries
    assert_lines(refusal, [], sampled=True)
    for entry, sampled in ((refusal, False), (success, False), (success, True)):
        with pytest.raises(AssertionError):
            assert_lines(entry, [], sampled=sampled)
    events = {"http.request", "auth.login_failed"}
    lines = [line for line in server.log_lines() if line["event"] in events]
    whole = written_or_suppressed(lines, events)
    assert whole == Counter({"http.request": 2, "auth.login_failed": 1})
    fewer = [line for line in lines if line.get("trace_id") != refusal.trace]
    assert written_or_suppressed(fewer, events) != whole
    stated = [{**line, "suppressed": 1} for line in fewer]
    assert written_or_suppressed(stated, {"http.request"}) == Counter({"http.request": 2})


def test_a_count_too_many_would_be_seen(told_well: tuple[Server, Story]) -> None:
    """Control: a login that the story does not tell of."""
    server, story = told_well
    with server.client() as client:
        assert client.login(Account()).status_code == 401
    assert counted(server) != story.counts()


def test_an_event_too_few_or_too_many_would_be_seen(
    make_sqlite_server: ServerFactory, nats: NatsServer
) -> None:
    """Control: one that was not sent, one nobody caused, one under another trace id."""
    story = Story(make_sqlite_server(NATS_URL=nats.url, **SETTINGS))
    story.sign_in(story.new_account())
    assert_told(nats, story.entries)
    first, second = story.entries
    moved = replace(second, trace="elsewhere")
    for wrong in ([first, second, second], [first], [first, moved]):
        with pytest.raises(AssertionError):
            assert_told(nats, wrong, seconds=0.5)
