"""A place for the data of one or more servers: a folder, or a folder and a PostgreSQL database."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .db import Database, PostgresDatabase, SqliteDatabase
from .postgres import Cluster


@dataclass(frozen=True)
class Storage:
    """Where a server keeps things; servers that share it are instances of one service."""

    data_dir: Path
    url: str
    db: Database

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")


def sqlite_storage(data_dir: Path) -> Storage:
    path = data_dir / "watchword.db"
    return Storage(data_dir, f"sqlite:{path}", SqliteDatabase(path))


def postgres_storage(data_dir: Path, cluster: Cluster, *, port: int | None = None) -> Storage:
    """With a port, the service goes by that one (a relay) and the test looks directly."""
    url = cluster.new_database()
    way = url
    if port is not None:  # in the clear: relays look at what passes
        way = url.replace(f":{cluster.port}/", f":{port}/")
        way += "?sslmode=disable&gssencmode=disable"
    return Storage(data_dir, way, PostgresDatabase(url))
