-- A worker that changes its state group has left credentials in the former group: one row for each group.
CREATE TABLE cleanups_by_group (
	worker_id     {{.Text}} NOT NULL,
	session_id    {{.Text}} NOT NULL,
	state_group   {{.Text}} NOT NULL DEFAULT '',
	pending_order {{.Text}} NOT NULL,
	generation    {{.Integer}} NOT NULL,
	due_at        {{.Integer}},
	attempts      {{.Integer}} NOT NULL,
	created_at    {{.Integer}},
	claimed_by    {{.Text}} NOT NULL DEFAULT '',
	rev           {{.Integer}} NOT NULL DEFAULT 1,
	user_id       {{.Text}} NOT NULL DEFAULT '',
	endpoint      {{.Text}} NOT NULL DEFAULT '',
	destroyed     {{.Bool}} NOT NULL DEFAULT {{.False}},
	PRIMARY KEY (worker_id, session_id, state_group)
) {{.Clustered}};
INSERT INTO cleanups_by_group (worker_id, session_id, state_group, pending_order, generation, due_at, attempts, created_at, claimed_by, rev, user_id, endpoint, destroyed)
	SELECT worker_id, session_id, state_group, pending_order, generation, due_at, attempts, created_at, claimed_by, rev, user_id, endpoint, destroyed FROM cleanups;
DROP TABLE cleanups;
ALTER TABLE cleanups_by_group RENAME TO cleanups;
CREATE INDEX cleanups_session ON cleanups (session_id, worker_id);
CREATE INDEX cleanups_due ON cleanups (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX cleanups_endpoint ON cleanups (endpoint) WHERE endpoint <> '';
CREATE INDEX cleanups_wipes ON cleanups (state_group, worker_id, session_id) WHERE state_group <> '' AND pending_order IN ('LOGOUT', 'DELETE');
