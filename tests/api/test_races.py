"""Many at once: exactly one rotation, one account, one owner (architecture section 6).

WATCHWORD_RACE_ROUNDS sets the number of rounds, 20 by default, 1,000 for the big proof.
"""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.checks import assert_invalid_credentials, assert_invalid_refresh, assert_tokens
from harness.client import LOGOUT, LOGOUT_ALL, REFRESH, REGISTER, Account, Client
from harness.fixtures import ServerFactory, StorageFactory
from harness.raw import RawReply, Volley, count_statuses, json_request, request
from harness.server import Server
from harness.settings import race_rounds

RACERS = 64


def _instances(
    make: ServerFactory, storage_factory: StorageFactory, store: str, leeway: str
) -> list[Server]:
    """One server on SQLite, two that share database, secret and key on PostgreSQL."""
    storage = storage_factory()
    # Races are about order, not about speed: nobody is sent away because the machine is busy.
    settings = {"REFRESH_LEEWAY_SECONDS": leeway, "DB_TIMEOUT_MS": "20000", "HASH_ACQUIRE_TIMEOUT_MS": "60000"}
    first = make(storage, **settings)
    if store == "sqlite":
        return [first]
    return [first, make(storage, **settings, SERVICE_SECRET=first.settings["SERVICE_SECRET"])]


@pytest.fixture(scope="module")
def strict(
    make_shared_server: ServerFactory, new_storage: StorageFactory, store: str
) -> list[Server]:
    return _instances(make_shared_server, new_storage, store, "0")


@pytest.fixture(scope="module")
def lenient(
    make_shared_server: ServerFactory, new_storage: StorageFactory, store: str
) -> list[Server]:
    return _instances(make_shared_server, new_storage, store, "10")


@pytest.fixture
def strict_volley(strict: list[Server]) -> Iterator[Volley]:
    with Volley([server.port for server in strict], RACERS) as volley:
        yield volley


@pytest.fixture
def lenient_volley(lenient: list[Server]) -> Iterator[Volley]:
    with Volley([server.port for server in lenient], RACERS) as volley:
        yield volley


def _refresh(token: str) -> bytes:
    return json_request(REFRESH, {"refresh_token": token})


def _successors(replies: list[RawReply]) -> set[str]:
    return {reply.json()["refresh_token"] for reply in replies if reply.status == 200}


def test_race_without_leeway_has_one_winner_and_ends_the_session(
    strict: list[Server], strict_volley: Volley
) -> None:
    """64 uses of one token: one 200, 63 replays; the winner's token died with the session."""
    with strict[0].client() as client:
        account = client.new_account()
        for number in range(race_rounds()):
            tokens = client.sign_in(account)
            replies = strict_volley.fire([_refresh(tokens.refresh)] * RACERS)
            counts = count_statuses(replies)
            assert counts == {200: 1, 401: RACERS - 1}, f"round {number}: {counts}"
            (winner,) = _successors(replies)
            row = strict[0].db.session(tokens.session_id)
            assert row["revoked_reason"] == "replay_detected", f"round {number}"
            for server in strict:
                with server.client() as other:
                    assert_invalid_refresh(other.refresh(winner))


def test_race_of_one_is_no_race(strict: list[Server], strict_volley: Volley) -> None:
    """The control: 64 different sessions at once all rotate, and all successors work."""
    with strict[0].client() as client:
        tokens = [client.sign_in(client.new_account()).refresh for _ in range(RACERS)]
        for _ in range(3):
            replies = strict_volley.fire([_refresh(token) for token in tokens])
            assert count_statuses(replies) == {200: RACERS}
            tokens = [reply.json()["refresh_token"] for reply in replies]
        assert len(set(tokens)) == RACERS


def test_race_with_leeway_gives_all_the_same_token(
    lenient: list[Server], lenient_volley: Volley
) -> None:
    """64 uses of one token: 64 times 200 with the same bytes; one generation further."""
    with lenient[0].client() as client:
        tokens = client.sign_in(client.new_account())
        token, session_id = tokens.refresh, tokens.session_id
        generation = lenient[0].db.session(session_id)["generation"]
        for number in range(race_rounds()):
            replies = lenient_volley.fire([_refresh(token)] * RACERS)
            counts = count_statuses(replies)
            assert counts == {200: RACERS}, f"round {number}: {counts}"
            (token,) = _successors(replies)
            row = lenient[0].db.session(session_id)
            assert row["generation"] == generation + number + 1, f"round {number}"
        client.rotate(token)


