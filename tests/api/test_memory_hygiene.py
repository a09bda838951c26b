"""Once its answer is out, a password or refresh token is not in the service's memory any more.

The scans need root: no process of the service may be looked into by anybody else. They run at
once, on a connection that is still open, and again after a load with all connections closed.
"""
from __future__ import annotations

import dataclasses
import re
import secrets
import threading
import time
from pathlib import Path

import pytest

from harness.client import Account
from harness.fixtures import ServerFactory
from harness.keys import unb64u
from harness.processes import is_root, keeper_of, memory, signer_of
from harness.server import Server
from harness.settings import searches_memory

pytestmark = [pytest.mark.skipif(not is_root(), reason="looking into a process takes root"),
              searches_memory()]

Needles = dict[str, bytes]


def password() -> str:
    return "canary-" + secrets.token_hex(16)


def pieces(text: str) -> Needles:
    """What may be left of it if it was moved while it grew: free() writes over the beginning of each
    place, and the next user over more."""
    whole = text.encode()
    return {f"bytes from {at} on": whole[at:at + 32] for at in range(16, len(whole) - 32, 32)}


def of_token(token: str, what: str = "refresh token") -> Needles:
    """The text, its end (free() writes over the beginning), and the random part as bytes."""
    return {what: token.encode(), f"{what}, end": token[-64:].encode(),
            f"{what}, random part": unb64u(token[4:])[-48:-16]}


def cookie_of(answer: object) -> str:
    found = re.search(r"refresh=([^;]+)", answer.headers["set-cookie"])  # type: ignore[attr-defined]
    assert found
    return found[1]


def found_in(pid: int, needles: Needles) -> list[str]:
    content = memory(pid)
    return [name for name, needle in needles.items() if needle in content]


def assert_gone(server: Server, needles: Needles) -> None:
    """In none of the three processes. The last step of a request ends just after its answer."""
    deadline = time.monotonic() + 2
    while (left := found_in(server.process.pid, needles)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    for pid in (keeper_of(server), signer_of(server)):
        assert found_in(pid, needles) == []


@pytest.fixture
def server(make_sqlite_server: ServerFactory) -> Server:
    server = make_sqlite_server()
    server.wait_log("service.started")
    return server


def test_the_scan_finds_what_is_there(server: Server) -> None:
    """The control: the service's secret and its issuer are in memory, and seen."""
    found = memory(server.process.pid)
    assert (server.settings["SERVICE_SECRET"] or "").encode() in found
    assert (server.settings["JWT_ISSUER"] or "").encode() in found
    with server.client() as client:
        account = client.new_account()
        assert account.email.encode()[:12] not in memory(signer_of(server))


def test_password_is_gone(server: Server) -> None:
    """Registered, right, wrong, far too long, and where an address was expected."""
    with server.client() as client:
        account = Account(password=password())
        client.register(account)
        assert_gone(server, {"registered": account.password.encode()})
        client.sign_in(account)
        assert_gone(server, {"right": account.password.encode()})
        for wrong in (password(), "p" + secrets.token_hex(200), "p" + secrets.token_hex(4000)):
            client.login(dataclasses.replace(account, password=wrong))
            assert_gone(server, {"wrong": wrong[:64].encode(), "end": wrong[-64:].encode()})
        long = "pä" + secrets.token_hex(500)
        client.login(dataclasses.replace(account, password=long))
        assert_gone(server, pieces(long))
        misplaced = password()
        client.login(dataclasses.replace(account, email=misplaced))
        assert_gone(server, {"as an address": misplaced.encode()})


def test_refresh_token_is_gone(server: Server) -> None:
    """Issued, used, retried, replayed, spoilt, logged out."""
    with server.client() as client:
        first = client.sign_in(client.new_account())
        assert_gone(server, of_token(first.refresh, "issued"))
        second = client.rotate(first.refresh)
        assert_gone(server, of_token(first.refresh, "used") | of_token(second.refresh, "successor"))
        assert client.rotate(first.refresh).refresh == second.refresh
        assert_gone(server, of_token(first.refresh, "used") | of_token(second.refresh, "again"))
        third = client.rotate(second.refresh)
        spoilt = third.refresh[:-1] + ("A" if third.refresh[-1] != "A" else "B")
        client.refresh(spoilt)
        assert_gone(server, {"spoilt": spoilt.encode()} | of_token(third.refresh))
        client.refresh(first.refresh)
        client.logout(third.refresh)
        assert_gone(server, of_token(first.refresh, "replayed") | of_token(third.refresh, "ended"))


def test_cookie_is_gone(server: Server) -> None:
    """As it comes and as it goes: header sections are wiped as well."""
    with server.client() as client:
        token = cookie_of(client.login(client.new_account(), delivery="cookie"))
        assert_gone(server, of_token(token, "set"))
        after = cookie_of(client.refresh_cookie(token))
        assert_gone(server, of_token(token, "sent") | of_token(after, "set again"))
    assert_gone(server, of_token(token, "sent, closed") | of_token(after, "set again, closed"))


def test_access_token_is_gone(server: Server) -> None:
    """In the body of the answer, and as a bearer."""
    with server.client() as client:
        tokens = client.new_session()
        client.sessions(tokens.access)
        assert_gone(server, {"signature": tokens.access.split(".")[2].encode()})


def test_nothing_is_left_of_a_load(make_server: ServerFactory) -> None:
    """Many at once, on both stores: lanes, batches and pools keep nothing either."""
    server = make_server()
    server.wait_log("service.started")
    needles: Needles = {}

    def use(number: int) -> None:
        with server.client() as client:
            account = Account(password=password())
            needles[f"password {number}"] = account.password.encode()
            client.register(account)
            tokens = client.sign_in(account)
            for turn in range(8):
                needles.update(of_token(tokens.refresh, f"token {number}.{turn}"))
                tokens = client.rotate(tokens.refresh)
            needles.update(of_token(tokens.refresh, f"last token {number}"))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(needles) == 8 * (1 + 3 * 9)
    assert_gone(server, needles)


def test_service_secret_is_locked_and_stays_out_of_dumps(server: Server) -> None:
    """The pages it lies in are locked (lo) and left out of core dumps (dd)."""
    secret = (server.settings["SERVICE_SECRET"] or "").encode()
    smaps = Path(f"/proc/{server.process.pid}/smaps").read_text()
    found = False
    with open(f"/proc/{server.process.pid}/mem", "rb", 0) as mem:
        for part in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", smaps):
            span = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", part)
            if span is None or "[v" in part.splitlines()[0]:
                continue
            mem.seek(int(span[1], 16))
            try:
                content = mem.read(int(span[2], 16) - int(span[1], 16))
            except OSError:  # unmapped since, as the memory of a connection is when that ends
                continue
            if secret in content:
                found = True
                flags = part.split("VmFlags:")[1].split()
                assert "dd" in flags and "lo" in flags, part
    assert found, "the secret is nowhere: what was searched for is wrong"


