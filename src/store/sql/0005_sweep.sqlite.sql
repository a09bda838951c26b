-- sweep_due: when the next sweep may begin; whoever sweeps moves it on while at it. live_sessions: how
-- many the last one counted.
INSERT INTO settings VALUES ('sweep_due', 0), ('live_sessions', 0);
