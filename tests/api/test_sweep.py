"""The sweep: expired sessions, failed logins and idempotency keys go by themselves, nothing else.

The boundaries to the second are in tests/unit/test_store_sweep.c.
"""
from __future__ import annotations

import threading
import time

import pytest
from harness.checks import assert_invalid_refresh, assert_tokens
from harness.client import Account, Client, Tokens
from harness.fixtures import ServerFactory
from harness.server import Server
from harness.sweeping import DAY_MS, deleted, due_in_ms, fill_expired, let_sweep, metric

TIMES = ["opened_at", "rotated_at", "idle_expires_at", "absolute_expires_at"]
AGENT = {"User-Agent": "sweep-test/1.0"}


@pytest.fixture
def swept(make_server: ServerFactory) -> Server:
    """A server of its own; a sweep is due when a test says so."""
    return make_server(SESSION_RETENTION_DAYS="10", CLIENT_DATA_RETENTION_DAYS="5",
                       LOCKOUT_THRESHOLD="3")


def _sessions(client: Client, count: int) -> tuple[Account, list[Tokens]]:
    account = client.new_account()
    return account, [client.sign_in(account, headers=AGENT) for _ in range(count)]


def _exists(server: Server, tokens: Tokens) -> bool:
    return server.db.count("sessions", id=tokens.session_id) == 1


def test_ended_sessions_go_and_live_ones_stay(swept: Server) -> None:
    db = swept.db
    with swept.client() as client:
        account, (ended, expired, fresh_end, live) = _sessions(client, 4)
        client.logout(ended.refresh)
        client.logout(fresh_end.refresh)
        db.shift("sessions", ["revoked_at"], -10 * DAY_MS - 60000, id=ended.session_id)
        db.shift("sessions", ["revoked_at"], -10 * DAY_MS + 60000, id=fresh_end.session_id)
        db.shift("sessions", TIMES, -60 * DAY_MS, id=expired.session_id)
        let_sweep(db)
        assert [_exists(swept, t) for t in (ended, expired, fresh_end, live)] == [
            False, False, True, True]
        assert deleted(swept, "sessions") == 2
        assert metric(swept, "auth_sessions_live") == 1
        for tokens in (ended, expired, fresh_end):
            assert_invalid_refresh(client.refresh(tokens.refresh))
        head = client.rotate(live.refresh)
        assert [s["session_id"] for s in client.session_list(head.access)] == [live.session_id]
    swept.wait_log("sweep.done")


def test_many_go_in_steps(swept: Server) -> None:
    """More than a step takes, and more in a step than SQLite keeps in memory by itself: it would want
    a temporary file, which a confined process may not make."""
    with swept.client() as client:
        _, (live,) = _sessions(client, 1)
        fill_expired(swept, 3000)
        let_sweep(swept.db)
        assert deleted(swept, "sessions") == 3000
        client.rotate(live.refresh)


def test_replay_is_seen_however_old_the_spent_token_is(swept: Server) -> None:
    """A live session that was opened long before the retention: its first token is still known."""
    db = swept.db
    with swept.client() as client:
        _, (first,) = _sessions(client, 1)
        head = client.rotate(client.rotate(first.refresh).refresh)
        db.shift("sessions", ["opened_at", "rotated_at"], -25 * DAY_MS, id=first.session_id)
        let_sweep(db)
        assert_invalid_refresh(client.refresh(first.refresh))
        assert_invalid_refresh(client.refresh(head.refresh))
    swept.wait_log("security.refresh_replay_detected")


def test_address_and_agent_go_first(swept: Server) -> None:
    """Of whatever was last used too long ago, live or ended; the session itself works on."""
    db = swept.db
    with swept.client() as client:
        _, (old, ended, young) = _sessions(client, 3)
        client.logout(ended.refresh)
        for tokens in (old, ended):
            db.shift("sessions", ["rotated_at"], -5 * DAY_MS - 60000, id=tokens.session_id)
        db.shift("sessions", ["rotated_at"], -5 * DAY_MS + 60000, id=young.session_id)
        assert db.session(old.session_id)["user_agent"] == AGENT["User-Agent"]
        let_sweep(db)
        for tokens in (old, ended):
            row = db.session(tokens.session_id)
            assert (row["client_ip"], row["user_agent"]) == ("", "")
        assert db.session(young.session_id)["client_ip"] == "127.0.0.1"
        assert deleted(swept, "client_data") == 2
        listed = client.session_list(young.access)
        assert {s["session_id"] for s in listed} == {old.session_id, young.session_id}
        client.http.headers.update(AGENT)
        client.rotate(old.refresh)
        assert db.session(old.session_id)["user_agent"] == AGENT["User-Agent"]


