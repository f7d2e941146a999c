-- Sessions that were never linked and wait for a first scan.
ALTER TABLE sessions ADD COLUMN unscanned {{.Integer}} NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN connected_from {{.Text}} NOT NULL DEFAULT '';
CREATE INDEX sessions_awaiting_scan ON sessions (connected_from)
	WHERE intent = 'UP' AND phone_number = '' AND status IN ('INIT', 'QR_REQUIRED');
