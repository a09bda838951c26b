"""Whose address is it? (contract section 3, client address)"""
from __future__ import annotations

import httpx
import pytest

from harness.checks import assert_rate_limited
from harness.client import REFRESH, Client
from harness.fixtures import ServerFactory
from harness.raw import exchange, request
from harness.server import Server

PEER = "127.0.0.1"
THEIRS = "203.0.113.7"


def _seen(client: Client, headers: dict[str, str] | list[tuple[str, str]]) -> str:
    """The address the service takes a login with these headers to come from."""
    account = client.new_account()
    response = client.login(account, headers=httpx.Headers(headers))
    assert response.status_code == 200, response.text
    (session,) = client.session_list(response.json()["access_token"])
    return session["device_info"]["ip"]


@pytest.mark.parametrize("value,address", [
    (THEIRS, THEIRS),
    (f"1.1.1.1, {THEIRS}", THEIRS),
    (f"1.1.1.1,2.2.2.2,{THEIRS}", THEIRS),
    (f"{THEIRS}, 127.0.0.1", THEIRS),
    (f"1.1.1.1, {THEIRS}, 127.0.0.3, ::1", THEIRS),
    (f"1.1.1.1 ,\t  {THEIRS}", THEIRS),
    ("2001:db8::7", "2001:db8::7"),
    ("2001:DB8:0:0::7", "2001:db8::7"),
    (f"1.1.1.1, 2001:db8::7, {PEER}", "2001:db8::7"),
    (f"::ffff:{THEIRS}", THEIRS),
])
def test_forwarded_for_of_a_trusted_peer(client: Client, value: str, address: str) -> None:
    """The right-most entry that is not itself a trusted proxy."""
    assert _seen(client, {"X-Forwarded-For": value}) == address


@pytest.mark.parametrize("value", [
    "", ",", "unknown", "nonsense", "999.1.1.1", "1.2.3", "1.2.3.4.5", "::g", "1.2.3.4/8",
    f"{THEIRS}, nonsense", f"{THEIRS}, unknown", f"{THEIRS}, 1.2.3.999", "0x7f.1", "01.02.03.04",
    "'; DROP TABLE sessions; --", "<script>", f"{THEIRS};", "2001:db8::1::2", "fe80::1%eth0",
])
def test_malformed_entries_stop_the_walk(client: Client, value: str) -> None:
    """What is no address is never used, nor is anything to its left: the peer it is."""
    assert _seen(client, {"X-Forwarded-For": value}) == PEER


def test_malformed_entry_behind_a_proxy_stops_the_walk(client: Client) -> None:
    """The proxy to the right of it is the last that is known."""
    seen = _seen(client, {"X-Forwarded-For": f"{THEIRS}, nonsense, 127.0.0.9"})
    assert seen in ("127.0.0.9", PEER)


def test_several_header_lines_are_one_list(client: Client) -> None:
    """In order; the last line is the nearest proxy."""
    lines = [("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", f"2.2.2.2, {THEIRS}")]
    assert _seen(client, lines) == THEIRS
    lines = [("X-Forwarded-For", THEIRS), ("X-Forwarded-For", "127.0.0.1")]
    assert _seen(client, lines) == THEIRS


@pytest.mark.parametrize("value,address", [
    (f"for={THEIRS}", THEIRS),
    (f"For={THEIRS};proto=https;by=127.0.0.1", THEIRS),
    (f"proto=https;for={THEIRS}", THEIRS),
    (f"for=1.1.1.1, for={THEIRS}", THEIRS),
    (f"for={THEIRS}, for=127.0.0.1", THEIRS),
    (f'for="{THEIRS}:4711"', THEIRS),
    ('for="[2001:db8::7]"', "2001:db8::7"),
    ('for="[2001:db8::7]:4711"', "2001:db8::7"),
    (f"for={THEIRS}, for=unknown", PEER),
    (f"for={THEIRS}, for=_hidden", PEER),
    (f"for={THEIRS}, for=nonsense", PEER),
    (f'for="{THEIRS}', PEER),
    ("for=", PEER),
    ("by=1.1.1.1", PEER),
    (f"xfor={THEIRS}", PEER),
])
def test_forwarded_of_a_trusted_peer(client: Client, value: str, address: str) -> None:
    """RFC 7239, by the same rule."""
    assert _seen(client, {"Forwarded": value}) == address


def test_other_headers_do_not_name_the_client(client: Client) -> None:
    """X-Real-IP and its kin are nobody's word."""
    for name in ("X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "True-Client-IP", "Via",
                 "X-Forwarded", "X-Cluster-Client-IP"):
        assert _seen(client, {name: THEIRS}) == PEER


def test_long_lists_are_safe(client: Client, server: Server) -> None:
    """300 entries are walked or refused; 10,000 are too large; nothing breaks."""
    value = ", ".join(["1.1.1.1"] * 300 + [THEIRS])
    assert _seen(client, {"X-Forwarded-For": value}) == THEIRS
    value = ", ".join(["1.1.1.1"] * 10_000)
    sent = request("GET", "/health/live", headers={"X-Forwarded-For": value})
    assert exchange(server.port, sent).status in (200, 431, None)


@pytest.fixture(scope="module")
def distrustful(make_shared_server: ServerFactory) -> Server:
    return make_shared_server(TRUSTED_PROXIES="10.0.0.0/8")


@pytest.mark.parametrize("name,value", [
    ("X-Forwarded-For", THEIRS), ("X-Forwarded-For", f"{THEIRS}, 10.0.0.1"),
    ("Forwarded", f"for={THEIRS}"), ("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-For", "::1"),
])
def test_untrusted_peer_cannot_say_who_it_is(distrustful: Server, name: str, value: str) -> None:
    """The peer is not in TRUSTED_PROXIES: forged headers have no effect."""
    with distrustful.client() as client:
        assert _seen(client, {name: value}) == PEER


def test_none_is_trusted_if_so_wanted(make_sqlite_server: ServerFactory) -> None:
    """Not even loopback, where something may forward connections without reading them."""
    with make_sqlite_server(TRUSTED_PROXIES="none").client() as client:
        assert _seen(client, {"X-Forwarded-For": THEIRS}) == PEER


def test_forged_addresses_share_the_limit(make_sqlite_server: ServerFactory) -> None:
    """Changing the header does not buy a new bucket from an untrusted peer."""
    server = make_sqlite_server(TRUSTED_PROXIES="10.0.0.0/8", IP_RL_PER_SECOND="1",
                                IP_RL_BURST="3")
    with server.client() as client:
        answers = [
            client.post(REFRESH, json={"refresh_token": "wwr_x"},
                        headers={"X-Forwarded-For": f"198.51.100.{n}"})
            for n in range(10)
        ]
        assert_rate_limited(answers[-1])


def test_trusted_chain_of_proxies(make_sqlite_server: ServerFactory) -> None:
    """With the inner proxies listed the walk goes on to the first stranger."""
    server = make_sqlite_server(TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8,2001:db8:ff::/48")
    with server.client() as client:
        value = f"9.9.9.9, {THEIRS}, 10.1.2.3, 2001:db8:ff::1, 10.9.9.9"
        assert _seen(client, {"X-Forwarded-For": value}) == THEIRS
        assert _seen(client, {"X-Forwarded-For": f"{THEIRS}, 11.0.0.1"}) == "11.0.0.1"
