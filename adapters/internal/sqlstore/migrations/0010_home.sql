-- Workers with the same state group share the credentials of sessions. A linked session waits for its home.
ALTER TABLE workers ADD COLUMN state_group {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN failover {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN drain_forced {{.Bool}} NOT NULL DEFAULT {{.False}};
ALTER TABLE workers ADD COLUMN in_maintenance {{.Bool}} NOT NULL DEFAULT {{.False}};
UPDATE workers SET drain_forced = draining;

ALTER TABLE sessions ADD COLUMN home_group {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN home_policy {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN home_wait_until {{.Integer}};
