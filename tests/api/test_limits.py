"""Lockout and rate limits (contract sections 4 and 10)."""
from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.checks import (
    assert_invalid_credentials,
    assert_invalid_refresh,
    assert_locked,
    assert_problem,
    assert_rate_limited,
    assert_tokens,
    masked,
)
from harness.client import JWKS, LOGIN, REGISTER, Account, Client, fresh_password
from harness.db import now_ms
from harness.fixtures import ServerFactory, StorageFactory
from harness.raw import Volley, count_statuses, json_request
from harness.server import Server
from harness.settings import slowness

THRESHOLD = 4


@pytest.fixture(scope="module")
def strict(make_shared_server: ServerFactory) -> Server:
    """Locks after four failures, for one minute."""
    return make_shared_server(LOCKOUT_THRESHOLD=str(THRESHOLD), LOCKOUT_MINUTES="1")


def _guess(client: Client, account: Account):
    return client.login(Account(account.tenant, account.email))


def _lock(client: Client, account: Account) -> None:
    for _ in range(THRESHOLD):
        assert_invalid_credentials(_guess(client, account))
    assert_locked(_guess(client, account))


def test_lockout_default_is_ten_failures_for_fifteen_minutes(client: Client) -> None:
    """The tenth failure still answers 401; then 423 with Retry-After, right password or not."""
    account = client.new_account()
    for _ in range(10):
        assert_invalid_credentials(_guess(client, account))
    response = client.login(account)
    assert_locked(response)
    assert 880 <= int(response.headers["retry-after"]) <= 900
    assert_locked(_guess(client, account))


def test_lockout_is_the_same_for_invented_accounts(strict: Server) -> None:
    """Real and invented: the same sequence of answers, byte for byte."""
    with strict.client() as client:
        real, invented = client.new_account(), Account()
        for _ in range(THRESHOLD + 3):
            one, two = masked(_guess(client, real)), masked(_guess(client, invented))
            if one[0] == 423:  # the seconds left may differ by one
                one, two = ((s, [(n, v) for n, v in h if n != "retry-after"], b)
                            for s, h, b in (one, two))
            assert one == two
        locks = [strict.db.throttle(who.tenant)[0]["locked_until"] for who in (real, invented)]
        assert abs(locks[0] - locks[1]) < 2000
        assert abs(locks[0] - now_ms() - 60_000) < 3000


def test_lockout_row_does_not_tell_the_address(strict: Server) -> None:
    """The table keeps a keyed digest, not the e-mail, also of those who do not exist."""
    with strict.client() as client:
        account = Account()
        _guess(client, account)
        (row,) = strict.db.throttle(account.tenant)
        assert account.email not in str(row)
        assert len(row["identity_digest"]) >= 16


def test_lockout_counts_canonical_addresses(strict: Server) -> None:
    """Spelling the address differently does not buy more guesses."""
    with strict.client() as client:
        account = client.new_account()
        local, _, domain = account.email.partition("@")
        spellings = [account.email, local.upper() + "@" + domain, f"{local}@{domain.upper()}",
                     account.email.title()]
        for email in spellings:
            assert_invalid_credentials(client.login(Account(account.tenant, email)))
        assert_locked(client.login(account))


def test_lockout_is_separate_for_tenant_and_address(strict: Server) -> None:
    """Nobody else is locked out."""
    with strict.client() as client:
        account = client.new_account()
        colleague = client.new_account(tenant=account.tenant)
        twin = client.new_account(email=account.email)
        _lock(client, account)
        assert_tokens(client.login(colleague))
        assert_tokens(client.login(twin))


def test_lockout_leaves_sessions_alone(strict: Server) -> None:
    """Guessing does not end what is open: refresh goes on."""
    with strict.client() as client:
        account = client.new_account()
        tokens = client.sign_in(account)
        _lock(client, account)
        client.rotate(tokens.refresh)


def test_lockout_ends_and_starts_a_fresh_count(strict: Server) -> None:
    """After the lock the right password works, and N-1 failures do not lock again."""
    with strict.client() as client:
        account = client.new_account()
        _lock(client, account)
        strict.db.expire_lock(account.tenant)
        for _ in range(THRESHOLD - 1):
            assert_invalid_credentials(_guess(client, account))
        assert_tokens(client.login(account))


def test_lockout_expired_still_locks_after_the_full_count(strict: Server) -> None:
    """N more failures after a lock lock again."""
    with strict.client() as client:
        account = client.new_account()
        for _ in range(2):
            _lock(client, account)
            strict.db.expire_lock(account.tenant)


def test_lockout_success_clears_the_count(strict: Server) -> None:
    """N-1 failures, a success, N-1 failures: not locked."""
    with strict.client() as client:
        account = client.new_account()
        for _ in range(3):
            for _ in range(THRESHOLD - 1):
                assert_invalid_credentials(_guess(client, account))
            assert_tokens(client.login(account))


