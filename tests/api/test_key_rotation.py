"""Keys change under traffic: no verifier ever refuses a good token (contract section 9).

Two instances share a database and a KEYS_DIR; one of them learns of each change 30 seconds late.
The clock is moved: the test steps through hours, and shifts the times in keyring.json to match.
"""
from __future__ import annotations

import functools
import itertools
import math
import os
import re
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import keys
from harness.checks import assert_invalid_refresh
from harness.client import Client, Tokens
from harness.fixtures import ServerFactory
from harness.keydir import PUBLISH_WAIT, RETIRE_WAIT, KeyDir
from harness.server import Server
from harness.settings import slowness
from harness.verifier import HttpCache, Verifier, kid_of

STEP = 15
LATE = 30
SLACK = 300  # the real time that passes while the test does counts as well
LIFETIME = 900 + 30  # of an access token, with the leeway of verifiers
ROTATIONS = 10
NOWHERE = "nats://127.0.0.1:9"  # the discard service: nobody is there
TRACE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # as docs/events/envelope.json has it


@functools.lru_cache(maxsize=None)
def _reader(url: str) -> httpx.Client:
    """Kept: to make one takes longer than all it asks."""
    return httpx.Client(base_url=url, timeout=30, trust_env=False)


def _jwks_kids(server: Server) -> set[str]:
    answer = _reader(server.url).get("/.well-known/jwks.json")
    return {key["kid"] for key in answer.json()["keys"]}


def _published(directory: KeyDir) -> set[str]:
    return {kid for kid, state in directory.states().items()
            if state in ("next", "active", "retiring")}


def _keeper(server: Server) -> int:
    """The process that looks at the directory."""
    pid = server.process.pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text().strip() == "ww-keeper":
            return int(child)
    raise AssertionError("no keeper")


def learn(server: Server, directory: KeyDir, signs: bool = True) -> None:
    """SIGHUP, and wait until it serves and signs with what is in the directory, which the service
    itself may change meanwhile: a key whose time has come retires."""
    os.kill(_keeper(server), signal.SIGCONT)
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20 * slowness()
    with server.client() as client:
        session = client.new_session()
        while (_jwks_kids(server) != _published(directory)
               or (signs and kid_of(session.access) != directory.active())):
            assert time.monotonic() < deadline, \
                f"{_jwks_kids(server)} is not {_published(directory)}"
            time.sleep(0.02)
            session = client.rotate(session.refresh)


