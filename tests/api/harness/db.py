"""The one place that knows table and column names; it reads, shifts and dumps the database.

All times are Unix milliseconds. Ids are given and taken as lower-case hyphenated text.
"""
from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

UUID_COLUMNS = {"id", "tenant_id", "user_id", "session_id", "event_id"}
Row = dict[str, Any]


def now_ms() -> int:
    return int(time.time() * 1000)


class Database(ABC):
    """A few statements on either store, each on a connection of its own."""

    @abstractmethod
    def _run(self, sql: str, values: list[Any]) -> tuple[list[Row], int]:
        """Run with `?` placeholders; the rows and the number of rows touched."""

    @abstractmethod
    def _encode(self, column: str, value: Any) -> Any:
        """A value as the store's driver wants it."""

    @abstractmethod
    def tables(self) -> list[str]:
        """All tables of the service."""

    @abstractmethod
    def dump(self) -> bytes:
        """Everything a thief of the database would get, in every form a tool gives."""

    def _where(self, where: Row) -> tuple[str, list[Any]]:
        if not where:
            return "", []
        clause = " AND ".join(f"{column} = ?" for column in where)
        return f" WHERE {clause}", [self._encode(c, v) for c, v in where.items()]

    def rows(self, table: str, **where: Any) -> list[Row]:
        clause, values = self._where(where)
        found, _ = self._run(f"SELECT * FROM {table}{clause}", values)
        return [{c: _decode(c, v) for c, v in row.items()} for row in found]

    def row(self, table: str, **where: Any) -> Row:
        found = self.rows(table, **where)
        assert len(found) == 1, f"{table} {where}: {len(found)} rows"
        return found[0]

    def count(self, table: str, **where: Any) -> int:
        return len(self.rows(table, **where))

    def update(self, table: str, changes: Row, **where: Any) -> None:
        """Change rows; at least one must match."""
        clause, values = self._where(where)
        names = ", ".join(f"{column} = ?" for column in changes)
        encoded = [self._encode(c, v) for c, v in changes.items()]
        _, touched = self._run(f"UPDATE {table} SET {names}{clause}", encoded + values)
        assert touched > 0, f"{table} {where}: no row to change"

    def shift(self, table: str, columns: list[str], delta_ms: int, **where: Any) -> None:
        """Move stored times: a negative delta makes things older."""
        clause, values = self._where(where)
        names = ", ".join(f"{column} = {column} + ({int(delta_ms)})" for column in columns)
        _, touched = self._run(f"UPDATE {table} SET {names}{clause}", values)
        assert touched > 0, f"{table} {where}: no row to shift"

    def checksum(self) -> str:
        """One digest over all rows of all tables."""
        digest = hashlib.sha256()
        for table in self.tables():
            found, _ = self._run(f"SELECT * FROM {table}", [])
            lines = sorted(repr(sorted((c, _plain(v)) for c, v in row.items())) for row in found)
            digest.update(f"{table}\n".encode() + "\n".join(lines).encode())
        return digest.hexdigest()

    # What tests mean, in the words of the tables.

    def credential(self, tenant: str, **where: Any) -> Row:
        return self.row("credentials", tenant_id=tenant, **where)

    def password_hash(self, tenant: str, user: str) -> str:
        return self.credential(tenant, user_id=user)["password_hash"]

    def set_password_hash(self, tenant: str, user: str, phc: str) -> None:
        self.update("credentials", {"password_hash": phc}, tenant_id=tenant, user_id=user)

    RANDOM_ID: str

    def copy_credential(self, tenant: str, user: str, times: int) -> None:
        """So many more users of the tenant with the same hash."""
        series = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ?)"
        series += " SELECT n FROM s"
        self._run(
            "INSERT INTO credentials (tenant_id, user_id, email, password_hash, status, created_at,"
            f" updated_at) SELECT tenant_id, {self.RANDOM_ID}, n || email, password_hash, status,"
            f" created_at, updated_at FROM credentials, ({series}) AS series"
            " WHERE tenant_id = ? AND user_id = ?",
            [times, self._encode("tenant_id", tenant), self._encode("user_id", user)],
        )

    def set_status(self, tenant: str, user: str, status: str) -> None:
        self.update("credentials", {"status": status}, tenant_id=tenant, user_id=user)

    def session(self, session_id: str) -> Row:
        return self.row("sessions", id=session_id)

    def live_sessions(self, tenant: str, user: str) -> list[Row]:
        """Sessions that could still be refreshed."""
        now = now_ms()
        return [
            row
            for row in self.rows("sessions", tenant_id=tenant, user_id=user)
            if row["revoked_at"] is None
            and row["idle_expires_at"] > now
            and row["absolute_expires_at"] > now
        ]

    def set_idle_expiry(self, session_id: str, at_ms: int) -> None:
        self.update("sessions", {"idle_expires_at": at_ms}, id=session_id)

    def set_absolute_expiry(self, session_id: str, at_ms: int) -> None:
        self.update("sessions", {"absolute_expires_at": at_ms}, id=session_id)

    def age_rotation(self, session_id: str, seconds: float) -> None:
        """Let the last rotation have happened `seconds` earlier."""
        self.shift("sessions", ["rotated_at"], -int(seconds * 1000), id=session_id)

    def throttle(self, tenant: str) -> list[Row]:
        return self.rows("login_throttle", tenant_id=tenant)

    def expire_lock(self, tenant: str) -> None:
        self.update("login_throttle", {"locked_until": now_ms() - 1}, tenant_id=tenant)

    def age_idempotency(self, user: str, seconds: float) -> None:
        self.shift("idempotency_keys", ["created_at"], -int(seconds * 1000), user_id=user)

    def migrations(self) -> list[Row]:
        return sorted(self.rows("migrations"), key=lambda row: row["version"])


