"""Stored passwords: Argon2id rows, re-hashing, pepper, hostile rows (architecture section 7)."""
from __future__ import annotations

import base64
import os
import sqlite3
import time

import psycopg2
import pytest

from harness import argon2
from harness.checks import assert_invalid_credentials, assert_tokens
from harness.client import LOGIN, Account, Client
from harness.fixtures import ServerFactory
from harness.raw import Volley, count_statuses, json_request
from harness.server import Server, StartFailed
from harness.settings import slowness


def _phc(server: Server, account: Account) -> str:
    return server.db.password_hash(account.tenant, account.user)


def _pepper(keyid: str, secret: bytes) -> str:
    return f"{keyid}:{base64.b64encode(secret).decode()}"


def test_hash_is_argon2id_as_the_reference_computes_it(client: Client, server: Server) -> None:
    """16 bytes of salt, 32 of tag, the configured parameters, and the right tag (NFC applied)."""
    account = client.new_account(password="cafe\u0301 terrasse violette 77")
    phc = argon2.parse(_phc(server, account))
    assert (phc.memory, phc.passes, phc.lanes) == (19456, 2, 1)
    assert (len(phc.salt), len(phc.tag)) == (16, 32)
    assert argon2.raw_hash("caf\u00e9 terrasse violette 77", phc) == phc.tag


def test_hash_has_a_salt_of_its_own(client: Client, server: Server) -> None:
    """One password, many accounts: no salt or tag twice."""
    password = "one password for all of them"
    rows = [argon2.parse(_phc(server, client.new_account(password=password))) for _ in range(8)]
    assert len({row.salt for row in rows}) == len({row.tag for row in rows}) == 8


def test_hash_defaults(make_sqlite_server: ServerFactory) -> None:
    """64 MiB, three passes, one lane."""
    server = make_sqlite_server(ARGON_MEMORY_KB=None, ARGON_ITERATIONS=None)
    with server.client() as client:
        account = client.new_account()
        phc = argon2.parse(_phc(server, account))
        assert (phc.memory, phc.passes, phc.lanes) == (65536, 3, 1)
        assert_tokens(client.login(account))


@pytest.mark.parametrize("first,second", [
    (("19456", "2"), ("20480", "2")), (("19456", "2"), ("19456", "3")),
    (("19456", "2"), ("65536", "3")), (("65536", "3"), ("19456", "2")),
    (("47104", "1"), ("12288", "3")),
], ids=lambda pair: "m{}t{}".format(*pair))
def test_login_rehashes_when_parameters_changed(
    make_server: ServerFactory, first: tuple[str, str], second: tuple[str, str]
) -> None:
    """Up or down, a good login writes the row anew, a bad one never does; the password goes on
    working."""
    memory, passes = second
    server = make_server(ARGON_MEMORY_KB=first[0], ARGON_ITERATIONS=first[1])
    with server.client() as client:
        account = client.new_account()
    old = _phc(server, account)
    server.restart(ARGON_MEMORY_KB=memory, ARGON_ITERATIONS=passes)
    with server.client() as client:
        assert_invalid_credentials(client.login(Account(account.tenant, account.email)))
        assert _phc(server, account) == old
        assert_tokens(client.login(account))
        new = argon2.parse(_phc(server, account))
        assert (new.memory, new.passes) == (int(memory), int(passes))
        assert argon2.raw_hash(account.password, new) == new.tag
        kept = _phc(server, account)
        assert_tokens(client.login(account))
        assert _phc(server, account) == kept


def test_login_rehashes_from_weaker_and_stronger_rows(client: Client, server: Server) -> None:
    """Rows of other configurations verify with their own parameters."""
    for memory, passes, lanes in ((8192, 1, 1), (32768, 1, 2), (12288, 3, 1), (47104, 1, 4)):
        account = client.new_account()
        row = argon2.phc_of(account.password, memory=memory, passes=passes, lanes=lanes)
        server.db.set_password_hash(account.tenant, account.user, row)
        assert_invalid_credentials(client.login(Account(account.tenant, account.email)))
        assert_tokens(client.login(account))
        assert argon2.parse(_phc(server, account)).memory == 19456


def test_parallel_logins_rehash_once(client: Client, server: Server) -> None:
    """20 good logins on an old row: all 200, one valid row at the end."""
    account = client.new_account()
    row = argon2.phc_of(account.password, memory=16384, passes=2)
    server.db.set_password_hash(account.tenant, account.user, row)
    with Volley([server.port], 20) as volley:
        replies = volley.fire([json_request(LOGIN, account.body())] * 20)
    assert count_statuses(replies) == {200: 20}
    new = argon2.parse(_phc(server, account))
    assert argon2.raw_hash(account.password, new) == new.tag


