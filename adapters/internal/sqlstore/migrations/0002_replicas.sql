CREATE TABLE replicas (
	id         {{.Text}} NOT NULL PRIMARY KEY,
	name       {{.Text}} NOT NULL,
	version    {{.Text}} NOT NULL,
	started_at {{.Integer}},
	seen_at    {{.Integer}}
) {{.Clustered}};

ALTER TABLE sessions ADD COLUMN claimed_by {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN claimed_until {{.Integer}};
ALTER TABLE sessions ADD COLUMN move_id {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN move_to {{.Text}} NOT NULL DEFAULT '';
CREATE INDEX sessions_claimed ON sessions (claimed_by) WHERE claimed_by <> '';

ALTER TABLE workers ADD COLUMN drain_id {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN trial_since {{.Integer}};
ALTER TABLE workers ADD COLUMN suspect {{.Text}} NOT NULL DEFAULT '';

ALTER TABLE cleanups ADD COLUMN claimed_by {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE cleanups ADD COLUMN rev {{.Integer}} NOT NULL DEFAULT 1;

-- Migrations of sessions. They outlive their sessions.
CREATE TABLE moves (
	id           {{.Text}} NOT NULL PRIMARY KEY,
	session_id   {{.Text}} NOT NULL,
	created_at   {{.Integer}} NOT NULL,
	user_id      {{.Text}} NOT NULL,
	kind         {{.Text}} NOT NULL,
	batch_id     {{.Text}} NOT NULL,
	from_worker  {{.Text}} NOT NULL,
	to_worker    {{.Text}} NOT NULL,
	status       {{.Text}} NOT NULL,
	reason       {{.Text}} NOT NULL,
	error        {{.Text}} NOT NULL,
	started_at   {{.Integer}},
	completed_at {{.Integer}},
	rev          {{.Integer}} NOT NULL
) {{.Clustered}};
CREATE INDEX moves_age ON moves (created_at, id);
CREATE INDEX moves_session ON moves (session_id, created_at, id);
CREATE INDEX moves_batch ON moves (batch_id, created_at, id);
CREATE INDEX moves_open ON moves (created_at, id) WHERE status IN ('PENDING', 'RUNNING');
CREATE INDEX moves_ended ON moves (completed_at) WHERE completed_at IS NOT NULL;
