-- Names the last attempt that was reserved: if nobody learnt whether it was, it can still be given
-- back.
ALTER TABLE login_throttle ADD COLUMN last_attempt BLOB;