# Pepper


def test_pepper_makes_the_row_useless_alone(make_server: ServerFactory) -> None:
    """With PASSWORD_PEPPER the row names a key and the tag cannot be made without it."""
    server = make_server(PASSWORD_PEPPER=_pepper("k1", os.urandom(32)))
    with server.client() as client:
        account = client.new_account()
        phc = argon2.parse(_phc(server, account))
        assert phc.keyid
        assert argon2.raw_hash(account.password, phc) != phc.tag
        assert_tokens(client.login(account))
        assert_invalid_credentials(client.login(Account(account.tenant, account.email)))


def test_pepper_missing_or_wrong_lets_nobody_in(make_server: ServerFactory) -> None:
    """Without the pepper, or with another under the same name, no login succeeds."""
    secret = os.urandom(32)
    server = make_server(PASSWORD_PEPPER=_pepper("k1", secret))
    with server.client() as client:
        account = client.new_account()
    for pepper in (None, _pepper("k1", os.urandom(32)), _pepper("k2", secret)):
        try:
            server.restart(PASSWORD_PEPPER=pepper)
        except StartFailed as refused:
            assert refused.returncode == 1
            assert "PASSWORD_PEPPER" in refused.stderr
            continue
        with server.client() as client:
            assert client.login(account).status_code in (401, 503)
    server.restart(PASSWORD_PEPPER=_pepper("k1", secret))
    with server.client() as client:
        assert_tokens(client.login(account))


def test_pepper_is_introduced_and_rotated_by_login(make_server: ServerFactory) -> None:
    """No key, then k1, then k2 with k1 behind it, then k2 alone: the same password all along."""
    one, two = _pepper("k1", os.urandom(32)), _pepper("k2", os.urandom(32))
    server = make_server()
    with server.client() as client:
        account = client.new_account()
    seen = [argon2.parse(_phc(server, account)).keyid]
    for pepper in (one, f"{two},{one}", two):
        server.restart(PASSWORD_PEPPER=pepper)
        with server.client() as client:
            assert_tokens(client.login(account))
        seen.append(argon2.parse(_phc(server, account)).keyid)
    assert seen[0] is None
    assert seen[1] and seen[2] and seen[1] != seen[2]
    assert seen[3] == seen[2]


# Hostile rows

