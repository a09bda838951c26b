"""SERVICE_SECRET and PASSWORD_PEPPER change while the service runs (docs/runbook.md).

Instances change one after the other, so each stage is tested half done too: what one instance
issues, every other accepts. On SQLite there is one instance.
"""
from __future__ import annotations

import base64
import math
import os
import time
from collections.abc import Iterator

import pytest

from harness.checks import assert_invalid_credentials, assert_invalid_refresh, assert_locked
from harness.client import Account, Client
from harness.fixtures import ServerFactory
from harness.server import Server, Settings, StartFailed, run_command
from harness.settings import new_secret, slowness

HASHES = ("current", "parameters", "pepper", "unknown_pepper", "unusable")


def _pepper(keyid: str) -> str:
    return f"{keyid}:{base64.b64encode(os.urandom(32)).decode()}"


class Fleet:
    """The instances, changed one at a time."""

    def __init__(self, make_server: ServerFactory, store: str, **settings: str) -> None:
        first = make_server(REFRESH_LEEWAY_SECONDS="60", LOCKOUT_THRESHOLD="4", **settings)
        secret = first.settings["SERVICE_SECRET"]
        self.servers: list[Server] = [first]
        if store != "sqlite":
            self.servers.append(make_server(
                first.storage, **{"REFRESH_LEEWAY_SECONDS": "60", "LOCKOUT_THRESHOLD": "4",
                                  "SERVICE_SECRET": secret, **settings}))

    @property
    def clients(self) -> list[Client]:
        return [server.client() for server in self.servers]

    def change(self, **settings: str | None) -> Iterator[None]:
        """After each restart: some have changed, then all."""
        for server in self.servers:
            server.restart(**settings)
            yield

    def pairs(self) -> Iterator[tuple[Client, Client]]:
        """Who issues, who is asked next."""
        for one in self.clients:
            for other in self.clients:
                yield one, other


# SERVICE_SECRET


def _assert_sessions_move_freely(fleet: Fleet) -> None:
    """Rotation, the retry of a lost answer, replay and logout, wherever the token came from."""
    for one, other in fleet.pairs():
        tokens = one.new_session()
        first = other.rotate(tokens.refresh)
        assert one.rotate(tokens.refresh).refresh == first.refresh
        second = one.rotate(first.refresh)
        assert other.logout(second.refresh).status_code == 200
        stolen = one.new_session()
        current = other.rotate(one.rotate(stolen.refresh).refresh)
        assert_invalid_refresh(other.refresh(stolen.refresh))
        assert_invalid_refresh(one.refresh(current.refresh))


def test_service_secret_rolls_over_in_three_stages(make_server: ServerFactory, store: str) -> None:
    """Known everywhere, then used, then the old one forgotten: no session is lost on the way."""
    old = new_secret()
    new = new_secret(old)
    fleet = Fleet(make_server, store, SERVICE_SECRET=old)
    kept = fleet.clients[0].new_session()
    stages: list[Settings] = [
        {"SERVICE_SECRET_PREVIOUS": new},
        {"SERVICE_SECRET": new, "SERVICE_SECRET_PREVIOUS": old},
        {"SERVICE_SECRET_PREVIOUS": None},
    ]
    for stage in stages:
        for _ in fleet.change(**stage):
            _assert_sessions_move_freely(fleet)
            kept = fleet.clients[-1].rotate(kept.refresh)
    assert fleet.clients[0].sessions(kept.access).status_code == 200


def test_a_stage_left_out_loses_sessions(make_server: ServerFactory, store: str) -> None:
    """The control: used before it is known everywhere."""
    old = new_secret()
    new = new_secret(old)
    fleet = Fleet(make_server, store, SERVICE_SECRET=old)
    changed, unchanged = fleet.servers[0], fleet.servers[-1]
    changed.restart(SERVICE_SECRET=new, SERVICE_SECRET_PREVIOUS=old)
    with changed.client() as client:
        tokens = client.new_session()
    if unchanged is changed:
        changed.restart(SERVICE_SECRET=old, SERVICE_SECRET_PREVIOUS=None)
    with unchanged.client() as client:
        assert_invalid_refresh(client.refresh(tokens.refresh))


