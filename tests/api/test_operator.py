"""The operator commands `watchword user ...` and `watchword session ...` (contract section 1).

WATCHWORD_RACE_ROUNDS sets the rounds of the race with logins and refreshes, 100 by default.
"""
from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness import ports
from harness.checks import assert_invalid_credentials, assert_invalid_refresh, assert_locked
from harness.checks import assert_problem
from harness.client import Account, Client, Tokens
from harness.fixtures import ServerFactory
from harness.server import Finished, Server, environment, run_command
from harness.settings import service_binary, slowness

NOBODY = "0190a6c0-0000-7000-8000-00000000dead"
THRESHOLD = 3
PEPPER = "pep1:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"

SHOWING = ["user show", "session list"]
CHANGING = ["user enable", "user unlock"]
DESTROYING = ["user disable", "user delete", "session revoke-all"]
ON_USERS = SHOWING + CHANGING + DESTROYING


@pytest.fixture(scope="module")
def instances(make_shared_server: ServerFactory, store: str) -> list[Server]:
    """Two on PostgreSQL, one on SQLite."""
    settings = {"LOCKOUT_THRESHOLD": str(THRESHOLD), "PASSWORD_PEPPER": PEPPER}
    first = make_shared_server(**settings)
    if store == "sqlite":
        return [first]
    secret = first.settings["SERVICE_SECRET"]
    return [first, make_shared_server(first.storage, SERVICE_SECRET=secret, **settings)]


@pytest.fixture
def one(instances: list[Server]) -> Server:
    return instances[0]


@pytest.fixture
def client(one: Server) -> Iterator[Client]:
    with one.client() as made:
        yield made


@pytest.fixture
def other(instances: list[Server]) -> Iterator[Client]:
    """A client of the last instance."""
    with instances[-1].client() as made:
        yield made


def command(server: Server, line: str, *options: str, **changes: str | None) -> Finished:
    """Run it beside the server, with its settings."""
    return run_command([*line.split(), *options], {**server.settings, **changes}, timeout=30)


def named(account: Account) -> list[str]:
    return ["--tenant", account.tenant, "--user", account.user]


def destroy(line: str) -> list[str]:
    return ["--yes"] if line in DESTROYING else []


def operate(server: Server, line: str, account: Account) -> dict[str, Any]:
    """It must be done; the JSON object on stdout."""
    done = command(server, line, *named(account), "--json", *destroy(line))
    assert done.code == 0, done.text
    found = json.loads(done.out)
    assert isinstance(found, dict) and done.out.count("\n") == 1
    return found


def audit_lines(done: Finished) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.err.splitlines()]


def five_sessions(client: Client, account: Account) -> list[Tokens]:
    return [client.sign_in(account, headers={"User-Agent": f"device {n}"}) for n in range(5)]


def lock(client: Client, account: Account) -> None:
    wrong = Account(account.tenant, account.email)
    for _ in range(THRESHOLD):
        assert_invalid_credentials(client.login(wrong))
    assert_locked(client.login(account))


# Usage


