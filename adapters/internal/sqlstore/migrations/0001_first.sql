CREATE TABLE users (
	id             {{.Text}} NOT NULL PRIMARY KEY,
	email          {{.Text}} NOT NULL UNIQUE,
	name           {{.Text}} NOT NULL,
	password_hash  {{.Text}} NOT NULL,
	role           {{.Text}} NOT NULL,
	tier           {{.Text}} NOT NULL,
	active         {{.Bool}} NOT NULL,
	credentials_at {{.Integer}},
	last_login_at  {{.Integer}} NOT NULL,
	created_at     {{.Integer}} NOT NULL,
	updated_at     {{.Integer}},
	rev            {{.Integer}} NOT NULL,
	-- The sessions that count against the user's limits; see ports.Users.Reserve.
	sessions       {{.Integer}} NOT NULL DEFAULT 0,
	live           {{.Integer}} NOT NULL DEFAULT 0
) {{.Clustered}};

CREATE TABLE sign_ins (
	id         {{.Text}} NOT NULL PRIMARY KEY,
	user_id    {{.Text}} NOT NULL REFERENCES users (id),
	token_hash {{.Bytes}} NOT NULL,
	created_at {{.Integer}},
	expires_at {{.Integer}} NOT NULL,
	revoked_at {{.Integer}},
	rev        {{.Integer}} NOT NULL
) {{.Clustered}};
CREATE INDEX sign_ins_user ON sign_ins (user_id);
CREATE INDEX sign_ins_expiry ON sign_ins (expires_at);

CREATE TABLE resets (
	user_id    {{.Text}} NOT NULL PRIMARY KEY REFERENCES users (id),
	token_hash {{.Bytes}} NOT NULL UNIQUE,
	expires_at {{.Integer}}
) {{.Clustered}};

CREATE TABLE sessions (
	id            {{.Text}} NOT NULL PRIMARY KEY,
	user_id       {{.Text}} NOT NULL REFERENCES users (id),
	created_at    {{.Integer}} NOT NULL,
	name          {{.Text}} NOT NULL,
	description   {{.Text}} NOT NULL,
	display_name  {{.Text}} NOT NULL,
	phone_number  {{.Text}} NOT NULL,
	intent        {{.Text}} NOT NULL,
	status        {{.Text}} NOT NULL,
	status_at     {{.Integer}},
	was_connected {{.Bool}} NOT NULL,
	last_error    {{.Text}} NOT NULL,
	worker_id     {{.Text}} NOT NULL,
	generation    {{.Integer}} NOT NULL,
	assigned_at   {{.Integer}},
	home_id       {{.Text}} NOT NULL,
	moved_from    {{.Text}} NOT NULL,
	move_event    {{.Text}} NOT NULL,
	pending_order {{.Text}} NOT NULL,
	confirms      {{.Bool}} NOT NULL,
	tries         {{.Integer}} NOT NULL,
	misses        {{.Integer}} NOT NULL,
	restarts      {{.Integer}} NOT NULL,
	settle_at     {{.Integer}},
	logged_out    {{.Bool}} NOT NULL,
	avoid_id      {{.Text}} NOT NULL,
	avoid_until   {{.Integer}},
	due_at        {{.Integer}},
	reported_at   {{.Integer}},
	heard_at      {{.Integer}},
	last_seen_at  {{.Integer}},
	updated_at    {{.Integer}},
	rev           {{.Integer}} NOT NULL,
	pairing_phone {{.Text}} NOT NULL,
	pairing_code  {{.Text}} NOT NULL,
	qr_expires_at {{.Integer}},
	qr_code       {{.Text}} NOT NULL,
	qr_image      {{.Bytes}}
) {{.Clustered}};
CREATE INDEX sessions_user ON sessions (user_id, created_at);
CREATE INDEX sessions_status ON sessions (status);
CREATE INDEX sessions_worker ON sessions (worker_id) WHERE worker_id <> '';
CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE api_keys (
	id           {{.Text}} NOT NULL PRIMARY KEY,
	session_id   {{.Text}} NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	user_id      {{.Text}} NOT NULL REFERENCES users (id),
	hash         {{.Bytes}} NOT NULL UNIQUE,
	created_at   {{.Integer}} NOT NULL,
	name         {{.Text}} NOT NULL,
	hint         {{.Text}} NOT NULL,
	last_used_at {{.Integer}},
	expires_at   {{.Integer}},
	revoked_at   {{.Integer}},
	rev          {{.Integer}} NOT NULL
) {{.Clustered}};
CREATE INDEX api_keys_session ON api_keys (session_id, created_at);
CREATE INDEX api_keys_user ON api_keys (user_id, created_at);

