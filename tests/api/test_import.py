"""`watchword user import`: users of another service, with their hashes (README, Operators)."""
from __future__ import annotations

import json
import subprocess
import uuid
from typing import Any

import pytest

from harness import argon2
from harness.checks import assert_invalid_credentials
from harness.client import Account
from harness.fixtures import ServerFactory
from harness.server import Finished, Server, environment, run_command
from harness.settings import service_binary, slowness

OLD = {"memory": 12288, "passes": 3}  # another service's parameters


@pytest.fixture(scope="module")
def server(make_shared_server: ServerFactory) -> Server:
    return make_shared_server()


def row(account: Account, **changes: Any) -> dict[str, Any]:
    """A line as an object; a change to None takes a member away."""
    whole = {"tenant_id": account.tenant, "user_id": account.user, "email": account.email,
             "password_hash": argon2.phc_of(account.password, **OLD), **changes}
    return {name: value for name, value in whole.items() if value is not None}


def someone() -> Account:
    return Account(user=str(uuid.uuid4()))


def run_import(server: Server, lines: list[Any], *options: str) -> Finished:
    """Each line as JSON, or as it is if it is bytes."""
    text = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return run_command(["user", "import", *options], dict(server.settings), timeout=30,
                       stdin=b"\n".join(text) + b"\n")


def counts(done: Finished) -> tuple[int, int, int]:
    answer = json.loads(done.out)
    assert set(answer) == {"imported", "unchanged", "refused"}
    return answer["imported"], answer["unchanged"], answer["refused"]


def test_imported_users_log_in_as_themselves(server: Server) -> None:
    """With the id they had; their hash is brought up to date by the login."""
    accounts = [someone() for _ in range(70)]  # more than share a transaction
    done = run_import(server, [row(account) for account in accounts], "--json")
    assert done.code == 0, done.text
    assert counts(done) == (70, 0, 0)
    audit = json.loads(done.err.splitlines()[-1])
    assert (audit["event"], audit["imported"]) == ("operator.users_imported", 70)
    account = accounts[-1]
    with server.client() as client:
        assert client.sign_in(account).claims["sub"] == account.user
        assert_invalid_credentials(client.login(Account(account.tenant, account.email, "x" * 20)))
    stored = server.db.row("credentials", user_id=account.user)["password_hash"]
    assert argon2.parse(stored).memory == int(server.settings["ARGON_MEMORY_KB"] or 0)


def test_user_id_and_status_are_optional(server: Server) -> None:
    """Without an id one is made; a disabled user comes in disabled."""
    free, barred = someone(), someone()
    done = run_import(server, [row(free, user_id=None), row(barred, status="disabled"),
                               row(someone(), status="active")])
    assert (done.code, done.out) == (0, "imported: 3; there already: 0; refused: 0\n")
    with server.client() as client:
        made = client.sign_in(free).claims["sub"]
        assert uuid.UUID(made).version == 7
        assert client.login(barred).status_code != 200
    assert server.db.row("credentials", user_id=barred.user)["status"] == "disabled"


def test_an_import_can_be_repeated(server: Server) -> None:
    """Who is there is left alone, even if the line would say otherwise now."""
    account = someone()
    assert run_import(server, [row(account)]).code == 0
    before = server.db.row("credentials", user_id=account.user)
    again = run_import(server, [row(account, status="disabled"), b"", row(account, user_id=None)],
                       "--json")
    assert (again.code, counts(again)) == (0, (0, 2, 0))
    assert server.db.row("credentials", user_id=account.user) == before


def test_who_is_somebody_else_is_refused(server: Server) -> None:
    """The same address with another id, the same id with another address."""
    account = someone()
    assert run_import(server, [row(account)]).code == 0
    done = run_import(server, [row(account, user_id=str(uuid.uuid4())),
                               row(account, email=someone().email)], "--json")
    assert (done.code, counts(done)) == (1, (0, 0, 2))
    assert "line 1: email belongs to a user with another user_id" in done.err
    assert "line 2: user_id belongs to a user with another email" in done.err


REFUSED = {
    "no JSON": b"{",
    "not an object": b"[]",
    "not UTF-8": b'{"email": "\xff"}',
    "two of a name": b'{"email": "a@example.com", "email": "b@example.com"}',
    "too long": b" " * 4097,
    "no tenant": {"tenant_id": None},
    "no e-mail": {"email": None},
    "no hash": {"password_hash": None},
    "a number": {"user_id": 7},
    "another member": {"role": "admin"},
    "tenant": {"tenant_id": "one"},
    "user": {"user_id": "one"},
    "e-mail": {"email": "nobody"},
    "status": {"status": "locked"},
    "bcrypt": {"password_hash": "$2b$12$" + "a" * 53},
    "Argon2i": {"password_hash": "$argon2i$v=19$m=65536,t=3,p=1$MDEyMzQ1Njc$" + "A" * 43},
    "a clear password": {"password_hash": "correct horse battery staple"},
    "unknown pepper": {"password_hash": "$argon2id$v=19$m=19456,t=2,p=1,keyid=gone$"
                                        + "MDEyMzQ1Njc4OWFiY2RlZg$" + "A" * 43},
    "too dear": {"password_hash": "$argon2id$v=19$m=4194303,t=9,p=1$MDEyMzQ1Njc4OWFiY2RlZg$"
                                  + "A" * 43},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_used_is_named_and_left_out(server: Server, what: str) -> None:
    """By its line; the line before and the one after come in. The hash is not repeated."""
    bad = REFUSED[what]
    before, after = someone(), someone()
    lines = [row(before), bad if isinstance(bad, bytes) else row(someone(), **bad), row(after)]
    rows = server.db.count("credentials")
    done = run_import(server, lines, "--json")
    assert (done.code, counts(done)) == (1, (2, 0, 1))
    refusals = [line for line in done.err.splitlines() if "line 2: " in line]
    assert len(refusals) == 1 and "argon2" not in done.err and "horse" not in done.err
    assert server.db.count("credentials") == rows + 2


@pytest.mark.parametrize("stdin", ["</tmp", "<&-"])
def test_input_that_cannot_be_read_is_told(server: Server, stdin: str) -> None:
    """It is not the end of the input."""
    done = subprocess.run(["/bin/sh", "-c", f'"$0" user import {stdin}', str(service_binary())],
                          env=environment(server.settings), capture_output=True, cwd="/",
                          timeout=8 * slowness())
    assert done.returncode == 1
    assert b"standard input cannot be read" in done.stderr


def test_wrong_usage(server: Server) -> None:
    """It takes no user: those are in the lines."""
    assert run_import(server, [], "--email", "a@example.com").code == 2
    assert run_import(server, [], "--yes").code == 2


def test_a_database_that_is_away_is_told(server: Server) -> None:
    """Nothing is said to be imported."""
    gone = {**server.settings, "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = run_command(["user", "import"], gone, timeout=30, stdin=b"{}\n")
    assert done.code == 1 and "imported" not in done.out