@pytest.mark.parametrize("line", ON_USERS)
@pytest.mark.parametrize("options, culprit", [
    ([], "--tenant"),
    (["--tenant", NOBODY], "--email or --user"),
    (["--email", "a@example.com"], "--tenant"),
    (["--tenant", NOBODY, "--email", "a@example.com", "--user", NOBODY], "--email and --user"),
    (["--tenant", "x", "--user", NOBODY], "--tenant"),
    (["--tenant", NOBODY, "--user=not-a-uuid"], "--user"),
    (["--tenant", NOBODY, "--email", "nobody"], "--email"),
    (["--tenant", NOBODY, "--email="], "--email"),
    (["--tenant", NOBODY, "--user"], "--user"),
    (["--tenant", "--user", NOBODY], "--tenant"),
    (["--tenant", NOBODY, f"--tenant={NOBODY}", "--user", NOBODY], "--tenant"),
    (["--tenant", NOBODY, "--user", NOBODY, "--force"], "--force"),
    (["--tenant", NOBODY, "--user", NOBODY, "--password=Hunter2-Secret"], "--password"),
    (["--tenant", NOBODY, "--user", NOBODY, "--json=yes"], "--json"),
    (["--tenant", NOBODY, "--user", NOBODY, "--session", NOBODY], "--session"),
    (["--tenant", NOBODY, "--user", NOBODY, "extra"], "extra"),
    (["--tenant", NOBODY, "--user", NOBODY, "-y"], "-y"),
    (["--ten", NOBODY, "--user", NOBODY], "--ten"),
])
def test_wrong_usage_names_the_argument(line: str, options: list[str], culprit: str) -> None:
    """Exit 2 before anything is read or opened; never a value on stderr."""
    done = run_command([*line.split(), *options], {"DATABASE_URL": "nonsense"})
    assert done.code == 2, done.text
    assert culprit in done.err and line in done.err
    assert done.out == "" and "Hunter2" not in done.err


@pytest.mark.parametrize("arguments", [
    ["user"], ["session"], ["user", "nonsense"], ["session", "nonsense"], ["user", "--json"],
    ["user", "show disable"], ["session", "revoke"], ["session", "revoke", "--session", "x"],
    ["session", "revoke", "--session", NOBODY, "--tenant", NOBODY], ["user", ""],
    ["user", "show", "--yes", "--tenant", NOBODY, "--user", NOBODY],
])
def test_unknown_commands_are_wrong_usage(arguments: list[str]) -> None:
    done = run_command(arguments, {})
    assert done.code == 2, done.text
    assert done.err.strip() and done.out == ""


def test_help_lists_them() -> None:
    done = run_command(["help"], {})
    for word in ("user", "session", "show", "disable", "enable", "unlock", "delete", "revoke-all",
                 "revoke-everyone"):
        assert word in done.out


@pytest.mark.parametrize("line", ON_USERS)
def test_unknown_user_is_exit_1(one: Server, client: Client, line: str) -> None:
    """By id, by address, and in another tenant; nothing changes."""
    account = client.new_account()
    before = one.db.checksum()
    for options in (
        ["--tenant", account.tenant, "--user", NOBODY],
        ["--tenant", NOBODY, "--user", account.user],
        ["--tenant", account.tenant, "--email", "nobody@example.com"],
        ["--tenant", NOBODY, "--email", account.email],
    ):
        done = command(one, line, *options, *destroy(line), "--json")
        assert done.code == 1, done.text
        assert done.out == ""
        assert options[2] in done.err and "no such user" in done.err
    assert one.db.checksum() == before


def test_unknown_session_is_exit_1(one: Server) -> None:
    done = command(one, "session revoke", "--session", NOBODY)
    assert done.code == 1 and done.out == ""
    assert "--session" in done.err


# The question


@pytest.mark.parametrize("line", DESTROYING)
def test_destroying_needs_yes_without_a_terminal(one: Server, client: Client, line: str) -> None:
    """Standard input is no terminal and --yes is not there: refused, says so, nothing changes."""
    account = client.new_account()
    tokens = client.sign_in(account)
    before = one.db.checksum()
    done = command(one, line, *named(account))
    assert done.code == 1 and done.out == ""
    assert "--yes" in done.err
    assert one.db.checksum() == before
    client.rotate(tokens.refresh)


def on_terminal(server: Server, arguments: list[str], typed: bytes) -> Finished:
    master, slave = pty.openpty()
    try:
        run = subprocess.Popen(
            [str(service_binary()), *arguments], env=environment(server.settings), stdin=slave,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
        )
        os.close(slave)
        os.write(master, typed)
        out, err = run.communicate(timeout=20 * slowness())
    finally:
        os.close(master)
    return Finished(run.returncode, out.decode(), err.decode())


