"""Guessing in parallel: however many run at once, no more than the threshold are verified.

WATCHWORD_GUESS_ROUNDS sets the number of rounds, 3 by default, 100 for the big proof. The
controls run the same assertions on a build with one defence taken out: they must fail.
"""
from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest
import test_races
import test_refresh
from attackers.sizes import guess_rounds
from harness.checks import assert_locked
from harness.client import LOGIN, Account, Client, fresh_password
from harness.fixtures import ServerFactory, StorageFactory
from harness.raw import RawReply, Volley, count_statuses, json_request
from harness.server import Server
from harness.settings import fault_binary

GUESSES = 200
THRESHOLD = 10
SETTINGS = {"ARGON_MEMORY_KB": "7168", "ARGON_ITERATIONS": "5",
            "LOCKOUT_THRESHOLD": str(THRESHOLD)}


class Burst(Volley):
    """A volley in two parts: between them the attacker looks whether the account is locked."""

    def fire_around(
        self, payloads: list[bytes], first: int, server: Server, account: Account
    ) -> list[RawReply]:
        """Send `first` payloads, wait for the lock to be recorded, send the others."""
        links = [self._link(number) for number in range(len(payloads))]
        for number, (link, payload) in enumerate(zip(links, payloads)):
            if number == first:
                _wait_until_recorded(server, account)
            link.settimeout(10)
            link.sendall(payload)
        return self._collect(links, time.monotonic() + 60)


def _wait_until_recorded(server: Server, account: Account) -> None:
    """Until THRESHOLD attempts are counted; a second is long enough even for the controls."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        if any(row["failures"] >= THRESHOLD for row in server.db.throttle(account.tenant)):
            return


def _wrong(account: Account) -> bytes:
    return json_request(LOGIN, account.body(password=fresh_password()))


def _right(account: Account) -> bytes:
    return json_request(LOGIN, account.body())


def _verified(servers: list[Server]) -> int:
    """Passwords judged wrong so far, by the service's own count."""
    lines = "\n".join(server.ops("/metrics").text for server in servers).splitlines()
    wrong = 'auth_password_verify_duration_seconds_count{result="fail"}'
    return sum(int(float(line.split()[-1])) for line in lines if wrong in line)


def assert_guesses_are_bounded(servers: list[Server], burst: Burst, client: Client) -> None:
    """200 guesses, the right password at a random place after the threshold: it is too late."""
    account = client.new_account()
    before = _verified(servers)
    place = random.randrange(THRESHOLD, GUESSES)
    payloads = [_wrong(account) for _ in range(GUESSES)]
    payloads[place] = _right(account)
    replies = burst.fire_around(payloads, place, servers[0], account)
    counts = count_statuses(replies)
    assert set(counts) <= {401, 423, 503}, f"the right password at place {place}: {counts}"
    assert counts.get(401, 0) <= THRESHOLD, counts
    assert counts.get(401, 0) == _verified(servers) - before, counts
    assert_locked(client.login(account))


def _instances(make: ServerFactory, storage: StorageFactory, store: str) -> list[Server]:
    """One server on SQLite, two that share database and secret on PostgreSQL."""
    place = storage()
    first = make(place, **SETTINGS)
    if store == "sqlite":
        return [first]
    return [first, make(place, **SETTINGS, SERVICE_SECRET=first.settings["SERVICE_SECRET"])]


@pytest.fixture
def targets(make_server: ServerFactory, new_storage: StorageFactory, store: str) -> list[Server]:
    return _instances(make_server, new_storage, store)


@pytest.fixture
def burst(targets: list[Server]) -> Iterator[Burst]:
    with Burst([server.port for server in targets], GUESSES) as made:
        yield made


def test_parallel_guesses_stop_at_the_threshold(targets: list[Server], burst: Burst) -> None:
    """Every round on a fresh account: at most ten verified, then nothing, not the right one."""
    with targets[0].client() as client:
        for _ in range(guess_rounds()):
            assert_guesses_are_bounded(targets, burst, client)


