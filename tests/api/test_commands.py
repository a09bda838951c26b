"""The command line: serve, migrate, check, version, help (contract section 1)."""
from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest

from harness import ports
from harness.fixtures import ServerFactory, StorageFactory
from harness.postgres import Cluster
from harness.server import Server, Settings, StartFailed, environment, run_command
from harness.settings import default_settings, service_binary, slowness
from harness.storage import Storage


def _settings(storage: Storage, **changes: str | None) -> Settings:
    storage.data_dir.mkdir(parents=True, exist_ok=True)
    return {
        **default_settings(), "DATA_DIR": str(storage.data_dir), "DATABASE_URL": storage.url,
        "PORT": str(ports.free_port()), "OPS_PORT": str(ports.free_port()), **changes,
    }


def test_version_names_program_and_version() -> None:
    """Exit 0, one line on stdout."""
    done = run_command(["version"], {})
    assert done.code == 0
    assert "watchword" in done.out.lower()
    assert any(character.isdigit() for character in done.out)
    assert done.err == ""


def test_help_lists_the_commands() -> None:
    """Exit 0, all commands on stdout."""
    done = run_command(["help"], {})
    assert done.code == 0
    for command in ("serve", "migrate", "check", "keys", "user", "session", "version"):
        assert command in done.out


def test_version_and_help_need_no_settings() -> None:
    """They work where nothing else would."""
    for command in ("version", "help"):
        assert run_command([command], {"PORT": "x", "WATCHWORD_X": "1"}).code == 0


def test_a_closed_stream_is_not_taken_by_something_else(new_storage: StorageFactory) -> None:
    """The log of who serves without stderr does not go to a socket that has its number."""
    settings = _settings(new_storage())
    process = subprocess.Popen([service_binary(), "serve"], env=environment(settings), cwd="/",
                               preexec_fn=lambda: os.closerange(0, 3))
    try:
        deadline = time.monotonic() + 10 * slowness()
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", int(settings["PORT"] or 0))) != 0:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        streams = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        assert streams == ["/dev/null"] * 3
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["Serve"], [""], ["--nonsense"], ["serve", "extra"], ["serve", "--nonsense"],
    ["migrate", "--nonsense"], ["migrate", "extra"], ["check", "extra"], ["-x"],
    ["user"], ["user", "nonsense"], ["session"], ["keys", "nonsense"],
])
def test_wrong_usage_is_exit_2(new_sqlite_storage: StorageFactory, arguments: list[str]) -> None:
    """Unknown commands, options and arguments: 2, a word on stderr, nothing on stdout."""
    done = run_command(arguments, _settings(new_sqlite_storage()))
    assert done.code == 2, done.text
    assert done.err.strip()
    assert done.out == ""


def _in_shell(storage: Storage, line: str) -> subprocess.CompletedProcess[bytes]:
    """A line of sh with the program as $0."""
    settings = _settings(storage, JWT_PRIVATE_KEY_PEM=None)
    return subprocess.run(["/bin/sh", "-c", line, str(service_binary())], cwd="/",
                          env=environment(settings), capture_output=True, timeout=8 * slowness())


@pytest.mark.parametrize("command", ["help", "version", "check", "keys list"])
def test_an_answer_that_cannot_be_written_is_exit_1(new_sqlite_storage: StorageFactory,
                                                    command: str) -> None:
    """A full disk or a closed descriptor is told: a script would take the empty file for the answer."""
    storage = new_sqlite_storage()
    assert _in_shell(storage, '"$0" keys generate').returncode == 0
    for to in (">/dev/full", ">&-"):
        done = _in_shell(storage, f'"$0" {command} {to}')
        assert done.returncode == 1, to
        assert b"standard output cannot be written" in done.stderr, to


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_a_closed_standard_descriptor(new_sqlite_storage: StorageFactory,
                                                    closed: str) -> None:
    """The line about a new key does not go into the file that happens to be open."""
    storage = new_sqlite_storage()
    for _ in range(2):
        done = _in_shell(storage, f'"$0" keys generate {closed}')
        assert done.returncode == (1 if " >&-" in closed else 0)
    found = {path.suffix: path.read_bytes() for path in (storage.data_dir / "keys").iterdir()}
    assert set(found) == {".pem", ".json", ".lock"}
    assert found[".lock"] == b""
    assert all(b"auth.key_generated" not in text for text in found.values())


