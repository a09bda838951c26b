"""A real, throw-away PostgreSQL cluster."""
from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2

from . import ports
from .orphans import dies_with_us

BIN = Path(os.environ.get("WATCHWORD_PG_BIN", "/usr/lib/postgresql/15/bin"))
HELP = (
    f"PostgreSQL server programs are missing in {BIN}: install postgresql-15 (or set"
    " WATCHWORD_PG_BIN), or leave the store out with WATCHWORD_TEST_STORES=sqlite"
)


class Cluster:
    """One server process on 127.0.0.1 and a unix socket, trust authentication, fsync on."""

    def __init__(self) -> None:
        for program in ("initdb", "postgres"):
            if not os.access(BIN / program, os.X_OK):
                raise AssertionError(HELP)
        self.port = ports.free_port()
        self.dir = Path(tempfile.mkdtemp(prefix="watchword-pg-"))
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.dir, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._names = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._initdb()
        self.start()

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(self.dir), "LC_ALL": "C.UTF-8"}

    def _initdb(self) -> None:
        command = [str(BIN / "initdb"), "-D", str(self.dir / "data"), "-U", "postgres"]
        command += ["-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
        done = subprocess.run(
            command, capture_output=True, text=True, env=self._environment(), cwd=self.dir,
            **self._as_user,
        )
        if done.returncode != 0:
            raise AssertionError(f"initdb failed:\n{done.stdout}\n{done.stderr}")

    def start(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.dir),
            "port": str(self.port),
            "fsync": "on",
            "max_connections": "400",
            "shared_buffers": "64MB",
        }
        command = [str(BIN / "postgres"), "-D", str(self.dir / "data")]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with open(self.dir / "log", "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment(), cwd=self.dir,
                start_new_session=True, preexec_fn=dies_with_us(signal.SIGQUIT), **self._as_user,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg2.connect(self.url("postgres")).close()
                return
            except psycopg2.OperationalError as error:
                gone = self._process is None or self._process.poll() is not None
                if gone or time.monotonic() > deadline:
                    log = (self.dir / "log").read_text(errors="replace")
                    raise AssertionError(f"PostgreSQL did not start: {error}\n{log}") from error
                time.sleep(0.02)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        name = f"watchword_{os.getpid()}_{next(self._names)}"
        connection = psycopg2.connect(self.url("postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {name}")
        finally:
            connection.close()
        return self.url(name)

    # What can happen to a database

    def stop(self) -> None:
        """At once, as in a crash; what was committed is there after `start`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=20)
            self._process = None

    def _processes(self) -> list[int]:
        assert self._process is not None
        top = self._process.pid
        children = Path(f"/proc/{top}/task/{top}/children").read_text().split()
        return [top, *map(int, children)]

    def freeze(self) -> None:
        """Every process of it stands still; the sockets stay open. The first one first: it would
        otherwise replace the others."""
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in reversed(self._processes()):
            os.kill(pid, signal.SIGCONT)

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.url("postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def terminate_connections(self) -> int:
        """All of the service's; how many they were."""
        return len(self._ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                             " WHERE application_name = 'watchword'"))

    def connections(self) -> list[str]:
        """The state of each of the service's."""
        return [state for (state,) in self._ask(
            "SELECT state FROM pg_stat_activity WHERE application_name = 'watchword'")]

    def refuse_writes(self, database: str, *, refuse: bool = True) -> None:
        """In transactions of connections that begin from now on."""
        self._ask(f"ALTER DATABASE {database} SET default_transaction_read_only = {refuse}")

    def refuse_all_writes(self, *, refuse: bool = True) -> None:
        """Also in those of connections that are there."""
        self._ask(f"ALTER SYSTEM SET default_transaction_read_only = {refuse}")
        self._ask("SELECT pg_reload_conf()")

    def destroy(self) -> None:
        """Without the last checkpoint: nobody will need the data."""
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