def test_failed_logins_and_keys_go(swept: Server) -> None:
    """What is over; a lock that holds stays, also of an account that does not exist."""
    db = swept.db
    with swept.client() as client:
        over, locked = Account(), Account()
        client.login(over)
        for _ in range(3):
            client.login(locked)
        db.shift("login_throttle", ["window_started_at"], -2 * DAY_MS, tenant_id=over.tenant)
        kept, old = Account(), Account()
        for account, key in ((kept, "kept"), (old, "old")):
            client.register(account, headers={"X-Idempotency-Key": key})
        user = db.credential(old.tenant)["user_id"]
        db.age_idempotency(user, 86400 + 60)
        let_sweep(db)
        assert db.throttle(over.tenant) == []
        assert client.login(locked).status_code == 423
        assert db.count("idempotency_keys") == 1
        assert deleted(swept, "failed_logins") == 1
        assert deleted(swept, "idempotency_keys") == 1


def test_two_instances_share_the_work(swept: Server, make_server: ServerFactory) -> None:
    """Each row is deleted once, one of them sweeps, and both know how many sessions live."""
    other = make_server(swept.storage, SERVICE_SECRET=swept.settings["SERVICE_SECRET"],
                        SESSION_RETENTION_DAYS="10")
    with swept.client() as client:
        account, tokens = _sessions(client, 40)
    for each in tokens[:30]:
        swept.db.shift("sessions", TIMES, -60 * DAY_MS, id=each.session_id)
    let_sweep(swept.db)
    assert swept.db.count("sessions") == 10
    counts = sorted(deleted(server, "sessions") for server in (swept, other))
    assert counts == [0, 30]
    deadline = time.monotonic() + 15
    while [metric(s, "auth_sessions_live") for s in (swept, other)] != [10, 10]:
        assert time.monotonic() < deadline, "the count does not get around"
        time.sleep(0.1)
    let_sweep(swept.db)
    assert sum(deleted(server, "sessions") for server in (swept, other)) == 30


def test_a_held_session_is_left_for_the_next_sweep(swept: Server) -> None:
    """The sweep waits for nobody, so it is in no deadlock."""
    if swept.storage.is_sqlite:
        pytest.skip("SQLite locks no rows")
    with swept.client() as client:
        _, (held, free) = _sessions(client, 2)
    for tokens in (held, free):
        swept.db.shift("sessions", TIMES, -60 * DAY_MS, id=tokens.session_id)
    with swept.db.held_session(held.session_id):
        let_sweep(swept.db)
    assert [_exists(swept, tokens) for tokens in (held, free)] == [True, False]
    let_sweep(swept.db)
    assert not _exists(swept, held)


def test_no_second_sweep_within_the_hour(swept: Server) -> None:
    """Expired rows wait for the next one: the whole table is not walked again and again."""
    before = due_in_ms(swept.db)
    assert 55 * 60000 < before <= 60 * 60000
    with swept.client() as client:
        _, (tokens,) = _sessions(client, 1)
    swept.db.shift("sessions", TIMES, -60 * DAY_MS, id=tokens.session_id)
    swept.restart()
    time.sleep(6)
    assert _exists(swept, tokens)
    assert due_in_ms(swept.db) < before


def test_rotation_during_the_sweep_is_not_disturbed(swept: Server) -> None:
    """Sessions at work while others go: every rotation succeeds."""
    db, failures = swept.db, []
    with swept.client() as client:
        account, tokens = _sessions(client, 8)
    for each in tokens[:4]:
        db.shift("sessions", TIMES, -60 * DAY_MS, id=each.session_id)

    def work(token: str) -> None:
        with swept.client() as own:
            while not done.is_set():
                answer = own.refresh(token)
                if answer.status_code != 200:
                    failures.append(answer.text)
                    return
                token = assert_tokens(answer)["refresh_token"]

    done = threading.Event()
    threads = [threading.Thread(target=work, args=(t.refresh,)) for t in tokens[4:]]
    for thread in threads:
        thread.start()
    try:
        let_sweep(db)
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert [_exists(swept, t) for t in tokens] == [False] * 4 + [True] * 4
