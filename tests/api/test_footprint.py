"""What the process holds when nothing happens: memory, and libraries."""
from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness import ports
from harness.fixtures import ServerFactory
from harness.server import Server, run_command
from harness.settings import default_settings, slowness

IDLE_MIB = 12.0


def _mapped(server: Server) -> str:
    return Path(f"/proc/{server.process.pid}/maps").read_text()


def test_idle_memory_is_small(make_sqlite_server: ServerFactory) -> None:
    """Beyond the memory for hashes, which it states at the start, no more than 12 MiB."""
    if slowness() > 1:
        pytest.skip("a sanitizer's own memory would be measured")
    server = make_sqlite_server()
    [started] = server.wait_log("service.started")
    time.sleep(0.5)
    resident = server.memory_kb() / 1024 - started["hash_memory_bytes"] / 2**20
    assert 1 < resident <= IDLE_MIB, f"{resident:.2f} MiB"


def test_postgresql_library_is_loaded_for_postgresql_only(make_server: ServerFactory) -> None:
    """libpq and its two dozen libraries stay out of a process that serves from SQLite."""
    server = make_server()
    assert ("/libpq.so" in _mapped(server)) == (not server.storage.is_sqlite)


def test_missing_postgresql_library_is_named(tmp_path: Path) -> None:
    """A program without libpq says so, and still works on SQLite."""
    (tmp_path / "libpq.so.5").touch()
    settings = {
        **default_settings(), "DATA_DIR": str(tmp_path / "data"),
        "PORT": str(ports.free_port()), "OPS_PORT": str(ports.free_port()),
        "LD_LIBRARY_PATH": str(tmp_path),
    }
    done = run_command(["check"], {**settings, "DATABASE_URL": "postgresql://127.0.0.1/none"})
    assert done.code == 1
    assert "DATABASE_URL" in done.text and "libpq.so.5" in done.text, done.text
    done = run_command(["migrate"], {**settings, "DATABASE_URL": f"sqlite:{tmp_path}/w.db"})
    assert done.code == 0, done.text
