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


def postgres_storage(data_dir: Path, cluster: Cluster) -> Storage:
    url = cluster.new_database()
    return Storage(data_dir, url, PostgresDatabase(url))
