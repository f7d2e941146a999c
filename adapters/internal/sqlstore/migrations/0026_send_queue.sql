-- The queue of a session in which messages wait to be sent.
CREATE TABLE send_queues (
	session_id    {{.Text}} NOT NULL PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
	user_id       {{.Text}} NOT NULL,
	bytes         {{.Integer}} NOT NULL,
	waiting       {{.Integer}} NOT NULL,
	due_at        {{.Integer}},
	not_before    {{.Integer}},
	hold          {{.Text}} NOT NULL,
	claimed_by    {{.Text}} NOT NULL,
	claimed_until {{.Integer}},
	rev           {{.Integer}} NOT NULL
) {{.Clustered}};
CREATE INDEX send_queues_due ON send_queues (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX send_queues_user ON send_queues (user_id, bytes);

-- A message that waits. message is JSON without the media, which may be large and comes last: lists do not read it.
CREATE TABLE queued_messages (
	session_id {{.Text}} NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
	id         {{.Text}} NOT NULL,
	send_at    {{.Integer}} NOT NULL,
	deadline   {{.Integer}} NOT NULL,
	user_id    {{.Text}} NOT NULL,
	created_at {{.Integer}} NOT NULL,
	attempts   {{.Integer}} NOT NULL,
	size       {{.Integer}} NOT NULL,
	rev        {{.Integer}} NOT NULL,
	message    {{.Text}} NOT NULL,
	media      {{.Text}} NOT NULL,
	upload     {{.Bytes}},
	PRIMARY KEY (session_id, id)
) {{.Plain}};
CREATE INDEX queued_messages_order ON queued_messages (session_id, send_at, id);
CREATE INDEX queued_messages_deadline ON queued_messages (session_id, deadline, id);