def test_no_command_is_serve(new_sqlite_storage: StorageFactory) -> None:
    """Without a command it serves: the same bad setting stops it in the same way."""
    done = run_command([], _settings(new_sqlite_storage(), LOCKOUT_MINUTES="0"))
    assert done.code == 1
    assert "LOCKOUT_MINUTES" in done.err


# migrate


def test_migrate_brings_the_database_up(new_storage: StorageFactory) -> None:
    """It says what it did, records it, and does nothing the second time."""
    storage = new_storage()
    settings = _settings(storage)
    first = run_command(["migrate"], settings)
    assert first.code == 0, first.text
    assert first.out.strip()
    applied = storage.db.migrations()
    assert [row["version"] for row in applied] == list(range(1, len(applied) + 1))
    tables = set(storage.db.tables())
    assert {"credentials", "sessions", "login_throttle", "idempotency_keys"} <= tables
    checksum = storage.db.checksum()
    assert run_command(["migrate"], settings).code == 0
    assert storage.db.checksum() == checksum


def test_migrate_status_changes_nothing(new_storage: StorageFactory) -> None:
    """Before, it shows what is pending; after, what was applied."""
    storage = new_storage()
    settings = _settings(storage)
    before = run_command(["migrate", "--status"], settings)
    assert before.code in (0, 1), before.text
    if storage.is_sqlite and not Path(storage.url.removeprefix("sqlite:")).exists():
        pass  # it did not even make the file
    else:
        assert "credentials" not in storage.db.tables()
    assert run_command(["migrate"], settings).code == 0
    after = run_command(["migrate", "--status"], settings)
    assert after.code == 0, after.text
    assert after.text != before.text


def test_migrate_json_is_json(new_storage: StorageFactory) -> None:
    """--json for machines."""
    settings = _settings(new_storage())
    for arguments in (["migrate", "--json"], ["migrate", "--status", "--json"]):
        done = run_command(arguments, settings)
        assert done.code == 0, done.text
        json.loads(done.out)


