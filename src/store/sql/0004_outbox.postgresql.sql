-- Events on their way to NATS: written with the change they report, removed once the stream has
-- them. What the columns mean for each subject: src/store/outbox.h. event_id is a UUIDv7: the
-- milliseconds, then what gen_random_uuid() gives, with the version's bits set.
CREATE TABLE outbox (
    seq                 bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id            uuid   NOT NULL DEFAULT encode(set_bit(set_bit(overlay(
                            uuid_send(gen_random_uuid()) placing substring(int8send(
                            floor(date_part('epoch', now()) * 1000)::bigint) from 3) from 1 for 6),
                            52, 1), 53, 1), 'hex')::uuid,
    subject             text   NOT NULL,
    occurred_at         bigint NOT NULL DEFAULT floor(date_part('epoch', now()) * 1000)::bigint,
    held_until          bigint NOT NULL DEFAULT 0,
    trace_id            text   NOT NULL,
    tenant_id           uuid,
    user_id             uuid,
    session_id          uuid,
    attempt_id          uuid,
    identity            bytea,
    label               text,
    detail              text,
    number              bigint,
    age_ms              bigint,
    client_ip           text,
    user_agent          text,
    previous_ip         text,
    previous_user_agent text
);

-- A queue: rows live for moments. Without this its dead rows would be cleared away too seldom.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- An event that is held is found again by its attempt; next to no rows have one.
CREATE INDEX outbox_by_attempt ON outbox (attempt_id) WHERE attempt_id IS NOT NULL;
