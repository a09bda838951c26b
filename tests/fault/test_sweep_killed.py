"""The sweep dies half-way: nothing is half done, and another finishes it."""
from __future__ import annotations

from harness.client import Client
from harness.fixtures import ServerFactory
from harness.settings import fault_binary
from harness.sweeping import DAY_MS, due_in_ms, let_sweep

TIMES = ["opened_at", "rotated_at", "idle_expires_at", "absolute_expires_at"]


def _sessions(client: Client, count: int) -> list[str]:
    account = client.new_account()
    return [client.sign_in(account).session_id for _ in range(count)]


def test_killed_in_a_step(make_server: ServerFactory) -> None:
    """kill -9 inside a step, again and again: what stays is whole, and a later sweep finishes."""
    server = make_server(binary=fault_binary(), MAX_SESSIONS_PER_USER="100")
    with server.client() as client:
        gone, live = _sessions(client, 20), _sessions(client, 3)
    for session in gone:
        server.db.shift("sessions", TIMES, -90 * DAY_MS, id=session)
    for _ in range(2):
        server.restart(WATCHWORD_FAIL_AT=None)
        server.db.update("settings", {"value": 0}, name="sweep_due")
        server.stop()
        server.settings["WATCHWORD_FAIL_AT"] = "sweep.step"
        server.start(wait=False)
        server.wait_killed()
        assert 0 < due_in_ms(server.db) <= 60000, "its turn lapses after a minute"
        assert {row["id"] for row in server.db.rows("sessions")} >= set(live)
    server.restart(WATCHWORD_FAIL_AT=None)
    let_sweep(server.db)
    assert {row["id"] for row in server.db.rows("sessions")} == set(live)