CREATE TABLE workers (
	id             {{.Text}} NOT NULL PRIMARY KEY,
	endpoint       {{.Text}} NOT NULL UNIQUE,
	capacity       {{.Integer}} NOT NULL,
	claimed        {{.Integer}} NOT NULL,
	used           {{.Integer}} NOT NULL DEFAULT 0, -- see ports.Workers.Reserve
	description    {{.Text}} NOT NULL,
	version        {{.Text}} NOT NULL,
	environment    {{.Text}} NOT NULL,
	labels         {{.Text}} NOT NULL,
	capabilities   {{.Text}} NOT NULL,
	interval_ns    {{.Integer}} NOT NULL,
	online         {{.Bool}} NOT NULL,
	draining       {{.Bool}} NOT NULL,
	last_heartbeat {{.Integer}},
	registered_at  {{.Integer}},
	loss           {{.Text}} NOT NULL,
	lost_at        {{.Integer}},
	failover_at    {{.Integer}},
	cpu            {{.Real}} NOT NULL,
	memory         {{.Real}} NOT NULL,
	uptime_ns      {{.Integer}} NOT NULL,
	message_count  {{.Integer}} NOT NULL,
	reported       {{.Text}} NOT NULL,
	created_at     {{.Integer}},
	updated_at     {{.Integer}},
	rev            {{.Integer}} NOT NULL
) {{.Clustered}};

CREATE TABLE cleanups (
	worker_id     {{.Text}} NOT NULL,
	session_id    {{.Text}} NOT NULL,
	pending_order {{.Text}} NOT NULL,
	generation    {{.Integer}} NOT NULL,
	due_at        {{.Integer}},
	attempts      {{.Integer}} NOT NULL,
	created_at    {{.Integer}},
	PRIMARY KEY (worker_id, session_id)
) {{.Clustered}};
CREATE INDEX cleanups_session ON cleanups (session_id, worker_id);
CREATE INDEX cleanups_due ON cleanups (due_at) WHERE due_at IS NOT NULL;

-- Inserts into messages are the most frequent writes. The table is stored in the order of insertion. The index of its key is
-- nearly in that order too, because ids begin with the time. Inserts that follow each other therefore write the same pages,
-- except for one page of messages_history each.
CREATE TABLE messages (
	id           {{.Text}} NOT NULL PRIMARY KEY,
	session_id   {{.Text}} NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	created_at   {{.Integer}} NOT NULL,
	direction    {{.Text}} NOT NULL,
	user_id      {{.Text}} NOT NULL,
	whatsapp_id  {{.Text}} NOT NULL,
	from_jid     {{.Text}} NOT NULL,
	to_jid       {{.Text}} NOT NULL,
	type         {{.Text}} NOT NULL,
	content      {{.Text}} NOT NULL,
	media_url    {{.Text}} NOT NULL,
	filename     {{.Text}} NOT NULL,
	caption      {{.Text}} NOT NULL,
	status       {{.Text}} NOT NULL,
	error        {{.Text}} NOT NULL,
	sent_at      {{.Integer}},
	delivered_at {{.Integer}},
	read_at      {{.Integer}},
	rev          {{.Integer}} NOT NULL
) {{.Plain}};
CREATE INDEX messages_history ON messages (session_id, created_at, id);
CREATE INDEX messages_pending ON messages (created_at, id) WHERE status = 'PENDING';
CREATE INDEX messages_sent ON messages (session_id, whatsapp_id)
	WHERE direction = 'OUTBOUND' AND whatsapp_id <> '';
CREATE UNIQUE INDEX messages_received ON messages (session_id, whatsapp_id)
	WHERE direction = 'INBOUND' AND whatsapp_id <> '';

CREATE TABLE counters (
	name  {{.Text}} NOT NULL PRIMARY KEY,
	value {{.Integer}} NOT NULL
) {{.Clustered}};
INSERT INTO counters (name, value) VALUES ('outbox', 0);

CREATE TABLE outbox (
	seq         {{.Integer}} NOT NULL PRIMARY KEY,
	type        {{.Text}} NOT NULL,
	occurred_at {{.Integer}} NOT NULL,
	user_id     {{.Text}} NOT NULL,
	session_id  {{.Text}} NOT NULL,
	worker_id   {{.Text}} NOT NULL,
	from_worker {{.Text}} NOT NULL,
	generation  {{.Integer}} NOT NULL,
	status      {{.Text}} NOT NULL,
	reason      {{.Text}} NOT NULL
) {{.Plain}};
CREATE INDEX outbox_age ON outbox (occurred_at);

CREATE TABLE worker_loads (
	worker_id {{.Text}} NOT NULL,
	at        {{.Integer}} NOT NULL,
	sessions  {{.Integer}} NOT NULL,
	cpu       {{.Real}} NOT NULL,
	memory    {{.Real}} NOT NULL,
	PRIMARY KEY (worker_id, at)
) {{.Clustered}};
CREATE INDEX worker_loads_age ON worker_loads (at);

CREATE TABLE settings (
	name  {{.Text}} NOT NULL PRIMARY KEY,
	value {{.Text}} NOT NULL
) {{.Clustered}};
