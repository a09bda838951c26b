"""The kernel's random numbers fail: nothing is issued until they are back.

getrandom(2) is replaced by one that fails between two SIGUSR1, in the process that faces the
network alone.
"""
from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from harness.checks import assert_problem
from harness.fixtures import ServerFactory
from harness.preload import build_library
from harness.settings import preloaded, slowness

OWN_TRACE = {"x-trace-id": "none-can-be-made"}

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static volatile sig_atomic_t failing;

static void toggle(int number) { (void)number; failing = !failing; }

__attribute__((constructor)) static void set_up(void) { signal(SIGUSR1, toggle); }

ssize_t getrandom(void *buf, size_t len, unsigned flags)
{
    if (failing) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_getrandom, buf, len, flags);
}
"""


@pytest.fixture(scope="module")
def broken_getrandom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("preload"), SOURCE)


def test_without_random_numbers_nothing_is_issued(
    make_server: ServerFactory, broken_getrandom: Path
) -> None:
    """Login and refresh are 503 and no token is made; the refresh token that was
    presented is still good afterwards, and what is issued then is all different."""
    server = make_server(**preloaded(broken_getrandom))
    with server.client() as client:
        account = client.new_account()
        tokens = client.sign_in(account)
        server.process.send_signal(signal.SIGUSR1)
        time.sleep(0.2 * slowness())
        for _ in range(10):
            for answer in (client.login(account, headers=OWN_TRACE),
                           client.refresh(tokens.refresh, headers=OWN_TRACE)):
                assert_problem(answer, 503, "unavailable")
                assert "token\":" not in answer.text and "set-cookie" not in answer.headers
        generation = server.db.session(tokens.session_id)["generation"]
        assert generation == 0
        server.process.send_signal(signal.SIGUSR1)
        time.sleep(0.2 * slowness())
        issued = [client.sign_in(account).refresh for _ in range(5)]
        issued.append(client.rotate(tokens.refresh).refresh)
        assert len(set(issued)) == 6
