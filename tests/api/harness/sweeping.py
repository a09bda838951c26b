"""What the tests of the sweep share: letting one happen, and what it says it did."""
from __future__ import annotations

import re
import time

from .db import Database
from .server import Server
from .settings import slowness

DAY_MS = 86400000


def metric(server: Server, series: str) -> float:
    """One series of /metrics, by its name with labels."""
    text = server.ops("/metrics").text
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.M)
    assert found, f"no {series}"
    return float(found.group(1))


def deleted(server: Server, what: str) -> int:
    return int(metric(server, f'auth_sweep_deleted_total{{what="{what}"}}'))


def due_in_ms(db: Database) -> int:
    return db.row("settings", name="sweep_due")["value"] - int(time.time() * 1000)


def let_sweep(db: Database) -> None:
    """A sweep is due now; wait until somebody has done one."""
    db.update("settings", {"value": 0}, name="sweep_due")
    wait_swept(db)


def wait_swept(db: Database, seconds: float = 15) -> None:
    """After a whole sweep the next is due in an hour; during one, in a minute."""
    deadline = time.monotonic() + seconds * slowness()
    while due_in_ms(db) < 30 * 60000:
        assert time.monotonic() < deadline, "nobody sweeps"
        time.sleep(0.05)
