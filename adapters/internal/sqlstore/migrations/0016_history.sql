-- Indexes for every filter of a history, and for full-text search.
{{if .IsSQLite}}
-- The full-text index refers to messages by number. VACUUM changes the numbers of rows without a column for it.
CREATE TABLE numbered_messages (
	n            INTEGER PRIMARY KEY AUTOINCREMENT,
	id           {{.Text}} NOT NULL UNIQUE,
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
	rev          {{.Integer}} NOT NULL,
	unreported   {{.Bool}} NOT NULL DEFAULT {{.False}}
) {{.Plain}};
INSERT INTO numbered_messages (id, session_id, created_at, direction, user_id, whatsapp_id, from_jid, to_jid, type,
		content, media_url, filename, caption, status, error, sent_at, delivered_at, read_at, rev, unreported)
	SELECT id, session_id, created_at, direction, user_id, whatsapp_id, from_jid, to_jid, type,
		content, media_url, filename, caption, status, error, sent_at, delivered_at, read_at, rev, unreported
	FROM messages ORDER BY rowid;
DROP TABLE messages;
ALTER TABLE numbered_messages RENAME TO messages;
CREATE INDEX messages_history ON messages (session_id, created_at, id);
CREATE INDEX messages_sent ON messages (session_id, whatsapp_id)
	WHERE direction = 'OUTBOUND' AND whatsapp_id <> '';
CREATE UNIQUE INDEX messages_received ON messages (session_id, whatsapp_id)
	WHERE direction = 'INBOUND' AND whatsapp_id <> '';
{{else}}
DROP INDEX messages_pending;
{{end}}
CREATE INDEX messages_pending ON messages (created_at, id, session_id) WHERE status = 'PENDING';
CREATE INDEX messages_kind ON messages (session_id, direction, type, status, created_at, id) WHERE status <> 'PENDING';
CREATE INDEX messages_recipient ON messages (session_id, to_jid, created_at, id);
{{if .IsSQLite}}
-- The index stores no texts. It reads the words of a message from a view when the message goes. The counter is the number of the
-- last indexed message: messages enter the index a group at a time, before the group's COMMIT.
CREATE VIEW message_texts AS
	SELECT n AS rowid, message_words_of(session_id, type, content, caption, filename) AS words FROM messages;
CREATE VIRTUAL TABLE message_words USING fts4 (words, content="message_texts", tokenize=simple, matchinfo=fts3);
INSERT INTO message_words (message_words) VALUES ('automerge=8');
INSERT INTO message_words (docid, words) SELECT rowid, words FROM message_texts;
INSERT INTO counters (name, value) SELECT 'indexed', COALESCE(MAX(n), 0) FROM messages;
CREATE TRIGGER message_changing BEFORE UPDATE OF session_id, type, content, caption, filename ON messages
WHEN OLD.n <= (SELECT value FROM counters WHERE name = 'indexed') BEGIN
	DELETE FROM message_words WHERE docid = OLD.n;
END;
CREATE TRIGGER message_changed AFTER UPDATE OF session_id, type, content, caption, filename ON messages
WHEN OLD.n <= (SELECT value FROM counters WHERE name = 'indexed') BEGIN
	INSERT INTO message_words (docid, words)
		VALUES (NEW.n, message_words_of(NEW.session_id, NEW.type, NEW.content, NEW.caption, NEW.filename));
END;
CREATE TRIGGER message_deleted BEFORE DELETE ON messages
WHEN OLD.n <= (SELECT value FROM counters WHERE name = 'indexed') BEGIN
	DELETE FROM message_words WHERE docid = OLD.n;
END;
{{else}}
-- A table of its own: each change of a message's status would enter all its words into their index again. It has no reference to
-- messages, because checking the reference costs more than the trigger, which fires for deletions alone.
CREATE TABLE message_words (
	message_id {{.Text}} NOT NULL PRIMARY KEY,
	words      TSVECTOR NOT NULL
);
CREATE INDEX message_words_index ON message_words USING gin (words);
CREATE FUNCTION delete_message_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM message_words WHERE message_id = OLD.id;
	RETURN NULL;
END $$;
CREATE TRIGGER message_deleted AFTER DELETE ON messages FOR EACH ROW EXECUTE FUNCTION delete_message_words();
{{end}}
