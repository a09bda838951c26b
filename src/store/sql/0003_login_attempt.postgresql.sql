-- Names the last attempt that was reserved: if nobody learnt whether it was, it can still be given
-- back. Fillfactor and indexes stay as they are: the column changes in place.
ALTER TABLE login_throttle ADD COLUMN last_attempt uuid;
