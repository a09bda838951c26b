"""Work that is done while things die, and the proof that the stream tells of it exactly."""
from __future__ import annotations

import threading
from collections import Counter

import httpx

from .events import assert_sound
from .nats import Stored
from .server import Server


def reconcile(server: Server, found: list[Stored]) -> None:
    """Database and stream tell the same: every change has one event, and no event is invented."""
    assert_sound(found)
    ids = Counter(m.event["event_id"] for m in found)
    assert max(ids.values()) == 1, ids.most_common(3)
    by_session: dict[str, list[tuple[str, int]]] = {}
    registered = Counter(m.event["payload"]["user_id"] for m in found
                         if m.subject == "auth.user_registered")
    for message in found:
        payload = message.event["payload"]
        if "session_id" in payload:
            by_session.setdefault(payload["session_id"], []).append(
                (message.subject, payload.get("generation", 0)))
    assert registered == Counter(row["user_id"] for row in server.db.rows("credentials"))
    rows = {row["id"]: row for row in server.db.rows("sessions")}
    assert set(by_session) == set(rows)
    for session, told in by_session.items():
        row = rows[session]
        wanted = [("auth.user_logged_in", 0)]
        wanted += [("auth.token_refreshed", n) for n in range(1, row["generation"] + 1)]
        if row["revoked_at"] is not None:
            assert row["revoked_reason"] == "logout"
            wanted.append(("auth.user_logged_out", 0))
        assert told == wanted, (session, row["generation"], told)


def work(servers: list[Server], rounds: int, threads: int = 4) -> None:
    """Logins, refreshes and logouts; each session is used through all instances in turn. Whoever
    cannot be reached any more is left alone."""
    def one(number: int) -> None:
        clients = [server.client() for server in servers]
        try:
            account = clients[0].new_account()
            for _ in range(rounds):
                token = clients[number % len(clients)].sign_in(account).refresh
                for step in range(6):
                    client = clients[(number + step) % len(clients)]
                    token = client.rotate(token).refresh
                clients[0].logout(token)
        except httpx.TransportError:
            return

    workers = [threading.Thread(target=one, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
