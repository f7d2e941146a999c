-- Health checks write a row of their own. Each process has a slot, so that none waits for another one.
CREATE TABLE health_checks (
	slot {{.Integer}} NOT NULL PRIMARY KEY,
	at   {{.Integer}} NOT NULL
) {{.Clustered}};

-- API keys that have ended are deleted after a while.
CREATE INDEX api_keys_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX api_keys_revocation ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