@pytest.mark.parametrize("line", DESTROYING)
def test_a_terminal_is_asked(one: Server, client: Client, line: str) -> None:
    """Only "yes" is yes; the question names the user and goes to stderr."""
    account = client.new_account()
    tokens = client.sign_in(account)
    arguments = [*line.split(), *named(account), "--json"]
    for typed in (b"y\n", b"\n", b"no\n", b"YES\n", b"yes please\n", b"\x04"):
        done = on_terminal(one, arguments, typed)
        assert done.code == 1, done.text
        assert "Type yes" in done.err and account.email in done.err and done.out == ""
    tokens = client.rotate(tokens.refresh)
    done = on_terminal(one, arguments, b"yes\n")
    assert done.code == 0, done.text
    assert isinstance(json.loads(done.out), dict)
    assert_invalid_refresh(client.refresh(tokens.refresh))


# Configuration


def test_only_what_concerns_them_must_be_right(one: Server, client: Client) -> None:
    """Another setting's trouble is no matter; the secret is asked for where it is needed."""
    account = client.new_account()
    done = command(one, "user disable", *named(account), "--yes", SERVICE_SECRET=None,
                   PORT="nonsense", ENV="production", JWT_PRIVATE_KEY_PEM=None, DATA_DIR="/nowhere")
    assert done.code == 0, done.text
    for line in ("user show", "user unlock", "user delete"):
        done = command(one, line, *named(account), *destroy(line), SERVICE_SECRET=None,
                       DATA_DIR="/nowhere")
        assert done.code == 1 and "SERVICE_SECRET" in done.err, done.text
        done = command(one, line, *named(account), *destroy(line), SERVICE_SECRET="short")
        assert done.code == 1 and "SERVICE_SECRET" in done.err and "short" not in done.err
    assert one.db.count("credentials", tenant_id=account.tenant) == 1


@pytest.mark.parametrize("line", ON_USERS)
def test_without_a_database_is_exit_1(one: Server, line: str) -> None:
    user = ["--tenant", NOBODY, "--user", NOBODY, *destroy(line)]
    for url in (f"postgresql://nobody@127.0.0.1:{ports.free_port()}/x", "sqlite:/nonexistent/x.db",
                "mysql://x"):
        done = command(one, line, *user, DATABASE_URL=url)
        assert done.code == 1 and done.err.strip() and done.out == "", done.text


def test_a_database_without_tables_is_exit_1(one: Server, tmp_path: Any) -> None:
    """It says what to do, and does not make them itself."""
    (tmp_path / "empty.db").touch()
    done = command(one, "user show", "--tenant", NOBODY, "--user", NOBODY,
                   DATABASE_URL=f"sqlite:{tmp_path}/empty.db")
    assert done.code == 1 and "watchword migrate" in done.err


# user show, session list


def test_show_tells_what_is_known(one: Server, client: Client) -> None:
    """Every member, in JSON; the same for people."""
    account = client.new_account()
    five_sessions(client, account)
    client.login(Account(account.tenant, account.email))
    found = operate(one, "user show", account)
    assert found["tenant_id"] == account.tenant and found["user_id"] == account.user
    assert found["email"] == account.email and found["status"] == "active"
    assert found["created_at"].endswith("Z") and found["updated_at"].endswith("Z")
    assert found["live_sessions"] == 5 and found["failures"] == 1
    assert found["failures_since"] and found["locked"] is False
    assert found["password"] == {"algorithm": "argon2id", "memory_kib": 19456, "iterations": 2,
                                 "parallelism": 1, "pepper": "pep1"}
    done = command(one, "user show", *named(account))
    for text in (account.tenant, account.user, account.email, "active", "5 live", "m=19456 t=2 p=1",
                 "pep1"):
        assert text in done.out
    assert done.err == ""


