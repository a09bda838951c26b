-- A user's id is unique in its tenant alone: who is deleted takes along no other's keys. What there
-- is cannot be told apart and holds for a day at most; a registration that is repeated across this
-- step finds the address taken.
DELETE FROM idempotency_keys;
ALTER TABLE idempotency_keys ADD COLUMN tenant_id BLOB NOT NULL;
