"""SQLite's file is locked, full, read-only, too large or damaged: 503, a clear line for the operator,
nothing acknowledged is lost, and the service is back when the fault is gone.
"""
from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from harness.checks import assert_invalid_refresh, assert_problem
from harness.client import JWKS, Account, Client
from harness.fixtures import ServerFactory, data_root  # noqa: F401
from harness.server import Server, run_command
from harness.settings import prompt_slack, slowness
from harness.storage import Storage, sqlite_storage

TIMEOUT = 2.0  # more than the slack, so that whoever waits twice is seen
HEALED_WITHIN = 10 * slowness()


def _prompt() -> float:
    """What the service promises, and what the machine may add."""
    return TIMEOUT + prompt_slack() * slowness()


@pytest.fixture
def start(make_sqlite_server: ServerFactory) -> Callable[..., Server]:
    def make(storage: Storage | None = None) -> Server:
        return make_sqlite_server(storage, DB_TIMEOUT_MS=str(int(TIMEOUT * 1000)),
                                  LOCKOUT_THRESHOLD="3", REFRESH_LEEWAY_SECONDS="60")

    return make


@pytest.fixture
def small_disk(data_root: Callable[[], Path]) -> Iterator[Path]:  # noqa: F811
    """A folder that is a file system of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = data_root()
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class Kept:
    """What was acknowledged before the fault."""

    def __init__(self, client: Client) -> None:
        self.account = client.new_account()
        self.head = client.rotate(client.sign_in(self.account).refresh)
        self.ended = client.sign_in(self.account)
        client.logout(self.ended.refresh)

    def check(self, server: Server) -> None:
        with server.client() as client:
            self.head = client.rotate(self.head.refresh)
            assert client.refresh(self.ended.refresh).status_code == 401
            client.sign_in(self.account)
        connection = sqlite3.connect(server.storage.data_dir / "watchword.db")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


def _asks(client: Client, kept: Kept) -> list[Callable[[], httpx.Response]]:
    token, access = kept.head.refresh, kept.head.access
    return [lambda: client.login(kept.account), lambda: client.register(Account()),
            lambda: client.refresh(token), lambda: client.logout(token),
            lambda: client.sessions(access), lambda: client.logout_all(access)]


def _assert_down(server: Server, kept: Kept, says: str) -> None:
    """Every sensitive answer is 503 and prompt, the rest goes on, and the reason is in the log."""
    with server.client() as client:
        for _ in range(3):
            for ask in _asks(client, kept):
                begin = time.monotonic()
                answer = ask()
                took = time.monotonic() - begin
                assert_problem(answer, 503, "unavailable", "temporarily unavailable")
                assert took <= _prompt(), took
        assert client.get(JWKS).status_code == 200
        assert client.get("/health/live").status_code == 200
    assert not server.is_ready()
    log = server.last_log()
    assert says in log, log[-3000:]
    assert "INSERT" not in log and "UPDATE" not in log


def _wait_ready(server: Server) -> None:
    deadline = time.monotonic() + HEALED_WITHIN
    while not server.is_ready():
        assert time.monotonic() < deadline, "not ready again"
        time.sleep(0.02)


def _assert_back(server: Server, kept: Kept) -> None:
    _wait_ready(server)
    with server.client() as client:
        wrong = Account(kept.account.tenant, kept.account.email)
        assert [client.login(wrong).status_code for _ in range(2)] == [401, 401]
    kept.check(server)


def test_locked_by_another_process(start: Callable[..., Server]) -> None:
    server = start()
    with server.client() as client:
        kept = Kept(client)
    other = sqlite3.connect(server.storage.data_dir / "watchword.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    _assert_down(server, kept, "database is locked")
    other.execute("ROLLBACK")
    other.close()
    _assert_back(server, kept)


def test_a_deletion_while_somebody_reads(start: Callable[..., Server]) -> None:
    """A backup, for example: a deletion that clears the log behind it keeps nobody from writing."""
    server = start()
    with server.client() as client, closing(
        sqlite3.connect(server.storage.data_dir / "watchword.db", isolation_level=None)
    ) as reader, ThreadPoolExecutor(1) as pool:
        gone, stays = client.new_account(), client.new_account()
        token = client.sign_in(stays).refresh
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM credentials").fetchall()
        arguments = ["user", "delete", "--yes", "--tenant", gone.tenant, "--email", gone.email]
        deletion = pool.submit(run_command, arguments, dict(server.settings), timeout=30)
        while not deletion.done():
            token = client.rotate(token).refresh
        assert deletion.result().code == 0, deletion.result().text
        assert reader.execute("SELECT count(*) FROM credentials").fetchall() == [(2,)]


def test_full_disk(start: Callable[..., Server], small_disk: Path) -> None:
    server = start(sqlite_storage(small_disk))
    with server.client() as client:
        kept = Kept(client)
    filler = _fill(small_disk)
    made = _until_refused(server)
    refused = 0
    with server.client() as client:
        for _ in range(60):  # now and then the log of the database finds room in itself
            account = Account()
            answer = client.register(account)
            if answer.status_code == 200:
                made.append(account)
            else:
                assert_problem(answer, 503, "unavailable", "temporarily unavailable")
                refused += 1
        assert refused > 10
        assert client.get(JWKS).status_code == 200
    assert "disk is full" in server.last_log()
    assert server.log_lines("database.down"), "an orchestrator was not told"
    filler.unlink()
    _assert_back(server, kept)
    emails = {row["email"] for row in server.db.rows("credentials")}
    assert [account.email for account in made if account.email not in emails] == []


def _fill(disk: Path) -> Path:
    """To the last page, with this file."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler


