-- A message that FAILED in the queue of its session without having been forwarded. It counts against the limit of no hour.
ALTER TABLE messages ADD COLUMN unforwarded {{.Bool}} NOT NULL DEFAULT {{.False}};
