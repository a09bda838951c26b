-- Events on their way to NATS: written with the change they report, removed once the stream has
-- them. seq is never given twice, so a row that is gone cannot be mistaken for another. What the
-- columns mean for each subject: src/store/outbox.h.
CREATE TABLE outbox (
    seq                 INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id            BLOB    NOT NULL CHECK (length(event_id) = 16),
    subject             TEXT    NOT NULL,
    occurred_at         INTEGER NOT NULL,
    held_until          INTEGER NOT NULL,
    trace_id            TEXT    NOT NULL,
    tenant_id           BLOB,
    user_id             BLOB,
    session_id          BLOB,
    attempt_id          BLOB,
    identity            BLOB,
    label               TEXT,
    detail              TEXT,
    number              INTEGER,
    age_ms              INTEGER,
    client_ip           TEXT,
    user_agent          TEXT,
    previous_ip         TEXT,
    previous_user_agent TEXT
) STRICT;

-- An event that is held is found again by its attempt; next to no rows have one.
CREATE INDEX outbox_by_attempt ON outbox (attempt_id) WHERE attempt_id IS NOT NULL;