def test_right_password_is_no_failure_if_the_disk_is_full_by_then(
    make_sqlite_server: ServerFactory, small_disk: Path
) -> None:
    """The attempt was written down, and would lock; the session cannot be: nobody is locked out."""
    server = make_sqlite_server(
        sqlite_storage(small_disk), LOCKOUT_THRESHOLD="1", LOCKOUT_MINUTES="60",
        DB_TIMEOUT_MS=str(int(TIMEOUT * 1000)), ARGON_MEMORY_KB="65536", ARGON_ITERATIONS="30")
    with server.client() as client, ThreadPoolExecutor(1) as pool:
        account = client.new_account()
        login = pool.submit(client.login, account)
        deadline = time.monotonic() + HEALED_WITHIN
        while not any(row["failures"] for row in server.db.rows("login_throttle")):
            assert time.monotonic() < deadline, "no attempt"
        filler = _fill(small_disk)
        assert not login.done()
        assert_problem(login.result(), 503, "unavailable", "temporarily unavailable")
        filler.unlink()
        while any(row["failures"] for row in server.db.rows("login_throttle")):
            assert time.monotonic() < deadline, "the attempt still counts"
            time.sleep(0.05)
        client.sign_in(account)


def _until_refused(server: Server) -> list[Account]:
    """Register until there is no room; what was acknowledged on the way."""
    made = []
    with server.client() as client:
        for _ in range(2000):
            account = Account()
            answer = client.register(account)
            if answer.status_code != 200:
                assert_problem(answer, 503, "unavailable")
                return made
            made.append(account)
    raise AssertionError("it never filled up")


def test_file_that_may_not_grow(start: Callable[..., Server]) -> None:
    """The limit of the process (ulimit -f): an error as any other, not a signal that kills."""
    server = start()
    with server.client() as client:
        kept = Kept(client)
    wal = server.storage.data_dir / "watchword.db-wal"
    pid, whole = server.process.pid, resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (wal.stat().st_size + 20000, whole))
    made = _until_refused(server)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (whole, whole))
    _assert_back(server, kept)
    emails = {row["email"] for row in server.db.rows("credentials")}
    assert [account.email for account in made if account.email not in emails] == []


def test_a_replay_that_could_not_be_committed_is_told_when_it_is(
    start: Callable[..., Server]
) -> None:
    """The session lives on, and nobody is told otherwise; told it is when the token comes again."""
    server = start()
    event = "security.refresh_replay_detected"
    with server.client() as client:
        account = client.new_account()
        spent = client.sign_in(account)
        client.rotate(client.rotate(spent.refresh).refresh)
        wal = server.storage.data_dir / "watchword.db-wal"
        pid, whole = server.process.pid, resource.RLIM_INFINITY
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, whole))
        assert_problem(client.refresh(spent.refresh), 503, "unavailable", "temporarily unavailable")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (whole, whole))
        assert server.db.session(spent.session_id)["revoked_at"] is None
        assert server.log_lines(event) == []
        assert _replays(server) == 0
        _wait_ready(server)
        assert_invalid_refresh(client.refresh(spent.refresh))
        assert [line["distance"] for line in server.wait_log(event)] == [2]
        assert _replays(server) == 1