def test_show_tells_of_a_lock_and_of_a_bad_hash(one: Server, client: Client) -> None:
    account = client.new_account()
    lock(client, account)
    one.db.set_password_hash(account.tenant, account.user, "$2b$12$nonsense")
    found = operate(one, "user show", account)
    assert found["locked"] is True and found["locked_until"].endswith("Z")
    assert found["failures"] == THRESHOLD
    assert found["password"] == {"algorithm": "unusable"}
    assert "unusable" in command(one, "user show", *named(account)).out
    one.db.expire_lock(account.tenant)
    found = operate(one, "user show", account)
    assert found["locked"] is False and found["failures"] == 0


def test_a_user_is_named_in_several_ways(one: Server, client: Client) -> None:
    """Either spelling of options, any spelling of ids and addresses."""
    account = client.new_account()
    for options in (
        [f"--tenant={account.tenant}", f"--email={account.email}"],
        ["--email", account.email.upper(), "--tenant", account.tenant.upper()],
        ["--user", account.user.replace("-", ""), "--tenant", account.tenant.replace("-", "")],
        ["--json", "--tenant", account.tenant, f"--user={account.user}"],
    ):
        done = command(one, "user show", *options)
        assert done.code == 0 and account.user in done.out, done.text


def test_no_secret_is_printed(one: Server, client: Client) -> None:
    """Neither hash nor salt nor token material, in any output."""
    account = client.new_account()
    tokens = client.rotate(client.sign_in(account).refresh)
    phc = one.db.password_hash(account.tenant, account.user)
    row = one.db.session(tokens.session_id)
    secrets = [phc, *phc.split("$")[-2:], tokens.refresh, tokens.access, account.password,
               row["token_digest"].hex(), row["sealed_successor"].hex(),
               one.settings["SERVICE_SECRET"] or ""]
    text = ""
    for line in [*SHOWING, *CHANGING, *DESTROYING[:1], *DESTROYING[2:], "user delete"]:
        for json_option in ([], ["--json"]) if line != "user delete" else ([],):
            done = command(one, line, *named(account), *destroy(line), *json_option)
            assert done.code == 0, done.text
            text += done.text
    for secret in secrets:
        assert secret not in text


def test_list_shows_live_sessions(one: Server, client: Client) -> None:
    """Newest first; ended ones are left out."""
    account = client.new_account()
    opened = five_sessions(client, account)
    client.logout(opened[0].refresh)
    found = operate(one, "session list", account)
    assert found["tenant_id"] == account.tenant and found["user_id"] == account.user
    ids = [entry["session_id"] for entry in found["sessions"]]
    assert ids == [tokens.session_id for tokens in reversed(opened[1:])]
    for entry in found["sessions"]:
        assert set(entry) == {"session_id", "issued_at", "last_used_at", "expires_at",
                              "absolute_expires_at", "ip", "user_agent"}
        assert entry["ip"] == "127.0.0.1" and entry["user_agent"].startswith("device")
    done = command(one, "session list", *named(account))
    assert done.code == 0 and all(session_id in done.out for session_id in ids)
    assert opened[0].session_id not in done.out


def test_a_user_agent_cannot_command_a_terminal(one: Server, client: Client) -> None:
    account = client.new_account()
    tokens = client.sign_in(account)
    one.db.update("sessions", {"user_agent": "a\x1b[2Jb\u009b2Jc\x07d"}, id=tokens.session_id)
    done = command(one, "session list", *named(account))
    assert done.code == 0 and "a?[2Jb??2Jc?d" in done.out
    found = operate(one, "session list", account)
    assert found["sessions"][0]["user_agent"] == "a\x1b[2Jb\u009b2Jc\x07d"


# session revoke, session revoke-all


def test_revoke_ends_one_session(one: Server, client: Client, other: Client) -> None:
    """At once, everywhere; the others live on. A second time it says so."""
    account = client.new_account()
    opened = five_sessions(client, account)
    done = command(one, "session revoke", "--session", opened[2].session_id, "--json")
    assert done.code == 0, done.text
    assert json.loads(done.out) == {"session_id": opened[2].session_id, "changed": True,
                                    "tenant_id": account.tenant, "user_id": account.user}
    (line,) = audit_lines(done)
    assert line["event"] == "operator.session_revoked"
    assert line["session_id"] == opened[2].session_id and line["user_id"] == account.user
    assert_invalid_refresh(other.refresh(opened[2].refresh))
    assert one.db.session(opened[2].session_id)["revoked_reason"] == "operator"
    for number in (0, 1, 3, 4):
        other.rotate(opened[number].refresh)
    done = command(one, "session revoke", "--session", opened[2].session_id)
    assert done.code == 0 and "before" in done.out


