-- What all instances share besides rows of users. sessions_not_before: a session that was opened
-- then or earlier (Unix milliseconds) is ended, whatever its own row says.
CREATE TABLE settings (
    name  text   NOT NULL PRIMARY KEY,
    value bigint NOT NULL
);

INSERT INTO settings VALUES ('sessions_not_before', 0);
