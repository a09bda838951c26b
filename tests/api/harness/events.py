"""What every event must be: its own schema, and nothing that is secret."""
from __future__ import annotations

import json
import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import jsonschema

from .db import Database
from .nats import NatsServer, Stored
from .settings import REPO, slowness

FOLDER = REPO / "docs" / "events"
# Nothing of these belongs in an event: prefixes of tokens, hashes and keys.
SECRET_MARKS = ("wwr_", "eyJ", "$argon2", "BEGIN ", "password", "token_digest", "sealed")


@cache
def _schemas() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}


@cache
def validator(subject: str) -> jsonschema.Draft202012Validator:
    schema = _schemas()[subject]
    store = {f"{name}.json": found for name, found in _schemas().items()}
    resolver = jsonschema.RefResolver(schema["$id"], schema, store=store)
    return jsonschema.Draft202012Validator(schema, resolver=resolver)


def subjects() -> set[str]:
    """Those that have a schema."""
    return set(_schemas()) - {"envelope"}


def assert_sound(messages: Iterable[Stored]) -> None:
    """Each fits its schema, under its subject, with its id as Nats-Msg-Id."""
    for message in messages:
        event = message.event
        validator(message.subject).validate(event)
        assert event["event_type"] == message.subject
        assert message.headers["Nats-Msg-Id"] == event["event_id"]
        text = message.data.decode()
        for mark in SECRET_MARKS:
            assert mark not in text.replace("auth.token_refreshed", ""), (mark, text)


def wait_events(nats: NatsServer, count: int, *, seconds: float = 20) -> list[Stored]:
    """The whole stream once it has so many events, and no more come."""
    deadline = time.monotonic() + seconds * slowness()
    with nats.reader() as reader:
        while reader.count() < count and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.15)
        found = reader.messages()
    assert len(found) == count, [message.subject for message in found]
    assert_sound(found)
    return found


def wait_drained(db: Database, *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds * slowness()
    while db.count("outbox") > 0:
        assert time.monotonic() < deadline, f"{db.count('outbox')} rows are left in the outbox"
        time.sleep(0.05)