def test_revoke_all_ends_all_sessions(one: Server, client: Client, other: Client) -> None:
    """Of this user alone, who may log in again."""
    account, bystander = client.new_account(), client.new_session()
    opened = five_sessions(client, account)
    done = command(one, "session revoke-all", *named(account), "--yes", "--json")
    assert done.code == 0, done.text
    assert json.loads(done.out) == {"tenant_id": account.tenant, "user_id": account.user,
                                    "sessions_ended": 5}
    (line,) = audit_lines(done)
    assert line["event"] == "operator.sessions_revoked" and line["sessions_ended"] == 5
    for tokens in opened:
        assert_invalid_refresh(other.refresh(tokens.refresh))
    rows = one.db.rows("sessions", user_id=account.user)
    assert {row["revoked_reason"] for row in rows} == {"operator"}
    other.rotate(bystander.refresh)
    assert operate(one, "session revoke-all", account)["sessions_ended"] == 0
    client.rotate(client.sign_in(account).refresh)


# session revoke-everyone


def test_revoke_everyone_ends_every_session(one: Server, client: Client, other: Client) -> None:
    """Of all tenants, once and for all; whoever logs in after it stays."""
    accounts = [client.new_account() for _ in range(3)]
    opened = [client.sign_in(account) for account in accounts]
    refused = command(one, "session revoke-everyone")
    assert refused.code == 1 and "--yes" in refused.err and refused.out == ""
    opened = [client.rotate(tokens.refresh) for tokens in opened]
    done = command(one, "session revoke-everyone", "--yes", "--json")
    assert done.code == 0, done.text
    (line,) = audit_lines(done)
    assert line["event"] == "operator.sessions_fenced" and line["level"] == "warn"
    assert json.loads(done.out) == {"ended_until": line["not_before"]}
    for tokens in opened:
        assert_invalid_refresh(other.refresh(tokens.refresh))
    client.rotate(client.sign_in(accounts[0]).refresh)
    text = command(one, "session revoke-everyone", "--yes")
    assert text.code == 0 and text.out.startswith("every session opened until 20")


# user disable, enable


def test_disable_ends_everything_at_once(one: Server, client: Client, other: Client) -> None:
    """Five sessions fail on every instance as soon as it is done; others are not touched."""
    account, bystander = client.new_account(), client.new_session()
    opened = five_sessions(client, account)
    done = command(one, "user disable", *named(account), "--yes", "--json")
    assert done.code == 0, done.text
    assert json.loads(done.out) == {"tenant_id": account.tenant, "user_id": account.user,
                                    "disabled": True, "changed": True, "sessions_ended": 5}
    (line,) = audit_lines(done)
    assert line["event"] == "operator.user_disabled" and line["user_id"] == account.user
    assert line["result"] == "changed" and line["operator_uid"] == os.getuid()
    for tokens in opened:
        assert_invalid_refresh(other.refresh(tokens.refresh))
    assert_problem(other.login(account), 403, "account_inactive", "account inactive")
    assert_invalid_credentials(other.login(Account(account.tenant, account.email)))
    rows = one.db.rows("sessions", user_id=account.user)
    assert {row["revoked_reason"] for row in rows} == {"account_disabled"}
    assert all(row["sealed_successor"] is None for row in rows)
    other.rotate(bystander.refresh)
    assert operate(one, "user show", account)["status"] == "disabled"


