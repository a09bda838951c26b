-- Times are Unix milliseconds; ids are the 16 bytes of a UUID.

CREATE TABLE credentials (
    tenant_id     BLOB    NOT NULL CHECK (length(tenant_id) = 16),
    user_id       BLOB    NOT NULL CHECK (length(user_id) = 16),
    email         TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    status        TEXT    NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, user_id),
    UNIQUE (tenant_id, email)
) STRICT, WITHOUT ROWID;

-- One row for each login on one device, for its whole life: a rotation changes it in place.
CREATE TABLE sessions (
    id                  BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    tenant_id           BLOB    NOT NULL,
    user_id             BLOB    NOT NULL,
    generation          INTEGER NOT NULL,
    token_digest        BLOB    NOT NULL,
    sealed_successor    BLOB,
    opened_at           INTEGER NOT NULL,
    rotated_at          INTEGER NOT NULL,
    idle_expires_at     INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL,
    revoked_at          INTEGER,
    revoked_reason      TEXT,
    client_ip           TEXT    NOT NULL,
    user_agent          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id);
CREATE INDEX sessions_by_end ON sessions (absolute_expires_at);

-- Failed logins by keyed digest of the address: exists for invented accounts too.
CREATE TABLE login_throttle (
    tenant_id         BLOB    NOT NULL,
    identity_digest   BLOB    NOT NULL,
    failures          INTEGER NOT NULL,
    window_started_at INTEGER NOT NULL,
    locked_until      INTEGER,
    PRIMARY KEY (tenant_id, identity_digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    key_digest BLOB    NOT NULL PRIMARY KEY,
    user_id    BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