@pytest.mark.parametrize("_round", range(10))
def test_migrations_at_the_same_moment(new_storage: StorageFactory, _round: int) -> None:
    """Several on one new database: all exit 0, each step applied once. SQLite's file is made then as
    well, which now and then fails for one of them if it does not try again."""
    storage = new_storage()
    settings = environment(_settings(storage))
    runs = [
        subprocess.Popen([str(service_binary()), "migrate"], env=settings, cwd="/",
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for run in runs:
        _, err = run.communicate(timeout=60 * slowness())
        assert run.returncode == 0, err.decode(errors="replace")
    versions = [row["version"] for row in storage.db.migrations()]
    assert versions == sorted(set(versions))


def test_migrate_refuses_a_newer_database(new_storage: StorageFactory) -> None:
    """A database of a later version is not touched by this one."""
    storage = new_storage()
    settings = _settings(storage)
    assert run_command(["migrate"], settings).code == 0
    last = storage.db.migrations()[-1]["version"]
    storage.db.update("migrations", {"version": 9999}, version=last)
    checksum = storage.db.checksum()
    assert run_command(["migrate"], settings).code == 1
    assert storage.db.checksum() == checksum
    assert run_command(["serve"], settings).code == 1


@pytest.mark.parametrize("way", ["url", "environment"])
def test_a_schema_of_ones_own(new_storage: StorageFactory, make_server: ServerFactory, way: str) -> None:
    """`options` of a PostgreSQL URL, or PGOPTIONS, hold for what serves as for what migrates."""
    storage = new_storage()
    if storage.is_sqlite:
        pytest.skip("SQLite has no schemas")
    with closing(psycopg2.connect(storage.db.url)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA auth")
        connection.commit()
    settings = {"PGOPTIONS": "-c search_path=auth"} if way == "environment" else {}
    url = storage.url + ("?options=-c%20search_path%3Dauth" if way == "url" else "")
    storage = replace(storage, url=url)
    assert run_command(["migrate"], _settings(storage, **settings)).code == 0
    with make_server(storage, **settings).client() as client:
        client.new_session()
    with closing(psycopg2.connect(storage.db.url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT schemaname, count(*) > 5 FROM pg_stat_user_tables GROUP BY 1")
        assert cursor.fetchall() == [("auth", True)]


def test_migrate_passes_over_a_server_that_takes_no_writes(
    new_storage: StorageFactory, own_cluster: Cluster
) -> None:
    """Of several hosts the first may be a standby, since a failover."""
    storage = new_storage()
    if storage.is_sqlite:
        pytest.skip("SQLite has no hosts")
    server, name = storage.url.rsplit("/", 1)
    with closing(psycopg2.connect(own_cluster.url("postgres"))) as connection:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {name}")
    own_cluster.refuse_all_writes()
    address = server.rsplit("@", 1)[1]
    url = storage.url.replace(address, f"127.0.0.1:{own_cluster.port},{address}")
    settings = _settings(storage, DATABASE_URL=url)
    done = run_command(["migrate"], settings)
    assert done.code == 0, done.text
    assert run_command(["migrate", "--status"], settings).code == 0


@pytest.mark.parametrize("encoding,code", [("UTF8", 0), ("SQL_ASCII", 0), ("LATIN1", 1)])
def test_a_database_that_cannot_hold_every_script(new_storage: StorageFactory, encoding: str,
                                                  code: int) -> None:
    """It is refused before there is a table: each such address and user agent would be a 500."""
    storage = new_storage()
    if storage.is_sqlite:
        pytest.skip("SQLite has UTF-8")
    base, _, name = storage.db.url.rpartition("/")
    name += f"_{encoding.lower()}"
    with closing(psycopg2.connect(storage.db.url)) as connection, connection.cursor() as cursor:
        connection.set_session(autocommit=True)
        cursor.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
                       " TEMPLATE template0")
    done = run_command(["migrate"], _settings(replace(storage, url=f"{base}/{name}")))
    assert done.code == code, done.text
    assert ("DATABASE_URL" in done.err and "must be UTF8" in done.err) == (code == 1)
    with closing(psycopg2.connect(f"{base}/{name}")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) > 0 FROM pg_stat_user_tables")
        assert cursor.fetchone() == (code == 0,)


def test_migrate_without_a_database_is_exit_1(new_sqlite_storage: StorageFactory) -> None:
    """An unreachable server, a folder that is not there: 1, soon, naming the setting."""
    storage = new_sqlite_storage()
    for url in (f"postgresql://nobody@127.0.0.1:{ports.free_port()}/x", "sqlite:/nonexistent/x.db"):
        done = run_command(["migrate"], _settings(storage, DATABASE_URL=url), timeout=30)
        assert done.code == 1
        assert "DATABASE_URL" in done.err or "database" in done.err.lower()


def test_production_is_not_ready_before_migrate(
    new_storage: StorageFactory, make_server: ServerFactory
) -> None:
    """Only development migrates by itself: in production the start is refused or not ready."""
    storage = new_storage()
    settings = _settings(storage, ENV="production", REGISTER_OPEN="true")
    server = Server(storage, settings)
    try:
        server.start(wait=False)
        code = None
        for _ in range(30):
            code = server.process.poll()
            if code is not None:
                break
            assert not server.is_ready()
        assert code in (None, 1)
    except StartFailed as refused:
        assert refused.returncode == 1
    finally:
        server.kill()
    if not storage.is_sqlite or Path(storage.url.removeprefix("sqlite:")).exists():
        assert "credentials" not in storage.db.tables()
    assert run_command(["migrate"], settings).code == 0
    ready = make_server(storage, ENV="production", REGISTER_OPEN="true")
    with ready.client() as client:
        client.new_session()
