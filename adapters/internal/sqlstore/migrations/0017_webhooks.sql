-- Webhooks of sessions. Secrets are sealed: see ports.Sealer.
CREATE TABLE webhooks (
	id            {{.Text}} NOT NULL PRIMARY KEY,
	session_id    {{.Text}} NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	slot          {{.Integer}} NOT NULL,
	user_id       {{.Text}} NOT NULL,
	url           {{.Text}} NOT NULL,
	events        {{.Text}} NOT NULL,
	active        {{.Bool}} NOT NULL,
	off_reason    {{.Text}} NOT NULL,
	secret        {{.Bytes}},
	secret_hint   {{.Text}} NOT NULL,
	former        {{.Bytes}},
	former_hint   {{.Text}} NOT NULL,
	former_until  {{.Integer}},
	failures      {{.Integer}} NOT NULL,
	since         {{.Integer}} NOT NULL,
	due_at        {{.Integer}},
	claimed_by    {{.Text}} NOT NULL,
	claimed_until {{.Integer}},
	created_at    {{.Integer}},
	updated_at    {{.Integer}},
	rev           {{.Integer}} NOT NULL,
	UNIQUE (session_id, slot)
) {{.Clustered}};
CREATE INDEX webhooks_due ON webhooks (due_at) WHERE due_at IS NOT NULL;

-- One row for each event on its way to a webhook. The event itself is in the outbox.
CREATE TABLE deliveries (
	id            {{.Text}} NOT NULL PRIMARY KEY,
	webhook_id    {{.Text}} NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
	position      {{.Integer}} NOT NULL,
	status        {{.Text}} NOT NULL,
	type          {{.Text}} NOT NULL,
	attempts      {{.Integer}} NOT NULL,
	response_code {{.Integer}} NOT NULL,
	reason        {{.Text}} NOT NULL,
	next_at       {{.Integer}},
	created_at    {{.Integer}} NOT NULL,
	ended_at      {{.Integer}},
	rev           {{.Integer}} NOT NULL,
	UNIQUE (webhook_id, position)
) {{.Clustered}};
CREATE INDEX deliveries_status ON deliveries (webhook_id, status, position);
CREATE INDEX deliveries_ended ON deliveries (status, ended_at) WHERE ended_at IS NOT NULL;
