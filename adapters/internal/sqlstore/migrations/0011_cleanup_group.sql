-- The state group of a removed worker tells which others may hold the credentials that its cleanups are about.
ALTER TABLE cleanups ADD COLUMN state_group {{.Text}} NOT NULL DEFAULT '';