def test_lockout_is_not_prolonged_by_hammering(strict: Server) -> None:
    """Attempts during the lock do not move its end."""
    with strict.client() as client:
        account = client.new_account()
        _lock(client, account)
        (before,) = strict.db.throttle(account.tenant)
        for _ in range(20):
            assert_locked(_guess(client, account))
        (after,) = strict.db.throttle(account.tenant)
        assert after["locked_until"] == before["locked_until"]


def test_lockout_survives_restart_and_kill(make_server: ServerFactory) -> None:
    """The count is in the database: N-1 failures, kill -9, one more: locked."""
    server = make_server(LOCKOUT_THRESHOLD=str(THRESHOLD))
    with server.client() as client:
        account = client.new_account()
        for _ in range(THRESHOLD - 1):
            assert_invalid_credentials(_guess(client, account))
    server.kill()
    server.restart()
    with server.client() as client:
        assert_invalid_credentials(_guess(client, account))
        assert_locked(client.login(account))
    server.restart()
    with server.client() as client:
        assert_locked(client.login(account))


@pytest.mark.parametrize("right", [False, True])
def test_lockout_holds_under_parallel_guesses(strict: Server, right: bool) -> None:
    """60 guesses at once: at most N are verified; a right one after them finds the lock."""
    with strict.client() as client:
        account = client.new_account() if right else Account()
        guesses = [json_request(LOGIN, account.body(password=fresh_password()))
                   for _ in range(60)]
        with Volley([strict.port], 60) as volley:
            counts = count_statuses(volley.fire(guesses))
        assert counts.get(401, 0) <= THRESHOLD, counts
        assert set(counts) <= {401, 423, 429, 503}, counts
        while _guess(client, account).status_code == 401:
            counts[401] += 1
        assert counts[401] == THRESHOLD
        assert_locked(client.login(account))


def test_lockout_is_shared_by_instances(
    make_server: ServerFactory, new_storage: StorageFactory, store: str
) -> None:
    """Alternating over two instances: locked at N, not at 2N."""
    if store == "sqlite":
        pytest.skip("several instances need PostgreSQL")
    storage = new_storage()
    one = make_server(storage, LOCKOUT_THRESHOLD="6")
    two = make_server(storage, LOCKOUT_THRESHOLD="6",
                      SERVICE_SECRET=one.settings["SERVICE_SECRET"])
    account = Account()
    with one.client() as left, two.client() as right:
        for number in range(6):
            assert_invalid_credentials(_guess((left, right)[number % 2], account))
        assert_locked(_guess(left, account))
        assert_locked(_guess(right, account))


def test_lockout_is_logged_without_the_address(make_sqlite_server: ServerFactory) -> None:
    """auth.lockout appears once; the e-mail does not."""
    server = make_sqlite_server(LOCKOUT_THRESHOLD="3")
    account = Account()
    with server.client() as client:
        for _ in range(5):
            _guess(client, account)
    assert len(server.wait_log("auth.lockout")) == 1
    assert account.email.encode() not in server.whole_log()


def test_lockout_that_is_gone_before_it_was_judged_is_not_told(make_server: ServerFactory) -> None:
    """A right password that was first lifts the lock of a guess that came second and is wrong: no
    line, no count."""
    server = make_server(LOCKOUT_THRESHOLD="4", MAX_CONCURRENT_HASHES="1",
                         ARGON_MEMORY_KB="65536", ARGON_ITERATIONS="20")
    with server.client() as client, ThreadPoolExecutor(2) as pool:
        account = client.new_account()
        for _ in range(2):
            assert_invalid_credentials(_guess(client, account))
        right = pool.submit(client.login, account)
        _wait_failures(server, account, 3)
        wrong = pool.submit(_guess, client, account)
        _wait_failures(server, account, 4)
        assert_tokens(right.result())
        assert_invalid_credentials(wrong.result())
        assert_tokens(client.login(account))
    assert server.log_lines("auth.lockout") == []
    assert "\nauth_lockouts_total 0\n" in server.ops("/metrics").text


def _wait_failures(server: Server, account: Account, failures: int) -> None:
    deadline = time.monotonic() + 5 * slowness()
    while [row["failures"] for row in server.db.throttle(account.tenant)] != [failures]:
        assert time.monotonic() < deadline, server.db.throttle(account.tenant)
        time.sleep(0.01)


# Rate limits


def test_login_rate_limit_per_address(make_server: ServerFactory) -> None:
    """A burst of n, then 429 with a true Retry-After; other accounts are free."""
    server = make_server(LOGIN_PER_MIN_PER_EMAIL="20", LOCKOUT_THRESHOLD="100")
    with server.client() as client:
        account = client.new_account()
        start = time.monotonic()
        limited = None
        while limited is None:
            response = _guess(client, account)
            if response.status_code == 429:
                limited = response
            else:
                assert_invalid_credentials(response)
                assert time.monotonic() - start < 60
        wait = assert_rate_limited(limited)
        assert wait <= 3
        assert_tokens(client.login(client.new_account()))
        time.sleep(wait)
        assert_tokens(client.login(account))


