-- Health checks write a row of their own. Each process has a slot, so that none waits for another one.
CREATE TABLE health_checks (
	slot {{.Integer}} NOT NULL PRIMARY KEY,
	at   {{.Integer}} NOT NULL
) {{.Clustered}};
