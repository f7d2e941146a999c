PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE schema_migrations (version INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT;
INSERT INTO schema_migrations VALUES(1,'0001_first',1795393696106919);
CREATE TABLE users (
	id             TEXT NOT NULL PRIMARY KEY,
	email          TEXT NOT NULL UNIQUE,
	name           TEXT NOT NULL,
	password_hash  TEXT NOT NULL,
	role           TEXT NOT NULL,
	tier           TEXT NOT NULL,
	active         INTEGER NOT NULL,
	credentials_at INTEGER,
	last_login_at  INTEGER NOT NULL,
	created_at     INTEGER NOT NULL,
	updated_at     INTEGER,
	rev            INTEGER NOT NULL,
	-- What the user has, see ports.Users.Reserve.
	sessions       INTEGER NOT NULL DEFAULT 0,
	live           INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO users VALUES('u1','ann@example.com','Ann Lee','hash','USER','PRO',1,1772452800000000,1772452860000000,1772452800000000,1772452860000000,1795393696110616,1,1);
CREATE TABLE sign_ins (
	id         TEXT NOT NULL PRIMARY KEY,
	user_id    TEXT NOT NULL REFERENCES users (id),
	token_hash BLOB NOT NULL,
	created_at INTEGER,
	expires_at INTEGER NOT NULL,
	revoked_at INTEGER,
	rev        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO sign_ins VALUES('f1','u1',X'746f6b656e20686173682e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e',1772452860000000,1772456340000000,NULL,1795393696111032);
CREATE TABLE resets (
	user_id    TEXT NOT NULL PRIMARY KEY REFERENCES users (id),
	token_hash BLOB NOT NULL UNIQUE,
	expires_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO resets VALUES('u1',X'746f6b656e20686173682e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e',1772456340000000);
CREATE TABLE sessions (
	id            TEXT NOT NULL PRIMARY KEY,
	user_id       TEXT NOT NULL REFERENCES users (id),
	created_at    INTEGER NOT NULL,
	name          TEXT NOT NULL,
	description   TEXT NOT NULL,
	display_name  TEXT NOT NULL,
	phone_number  TEXT NOT NULL,
	intent        TEXT NOT NULL,
	status        TEXT NOT NULL,
	status_at     INTEGER,
	was_connected INTEGER NOT NULL,
	last_error    TEXT NOT NULL,
	worker_id     TEXT NOT NULL,
	generation    INTEGER NOT NULL,
	assigned_at   INTEGER,
	home_id       TEXT NOT NULL,
	moved_from    TEXT NOT NULL,
	move_event    TEXT NOT NULL,
	pending_order TEXT NOT NULL,
	confirms      INTEGER NOT NULL,
	tries         INTEGER NOT NULL,
	misses        INTEGER NOT NULL,
	restarts      INTEGER NOT NULL,
	settle_at     INTEGER,
	logged_out    INTEGER NOT NULL,
	avoid_id      TEXT NOT NULL,
	avoid_until   INTEGER,
	due_at        INTEGER,
	reported_at   INTEGER,
	heard_at      INTEGER,
	last_seen_at  INTEGER,
	updated_at    INTEGER,
	rev           INTEGER NOT NULL,
	pairing_phone TEXT NOT NULL,
	pairing_code  TEXT NOT NULL,
	qr_expires_at INTEGER,
	qr_code       TEXT NOT NULL,
	qr_image      BLOB
) STRICT, WITHOUT ROWID;
INSERT INTO sessions VALUES('s1','u1',1772452920000000,'Support line',replace('two\nlines','\n',char(10)),'','6281234567890','UP','CONNECTED',1772453040000000,1,'','w1',3,1772452980000000,'w1','','','',0,0,0,0,NULL,0,'',NULL,1772453340000000,NULL,NULL,NULL,1772452920000000,1795393696110938,'','',1772452980000000,'2@abc',X'89504e4700ff');
CREATE TABLE api_keys (
	id           TEXT NOT NULL PRIMARY KEY,
	session_id   TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	user_id      TEXT NOT NULL REFERENCES users (id),
	hash         BLOB NOT NULL UNIQUE,
	created_at   INTEGER NOT NULL,
	name         TEXT NOT NULL,
	hint         TEXT NOT NULL,
	last_used_at INTEGER,
	expires_at   INTEGER,
	revoked_at   INTEGER,
	rev          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO api_keys VALUES('k1','s1','u1',X'6b657920686173682e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e2e',1772452920000000,'default','wg_abcd',NULL,NULL,NULL,1795393696111109);
CREATE TABLE workers (
	id             TEXT NOT NULL PRIMARY KEY,
	endpoint       TEXT NOT NULL UNIQUE,
	capacity       INTEGER NOT NULL,
	claimed        INTEGER NOT NULL,
	used           INTEGER NOT NULL DEFAULT 0, -- see ports.Workers.Reserve
	description    TEXT NOT NULL,
	version        TEXT NOT NULL,
	environment    TEXT NOT NULL,
	labels         TEXT NOT NULL,
	capabilities   TEXT NOT NULL,
	interval_ns    INTEGER NOT NULL,
	online         INTEGER NOT NULL,
	draining       INTEGER NOT NULL,
	last_heartbeat INTEGER,
	registered_at  INTEGER,
	loss           TEXT NOT NULL,
	lost_at        INTEGER,
	failover_at    INTEGER,
	cpu            REAL NOT NULL,
	memory         REAL NOT NULL,
	uptime_ns      INTEGER NOT NULL,
	message_count  INTEGER NOT NULL,
	reported       TEXT NOT NULL,
	created_at     INTEGER,
	updated_at     INTEGER,
	rev            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO workers VALUES('w1','http://w1:8001',50,50,1,'','1.2.3','','{"pool":"max"}','["lease"]',10000000000,1,0,1772453100000000,1772452860000000,'',NULL,NULL,12.5,-1.0,3600000000000,0,'{"total":1,"connected":1,"disconnected":0,"qr_required":0,"reconnecting":0,"error":0,"init":0}',1772452860000000,1772452860000000,1795393696110851);
CREATE TABLE cleanups (
	worker_id     TEXT NOT NULL,
	session_id    TEXT NOT NULL,
	pending_order TEXT NOT NULL,
	generation    INTEGER NOT NULL,
	due_at        INTEGER,
	attempts      INTEGER NOT NULL,
	created_at    INTEGER,
	PRIMARY KEY (worker_id, session_id)
) STRICT, WITHOUT ROWID;
INSERT INTO cleanups VALUES('w1','s8','LOGOUT',4,1772453160000000,2,1772453100000000);
INSERT INTO cleanups VALUES('w1','s9','DELETE',1,NULL,0,1772453100000000);
CREATE TABLE messages (
	id           TEXT NOT NULL PRIMARY KEY,
	session_id   TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	created_at   INTEGER NOT NULL,
	direction    TEXT NOT NULL,
	user_id      TEXT NOT NULL,
	whatsapp_id  TEXT NOT NULL,
	from_jid     TEXT NOT NULL,
	to_jid       TEXT NOT NULL,
	type         TEXT NOT NULL,
	content      TEXT NOT NULL,
	media_url    TEXT NOT NULL,
	filename     TEXT NOT NULL,
	caption      TEXT NOT NULL,
	status       TEXT NOT NULL,
	error        TEXT NOT NULL,
	sent_at      INTEGER,
	delivered_at INTEGER,
	read_at      INTEGER,
	rev          INTEGER NOT NULL
) STRICT;
INSERT INTO messages VALUES('m1','s1',1772453100000000,'OUTBOUND','u1','','6281234567890@s.whatsapp.net','6281100000000@s.whatsapp.net','text','Hello; it''s me','','','','PENDING','',NULL,NULL,NULL,1795393696111620);
CREATE TABLE counters (
	name  TEXT NOT NULL PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES('outbox',1);
CREATE TABLE outbox (
	seq         INTEGER NOT NULL PRIMARY KEY,
	type        TEXT NOT NULL,
	occurred_at INTEGER NOT NULL,
	user_id     TEXT NOT NULL,
	session_id  TEXT NOT NULL,
	worker_id   TEXT NOT NULL,
	from_worker TEXT NOT NULL,
	generation  INTEGER NOT NULL,
	status      TEXT NOT NULL,
	reason      TEXT NOT NULL
) STRICT;
INSERT INTO outbox VALUES(1,'session.connected',1772453040000000,'u1','s1','w1','',3,'CONNECTED','');
CREATE TABLE worker_loads (
	worker_id TEXT NOT NULL,
	at        INTEGER NOT NULL,
	sessions  INTEGER NOT NULL,
	cpu       REAL NOT NULL,
	memory    REAL NOT NULL,
	PRIMARY KEY (worker_id, at)
) STRICT, WITHOUT ROWID;
INSERT INTO worker_loads VALUES('w1',1772453100000000,1,12.5,-1.0);
CREATE TABLE settings (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO settings VALUES('secret','kept');
CREATE INDEX sign_ins_user ON sign_ins (user_id);
CREATE INDEX sign_ins_expiry ON sign_ins (expires_at);
CREATE INDEX sessions_user ON sessions (user_id, created_at);
CREATE INDEX sessions_status ON sessions (status);
CREATE INDEX sessions_worker ON sessions (worker_id) WHERE worker_id <> '';
CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX api_keys_session ON api_keys (session_id, created_at);
CREATE INDEX api_keys_user ON api_keys (user_id, created_at);
CREATE INDEX cleanups_session ON cleanups (session_id, worker_id);
CREATE INDEX cleanups_due ON cleanups (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX messages_history ON messages (session_id, created_at, id);
CREATE INDEX messages_pending ON messages (created_at, id) WHERE status = 'PENDING';
CREATE INDEX messages_sent ON messages (session_id, whatsapp_id)
	WHERE direction = 'OUTBOUND' AND whatsapp_id <> '';
CREATE UNIQUE INDEX messages_received ON messages (session_id, whatsapp_id)
	WHERE direction = 'INBOUND' AND whatsapp_id <> '';
CREATE INDEX outbox_age ON outbox (occurred_at);
CREATE INDEX worker_loads_age ON worker_loads (at);
COMMIT;
