"""The fixtures of tests/api and tests/fault; both conftest.py files import them from here."""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .client import Client
from .postgres import Cluster
from .server import Server
from .settings import selected_stores
from .storage import Storage, postgres_storage, sqlite_storage

StorageFactory = Callable[[], Storage]
ServerFactory = Callable[..., Server]


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """One PostgreSQL server for this (worker) process."""
    cluster = Cluster()
    yield cluster
    cluster.destroy()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of one test, which may do to it what it likes."""
    if "postgres" not in selected_stores():
        pytest.skip("this run leaves PostgreSQL out")
    cluster = Cluster()
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="session", params=selected_stores())
def store(request: pytest.FixtureRequest) -> str:
    """Whoever uses this runs once on each store."""
    return request.param


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Fresh folders; each server's data is one below, its logs are beside it."""
    numbers = itertools.count()
    root = tmp_path_factory.mktemp("servers")

    def make() -> Path:
        folder = root / str(next(numbers)) / "data"
        folder.parent.mkdir()
        return folder

    return make


@pytest.fixture(scope="session")
def new_sqlite_storage(data_root: Callable[[], Path]) -> StorageFactory:
    """For tests that do not care about the store."""
    return lambda: sqlite_storage(data_root())


@pytest.fixture(scope="session")
def new_storage(
    store: str, data_root: Callable[[], Path], request: pytest.FixtureRequest
) -> StorageFactory:
    """Fresh places for data in the store of this run."""
    if store == "sqlite":
        return lambda: sqlite_storage(data_root())
    cluster = request.getfixturevalue("postgres_cluster")
    return lambda: postgres_storage(data_root(), cluster)


def _stop_all(servers: list[Server]) -> None:
    problems = []
    for server in servers:
        if server._process is not None:
            try:
                server.stop()
            except AssertionError as problem:
                problems.append(problem)
            finally:
                server.kill()
    if problems:
        raise problems[0]


def _factory(new: StorageFactory, servers: list[Server]) -> ServerFactory:
    def make(storage: Storage | None = None, *, binary: Path | None = None, **settings: Any):
        server = Server(storage or new(), settings, binary=binary)
        servers.append(server)
        return server.start()

    return make


@pytest.fixture(scope="session")
def server(new_storage: StorageFactory) -> Iterator[Server]:
    """A server with the default test settings, shared by all tests of one store.

    Tests on it use tenants of their own and never restart it.
    """
    servers: list[Server] = []
    yield _factory(new_storage, servers)()
    _stop_all(servers)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of the shared server."""
    with server.client() as made:
        yield made


@pytest.fixture(scope="module")
def make_shared_server(new_storage: StorageFactory) -> Iterator[ServerFactory]:
    """Servers with settings of a test module, one set for each store."""
    servers: list[Server] = []
    yield _factory(new_storage, servers)
    _stop_all(servers)


@pytest.fixture
def make_server(new_storage: StorageFactory) -> Iterator[ServerFactory]:
    """make_server(SETTING="value", ...): servers of one test, stopped and judged at its end."""
    servers: list[Server] = []
    yield _factory(new_storage, servers)
    _stop_all(servers)


@pytest.fixture
def make_sqlite_server(new_sqlite_storage: StorageFactory) -> Iterator[ServerFactory]:
    """make_server for tests that do not care about the store."""
    servers: list[Server] = []
    yield _factory(new_sqlite_storage, servers)
    _stop_all(servers)