@dataclass
class World:
    """The instances, their verifiers, and the clock."""

    directory: KeyDir
    instances: list[Server]
    now: int = 0
    _shifted: int = 0
    _late: list[int] = field(default_factory=list)
    _tokens: deque[tuple[int, str]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.clients: list[Client] = [server.client() for server in self.instances]
        self.sessions: list[Tokens] = [client.new_session() for client in self.clients]
        self.verifiers = [
            Verifier(HttpCache(_reader(server.url), keeps).get)
            for server, keeps in itertools.product(self.instances, (False, True))
        ]

    def command(self, line: str, *arguments: str) -> bool:
        """Change the keys; the first instance knows at once, the last 30 seconds later."""
        if len(self.instances) > 1:
            os.kill(_keeper(self.instances[-1]), signal.SIGSTOP)  # it would learn by itself
        self.directory.shift(self.now - self._shifted)
        self._shifted = self.now
        if self.directory.run(line, *arguments).code != 0:
            if not self._late:
                os.kill(_keeper(self.instances[-1]), signal.SIGCONT)
            return False
        learn(self.instances[0], self.directory)
        self._late.append(self.now + LATE)
        return True

    def retire(self, kid: str) -> None:
        """By command, unless the service did it by itself a moment before."""
        if not self.command("retire", kid):
            assert kid not in self.directory.states()
            learn(self.instances[0], self.directory)

    def step(self) -> None:
        """15 seconds: each instance answers refreshes, each verifier sees tokens old and new."""
        self.now += STEP
        while self._late and self._late[0] <= self.now:
            self._late.pop(0)
            if not self._late:
                learn(self.instances[-1], self.directory)
        served = [_jwks_kids(server) for server in self.instances]
        for at, client in enumerate(self.clients):
            self.sessions[at] = client.rotate(self.sessions[at].refresh)
            token = self.sessions[at].access
            for kids in served:
                self.everywhere = kid_of(token) in kids and self.everywhere
            self._tokens.append((self.now, token))
        while self._tokens[0][0] < self.now - LIFETIME:
            self._tokens.popleft()
        seen = [self._tokens[0], self._tokens[len(self._tokens) // 2], *list(self._tokens)[-2:]]
        for verifier in self.verifiers:
            for _, token in seen:
                verifier.verify(token, self.now)

    everywhere: bool = True  # every kid in a token was in every JWKS when it was minted

    def pass_time(self, seconds: int) -> None:
        for _ in range(0, seconds, STEP):
            self.step()

    @property
    def failures(self) -> list[str]:
        return [failure for verifier in self.verifiers for failure in verifier.failures]

    @property
    def verified(self) -> int:
        return sum(verifier.verified for verifier in self.verifiers)

    def close(self) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture
def world(make_server: ServerFactory, store: str, tmp_path: Path) -> World:
    """Two instances on PostgreSQL, one on SQLite."""
    directory = KeyDir(tmp_path / "keys")
    directory.write(keys.signing_key().pem)
    directory.do("retire", directory.do("generate")["kid"])  # there is a keyring.json now
    settings = {"JWT_PRIVATE_KEY_PEM": None, "KEYS_DIR": str(directory.path)}
    first = make_server(**settings)
    instances = [first]
    if store != "sqlite":
        secret = first.settings["SERVICE_SECRET"]
        instances.append(make_server(first.storage, SERVICE_SECRET=secret, **settings))
    return World(directory, instances)


def test_ten_rotations_under_traffic(world: World) -> None:
    """Overlapping: the next key is published as soon as the one before signs."""
    retiring: deque[tuple[int, str]] = deque()
    world.pass_time(LIFETIME)
    for _ in range(ROTATIONS):
        before = world.directory.active()
        following = world.directory.do("generate")["kid"]
        assert world.command("publish", following)
        world.pass_time(PUBLISH_WAIT - SLACK)
        assert not world.command("activate", following), "the wait was not over"
        world.pass_time(SLACK)
        assert world.command("activate", following)
        retiring.append((world.now, before))
        while retiring and world.now >= retiring[0][0] + RETIRE_WAIT:
            world.retire(retiring.popleft()[1])
    world.pass_time(RETIRE_WAIT)
    while retiring:
        world.retire(retiring.popleft()[1])
    world.pass_time(LIFETIME)
    world.close()
    assert not world.failures, world.failures[:5]
    assert world.everywhere, "a kid was in a token before it was in every JWKS"
    assert world.verified > 3000
    assert [_jwks_kids(server) for server in world.instances] == \
        [{world.directory.active()}] * len(world.instances)


def test_without_the_wait_verifiers_fail(world: World) -> None:
    """The control: what the refusal saves us from."""
    if len(world.instances) == 1:
        pytest.skip("a single instance and a refetch on an unknown kid may hide it")
    world.pass_time(LIFETIME)
    following = world.directory.do("generate")["kid"]
    assert world.command("publish", following)
    assert world.command("activate", following, "--emergency", "--yes")
    world.pass_time(LATE)
    world.close()
    assert world.failures
    assert not world.everywhere


def test_a_key_that_goes_too_early_is_missed(world: World) -> None:
    """The control of the other wait: tokens of the old key are still about."""
    world.pass_time(LIFETIME)
    before, following = world.directory.active(), world.directory.do("generate")["kid"]
    assert world.command("publish", following)
    world.pass_time(PUBLISH_WAIT)
    assert world.command("activate", following)
    world.pass_time(2 * LATE)
    assert not world.command("retire", before)
    assert not world.failures
    assert world.command("retire", before, "--emergency", "--yes")
    world.pass_time(LIFETIME)
    world.close()
    assert world.failures


def test_revoked_with_sessions_nobody_refreshes(world: World) -> None:
    """The compromise: out of every JWKS, a successor signs, every session must log in again."""
    stolen = world.directory.active()
    old = [client.new_session() for client in world.clients]
    settings = {"DATABASE_URL": world.instances[0].storage.url}
    done = world.directory.do("revoke", stolen, "--sessions", "--yes", **settings)
    assert done["changed"]
    for client, session in zip(world.clients, old):
        assert_invalid_refresh(client.refresh(session.refresh))
    for instance in world.instances:
        learn(instance, world.directory)
        assert stolen not in _jwks_kids(instance)
    for client, session in zip(world.clients, old):
        assert client.sessions(session.access).status_code == 401
        assert_invalid_refresh(client.refresh(session.refresh))
        fresh = client.new_session()
        assert kid_of(fresh.access) == world.directory.active()
        assert kid_of(client.rotate(fresh.refresh).access) == world.directory.active()
    row = world.instances[0].db.session(old[0].session_id)
    assert row["revoked_reason"] == "operator" and row["revoked_at"] is not None
    world.close()


def test_an_instance_follows_within_30_seconds_by_itself(world: World) -> None:
    """No signal at all."""
    following = world.directory.publish_new()
    started = time.monotonic()
    for instance in world.instances:
        while following not in _jwks_kids(instance):
            assert time.monotonic() - started < 31 * slowness()
            time.sleep(0.25)
    world.close()


def test_a_faulty_change_is_an_error_and_changes_nothing(world: World) -> None:
    """The keys of before go on; when it is mended, it is taken."""
    first, server = world.directory.active(), world.instances[0]
    good = world.directory.read_index()
    world.directory.write_index("{}")
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20 * slowness()
    while not [line for line in server.log_lines() if "keyring.json" in str(line)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert _jwks_kids(server) == {first}
    assert kid_of(world.clients[0].new_session().access) == first
    world.directory.write_index(good)
    world.directory.publish_new()
    learn(server, world.directory)
    world.close()


def test_a_schedule_rotates_by_itself(make_server: ServerFactory, tmp_path: Path) -> None:
    """KEYS_ROTATE_DAYS: published, activated, retired, on one machine by one of its instances."""
    directory = KeyDir(tmp_path / "keys")
    directory.write(keys.signing_key().pem)
    first = directory.active()
    directory.do("retire", directory.do("generate")["kid"])  # there is a keyring.json now
    directory.shift(30 * 86400)
    servers = [make_server(JWT_PRIVATE_KEY_PEM=None, KEYS_DIR=str(directory.path),
                           KEYS_ROTATE_DAYS="30", NATS_URL=NOWHERE) for _ in range(2)]

    def wait(state: str) -> str:
        deadline = time.monotonic() + 40 * slowness()
        while not (found := directory.kids(state)):
            assert time.monotonic() < deadline, directory.states()
            time.sleep(0.25)
        assert len(found) == 1
        return found[0]

    def all_learn() -> None:
        for server in servers:
            learn(server, directory)

    following = wait("next")
    all_learn()
    assert directory.active() == first
    directory.shift(PUBLISH_WAIT)
    assert wait("retiring") == first and directory.active() == following
    all_learn()
    directory.shift(RETIRE_WAIT)
    deadline = time.monotonic() + 40 * slowness()
    while first in directory.states():
        assert time.monotonic() < deadline
        time.sleep(0.25)
    assert directory.states() == {following: "active"}
    told = [line["event"] for server in servers for line in server.log_lines()
            if line["event"].startswith("auth.key_")]
    assert sorted(told) == ["auth.key_activated", "auth.key_published", "auth.key_retired"]
    all_learn()
    for server in servers:
        _wait_told(server, [(following, "next"), (following, "active"), (first, "gone")])


def _events_of_keys(server: Server) -> list[dict[str, Any]]:
    rows = [row for row in server.db.rows("outbox") if row["subject"].startswith("auth.key_")]
    return sorted(rows, key=lambda row: row["seq"])


def _wait_told(server: Server, expected: list[tuple[str, str]]) -> None:
    """Keys and states of the events that wait for NATS, in order."""
    deadline = time.monotonic() + 20 * slowness()
    while True:
        told = [(row["label"], row["detail"]) for row in _events_of_keys(server)]
        if told == expected:
            assert all(TRACE_ID.fullmatch(row["trace_id"]) for row in _events_of_keys(server))
            return
        assert time.monotonic() < deadline, told
        time.sleep(0.1)


def test_the_age_of_each_state_is_a_metric(make_server: ServerFactory, tmp_path: Path) -> None:
    """NaN for a state that no key is in, and for a key that has no history."""
    directory = KeyDir(tmp_path / "keys")
    directory.write(keys.signing_key().pem)
    directory.rotate()
    directory.publish_new()
    directory.shift(500)
    server = make_server(JWT_PRIVATE_KEY_PEM=None, KEYS_DIR=str(directory.path))
    ages = key_ages(server)
    assert set(ages) == {"next", "active", "retiring"}
    assert all(500 <= age < 500 + 60 * slowness() for age in ages.values()), ages
    lone = make_server()
    assert all(math.isnan(age) for age in key_ages(lone).values())


def key_ages(server: Server) -> dict[str, float]:
    found = re.findall(r'^auth_signing_key_age_seconds\{state="(\w+)"\} (\S+)$',
                       server.ops("/metrics").text, re.M)
    return {state: float(age) for state, age in found}