def _assert_ten_verified(counts: dict[int, int]) -> None:
    """The others found the lock, or no room to wait for their turn (503)."""
    assert counts[401] == THRESHOLD, counts
    assert counts.keys() <= {401, 423, 503} and sum(counts.values()) == GUESSES, counts


def test_parallel_guesses_of_one_moment(targets: list[Server], burst: Burst) -> None:
    """All 200 at once without a look between them: exactly ten are verified."""
    with targets[0].client() as client:
        for _ in range(guess_rounds()):
            account = client.new_account()
            counts = count_statuses(burst.fire([_wrong(account) for _ in range(GUESSES)]))
            _assert_ten_verified(counts)
            assert_locked(client.login(account))


def test_parallel_guesses_on_invented_accounts(targets: list[Server], burst: Burst) -> None:
    """An account that does not exist answers with the same counts."""
    for _ in range(guess_rounds()):
        account = Account()
        counts = count_statuses(burst.fire([_wrong(account) for _ in range(GUESSES)]))
        _assert_ten_verified(counts)


# Controls: the build with failure points, once whole and once without a defence.


def _weakened(make: ServerFactory, defence: str, **settings: str) -> Server:
    return make(binary=fault_binary(), WATCHWORD_WITHOUT=defence, **SETTINGS, **settings)


def _guess_once(server: Server) -> None:
    with server.client() as client, Burst([server.port], GUESSES) as burst:
        assert_guesses_are_bounded([server], burst, client)


def test_control_without_reservation_is_caught(make_sqlite_server: ServerFactory) -> None:
    """Attempts that are not counted before they are judged."""
    _guess_once(_weakened(make_sqlite_server, "nothing"))
    with pytest.raises(AssertionError, match="the right password|401"):
        _guess_once(_weakened(make_sqlite_server, "reservation"))


def _race(server: Server) -> None:
    with Volley([server.port], test_races.RACERS) as volley:
        test_races.test_race_without_leeway_has_one_winner_and_ends_the_session([server], volley)


@pytest.mark.parametrize("defence", ["generation check", "replay rule"])
def test_control_of_the_rotation_race(
    make_sqlite_server: ServerFactory, monkeypatch: pytest.MonkeyPatch, defence: str
) -> None:
    """Two chains of one session, or a replay that does not end it: the race test fails."""
    monkeypatch.setenv("WATCHWORD_RACE_ROUNDS", "1")
    _race(_weakened(make_sqlite_server, "nothing", REFRESH_LEEWAY_SECONDS="0"))
    with pytest.raises(AssertionError, match="round 0"):
        _race(_weakened(make_sqlite_server, defence, REFRESH_LEEWAY_SECONDS="0"))


@pytest.mark.parametrize("defence", ["generation check", "replay rule"])
def test_control_of_the_replay_tests(make_sqlite_server: ServerFactory, defence: str) -> None:
    """A spent token that is answered, or spared: the replay tests fail."""
    tests = (test_refresh.test_retry_of_the_predecessor_only,
             test_refresh.test_replay_of_every_ancestor_of_one_depth)
    whole = _weakened(make_sqlite_server, "nothing")
    weak = _weakened(make_sqlite_server, defence)
    for test in tests:
        with whole.client() as client:
            test(client, whole)
        with weak.client() as client, pytest.raises(AssertionError):
            test(client, weak)


def test_control_two_chains_are_seen(make_sqlite_server: ServerFactory) -> None:
    """Without the generation check one token starts two chains, and both live."""
    server = _weakened(make_sqlite_server, "generation check", REFRESH_LEEWAY_SECONDS="0")
    with server.client() as client:
        start = client.new_session()
        chains = [client.rotate(start.refresh).refresh for _ in range(2)]
        assert chains[0] != chains[1]
        for head in chains:
            client.rotate(head)
