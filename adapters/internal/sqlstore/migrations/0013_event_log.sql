-- Events carry the message or the session that they tell of, as JSON. See event_data.go.
ALTER TABLE outbox ADD COLUMN data {{.Text}} NOT NULL DEFAULT '';

-- The log is read for one session or one user, from a position on. It is deleted from its beginning.
CREATE INDEX outbox_session ON outbox (session_id, seq) WHERE session_id <> '';
CREATE INDEX outbox_user ON outbox (user_id, seq) WHERE user_id <> '';
DROP INDEX outbox_age;
INSERT INTO counters (name, value) VALUES ('outbox_trimmed', 0);