def test_disable_twice_is_done(one: Server, client: Client) -> None:
    """It says so, and leaves the row as it is."""
    account = client.new_account()
    operate(one, "user disable", account)
    row = one.db.credential(account.tenant)
    again = operate(one, "user disable", account)
    assert again["changed"] is False and again["sessions_ended"] == 0
    assert "before" in command(one, "user disable", *named(account), "--yes").out
    assert one.db.credential(account.tenant) == row


def test_disable_ends_what_a_slow_clock_could_bring_back(one: Server, client: Client) -> None:
    """A session that has just expired is ended too, without being counted."""
    account = client.new_account()
    tokens = client.sign_in(account)
    one.db.set_idle_expiry(tokens.session_id, int(time.time() * 1000) - 50)
    assert operate(one, "user disable", account)["sessions_ended"] == 0
    assert one.db.session(tokens.session_id)["revoked_reason"] == "account_disabled"


def test_enable_lets_log_in_again(one: Server, client: Client, other: Client) -> None:
    """The sessions of before stay ended."""
    account = client.new_account()
    tokens = client.sign_in(account)
    operate(one, "user disable", account)
    done = command(one, "user enable", *named(account), "--json")
    assert done.code == 0 and json.loads(done.out)["changed"] is True
    assert audit_lines(done)[0]["event"] == "operator.user_enabled"
    assert_invalid_refresh(other.refresh(tokens.refresh))
    other.rotate(other.sign_in(account).refresh)
    assert operate(one, "user enable", account)["changed"] is False
    assert client.session_list(client.sign_in(account).access)


# user unlock


def test_unlock_lets_the_locked_account_in(one: Server, client: Client, other: Client) -> None:
    """By address as well; a new lock needs all failures again."""
    account = client.new_account()
    lock(client, account)
    done = command(one, "user unlock", "--tenant", account.tenant, "--email", account.email,
                   "--json")
    assert done.code == 0, done.text
    assert json.loads(done.out) == {"tenant_id": account.tenant, "user_id": account.user,
                                    "unlocked": True, "changed": True}
    assert audit_lines(done)[0]["event"] == "operator.user_unlocked"
    other.sign_in(account)
    lock(other, account)
    assert operate(one, "user unlock", account)["changed"] is True
    assert operate(one, "user unlock", account)["changed"] is False
    client.sign_in(account)


# user delete


def traces(account: Account, sessions: list[Tokens]) -> list[bytes]:
    """User, address and sessions in every form that a dump of a store writes them in."""
    found = [account.email.encode(), account.email.split("@")[0].encode()]
    for one_id in (account.user, *(tokens.session_id for tokens in sessions)):
        plain = uuid.UUID(one_id)
        found += [plain.bytes, str(plain).encode(), plain.hex.encode(), plain.hex.upper().encode()]
    return found


def test_delete_leaves_no_trace(one: Server, client: Client, other: Client) -> None:
    """No row, no page, no line of any dump has the user; the log has a keyed digest."""
    neighbours = [client.new_account() for _ in range(3)]
    wanted = Account(email="canary-4711@example.com")
    key = {"X-Idempotency-Key": "canary"}
    answer = client.register(wanted, headers=key)
    assert answer.status_code == 200
    account = Account(wanted.tenant, wanted.email, wanted.password, answer.json()["user_id"])
    client.login(Account(account.tenant, account.email))
    opened = five_sessions(client, account)
    client.logout(opened[0].refresh)
    opened[1] = client.rotate(opened[1].refresh)
    client.login(Account(account.tenant, account.email))
    client.sign_in(neighbours[0])
    dump = one.db.dump()
    assert any(trace in dump for trace in traces(account, opened)), "the dump is empty"

    done = command(one, "user delete", *named(account), "--yes", "--json")
    assert done.code == 0, done.text
    assert json.loads(done.out) == {"tenant_id": account.tenant, "user_id": account.user,
                                    "deleted": True, "changed": True, "sessions_ended": 4}
    (line,) = audit_lines(done)
    assert line["event"] == "operator.user_deleted" and line["tenant_id"] == account.tenant
    assert len(line["identity"]) == 16 and line["identity"] in one.whole_log().decode()
    assert account.user not in done.err and account.email not in done.err

    dump = one.db.dump()
    for trace in traces(account, opened):
        assert trace not in dump, trace
    for table in ("credentials", "sessions", "login_throttle"):
        assert one.db.count(table, tenant_id=account.tenant) == 0
    for tokens in opened:
        assert_invalid_refresh(other.refresh(tokens.refresh))
    assert_invalid_credentials(other.login(account))
    assert command(one, "user delete", *named(account), "--yes").code == 1
    other.sign_in(neighbours[0])
    again = client.register(account, headers=key)
    assert again.status_code == 200 and again.json()["user_id"] != account.user


