"""The fixtures of tests/api, for the attacks."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent / "api"), str(_HERE)]

for _module in ("harness.checks", "harness.client", "harness.raw", "test_races", "test_refresh",
                "attackers"):
    pytest.register_assert_rewrite(_module)

from harness.fixtures import *  # noqa: E402,F401,F403
from harness.fixtures import ServerFactory, StorageFactory, _factory, _stop_all  # noqa: E402
from harness.server import Server  # noqa: E402


@pytest.fixture(scope="module")
def module_sqlite_server(new_sqlite_storage: StorageFactory) -> Iterator[ServerFactory]:
    """make_sqlite_server, for servers of a whole module."""
    servers: list[Server] = []
    yield _factory(new_sqlite_storage, servers)
    _stop_all(servers)
