"""No request reads a whole table, nor what its user's past has left there (SQLite tells its plans)."""
from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from harness.fixtures import ServerFactory
from harness.server import Server
from harness.statements import Statements

PLANNED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")


@pytest.fixture
def ran(make_sqlite_server: ServerFactory, tmp_path: Path) -> tuple[Server, set[str]]:
    """A server, and every statement that the life of a session runs."""
    statements = Statements(tmp_path)
    server = make_sqlite_server(MAX_SESSIONS_PER_USER="2", **statements.settings())
    with server.client() as client:
        statements.take()
        account = client.new_account()
        client.login(account, headers={"X-Idempotency-Key": "a"})
        assert client.login(type(account)(account.tenant, account.email)).status_code == 401
        first, second, third = (client.sign_in(account) for _ in range(3))
        second = client.rotate(second.refresh)
        assert len(client.session_list(third.access)) == 2
        client.revoke(third.access, second.session_id)
        client.logout(third.refresh)
        client.logout_all(client.sign_in(account).access)
        assert client.refresh(first.refresh).status_code == 401
        return server, {sql for sql in statements.take() if PLANNED.match(sql)}


def _plan(server: Server, sql: str) -> list[str]:
    numbers = [int(n) for n in re.findall(r"\?(\d+)", sql)]
    with sqlite3.connect(server.storage.data_dir / "watchword.db") as db:
        rows = db.execute("EXPLAIN QUERY PLAN " + sql, [None] * max(numbers, default=0))
        return [str(row[3]) for row in rows]


def test_no_request_scans_a_table(ran: tuple[Server, set[str]]) -> None:
    server, texts = ran
    plans = {sql: _plan(server, sql) for sql in texts}
    assert len(plans) >= 10 and any("SEARCH" in step for plan in plans.values() for step in plan)
    scans = {sql: plan for sql, plan in plans.items()
             if any(re.match(r"SCAN (?!CONSTANT)", step) for step in plan)}
    assert scans == {}


def test_sessions_that_have_ended_are_not_read(ran: tuple[Server, set[str]]) -> None:
    """Whatever asks for a user's live sessions finds them by the index alone."""
    server, texts = ran
    asked = 0
    for sql in texts:
        for step in _plan(server, sql):
            if "sessions_by_user" in step and "revoked_at IS NULL" in sql:
                assert "revoked_at=?" in step, (sql, step)
                asked += 1
    assert asked >= 2
