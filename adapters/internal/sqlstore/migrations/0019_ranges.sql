-- Exports read users and sessions by age.
CREATE INDEX users_age ON users (created_at, id);
CREATE INDEX sessions_age ON sessions (created_at, id);
