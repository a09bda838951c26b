-- sweep_due: when the next sweep may begin; whoever sweeps moves it on while at it. live_sessions: how
-- many the last one counted. The first is due in an hour.
INSERT INTO settings VALUES
    ('sweep_due', CAST(strftime('%s', 'now') AS INTEGER) * 1000 + 3600000),
    ('live_sessions', 0);
