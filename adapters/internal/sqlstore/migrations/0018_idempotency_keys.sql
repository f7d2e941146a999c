-- The keys of sends, each recorded with the message of its send. They are deleted after a day.
CREATE TABLE idempotency_keys (
	session_id      {{.Text}} NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	idempotency_key {{.Text}} NOT NULL,
	fingerprint     {{.Bytes}} NOT NULL,
	message_id      {{.Text}} NOT NULL,
	created_at      {{.Integer}} NOT NULL,
	failure_kind    {{.Integer}} NOT NULL,
	failure_code    {{.Text}} NOT NULL,
	failure         {{.Text}} NOT NULL,
	rev             {{.Integer}} NOT NULL,
	PRIMARY KEY (session_id, idempotency_key)
) {{.Clustered}};
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
