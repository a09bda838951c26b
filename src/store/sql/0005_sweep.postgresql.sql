-- sweep_due: when the next sweep may begin; whoever sweeps moves it on while at it. live_sessions: how
-- many the last one counted. The first is due in an hour.
INSERT INTO settings VALUES
    ('sweep_due', floor(extract(epoch FROM now()) * 1000)::bigint + 3600000),
    ('live_sessions', 0);
