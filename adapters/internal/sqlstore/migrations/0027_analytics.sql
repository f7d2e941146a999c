-- Messages of all users by the step of five minutes in which they were created. Kept for 31 days.
CREATE TABLE message_totals (
	at      {{.Integer}} NOT NULL,
	outcome {{.Text}} NOT NULL,
	n       {{.Integer}} NOT NULL,
	PRIMARY KEY (at, outcome)
) {{.Clustered}};

-- Earlier messages count at the begin of their hour.
INSERT INTO message_totals (at, outcome, n) SELECT hour, outcome, SUM(n) FROM usage_hours GROUP BY hour, outcome;

-- Numbers of users, sessions and workers, every five minutes. Kept for 31 days.
CREATE TABLE fleet_samples (
	at                 {{.Integer}} NOT NULL PRIMARY KEY,
	users              {{.Integer}} NOT NULL,
	active_users       {{.Integer}} NOT NULL,
	sessions           {{.Integer}} NOT NULL,
	connected_sessions {{.Integer}} NOT NULL,
	workers            {{.Integer}} NOT NULL,
	online_workers     {{.Integer}} NOT NULL,
	capacity           {{.Integer}} NOT NULL,
	used               {{.Integer}} NOT NULL
);