SALT, TAG = "MDEyMzQ1Njc4OWFiY2RlZg", "A" * 43
HOSTILE = {
    "4 GiB of memory": f"$argon2id$v=19$m=4194304,t=1,p=1${SALT}${TAG}",
    "memory 2^32-1": f"$argon2id$v=19$m=4294967295,t=1,p=1${SALT}${TAG}",
    "memory 2^64": f"$argon2id$v=19$m=18446744073709551616,t=1,p=1${SALT}${TAG}",
    "2^31 passes": f"$argon2id$v=19$m=19456,t=2147483648,p=1${SALT}${TAG}",
    "a million passes": f"$argon2id$v=19$m=19456,t=1000000,p=1${SALT}${TAG}",
    "255 lanes": f"$argon2id$v=19$m=19456,t=2,p=255${SALT}${TAG}",
    "2^24 lanes": f"$argon2id$v=19$m=19456,t=2,p=16777216${SALT}${TAG}",
    "memory below 8 lanes": f"$argon2id$v=19$m=7,t=2,p=1${SALT}${TAG}",
    "memory 0": f"$argon2id$v=19$m=0,t=2,p=1${SALT}${TAG}",
    "0 passes": f"$argon2id$v=19$m=19456,t=0,p=1${SALT}${TAG}",
    "0 lanes": f"$argon2id$v=19$m=19456,t=2,p=0${SALT}${TAG}",
    "negative memory": f"$argon2id$v=19$m=-19456,t=2,p=1${SALT}${TAG}",
    "signed memory": f"$argon2id$v=19$m=+19456,t=2,p=1${SALT}${TAG}",
    "leading zero": f"$argon2id$v=19$m=019456,t=2,p=1${SALT}${TAG}",
    "empty salt": f"$argon2id$v=19$m=19456,t=2,p=1$${TAG}",
    "short salt": f"$argon2id$v=19$m=19456,t=2,p=1$MDE${TAG}",
    "long salt": f"$argon2id$v=19$m=19456,t=2,p=1${'A' * 4000}${TAG}",
    "empty tag": f"$argon2id$v=19$m=19456,t=2,p=1${SALT}$",
    "no tag": f"$argon2id$v=19$m=19456,t=2,p=1${SALT}",
    "one byte of tag": f"$argon2id$v=19$m=19456,t=2,p=1${SALT}$AA",
    "long tag": f"$argon2id$v=19$m=19456,t=2,p=1${SALT}${'A' * 4000}",
    "no parameters": f"$argon2id$v=19$${SALT}${TAG}",
    "missing t": f"$argon2id$v=19$m=19456,p=1${SALT}${TAG}",
    "double m": f"$argon2id$v=19$m=19456,m=8,t=2,p=1${SALT}${TAG}",
    "unknown parameter": f"$argon2id$v=19$m=19456,t=2,p=1,x=1${SALT}${TAG}",
    "other order": f"$argon2id$v=19$t=2,m=19456,p=1${SALT}${TAG}",
    "no version": f"$argon2id$m=19456,t=2,p=1${SALT}${TAG}",
    "version 16": f"$argon2id$v=16$m=19456,t=2,p=1${SALT}${TAG}",
    "version 2^32+19": f"$argon2id$v=4294967315$m=19456,t=2,p=1${SALT}${TAG}",
    "blank in base64": f"$argon2id$v=19$m=19456,t=2,p=1${SALT[:5]} {SALT[6:]}${TAG}",
    "padding": f"$argon2id$v=19$m=19456,t=2,p=1${SALT}==${TAG}=",
    "base64url": f"$argon2id$v=19$m=19456,t=2,p=1${SALT}${'-' * 43}",
    "non-zero trailing bits": f"$argon2id$v=19$m=19456,t=2,p=1${SALT}${'A' * 42}B",
    "trailing text": f"$argon2id$v=19$m=19456,t=2,p=1${SALT}${TAG}$x",
    "argon2i": f"$argon2i$v=19$m=19456,t=2,p=1${SALT}${TAG}",
    "argon2d": f"$argon2d$v=19$m=19456,t=2,p=1${SALT}${TAG}",
    "bcrypt": "$2b$12$" + "a" * 53,
    "plain text": "the password itself",
    "empty": "",
    "dollars": "$" * 1000,
    "format string": "%s%n%s%n%s%n",
    "not ASCII": "$argon2id$v=19$m=\u0661\u0669,t=2,p=1$x$y",
    "keyid unknown": f"$argon2id$v=19$m=19456,t=2,p=1,keyid=bm9uZQ${SALT}${TAG}",
    "keyid empty": f"$argon2id$v=19$m=19456,t=2,p=1,keyid=${SALT}${TAG}",
    "keyid long": f"$argon2id$v=19$m=19456,t=2,p=1,keyid={'A' * 5000}${SALT}${TAG}",
    "1 MiB": "$argon2id$v=19$m=19456,t=2,p=1$" + "A" * (1 << 20),
}
# The right password, seven seconds of work.
TRUE_BUT_DEAR = (
    "$argon2id$v=19$m=64,t=200000,p=1$"
    "MDEyMzQ1Njc4OWFiY2RlZg$9rDP4uJ5yITxaHDs2qKOOO+agRWibiuF7LfdgXjHRoM"
)


@pytest.fixture(scope="module")
def patient(make_shared_server: ServerFactory) -> Server:
    return make_shared_server(LOCKOUT_THRESHOLD="100")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_row_is_a_wrong_password(patient: Server, name: str) -> None:
    """401 like any other, soon, without memory blowing up; the row is left as it is."""
    with patient.client() as client:
        account = client.new_account()
        try:
            patient.db.set_password_hash(account.tenant, account.user, HOSTILE[name])
        except (psycopg2.Error, sqlite3.Error):
            return  # the table itself refuses it: better still
        assert_invalid_credentials(client.login(Account()))
        memory, start = patient.memory_kb("VmHWM"), time.monotonic()
        assert_invalid_credentials(client.login(account))
        assert time.monotonic() - start < 3 * slowness()
        assert patient.memory_kb("VmHWM") - memory < 48 * 1024
        assert _phc(patient, account) == HOSTILE[name]


def test_hostile_row_that_matches_is_bounded(patient: Server) -> None:
    """A row that is true but dearer than any sane setting is not worked off either."""
    with patient.client() as client:
        account = client.new_account(password="violet kettle orbits dusk")
        patient.db.set_password_hash(account.tenant, account.user, TRUE_BUT_DEAR)
        start = time.monotonic()
        assert_invalid_credentials(client.login(account))
        assert time.monotonic() - start < 3 * slowness()
