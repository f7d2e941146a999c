-- A cleanup records every worker that was ever given a session, until the worker has confirmed the wipe.
ALTER TABLE cleanups ADD COLUMN user_id {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE cleanups ADD COLUMN endpoint {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE cleanups ADD COLUMN destroyed {{.Bool}} NOT NULL DEFAULT {{.False}};
CREATE INDEX cleanups_endpoint ON cleanups (endpoint) WHERE endpoint <> '';
UPDATE cleanups SET user_id = COALESCE((SELECT user_id FROM sessions WHERE id = session_id), '');
INSERT INTO cleanups (worker_id, session_id, pending_order, generation, attempts, created_at, rev, user_id)
	SELECT given.worker_id, s.id, '', s.generation, 0, s.created_at, 1, s.user_id
	FROM sessions s JOIN (
		SELECT worker_id, id AS session_id FROM sessions
		UNION SELECT home_id, id FROM sessions
		UNION SELECT from_worker, session_id FROM moves
		UNION SELECT to_worker, session_id FROM moves
	) given ON given.session_id = s.id
	WHERE given.worker_id <> ''
		AND NOT EXISTS (SELECT 1 FROM cleanups c WHERE c.worker_id = given.worker_id AND c.session_id = s.id);

-- The last generations of deleted sessions.
CREATE TABLE tombstones (
	session_id {{.Text}} NOT NULL PRIMARY KEY,
	generation {{.Integer}} NOT NULL
) {{.Clustered}};

ALTER TABLE sessions ADD COLUMN scan_restarted {{.Bool}} NOT NULL DEFAULT {{.False}};