def _replays(server: Server) -> float:
    return sum(float(line.rsplit(" ", 1)[1]) for line in server.ops("/metrics").text.splitlines()
               if line.startswith("auth_refresh_replay_total"))


def test_read_only(start: Callable[..., Server], small_disk: Path) -> None:
    """It starts on a read-only disk, says what is wrong, and serves once it may write."""
    server = start(sqlite_storage(small_disk))
    with server.client() as client:
        kept = Kept(client)
    server.stop()
    _remount(small_disk, "ro")
    server.start(wait=False)
    _wait_listening(server)
    _assert_down(server, kept, "database.down")
    assert any(word in server.last_log() for word in ("readonly", "unable to open"))
    _remount(small_disk, "rw")
    _assert_back(server, kept)


def _remount(folder: Path, mode: str) -> None:
    """Once the last of the server's processes has let go of it."""
    deadline = time.monotonic() + 10 * slowness()
    command = ["mount", "-o", f"remount,{mode}", str(folder)]
    while subprocess.run(command, capture_output=True).returncode != 0:
        assert time.monotonic() < deadline, f"{folder} stays busy"
        time.sleep(0.05)


def _wait_listening(server: Server) -> None:
    deadline = time.monotonic() + 15 * slowness()
    while True:
        try:
            with server.client() as client:
                client.get("/health/live")
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline, server.last_log()
            time.sleep(0.02)


def _page_of(database: Path, table: str) -> tuple[int, int]:
    """Where the table begins in the file, and how long a page is."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (root,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    connection.close()
    return (root - 1) * size, size


def test_damaged_file(start: Callable[..., Server], tmp_path: Path) -> None:
    """One table's page is rubbish: found by the first operation that meets it, and from then on
    unavailable, not up and down; with the backup restored all is well."""
    server = start()
    with server.client() as client:
        kept = Kept(client)
    server.stop()
    database = server.storage.data_dir / "watchword.db"
    offset, size = _page_of(database, "sessions")
    backup = tmp_path / "backup.db"
    shutil.copy(database, backup)
    with open(database, "r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * size)
    server.start()
    with server.client() as client:
        assert_problem(client.refresh(kept.head.refresh), 503, "unavailable")
    _assert_down(server, kept, "malformed")
    time.sleep(1.5)
    assert not server.is_ready(), "up again with a damaged file"
    assert "restore a backup" in server.last_log()
    server.stop()
    for path in server.storage.data_dir.glob("watchword.db-*"):
        path.unlink()
    shutil.copy(backup, database)
    server.start()
    _assert_back(server, kept)


def test_not_a_database(start: Callable[..., Server]) -> None:
    """The file is something else: it is left alone, and said so."""
    server = start()
    with server.client() as client:
        kept = Kept(client)
    server.stop()
    database = server.storage.data_dir / "watchword.db"
    whole = database.read_bytes()
    database.write_bytes(b"this is a letter to my aunt\n" * 1000)
    server.start(wait=False)
    _wait_listening(server)
    _assert_down(server, kept, "not a database")
    assert database.read_bytes() == b"this is a letter to my aunt\n" * 1000
    server.stop()
    database.write_bytes(whole)
    server.start()
    _assert_back(server, kept)


def test_stop_waits_for_who_waits_for_the_database(make_sqlite_server: ServerFactory) -> None:
    """Half a minute after SIGTERM nothing more is begun; what is under way still ends by itself, with
    an answer."""
    patience = 32
    server = make_sqlite_server(DB_TIMEOUT_MS=str(patience * 1000))

    def refresh(token: str) -> httpx.Response:
        with Client(server.url, timeout=60 * slowness(), headers={}) as client:
            return client.refresh(token)

    with server.client() as client:
        tokens = [client.new_session().refresh for _ in range(3)]
    path = server.storage.data_dir / "watchword.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as lock, ThreadPoolExecutor(3) as pool:
        lock.execute("BEGIN IMMEDIATE")
        begin = time.monotonic()
        waiting = [pool.submit(refresh, token) for token in tokens]
        time.sleep(0.5)
        server.terminate()
        for each in waiting:
            assert_problem(each.result(), 503, "unavailable")
        assert patience - 1 <= time.monotonic() - begin <= patience + 10 * slowness()
    server.wait_clean()