def test_race_of_parent_and_child_never_forks(
    lenient: list[Server], lenient_volley: Volley
) -> None:
    """Parent and child presented at once: afterwards one chain lives, or none."""
    with lenient[0].client() as client:
        account = client.new_account()
        for _ in range(race_rounds()):
            tokens = client.sign_in(account)
            child = client.rotate(tokens.refresh)
            half = RACERS // 2
            payloads = [_refresh(tokens.refresh), _refresh(child.refresh)] * half
            replies = lenient_volley.fire(payloads)
            assert set(count_statuses(replies)) <= {200, 401}
            grandchildren = _successors(replies) - {child.refresh}
            assert len(grandchildren) <= 1
            living = [token for token in grandchildren if client.refresh(token).status_code == 200]
            row = lenient[0].db.session(tokens.session_id)
            assert (row["revoked_at"] is None) == bool(living)


def test_race_of_refresh_and_logout(lenient: list[Server], lenient_volley: Volley) -> None:
    """Whatever a refresh got while the session ended, nothing works after the logout's 200."""
    with lenient[0].client() as client:
        account = client.new_account()
        for _ in range(race_rounds()):
            tokens = client.sign_in(account)
            payloads = [_refresh(tokens.refresh)] * RACERS
            payloads[RACERS // 2] = json_request(LOGOUT, {"refresh_token": tokens.refresh})
            replies = lenient_volley.fire(payloads)
            assert replies[RACERS // 2].status == 200
            assert set(count_statuses(replies)) <= {200, 401}
            assert lenient[0].db.session(tokens.session_id)["revoked_at"] is not None
            for token in _successors([r for i, r in enumerate(replies) if i != RACERS // 2]):
                assert_invalid_refresh(client.refresh(token))


def test_race_of_refresh_and_logout_all(lenient: list[Server], lenient_volley: Volley) -> None:
    """Five sessions refreshing while all are ended: none is alive afterwards."""
    with lenient[0].client() as client:
        account = client.new_account()
        for _ in range(max(3, race_rounds() // 4)):
            opened = [client.sign_in(account) for _ in range(5)]
            payloads = [_refresh(opened[i % 5].refresh) for i in range(RACERS)]
            bearer = {"Authorization": f"Bearer {opened[0].access}"}
            payloads[RACERS // 3] = request("POST", LOGOUT_ALL, b"", bearer)
            replies = lenient_volley.fire(payloads)
            assert replies[RACERS // 3].status == 200
            assert lenient[0].db.live_sessions(account.tenant, account.user) == []
            for reply in replies:
                if reply.status == 200 and b"refresh_token" in reply.body:
                    assert_invalid_refresh(client.refresh(reply.json()["refresh_token"]))


def test_race_of_registrations_has_one_winner(strict: list[Server]) -> None:
    """100 registrations of one address: one 200, 99 times 409, one row, one working password."""
    contenders = [Account() for _ in range(100)]
    shared = contenders[0]
    with Volley([server.port for server in strict], 100) as volley:
        replies = volley.fire([
            json_request(REGISTER, shared.body(password=one.password)) for one in contenders
        ])
    assert count_statuses(replies) == {200: 1, 409: 99}
    (winner,) = [n for n, reply in enumerate(replies) if reply.status == 200]
    row = strict[0].db.credential(shared.tenant)
    assert row["user_id"] == replies[winner].json()["user_id"]
    with strict[0].client() as client:
        _assert_owner(client, shared, contenders[winner], contenders[winner - 1])


def _assert_owner(client: Client, shared: Account, winner: Account, loser: Account) -> None:
    right = Account(shared.tenant, shared.email, winner.password)
    assert_tokens(client.login(right))
    assert_invalid_credentials(client.login(Account(shared.tenant, shared.email, loser.password)))
