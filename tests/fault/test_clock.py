"""The wall clock jumps (SQLite goes by this machine's): no lock opens, no limit resets, nothing is lost.

libfaketime moves the clock of a running server; its monotonic clocks go on as they are. It reads a file
from inside the server's processes, so these servers are not confined.
"""
from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.checks import assert_locked, assert_rate_limited
from harness.client import Account
from harness.fixtures import ServerFactory
from harness.server import Server
from harness.settings import not_under_tsan, preloaded
from harness.sweeping import let_sweep

pytestmark = not_under_tsan("it does not see the locks that libfaketime takes in its stead")

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
YEAR = 365 * 86400


class Clock:
    """The wall clock of one server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.step(0)

    def step(self, seconds: int) -> None:
        """So far from the true time, from now on."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.rename(self.path)


@pytest.fixture
def clocked(make_sqlite_server: ServerFactory, tmp_path: Path) -> Callable[..., tuple[Server, Clock]]:
    if not LIBRARY.exists():
        raise AssertionError("libfaketime is missing: install it")

    def make(**settings: str) -> tuple[Server, Clock]:
        clock = Clock(tmp_path / "clock")
        server = make_sqlite_server(
            **preloaded(LIBRARY), FAKETIME_TIMESTAMP_FILE=str(clock.path), FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1", SANDBOX="off", **settings)
        return server, clock

    return make


def test_the_clock_can_be_moved(clocked: Callable[..., tuple[Server, Clock]]) -> None:
    """Or the other tests would prove nothing."""
    server, clock = clocked()
    with server.client() as client:
        account = client.new_account()
        before = client.sign_in(account).claims["iat"]
        clock.step(YEAR)
        assert YEAR - 60 < client.sign_in(account).claims["iat"] - before < YEAR + 600


@pytest.mark.parametrize("years", [20, -3])
def test_a_jump_deletes_nothing(
    clocked: Callable[..., tuple[Server, Clock]], years: int
) -> None:
    """A sweep is due, and every session looks long over: it waits. With the clock right again all
    sessions are as they were."""
    server, clock = clocked(SESSION_RETENTION_DAYS="1")
    with server.client() as client:
        tokens = client.new_session()
        let_sweep(server.db)  # so it has seen what time it is
        clock.step(years * YEAR)
        server.db.update("settings", {"value": 0}, name="sweep_due")
        server.wait_log("sweep.clock")
        time.sleep(3)
        assert server.db.count("sessions", id=tokens.session_id) == 1
        clock.step(0)
        client.rotate(tokens.refresh)
    assert len(server.log_lines("sweep.clock")) == 1


@pytest.mark.parametrize("step", [-1, -3600, -10 * YEAR])
def test_a_step_back_opens_no_lock(
    clocked: Callable[..., tuple[Server, Clock]], step: int
) -> None:
    server, clock = clocked(LOCKOUT_THRESHOLD="3")
    with server.client() as client:
        account = client.new_account()
        for _ in range(3):
            client.login(Account(account.tenant, account.email))
        assert_locked(client.login(account))
        clock.step(step)
        assert_locked(client.login(account))
        clock.step(0)
        assert_locked(client.login(account))


@pytest.mark.parametrize("step", [3600, -3600])
def test_a_step_resets_no_rate_limit(
    clocked: Callable[..., tuple[Server, Clock]], step: int
) -> None:
    server, clock = clocked(LOGIN_PER_MIN_PER_EMAIL="2")
    with server.client() as client:
        account = client.new_account()
        for _ in range(2):
            client.sign_in(account)
        assert_rate_limited(client.login(account))
        clock.step(step)
        assert assert_rate_limited(client.login(account)) <= 60