def test_delete_forgets_the_lock(one: Server, client: Client) -> None:
    """Whoever registers the address anew begins afresh."""
    account = client.new_account()
    lock(client, account)
    operate(one, "user delete", account)
    client.sign_in(client.new_account(tenant=account.tenant, email=account.email))


# Races


@dataclass
class Loop:
    """One thread that calls over and over and notes when each good call began."""

    client: Client
    call: Any
    good_starts: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    problem: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                start = time.monotonic()
                response = self.call(self.client)
                self.statuses.add(response.status_code)
                if response.status_code == 200:
                    self.good_starts.append(start)
        except BaseException as problem:  # noqa: B902: shown by the main thread
            self.problem = problem


def refresher(token: str) -> Any:
    """Refreshes one chain; whatever it is refused it tries again."""
    tokens = [token]

    def call(client: Client) -> Any:
        response = client.refresh(tokens[0])
        if response.status_code == 200:
            tokens[0] = response.json()["refresh_token"]
        return response

    return call


def race(one: Server, account: Account, line: str, clients: list[Client]) -> set[int]:
    """Loops against one command: nothing that begins after its end may succeed."""
    opened = [clients[0].sign_in(account) for _ in range(len(clients) - 1)]
    loops = [Loop(client, refresher(tokens.refresh)) for client, tokens in zip(clients, opened)]
    loops.append(Loop(clients[-1], lambda client: client.login(account)))
    stop = threading.Event()
    threads = [threading.Thread(target=loop.run, args=(stop,)) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        done = command(one, line, *named(account), "--yes", "--json")
        end = time.monotonic()
        time.sleep(0.03 * slowness())
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert done.code == 0, done.text
    for loop in loops:
        assert loop.problem is None, loop.problem
        late = [start - end for start in loop.good_starts if start > end]
        assert not late, f"{line}: succeeded though begun {late} s after the end"
    assert one.db.live_sessions(account.tenant, account.user) == []
    return set().union(*(loop.statuses for loop in loops))


@pytest.fixture
def racing_clients(instances: list[Server]) -> Iterator[list[Client]]:
    made = [instances[n % len(instances)].client() for n in range(4)]
    yield made
    for client in made:
        client.close()


def rounds() -> int:
    return int(os.environ.get("WATCHWORD_RACE_ROUNDS", "100"))


def test_race_of_disable_with_logins_and_refreshes(
    one: Server, client: Client, racing_clients: list[Client]
) -> None:
    """The order in the database is the order of what is seen: 0 live sessions afterwards."""
    account = client.new_account()
    seen: set[int] = set()
    for _ in range(rounds()):
        seen |= race(one, account, "user disable", racing_clients)
        one.db.set_status(account.tenant, account.user, "active")
    assert {200, 401, 403} <= seen <= {200, 401, 403}


def test_race_of_delete_with_logins_and_refreshes(
    one: Server, client: Client, racing_clients: list[Client]
) -> None:
    """No session and no credential comes back."""
    for _ in range(max(3, rounds() // 5)):
        account = client.new_account()
        seen = race(one, account, "user delete", racing_clients)
        assert seen <= {200, 401, 403, 423}
        for table in ("credentials", "sessions"):
            assert one.db.count(table, tenant_id=account.tenant) == 0
