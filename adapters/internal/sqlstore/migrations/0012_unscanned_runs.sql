-- Consecutive unscanned runs of all sessions of a user.
ALTER TABLE users ADD COLUMN unscanned_runs {{.Integer}} NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN unscanned_at {{.Integer}};
-- A session waits for a first scan while it has no home. A linked session may have no phone number.
DROP INDEX sessions_awaiting_scan;
CREATE INDEX sessions_awaiting_scan ON sessions (connected_from)
	WHERE intent = 'UP' AND home_id = '' AND status IN ('INIT', 'QR_REQUIRED');
