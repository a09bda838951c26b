"""What a login makes the database do tells nothing about the account: PostgreSQL counts it, and between
the service and SQLite it is written down."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.client import Account, fresh_email, fresh_tenant
from harness.fixtures import ServerFactory, _stop_all
from harness.server import Server
from harness.settings import selected_stores
from harness.statements import Statements
from harness.storage import postgres_storage

TRIES = 3
Work = dict[str, int]
Observed = tuple[Server, Callable[[Callable[[], None]], list[str]]]

on_postgres = pytest.mark.skipif("postgres" not in selected_stores(), reason="not this store")


@pytest.fixture
def make_stopped_server(
    data_root: Callable[[], Path], postgres_cluster: object
) -> Iterator[Callable[..., Server]]:
    """A server on PostgreSQL that is not running."""
    servers: list[Server] = []

    def make(**settings: str) -> Server:
        servers.append(Server(postgres_storage(data_root(), postgres_cluster), settings))
        return servers[-1]

    yield make
    _stop_all(servers)


def _figures(server: Server) -> Work:
    """Once all connections are closed: until then PostgreSQL keeps some of it back."""
    deadline = time.monotonic() + 20
    while len(server.db.rows("pg_stat_activity", datname=_database(server))) > 1:
        assert time.monotonic() < deadline, "connections stay open"
        time.sleep(0.05)
    credentials = server.db.row("pg_stat_user_tables", relname="credentials")
    throttle = server.db.row("pg_stat_user_tables", relname="login_throttle")
    return {
        "looks for an account": credentials["seq_scan"] + (credentials["idx_scan"] or 0),
        "attempts written": throttle["n_tup_ins"] + throttle["n_tup_upd"],
    }


def _database(server: Server) -> str:
    return server.storage.url.rpartition("/")[2].partition("?")[0]


def _work_of(server: Server, act: Callable[[], None]) -> Work:
    """What it costs the database, beyond a start and a stop."""
    results = []
    for does in (lambda: None, act):
        before = _figures(server)
        server.start()
        does()
        server.stop()
        after = _figures(server)
        results.append({name: after[name] - before[name] for name in after})
    return {name: results[1][name] - results[0][name] for name in results[0]}


def _tries(server: Server, account: Account, status: int) -> Callable[[], None]:
    def act() -> None:
        with server.client() as client:
            for _ in range(TRIES):
                assert client.login(account).status_code == status

    return act


def _registered(server: Server, count: int) -> list[Account]:
    server.start()
    with server.client() as client:
        accounts = [client.new_account() for _ in range(count)]
    server.stop()
    return accounts


@on_postgres
def test_every_wrong_login_costs_the_database_the_same(
    make_stopped_server: Callable[..., Server]
) -> None:
    """Wrong password, unknown account, unknown tenant, disabled: one look, one attempt each."""
    server = make_stopped_server()
    real, other, disabled = _registered(server, 3)
    server.db.set_status(disabled.tenant, disabled.user, "disabled")
    work = {
        name: _work_of(server, _tries(server, account, 401)) for name, account in {
            "wrong password": Account(real.tenant, real.email),
            "unknown account": Account(real.tenant, fresh_email()),
            "unknown tenant": Account(fresh_tenant(), other.email),
            "disabled": Account(disabled.tenant, disabled.email),
        }.items()
    }
    assert all(done == {"looks for an account": TRIES, "attempts written": TRIES}
               for done in work.values()), work


@on_postgres
def test_locked_account_is_not_looked_for(make_stopped_server: Callable[..., Server]) -> None:
    """Locked, real or invented: the lock is found, and that is all."""
    server = make_stopped_server(LOCKOUT_THRESHOLD="1")
    [real] = _registered(server, 1)
    for account in (Account(real.tenant, real.email), Account(real.tenant, fresh_email())):
        server.start()
        with server.client() as client:
            assert client.login(account).status_code == 401
        server.stop()
        assert _work_of(server, _tries(server, account, 423)) == {
            "looks for an account": 0, "attempts written": 0}


@pytest.fixture
def observed(make_sqlite_server: ServerFactory, tmp_path: Path) -> Callable[..., Observed]:
    """Starts a server and says which statements an act makes it run."""

    def start(**settings: str) -> Observed:
        statements = Statements(tmp_path)
        server = make_sqlite_server(**statements.settings(), **settings)

        def statements_of(act: Callable[[], None]) -> list[str]:
            statements.take()
            act()
            return statements.take()

        return server, statements_of

    return start


def test_every_wrong_login_runs_the_same_statements(observed: Callable[..., Observed]) -> None:
    """The same texts in the same order; the control: one that is right runs others."""
    server, statements_of = observed()
    with server.client() as client:
        real, other, disabled = (client.new_account() for _ in range(3))
    server.db.set_status(disabled.tenant, disabled.user, "disabled")
    ran = [
        statements_of(_tries(server, account, 401)) for account in (
            Account(real.tenant, real.email),
            Account(real.tenant, fresh_email()),
            Account(fresh_tenant(), other.email),
            Account(disabled.tenant, disabled.email),
        )
    ]
    assert len(ran[0]) >= 2 * TRIES and any("FROM credentials" in sql for sql in ran[0]), ran[0]
    assert ran == ran[:1] * 4
    assert statements_of(_tries(server, real, 200)) != ran[0]


def test_locked_account_runs_the_statements_of_any_lock(observed: Callable[..., Observed]) -> None:
    """Real or invented: the account is not looked for."""
    server, statements_of = observed(LOCKOUT_THRESHOLD="1")
    with server.client() as client:
        real = client.new_account()
        locked = [Account(real.tenant, real.email), Account(real.tenant, fresh_email())]
        for account in locked:
            assert client.login(account).status_code == 401
    ran = [statements_of(_tries(server, account, 423)) for account in locked]
    assert ran[0] and ran[0] == ran[1]
    assert not any("FROM credentials" in sql for sql in ran[0]), ran[0]
