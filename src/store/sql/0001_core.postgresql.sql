-- Times are Unix milliseconds, the same in both stores.

CREATE TABLE credentials (
    tenant_id     uuid   NOT NULL,
    user_id       uuid   NOT NULL,
    email         text   NOT NULL,
    password_hash text   NOT NULL,
    status        text   NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled')),
    created_at    bigint NOT NULL,
    updated_at    bigint NOT NULL,
    PRIMARY KEY (tenant_id, user_id),
    UNIQUE (tenant_id, email)
);

-- One row for each login on one device, for its whole life. A rotation changes only columns without
-- an index and finds room in its page (fillfactor), so it is a HOT update: no index is touched.
CREATE TABLE sessions (
    id                  uuid   NOT NULL PRIMARY KEY,
    tenant_id           uuid   NOT NULL,
    user_id             uuid   NOT NULL,
    generation          bigint NOT NULL,
    token_digest        bytea  NOT NULL,
    sealed_successor    bytea,
    opened_at           bigint NOT NULL,
    rotated_at          bigint NOT NULL,
    idle_expires_at     bigint NOT NULL,
    absolute_expires_at bigint NOT NULL,
    revoked_at          bigint,
    revoked_reason      text,
    client_ip           text   NOT NULL,
    user_agent          text   NOT NULL
) WITH (fillfactor = 60);

CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id);
CREATE INDEX sessions_by_end ON sessions (absolute_expires_at);

-- Failed logins by keyed digest of the address: exists for invented accounts too.
CREATE TABLE login_throttle (
    tenant_id         uuid   NOT NULL,
    identity_digest   bytea  NOT NULL,
    failures          bigint NOT NULL,
    window_started_at bigint NOT NULL,
    locked_until      bigint,
    PRIMARY KEY (tenant_id, identity_digest)
) WITH (fillfactor = 80);

CREATE TABLE idempotency_keys (
    key_digest bytea  NOT NULL PRIMARY KEY,
    user_id    uuid   NOT NULL,
    created_at bigint NOT NULL
);