def test_a_session_unused_since_ends_with_the_old_secret(
    make_server: ServerFactory, store: str
) -> None:
    """What is stated: the last stage waits for the idle lifetime of sessions."""
    old = new_secret()
    new = new_secret(old)
    fleet = Fleet(make_server, store, SERVICE_SECRET=old)
    idle = fleet.clients[0].new_session()
    for _ in fleet.change(SERVICE_SECRET=new, SERVICE_SECRET_PREVIOUS=old):
        pass
    for _ in fleet.change(SERVICE_SECRET_PREVIOUS=None):
        pass
    assert_invalid_refresh(fleet.clients[0].refresh(idle.refresh))


def test_failed_logins_are_forgotten_with_the_secret(
    make_server: ServerFactory, store: str
) -> None:
    """What is stated: a lock is kept under the secret that was current, and ends with it."""
    old = new_secret()
    fleet = Fleet(make_server, store, SERVICE_SECRET=old)
    account = fleet.clients[0].new_account()
    wrong = {**account.body(), "password": "not this one, not today"}
    for _ in range(4):
        assert_invalid_credentials(fleet.clients[0].post("/api/auth/login", json=wrong))
    assert_locked(fleet.clients[0].login(account))
    for _ in fleet.change(SERVICE_SECRET=new_secret(old), SERVICE_SECRET_PREVIOUS=old):
        pass
    fleet.clients[0].sign_in(account)


def test_a_previous_secret_that_is_the_current_one_is_refused(make_server: ServerFactory) -> None:
    """Nothing would roll over."""
    server = make_server()
    secret = server.settings["SERVICE_SECRET"]
    with pytest.raises(StartFailed) as refused:
        server.restart(SERVICE_SECRET_PREVIOUS=secret)
    assert "SERVICE_SECRET_PREVIOUS" in refused.value.stderr


# PASSWORD_PEPPER


def _census(server: Server) -> dict[str, float]:
    """Once it has counted."""
    deadline = time.monotonic() + 20 * slowness()
    while True:
        text = server.ops("/metrics").text
        found = {name: float(line.split()[-1]) for line in text.splitlines() for name in HASHES
                 if line.startswith(f'auth_credentials{{hash="{name}"}}')}
        assert set(found) == set(HASHES)
        if not any(math.isnan(value) for value in found.values()):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _assert_logins_everywhere(fleet: Fleet, accounts: list[Account]) -> None:
    """Who registers anywhere, and who was there before, logs in everywhere."""
    for client in fleet.clients:
        accounts.append(client.new_account())
    for client in fleet.clients:
        for account in accounts:
            client.sign_in(account)


def test_pepper_rolls_over_in_three_stages(make_server: ServerFactory, store: str) -> None:
    """Known everywhere, then used, then forgotten when the metric says that nobody needs it."""
    old, new = _pepper("2025"), _pepper("2026")
    fleet = Fleet(make_server, store, PASSWORD_PEPPER=old)
    accounts = [fleet.clients[0].new_account() for _ in range(2)]
    late = fleet.clients[0].new_account()
    for stage in (f"{old},{new}", f"{new},{old}"):
        for _ in fleet.change(PASSWORD_PEPPER=stage):
            _assert_logins_everywhere(fleet, accounts)
    last = fleet.servers[-1]
    last.restart()
    assert _census(last) == {"current": len(accounts), "parameters": 0, "pepper": 1,
                             "unknown_pepper": 0, "unusable": 0}
    fleet.clients[0].sign_in(late)
    accounts.append(late)
    last.restart()
    assert _census(last)["pepper"] == 0
    for _ in fleet.change(PASSWORD_PEPPER=new):
        _assert_logins_everywhere(fleet, accounts)


