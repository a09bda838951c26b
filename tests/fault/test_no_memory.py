"""There is no memory for a password's canonical form: that is our fault, and nobody's wrong guess."""
from __future__ import annotations

from pathlib import Path

import pytest

from harness.client import LOGIN, REGISTER, Account
from harness.fixtures import ServerFactory
from harness.preload import build_library
from harness.raw import exchange, json_request
from harness.settings import preloaded

CURSED = "no memory for this one"
SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <uninorm.h>

typedef uint8_t *normalize(uninorm_t, const uint8_t *, size_t, uint8_t *, size_t *);

uint8_t *u8_normalize(uninorm_t form, const uint8_t *s, size_t n, uint8_t *buf, size_t *len)
{
    if (memmem(s, n, "no memory", 9) != NULL) {
        errno = ENOMEM;
        return NULL;
    }
    return ((normalize *)dlsym(RTLD_NEXT, "u8_normalize"))(form, s, n, buf, len);
}
"""


@pytest.fixture(scope="module")
def no_memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("preload"), SOURCE)


def test_no_memory_is_no_failed_attempt(
    make_sqlite_server: ServerFactory, no_memory: Path
) -> None:
    """500 each time, and the account is neither locked nor closer to it."""
    server = make_sqlite_server(LOCKOUT_THRESHOLD="3", **preloaded(no_memory))
    with server.client() as client:
        account = client.new_account()
        for _ in range(5):
            reply = exchange(server.port, json_request(LOGIN, account.body(password=CURSED)))
            assert (reply.status, reply.json()["error"]) == (500, "internal")
        assert server.db.throttle(account.tenant) == []
        client.sign_in(account)


def test_no_memory_is_no_bad_password(make_sqlite_server: ServerFactory, no_memory: Path) -> None:
    """A registration says that it failed, not that the password is at fault."""
    server = make_sqlite_server(**preloaded(no_memory))
    reply = exchange(server.port, json_request(REGISTER, Account(password=CURSED).body()))
    assert (reply.status, reply.json()["error"]) == (500, "internal")
