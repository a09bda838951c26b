"""What the tests of the sweep share: letting one happen, and what it says it did."""
from __future__ import annotations

import re
import sqlite3
import time

import psycopg2

from .db import Database
from .server import Server
from .settings import slowness

DAY_MS = 86400000


def metric(server: Server, series: str) -> float:
    """One series of /metrics, by its name with labels."""
    text = server.ops("/metrics").text
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.M)
    assert found, f"no {series}"
    return float(found.group(1))


def deleted(server: Server, what: str) -> int:
    return int(metric(server, f'auth_sweep_deleted_total{{what="{what}"}}'))


def due_in_ms(db: Database) -> int:
    return db.row("settings", name="sweep_due")["value"] - int(time.time() * 1000)


def let_sweep(db: Database) -> None:
    """A sweep is due now; wait until somebody has done one."""
    db.update("settings", {"value": 0}, name="sweep_due")
    wait_swept(db)


def wait_swept(db: Database, seconds: float = 15) -> None:
    """After a whole sweep the next is due in an hour; during one, in a minute."""
    deadline = time.monotonic() + seconds * slowness()
    while due_in_ms(db) < 30 * 60000:
        assert time.monotonic() < deadline, "nobody sweeps"
        time.sleep(0.05)


_COLUMNS = ("id, tenant_id, user_id, generation, token_digest, opened_at, rotated_at,"
           " idle_expires_at, absolute_expires_at, client_ip, user_agent")
_LONG_AGO = 1_600_000_000_000


def fill_expired(server: Server, rows: int) -> None:
    """Sessions of many users that ended years ago."""
    times = ", ".join([str(_LONG_AGO)] * 4)
    agent = "'192.0.2.7', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)'"
    if server.storage.is_sqlite:
        connection = sqlite3.connect(server.storage.data_dir / "watchword.db", timeout=60)
        connection.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})"
            f" INSERT INTO sessions ({_COLUMNS}) SELECT randomblob(16), randomblob(16),"
            f" randomblob(16), 3, randomblob(32), {times}, {agent} FROM n")
        connection.commit()
    else:
        connection = psycopg2.connect(server.db.url)
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO sessions ({_COLUMNS}) SELECT gen_random_uuid(), gen_random_uuid(),"
                f" gen_random_uuid(), 3, sha256(i::text::bytea), {times}, {agent}"
                f" FROM generate_series(1, {rows}) i")
        connection.commit()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE sessions")
            cursor.execute("CHECKPOINT")
    connection.close()