def test_a_pepper_used_too_early_locks_people_out(make_server: ServerFactory, store: str) -> None:
    """The control: one instance re-hashes with what the other does not know."""
    old, new = _pepper("2025"), _pepper("2026")
    fleet = Fleet(make_server, store, PASSWORD_PEPPER=old)
    account = fleet.clients[0].new_account()
    fleet.servers[0].restart(PASSWORD_PEPPER=f"{new},{old}")
    with fleet.servers[0].client() as client:
        client.sign_in(account)
    if len(fleet.servers) == 1:
        fleet.servers[0].restart(PASSWORD_PEPPER=old)
    with fleet.servers[-1].client() as client:
        assert_invalid_credentials(client.login(account))


def test_a_pepper_that_is_needed_is_missed(make_server: ServerFactory, store: str) -> None:
    """Metric, log line and `check --database` name it before users do."""
    fleet = Fleet(make_server, store, PASSWORD_PEPPER=_pepper("2025"))
    for _ in range(3):
        fleet.clients[0].new_account()
    server = fleet.servers[0]
    good = run_command(["check", "--database"], server.settings, timeout=30)
    assert good.code == 0 and "3 current" in good.out, good.text
    server.restart(PASSWORD_PEPPER=_pepper("2026"))
    assert _census(server)["unknown_pepper"] == 3
    [line] = server.wait_log("password.pepper_missing")
    assert line["level"] == "error" and line["passwords"] == 3
    bad = run_command(["check", "--database"], server.settings, timeout=30)
    assert bad.code == 1 and "PASSWORD_PEPPER" in bad.err and "3" in bad.err
    assert run_command(["check"], server.settings).code == 0


def test_old_parameters_are_counted(make_server: ServerFactory, store: str) -> None:
    """By page, more than one of them; and what nobody can log in with."""
    server = Fleet(make_server, store).servers[0]
    with server.client() as client:
        account, broken = client.new_account(), client.new_account()
    server.db.set_password_hash(broken.tenant, broken.user, "x")
    server.db.copy_credential(account.tenant, account.user, 600)
    server.restart(ARGON_ITERATIONS="3")
    assert _census(server) == {"current": 0, "parameters": 601, "pepper": 0, "unknown_pepper": 0,
                               "unusable": 1}
    server.restart(PASSWORD_PEPPER=_pepper("2026"))
    assert _census(server)["pepper"] == 601


def test_wrong_passwords_wait_for_stored_parameters_before_their_owner_comes(
    make_server: ServerFactory, store: str
) -> None:
    """A count is enough: nobody has to meet the dearer hash first. The operator is told once."""
    server = Fleet(make_server, store).servers[0]
    with server.client() as client:
        account = client.new_account()
    server.restart()
    _census(server)
    with server.client() as client:
        assert_invalid_credentials(client.login(Account()))
    assert server.log_lines("password.mixed_parameters") == []
    server.db.set_password_hash(
        account.tenant, account.user, server.db.password_hash(account.tenant, account.user)
        .replace("t=", "t=1"))
    server.restart()
    _census(server)
    with server.client() as client:
        for _ in range(3):
            assert_invalid_credentials(client.login(Account()))
    [line] = server.log_lines("password.mixed_parameters")
    assert line["dearest_ms"] > line["usual_ms"] > 0


def test_check_says_when_the_database_cannot_be_asked(make_server: ServerFactory) -> None:
    """By name of the setting, and only when it was to be asked."""
    server = make_server()
    settings = {**server.settings, "DATABASE_URL": "sqlite:/nonexistent/x.db"}
    assert run_command(["check"], settings).code == 0
    done = run_command(["check", "--database"], settings, timeout=30)
    assert done.code == 1 and "DATABASE_URL" in done.err