def _decode(column: str, value: Any) -> Any:
    value = bytes(value) if isinstance(value, (memoryview, bytearray)) else value
    if column in UUID_COLUMNS and value is not None:
        return str(uuid.UUID(bytes=value) if isinstance(value, bytes) else uuid.UUID(str(value)))
    return value


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


class SqliteDatabase(Database):
    """The embedded store: the file DATA_DIR/watchword.db."""

    RANDOM_ID = "randomblob(16)"

    def __init__(self, path: Path) -> None:
        self.path = path

    def _run(self, sql: str, values: list[Any]) -> tuple[list[Row], int]:
        connection = sqlite3.connect(f"file:{self.path}?mode=rw", uri=True, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            cursor = connection.execute(sql, values)
            found = [dict(row) for row in cursor.fetchall()]
            connection.commit()
            return found, cursor.rowcount
        finally:
            connection.close()

    def _encode(self, column: str, value: Any) -> Any:
        return uuid.UUID(value).bytes if column in UUID_COLUMNS and value else value

    def tables(self) -> list[str]:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        return sorted(row["name"] for row in self._run(sql, [])[0])

    def dump(self) -> bytes:
        parts = [p.read_bytes() for p in sorted(self.path.parent.glob(self.path.name + "*"))]
        connection = sqlite3.connect(self.path, timeout=10)
        try:
            parts.append("\n".join(connection.iterdump()).encode("utf-8", "surrogateescape"))
        finally:
            connection.close()
        return b"\n".join(parts)


class PostgresDatabase(Database):
    """A database of a test cluster."""

    RANDOM_ID = "gen_random_uuid()"

    def __init__(self, url: str) -> None:
        self.url = url

    def _run(self, sql: str, values: list[Any]) -> tuple[list[Row], int]:
        connection = psycopg2.connect(self.url)
        try:
            connection.autocommit = True
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(sql.replace("?", "%s"), values or None)
                found = [dict(row) for row in cursor.fetchall()] if cursor.description else []
                return found, cursor.rowcount
        finally:
            connection.close()

    def _encode(self, column: str, value: Any) -> Any:
        return psycopg2.Binary(value) if isinstance(value, bytes) else value

    @contextmanager
    def held_session(self, session_id: str) -> Iterator[None]:
        """Somebody else's transaction holds its row."""
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [session_id])
            yield

    def tables(self) -> list[str]:
        sql = "SELECT tablename FROM pg_tables WHERE schemaname NOT IN"
        sql += " ('pg_catalog', 'information_schema')"
        return sorted(row["tablename"] for row in self._run(sql, [])[0])

    def dump(self) -> bytes:
        parts = []
        for options in ([], ["--inserts"], ["-Fc", "-Z0"]):
            done = subprocess.run(["pg_dump", *options, self.url], capture_output=True)
            assert done.returncode == 0, done.stderr.decode(errors="replace")
            parts.append(done.stdout)
        return b"\n".join(parts)
