"""More logins than can be hashed: memory stays, the surplus is refused at once, the rest works.

Default Argon2 parameters, two permits. WATCHWORD_OVERLOAD_SECONDS sets the length of each
overload, 4 by default, 30 for the big proof. The everyday run shares its cores with its own client
and perhaps with others: then a login that was let in is too late more often than on a calm machine
(it is refused when its turn comes). It allows for one such refusal in ten instead of one in a
hundred, and for a goodput of 60 % instead of 95 %.
"""
from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attackers.flood import Flood, Timed, percentile, statuses, volley
from attackers.generator import logins
from attackers.prompt import Prompt
from attackers.sizes import overload_is_exact, overload_seconds
from harness.client import LOGIN, Account, fresh_tenant
from harness.fixtures import ServerFactory
from harness.raw import json_request
from harness.server import Server

PERMITS = 2
MEMORY_KB = 65536
FLOOD = 500
ACCOUNTS = 24
OVERLOAD = 10  # times what can be hashed
MANY = 500  # connections, so that all of them can be sent
PROMPT = 0.100
ROOM_KB = 48 * 1024  # the program, its libraries and SQLite, without the hash memory
PER_CONNECTION_KB = 40


@pytest.fixture(scope="module")
def target(module_sqlite_server: ServerFactory) -> Server:
    return module_sqlite_server(
        ARGON_MEMORY_KB=str(MEMORY_KB), ARGON_ITERATIONS="3", MAX_CONCURRENT_HASHES=str(PERMITS),
        HASH_ACQUIRE_TIMEOUT_MS="1000", LOCKOUT_THRESHOLD="100",
    )


@pytest.fixture(scope="module")
def crowd(target: Server) -> list[Account]:
    """Accounts of one tenant."""
    tenant = fresh_tenant()
    with target.client() as client:
        return [client.new_account(tenant=tenant) for _ in range(ACCOUNTS)]


def _logins(accounts: list[Account]) -> list[bytes]:
    return [json_request(LOGIN, account.body()) for account in accounts]


def _assert_busy(answer: Timed) -> None:
    assert answer.reply.json()["error"] == "auth_busy", answer.reply
    assert int(answer.reply.header("retry-after") or 0) >= 1, answer.reply.headers


def _assert_prompt(refused: list[Timed]) -> None:
    times = [answer.took for answer in refused]
    middle, late = percentile(times, 0.5), sum(took >= PROMPT for took in times) / len(times)
    print(f"{len(times)} refusals, median {middle * 1e3:.1f} ms, {late:.1%} later than 100 ms")
    assert middle < PROMPT
    assert late <= (0.01 if overload_is_exact() else 0.10)


@pytest.fixture
def capacity(target: Server, crowd: list[Account]) -> float:
    """Logins a second of a closed loop that never meets a refusal."""
    return _rate_of(target, crowd, 2.0)


def _rate_of(target: Server, accounts: list[Account], seconds: float) -> float:
    with Flood(target.port, _logins(accounts), width=2 * PERMITS) as flood:
        begin = time.monotonic() + 0.5
        time.sleep(0.5 + seconds)
        counts = statuses(flood.between(begin, begin + seconds))
    assert set(counts) == {200}, counts
    return counts[200] / seconds


@pytest.fixture
def idle(target: Server) -> tuple[float, float]:
    """Median and p99 of a refresh when nothing else happens."""
    with target.client() as client:
        token = client.new_session().refresh
    return _refresh_times(target, token, 2.0)


def _refresh_times(server: Server, token: str, seconds: float) -> tuple[float, float]:
    """One client that refreshes again and again, always with success: median and p99."""
    times = []
    end = time.monotonic() + seconds
    with Prompt(server.port) as client:
        while time.monotonic() < end:
            token = client.refresh(token)
            times.append(client.took)
    return percentile(times, 0.5), percentile(times, 0.99)


@pytest.fixture
def flood(target: Server, crowd: list[Account], capacity: float) -> Iterator[Flood]:
    """OVERLOAD times as many logins of one tenant as can be hashed, under way."""
    with Flood(target.port, _logins(crowd), rate=OVERLOAD * capacity) as made:
        deadline = time.monotonic() + 10
        while not any(answer.reply.status == 503 for answer in list(made.answers)):
            assert time.monotonic() < deadline, "no overload"
            time.sleep(0.02)
        yield made


