-- A login counts the user's live sessions. Those that have ended stay for as long as they are kept,
-- thousands of them for a user who logs in by program: with revoked_at in the index they are passed
-- over without being read.
DROP INDEX sessions_by_user;
CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id, revoked_at);
