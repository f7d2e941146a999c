-- A user may have several resets: a newer one does not void the former ones.
CREATE TABLE password_resets (
	token_hash {{.Bytes}} NOT NULL PRIMARY KEY,
	user_id    {{.Text}} NOT NULL REFERENCES users (id),
	expires_at {{.Integer}}
) {{.Clustered}};
CREATE INDEX password_resets_user ON password_resets (user_id);
INSERT INTO password_resets (token_hash, user_id, expires_at) SELECT token_hash, user_id, expires_at FROM resets;
DROP TABLE resets;
