"""Everything dies, again and again, while thousands of changes are made: every one has its event."""
from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

from harness.events import wait_drained
from harness.fixtures import ServerFactory
from harness.nats import NatsServer
from harness.reconcile import reconcile, work
from harness.settings import slowness

OPERATIONS = int(os.environ.get("WATCHWORD_EVENT_OPERATIONS", "500"))


def test_thousands_of_changes_with_kills_in_between(make_server: ServerFactory,
                                                    tmp_path: Path) -> None:
    """kill -9 of the service and of NATS, and NATS frozen, at random moments, until so many events
    are in the stream; then database and stream must tell the same."""
    chance = random.Random(OPERATIONS)
    nats = NatsServer(tmp_path / "nats").start()
    server = make_server(NATS_URL=nats.url)
    told, deadline = 0, time.monotonic() + (60 + OPERATIONS / 5) * slowness()
    try:
        while told < OPERATIONS:
            assert time.monotonic() < deadline, f"{told} events"
            load = threading.Thread(target=work, args=([server], 1000), kwargs={"threads": 6})
            load.start()
            time.sleep(chance.uniform(0.5, 5))
            what = chance.choice(("service", "both", "frozen", "service"))
            if what == "frozen":
                nats.signal(signal.SIGSTOP)
                time.sleep(chance.uniform(0.1, 3))
            if what == "both":
                nats.kill()
            server.kill()
            load.join()
            if what == "both":
                nats.start()
            if what == "frozen":
                nats.signal(signal.SIGCONT)
            server.start()
            with nats.reader() as reader:
                told = reader.count()
        wait_drained(server.db, seconds=60)
        with nats.reader() as reader:
            found = reader.messages()
        print(f"{len(found)} events, {server.db.count('sessions')} sessions")
        reconcile(server, found)
    finally:
        nats.kill()
