"""NATS is stopped, frozen, slow: logins and refreshes do not notice, memory stays, nothing is lost.

WATCHWORD_NATS_SECONDS sets how long it is away, all three ways together (6; 600 for the big proof).
Before, between and after them NATS is well for half as long each: what is compared are the medians of
p99 over the parts. The everyday run allows twice the p99 and two milliseconds, the big proof 1.05 times.
"""
from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from attackers.flood import percentile
from attackers.prompt import Prompt
from attackers.slow_relay import SlowRelay
from harness.client import Client
from harness.events import wait_drained
from harness.fixtures import ServerFactory
from harness.nats import NatsServer
from harness.reconcile import reconcile
from harness.server import Server

SECONDS = float(os.environ.get("WATCHWORD_NATS_SECONDS", "6"))
EXACT = "WATCHWORD_NATS_SECONDS" in os.environ
PART = 1 if not EXACT else 20  # seconds of one p99
LOGIN_EVERY, REFRESH_EVERY = 0.05, 0.01
DELAY = 0.3
RSS_MAY_GROW_KB = 3072


@dataclass
class Load:
    """Logins and refreshes at a steady pace, and how long each took."""

    server: Server
    times: dict[str, list[float]] = field(default_factory=lambda: {"login": [], "refresh": []})

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self.failed: list[BaseException] = []
        with self.server.client() as client:
            self._account = client.new_account()
        self._threads = [threading.Thread(target=self._guard, args=(each,))
                         for each in (self._logins, self._refreshes)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> dict[str, float]:
        """The p99 of what was done since the last time, in milliseconds."""
        taken, self.times = self.times, {"login": [], "refresh": []}
        return {name: percentile(times, 0.99) * 1e3 for name, times in taken.items()}

    def _guard(self, work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as e:  # noqa: BLE001: told by the main thread
            self.failed.append(e)

    def _paced(self, every: float) -> Iterator[None]:
        due = time.monotonic()
        while not self._stop.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            yield
            due += every

    def _logins(self) -> None:
        with Prompt(self.server.port) as client:
            for _ in self._paced(LOGIN_EVERY):
                token = client.login(self._account)
                self.times["login"].append(client.took)
                client.logout(token)

    def _refreshes(self) -> None:
        with Prompt(self.server.port) as client:
            token = client.login(self._account)
            for _ in self._paced(REFRESH_EVERY):
                token = client.refresh(token)
                self.times["refresh"].append(client.took)


def _measure(load: Load, client: Client, seconds: float, parts: list[dict[str, float]]) -> None:
    """So long, part by part, and ready all the while."""
    for _ in range(max(1, round(seconds / PART))):
        end = time.monotonic() + PART
        while time.monotonic() < end:
            assert client.http.get("/health/ready").status_code == 200
            time.sleep(0.25)
        assert not load.failed, load.failed
        parts.append(load.take())


def _median(parts: list[dict[str, float]], name: str) -> float:
    return statistics.median(part[name] for part in parts)


def test_nats_is_away(make_server: ServerFactory, tmp_path: Path) -> None:
    nats = NatsServer(tmp_path / "nats").start()
    well: list[dict[str, float]] = []
    away: list[dict[str, float]] = []
    rss: list[int] = []
    try:
        with SlowRelay(nats.port) as relay:
            server = make_server(NATS_URL=f"nats://127.0.0.1:{relay.port}",
                                 ARGON_MEMORY_KB="7168", ARGON_ITERATIONS="5")

            def freeze() -> None:
                nats.signal(signal.SIGSTOP)

            def slow_down() -> None:
                relay.delay = DELAY

            def heal() -> None:
                nats.signal(signal.SIGCONT)
                relay.delay = 0

            with server.client() as client, Load(server) as load:
                time.sleep(1)
                load.take()
                _measure(load, client, SECONDS / 6, well)
                for begin, end in ((nats.stop, nats.start), (freeze, heal), (slow_down, heal)):
                    begin()
                    _measure(load, client, SECONDS / 6, away)
                    rss.append(server.memory_kb())
                    _measure(load, client, SECONDS / 6, away)
                    rss.append(server.memory_kb())
                    end()
                    wait_drained(server.db, seconds=60)
                    load.take()
                    _measure(load, client, SECONDS / 6, well)
            wait_drained(server.db, seconds=60)
            with nats.reader() as reader:
                found = reader.messages()
            reconcile(server, found)
            kind = "sqlite" if server.storage.is_sqlite else "postgresql"
            print(f"{kind}: {SECONDS:.0f} s away, {len(found)} events, RSS {rss} KiB")
    finally:
        nats.kill()
    for name in ("refresh", "login"):
        before, during = _median(well, name), _median(away, name)
        print(f"{name} p99 {before:.2f} -> {during:.2f} ms, {during / before:.3f} times"
              f" ({len(well)} and {len(away)} parts)")
        assert during <= (1.05 * before if EXACT else 2 * before + 2), name
    for first, last in zip(rss[::2], rss[1::2]):
        assert last - first <= RSS_MAY_GROW_KB, rss
