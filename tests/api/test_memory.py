"""Memory is what the start line announces for hashing, and a base that does not depend on it."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.client import Account
from harness.fixtures import ServerFactory
from harness.server import Server
from harness.settings import slowness

pytestmark = pytest.mark.skipif(slowness() > 1, reason="sanitizers take memory of their own")

SMALLEST_KIB = 19456  # with two passes: the least that is accepted
MEMORY = {"ARGON_MEMORY_KB": str(SMALLEST_KIB), "ARGON_ITERATIONS": "2"}
FLOOD = 60
# Stacks and connections of more threads, pages that a first login touches.
SLACK_KIB = 4096


def _start(make: ServerFactory, permits: int) -> tuple[Server, int]:
    """A server and what it announces, in KiB."""
    server = make(MAX_CONCURRENT_HASHES=str(permits), **MEMORY)
    announced = server.wait_log("service.started")[0]["hash_memory_bytes"]
    assert announced >= permits * SMALLEST_KIB * 1024
    assert announced <= permits * (SMALLEST_KIB * 1024 + 2 * 2**20)
    return server, announced // 1024


def _log_in(server: Server, account: Account) -> int:
    with server.client() as client:
        return client.login(account).status_code


@pytest.mark.parametrize("permits", [1, 3])
def test_hash_memory_is_what_is_announced(make_sqlite_server: ServerFactory, permits: int) -> None:
    """Six permits more take what six permits more announce, before the first login."""
    small, small_announced = _start(make_sqlite_server, permits)
    large, large_announced = _start(make_sqlite_server, permits + 6)
    grown = large.memory_kb() - small.memory_kb()
    assert abs(grown - (large_announced - small_announced)) < SLACK_KIB


def test_a_flood_of_logins_does_not_go_beyond_it(make_sqlite_server: ServerFactory) -> None:
    """The peak during more logins than there are permits is the memory at rest."""
    server, _ = _start(make_sqlite_server, 2)
    with server.client() as client:
        account = client.new_account()
        assert client.login(account).status_code == 200
    at_rest = server.memory_kb()
    with ThreadPoolExecutor(FLOOD) as pool:
        statuses = list(pool.map(lambda _: _log_in(server, account), range(FLOOD)))
    assert set(statuses) <= {200, 503} and 200 in statuses
    assert server.memory_kb("VmHWM") - at_rest < SLACK_KIB