@pytest.mark.parametrize("email", ["known", "unknown"])
def test_login_rate_limit_has_a_burst_of_n(make_server: ServerFactory, email: str) -> None:
    """n=5 is the default: five attempts are judged, the sixth at once is 429."""
    server = make_server(LOGIN_PER_MIN_PER_EMAIL=None)
    with server.client() as client:
        account = client.new_account() if email == "known" else Account()
        for _ in range(5):
            assert_invalid_credentials(_guess(client, account))
        assert 1 <= assert_rate_limited(_guess(client, account)) <= 12
        spelled = Account(account.tenant, account.email.upper())
        assert_rate_limited(client.login(spelled))


def test_register_rate_limit_per_address(make_server: ServerFactory) -> None:
    """The same for registration; what is refused by shape or policy does not count."""
    server = make_server(REGISTER_PER_MIN_PER_EMAIL="3")
    with server.client() as client:
        account = Account()
        for _ in range(6):
            weak = Account(account.tenant, account.email, "short")
            assert_problem(client.register(weak), 400, "weak_password")
        assert client.register(account).status_code == 200
        for _ in range(2):
            assert_problem(client.register(account), 409, "credential_exists")
        assert 1 <= assert_rate_limited(client.register(account)) <= 20
        assert client.register(Account(tenant=account.tenant)).status_code == 200


def test_refresh_rate_limit_per_token(make_server: ServerFactory) -> None:
    """The same token over and over: n answers, then 429; the session is not harmed."""
    server = make_server(REFRESH_PER_MIN_PER_TOKEN="3", REFRESH_LEEWAY_SECONDS="60")
    with server.client() as client:
        tokens, other = client.new_session(), client.new_session()
        answers = [client.refresh(tokens.refresh) for _ in range(3)]
        successors = {assert_tokens(answer)["refresh_token"] for answer in answers}
        assert len(successors) == 1
        assert 1 <= assert_rate_limited(client.refresh(tokens.refresh)) <= 20
        client.rotate(other.refresh)


def test_address_rate_limit(make_server: ServerFactory) -> None:
    """Per client address over all routes but health, JWKS and metrics; Retry-After is enough."""
    server = make_server(IP_RL_PER_SECOND="1", IP_RL_BURST="4")
    with server.client(**{"X-Forwarded-For": "198.51.100.1"}) as client:
        garbage = [client.refresh("wwr_x") for _ in range(8)]
        assert garbage[0].status_code == 401
        wait = assert_rate_limited(garbage[-1])
        assert wait == 1
        assert 4 <= sum(answer.status_code == 401 for answer in garbage) <= 6
        for path in ("/health/live", "/health/ready", JWKS):
            assert client.get(path).status_code == 200
        assert_rate_limited(client.login(Account()))
        assert_rate_limited(client.register(Account()))
        time.sleep(wait)
        assert_invalid_refresh(client.refresh("wwr_x"))
    with server.client(**{"X-Forwarded-For": "198.51.100.2"}) as client:
        assert_invalid_refresh(client.refresh("wwr_x"))


def test_register_token_is_guessed_at_no_faster(make_sqlite_server: ServerFactory) -> None:
    """Wrong ones count against the address."""
    server = make_sqlite_server(IP_RL_PER_SECOND="1", IP_RL_BURST="4", REGISTER_OPEN="false",
                                REGISTER_TOKEN="right-register-token")
    with server.client() as client:
        wrong = {"Authorization": "Bearer wrong-register-token"}
        guesses = [client.post(REGISTER, json=Account().body(), headers=wrong) for _ in range(8)]
    assert guesses[0].status_code == 401
    assert_rate_limited(guesses[-1])
    assert 4 <= sum(answer.status_code == 401 for answer in guesses) <= 6


def test_weak_passwords_are_judged_no_faster(make_sqlite_server: ServerFactory) -> None:
    """The estimate of a password's strength takes a network thread's time."""
    server = make_sqlite_server(IP_RL_PER_SECOND="1", IP_RL_BURST="4")
    with server.client() as client:
        answers = [client.register(Account(password="a" * 64)) for _ in range(8)]
    assert answers[0].status_code == 400
    assert_rate_limited(answers[-1])


def test_address_rate_limit_takes_ipv6_by_64(make_sqlite_server: ServerFactory) -> None:
    """All addresses of a /64 are one client, the next /64 is another."""
    server = make_sqlite_server(IP_RL_PER_SECOND="1", IP_RL_BURST="3")

    def ask(address: str) -> int:
        with server.client(**{"X-Forwarded-For": address}) as client:
            return client.refresh("wwr_x").status_code

    neighbours = [f"2001:db8:1:2:{n:x}::{n:x}" for n in range(1, 100)]
    seen = [ask(address) for address in neighbours[:3]]
    assert seen == [401] * 3
    assert any(ask(address) == 429 for address in neighbours[3:])
    assert ask("2001:db8:1:3::1") == 401
    assert any(ask(address) == 429 for address in neighbours)