def test_five_hundred_logins_at_once(target: Server, crowd: list[Account]) -> None:
    """Memory as before but for the connections; the surplus refused at once, with a time."""
    before = target.memory_kb()
    payloads = (_logins(crowd) * (FLOOD // ACCOUNTS + 1))[:FLOOD]
    answers = volley(target.port, payloads)
    counts = statuses(answers)
    assert set(counts) == {200, 503} and len(answers) == FLOOD, counts
    peak = target.memory_kb("VmHWM")
    print(f"{counts}, memory {before} KiB before, {peak} KiB at most")
    assert peak - before <= FLOOD * PER_CONNECTION_KB
    assert peak <= PERMITS * MEMORY_KB + ROOM_KB
    refused = [answer for answer in answers if answer.reply.status == 503]
    for answer in refused:
        _assert_busy(answer)
    _assert_prompt(refused)


def test_refusals_of_a_lasting_overload_are_prompt(flood: Flood) -> None:
    """Every surplus login of the whole time is told at once when to come back."""
    begin = time.monotonic()
    time.sleep(overload_seconds())
    answers = flood.between(begin, time.monotonic())
    refused = [answer for answer in answers if answer.reply.status == 503]
    assert set(statuses(answers)) == {200, 503}
    assert len(refused) > len(answers) / 2
    for answer in refused:
        _assert_busy(answer)
    _assert_prompt(refused)


def test_refresh_goes_on_during_an_overload(
    target: Server, idle: tuple[float, float], flood: Flood
) -> None:
    """A client with a session: every refresh is a success, in about the time it takes idle. What
    waits for a core that hashes waits for the scheduler: a few milliseconds, however fast the rest."""
    middle, late = _refresh_times(target, _session_despite(target), overload_seconds())
    print(f"median {middle * 1e3:.2f} ms (idle {idle[0] * 1e3:.2f}),"
          f" p99 {late * 1e3:.2f} ms (idle {idle[1] * 1e3:.2f})")
    assert middle < max(0.003, (2 if overload_is_exact() else 4) * idle[0])
    assert late < 0.100


def _session_despite(target: Server) -> str:
    """A session of a tenant that has its own turn."""
    deadline = time.monotonic() + 20
    with target.client() as client:
        while time.monotonic() < deadline:
            account = Account()
            if client.register(account).status_code == 200:
                break
        while time.monotonic() < deadline:
            response = client.login(account)
            if response.status_code == 200:
                return response.json()["refresh_token"]
    raise AssertionError("no session of another tenant")


def test_one_tenant_does_not_shut_out_another(
    target: Server, crowd: list[Account], capacity: float
) -> None:
    """While one tenant floods, a user of another, whose id differs in its last digit alone, logs in
    again and again: 95 of 100 succeed. (One time in 256 the two share a queue, and this fails.)"""
    flooding = crowd[0].tenant
    with target.client() as client:
        neighbour = client.new_account(tenant=flooding[:-1] + ("1" if flooding[-1] == "0" else "0"))
        with Flood(target.port, _logins(crowd), rate=OVERLOAD * capacity) as flood:
            time.sleep(1)
            results = []
            end = time.monotonic() + overload_seconds()
            while time.monotonic() < end:
                results.append(client.login(neighbour).status_code)
        assert statuses(flood.answers)[503] > 0, "no overload"
    good = results.count(200) / len(results)
    print(f"{len(results)} logins of the neighbour, {good:.1%} successful")
    assert len(results) >= 10, "too few to judge by"
    assert good >= 0.95


def test_goodput_of_an_overload(target: Server, crowd: list[Account], tmp_path: Path) -> None:
    """What is accepted at OVERLOAD times the capacity is what a closed loop reaches."""

    def closed_loop() -> float:
        unhurried = logins(target, crowd, tmp_path, seconds=seconds / 2, connections=2 * PERMITS)
        assert unhurried.refused == 0
        return unhurried.accepted

    seconds = overload_seconds()
    before = closed_loop()
    flooded = logins(target, crowd, tmp_path, seconds=seconds, connections=MANY,
                     rate=OVERLOAD * before)
    after = closed_loop()
    unloaded = (before + after) / 2
    print(f"{flooded.accepted:.1f} logins/s of {unloaded:.1f}"
          f" ({before:.1f} before, {after:.1f} after)")
    assert flooded.refused > flooded.accepted
    assert flooded.accepted >= (0.95 if overload_is_exact() else 0.60) * unloaded
