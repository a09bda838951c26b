"""As many addresses and accounts as an attacker cares to invent: nothing grows, nothing is forgotten.

WATCHWORD_DISTINCT sets how many logins there are, each of an address and an account of its own:
20,000 by default, which leave most of the limiter's 131,072 places free; only the big proof, 1,000,000
(many minutes), makes newcomers look for places that others have. Every day tests/unit/test_limiter.c
does that.
"""
from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from attackers.sizes import distinct_logins
from harness.client import LOGIN, Account, fresh_tenant
from harness.fixtures import ServerFactory
from harness.raw import RawReply, exchange, json_request
from harness.server import Server

SENDERS = 8
BATCH = 50  # requests in one write: they fit a connection's memory
TABLE_KB = 3 * 1024  # src/service/service.c: LIMITER_PLACES
ROOM_KB = 4 * 1024  # connections, pages of SQLite
PER_MINUTE = 2  # logins of one account: a burst of two, then one each 30 seconds
PATIENCE = 60  # seconds for an answer: a hash here takes a third of one on a calm machine
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass
class Crowd:
    """Everybody is new: an address from 1.0.0.0 on, and a name nobody has used."""

    server: Server
    count: int
    tenant: str = field(default_factory=fresh_tenant)
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[BaseException] = field(default_factory=list)

    def _request(self, number: int) -> bytes:
        address = ".".join(str(byte) for byte in (number + 0x01000000).to_bytes(4, "big"))
        body = (b'{"tenant_id":"%b","email":"n%d@example.com","password":"kettle-orbit-walnut-73"}'
                % (self.tenant.encode(), number))
        return (b"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %b\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (address.encode(), len(body), body))

    def _send(self, sender: int) -> None:
        numbers = range(sender, self.count, SENDERS)
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=PATIENCE) as link:
            for first in range(0, len(numbers), BATCH):
                batch = numbers[first:first + BATCH]
                link.sendall(b"".join(map(self._request, batch)))
                received = b""
                while len(found := STATUS.findall(received)) < len(batch) or \
                        not received.endswith(b"}"):
                    chunk = link.recv(262144)
                    assert chunk, received[-500:]
                    received += chunk
                self.statuses.update(map(int, found))

    def _run(self, sender: int) -> None:
        try:
            self._send(sender)
        except BaseException as fault:  # told by the main thread
            self.faults.append(fault)

    def begin(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._run, args=(n,)) for n in range(SENDERS)]
        for thread in threads:
            thread.start()
        return threads


class Refused:
    """Somebody whose bucket is empty, and who tries again and again."""

    def __init__(self, server: Server, interval: float, burst: int, *,
                 address: str | None = None) -> None:
        self.server, self.interval, self.burst, self.address = server, interval, burst, address
        self.account = Account()
        self.tries = self.passed = 0
        self.begun = time.monotonic()

    def attempt(self) -> None:
        """One login; anything but 429 has passed the limits."""
        account = Account() if self.address else self.account
        headers = {"X-Forwarded-For": self.address or f"250.1.{self.tries >> 8 & 255}."
                                                      f"{self.tries & 255}"}
        reply = exchange(self.server.port, json_request(LOGIN, account.body(), headers),
                         timeout=PATIENCE)
        self.tries += 1
        self.passed += reply.status != 429

    def assert_held(self) -> None:
        allowed = self.burst + (time.monotonic() - self.begun) / self.interval + 1
        print(f"{self.passed} of {self.tries} tries passed, {allowed:.1f} may")
        assert self.tries > 2 * allowed
        assert self.passed <= allowed


@pytest.fixture
def server(make_sqlite_server: ServerFactory) -> Server:
    """One dear hash at a time: nearly everybody is refused, after the limits have been asked."""
    return make_sqlite_server(
        ARGON_MEMORY_KB="65536", ARGON_ITERATIONS="20", MAX_CONCURRENT_HASHES="1",
        HASH_ACQUIRE_TIMEOUT_MS="200", LOCKOUT_THRESHOLD="1", LOCKOUT_MINUTES="1440",
        LOGIN_PER_MIN_PER_EMAIL=str(PER_MINUTE), IP_RL_PER_SECOND="1", IP_RL_BURST="1",
        LOG_LEVEL="error",
    )


def _lock(server: Server) -> Account:
    account = Account()
    assert _login(server, account, "251.0.0.1").status == 401
    return account


def _login(server: Server, account: Account, address: str) -> RawReply:
    headers = {"X-Forwarded-For": address}
    return exchange(server.port, json_request(LOGIN, account.body(), headers), timeout=PATIENCE)


def test_distinct_identities_take_no_memory_and_hide_nobody(server: Server) -> None:
    """Memory stays within the limiter's table; a lock and two empty buckets outlast the crowd."""
    locked = _lock(server)
    account = Refused(server, 60 / PER_MINUTE, PER_MINUTE)
    address = Refused(server, 1.0, 1, address="252.0.0.1")
    before = server.memory_kb()
    crowd = Crowd(server, distinct_logins())
    begun, memory = time.monotonic(), []
    threads = crowd.begin()
    while any(thread.is_alive() for thread in threads):
        account.attempt()
        address.attempt()
        memory.append(server.memory_kb())
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    print(f"{dict(crowd.statuses)} in {took:.0f} s, memory {before} KiB before, "
          f"{memory[len(memory) // 4]} after a quarter, {max(memory)} at most")
    assert not crowd.faults, crowd.faults
    assert sum(crowd.statuses.values()) == crowd.count
    assert set(crowd.statuses) <= {401, 503}
    assert max(memory) - before <= TABLE_KB + ROOM_KB
    account.assert_held()
    address.assert_held()
    time.sleep(1)  # the last hash
    assert _login(server, locked, "251.0.0.2").status == 423
