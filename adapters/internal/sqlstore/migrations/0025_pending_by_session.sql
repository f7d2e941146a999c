-- PostgreSQL leaves entries of settled messages in an index until the next VACUUM, 2 million of them with 10 million messages. By
-- session, the list of one session reads none of the others.
DROP INDEX messages_pending;
CREATE INDEX messages_pending ON messages (session_id, created_at, id) WHERE status = 'PENDING';
