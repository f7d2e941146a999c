-- Counters of messages by hour. They outlive their sessions.
CREATE TABLE usage_hours (
	user_id    {{.Text}} NOT NULL,
	hour       {{.Integer}} NOT NULL,
	session_id {{.Text}} NOT NULL,
	type       {{.Text}} NOT NULL,
	outcome    {{.Text}} NOT NULL,
	n          {{.Integer}} NOT NULL,
	PRIMARY KEY (user_id, hour, session_id, type, outcome)
) {{.Clustered}};
CREATE INDEX usage_hours_age ON usage_hours (hour, user_id);

-- Messages count from here on by their events. Earlier ones count as they are.
INSERT INTO usage_hours (user_id, hour, session_id, type, outcome, n)
	SELECT user_id, created_at - created_at % 3600000000, session_id, type,
		CASE WHEN direction = 'INBOUND' THEN 'RECEIVED' WHEN status = 'FAILED' THEN 'FAILED' ELSE 'SENT' END, COUNT(*)
	FROM messages WHERE created_at >= 0 AND (direction = 'INBOUND' OR status <> 'PENDING') GROUP BY 1, 2, 3, 4, 5;
INSERT INTO usage_hours (user_id, hour, session_id, type, outcome, n)
	SELECT user_id, created_at - created_at % 3600000000, session_id, type, 'DELIVERED', COUNT(*)
	FROM messages WHERE created_at >= 0 AND direction = 'OUTBOUND' AND delivered_at IS NOT NULL GROUP BY 1, 2, 3, 4;
INSERT INTO usage_hours (user_id, hour, session_id, type, outcome, n)
	SELECT user_id, created_at - created_at % 3600000000, session_id, type, 'READ', COUNT(*)
	FROM messages WHERE created_at >= 0 AND direction = 'OUTBOUND' AND read_at IS NOT NULL GROUP BY 1, 2, 3, 4;
INSERT INTO settings (name, value) SELECT 'usage.position', CAST(value AS {{if .IsSQLite}}TEXT{{else}}VARCHAR{{end}}) FROM counters WHERE name = 'outbox';
