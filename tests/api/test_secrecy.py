"""A stolen database, or a stolen log, holds nothing that can be presented (threat model)."""
from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from harness.checks import assert_invalid_refresh
from harness.client import Account, Client
from harness.fixtures import ServerFactory
from harness.keys import b64u, unb64u
from harness.server import Server


def _base64_anywhere(data: bytes) -> set[bytes]:
    """What base64 of any text around `data` must contain, at each of the three offsets."""
    found = set()
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + data)
        start = -(-offset * 8 // 6)
        inner = encoded[start + (1 if offset else 0): -4]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def needles(secret: bytes) -> set[bytes]:
    """A secret in every form somebody might have written it down."""
    text = secret.hex().encode()
    forms = {secret, text, text.upper(), quote(secret).encode(), secret[::-1]}
    forms |= _base64_anywhere(secret)
    return {form for form in forms if len(form) >= 12}


def token_needles(token: str) -> set[bytes]:
    """Needles of a refresh token, of its bytes and of its random part."""
    raw = unb64u(token.removeprefix("wwr_"))
    return needles(token.encode()) | needles(raw) | needles(raw[-48:-16])


def assert_absent(haystack: bytes, secrets: set[bytes], what: str) -> None:
    for secret in secrets:
        assert secret not in haystack, f"{what} is readable: {secret!r}"


@dataclass
class Used:
    """What a few users did, and every secret they were given or gave."""

    accounts: list[Account]
    refresh: list[str]
    access: list[str]
    sessions: list[str]


def live_a_little(client: Client) -> Used:
    """Logins, rotations, retries, a replay, a logout."""
    used = Used([], [], [], [])
    for number in range(4):
        account = client.new_account()
        used.accounts.append(account)
        for _ in range(2):
            tokens = client.sign_in(account)
            used.sessions.append(tokens.session_id)
            used.refresh.append(tokens.refresh)
            used.access.append(tokens.access)
            for _ in range(4):
                before, tokens = tokens, client.rotate(tokens.refresh)
                assert client.rotate(before.refresh).refresh == tokens.refresh
                used.refresh.append(tokens.refresh)
                used.access.append(tokens.access)
        if number == 0:
            client.logout(tokens.refresh)
        if number == 1:
            client.refresh(used.refresh[-4])
        client.login(Account(account.tenant, account.email))
    return used


@pytest.fixture(scope="module")
def robbed(make_shared_server: ServerFactory) -> Server:
    return make_shared_server(LOG_LEVEL="debug")


@pytest.fixture(scope="module")
def used(robbed: Server) -> Used:
    with robbed.client() as client:
        return live_a_little(client)


def test_the_scanner_finds_what_is_there() -> None:
    """The control: a secret planted in any of the forms is seen."""
    token = "wwr_" + b64u(os.urandom(70))
    raw = unb64u(token[4:])
    inner = raw[-48:-16]
    planted = [token.encode(), raw, inner, inner.hex().encode(), inner.hex().upper().encode()]
    for prefix in (b"", b"a", b"ab"):
        padded = prefix + inner + b"tail"
        planted += [base64.b64encode(padded), base64.urlsafe_b64encode(padded)]
    for form in planted:
        with pytest.raises(AssertionError):
            assert_absent(b"some text " + form + b" more", token_needles(token), "token")
    assert_absent(os.urandom(10_000), token_needles(token), "token")


def test_dump_holds_no_refresh_token(robbed: Server, used: Used) -> None:
    """The files, the write-ahead log and SQL dumps: no token, no random part, in any encoding."""
    dump = robbed.db.dump()
    assert used.accounts[0].email.encode() in dump, "the dump is empty"
    for token in used.refresh:
        assert_absent(dump, token_needles(token), "refresh token")


def test_dump_holds_no_access_token_or_password(robbed: Server, used: Used) -> None:
    """Neither raw nor encoded; nor the signature of an access token."""
    dump = robbed.db.dump()
    for token in used.access:
        signature = unb64u(token.split(".")[2])
        assert_absent(dump, needles(token.encode()) | needles(signature), "access token")
    for account in used.accounts:
        assert_absent(dump, needles(account.password.encode()), "password")


def test_dump_holds_no_server_secret(robbed: Server, used: Used) -> None:
    """SERVICE_SECRET is not beside what it protects."""
    secret = robbed.settings["SERVICE_SECRET"] or ""
    dump = robbed.db.dump()
    assert_absent(dump, needles(secret.encode()) | needles(bytes.fromhex(secret)), "secret")


def test_log_holds_no_secret(robbed: Server, used: Used) -> None:
    """At the most talkative level: no token, password, hash, key or e-mail address."""
    log = robbed.whole_log()
    assert robbed.log_lines()
    for token in used.refresh:
        assert_absent(log, token_needles(token), "refresh token")
    for token in used.access:
        assert_absent(log, needles(token.encode()), "access token")
    for account in used.accounts:
        assert_absent(log, needles(account.password.encode()), "password")
        assert_absent(log, {account.email.encode()}, "e-mail")
    assert b"$argon2" not in log
    assert b"PRIVATE KEY" not in log
    assert (robbed.settings["SERVICE_SECRET"] or "").encode() not in log


def test_password_typed_as_email_is_not_kept(robbed: Server) -> None:
    """Neither the log nor the database remembers what was no address, or a strange one."""
    canary = "Canary-Pa55phrase-typed-wrong"
    with robbed.client() as client:
        client.login(Account(email=canary))
        client.login(Account(email=f"{canary}@example.com"))
        client.login(Account(password=canary, email="someone@example.com"))
    for text in (canary, canary.lower()):
        assert text.encode() not in robbed.whole_log()
        assert text.encode() not in robbed.db.dump()


def test_stored_values_are_no_tokens(robbed: Server, used: Used) -> None:
    """Digest and sealed successor, in any encoding and in any place of a token: 401."""
    with robbed.client() as client:
        tokens = client.new_session()
        rotated = client.rotate(tokens.refresh)
        row = robbed.db.session(tokens.session_id)
        raw = unb64u(rotated.refresh.removeprefix("wwr_"))
        presented = []
        for stored in (row["token_digest"], row["sealed_successor"]):
            assert stored, "nothing is stored"
            presented += [
                b64u(stored), stored.hex(), stored.hex().upper(),
                base64.b64encode(stored).decode(), b64u(raw[:-48] + stored[:32] + raw[-16:]),
                b64u(raw[:-48] + stored), b64u(raw[:-16] + stored[:16]),
                b64u(raw[:22] + stored[:48]),
            ]
        for text in presented:
            for prefix in ("", "wwr_"):
                assert_invalid_refresh(client.refresh(prefix + text))
        client.rotate(rotated.refresh)


def test_old_and_new_row_are_not_enough(robbed: Server) -> None:
    """Whoever can write rows still cannot make a token: putting back an old row only ends it."""
    with robbed.client() as client:
        tokens = client.new_session()
        old = robbed.db.session(tokens.session_id)
        rotated = client.rotate(client.rotate(tokens.refresh).refresh)
        changes = {name: old[name] for name in ("generation", "token_digest", "sealed_successor")}
        robbed.db.update("sessions", changes, id=tokens.session_id)
        assert_invalid_refresh(client.refresh(rotated.refresh))
