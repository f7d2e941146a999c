-- Any worker of a state group may carry out a wipe. A cleanup records the group of its worker from the assignment on.
UPDATE cleanups SET state_group = COALESCE((SELECT w.state_group FROM workers w WHERE w.id = cleanups.worker_id), '') WHERE endpoint = '';
CREATE INDEX cleanups_wipes ON cleanups (state_group, worker_id, session_id) WHERE state_group <> '' AND pending_order IN ('LOGOUT', 'DELETE');
CREATE INDEX workers_group ON workers (state_group) WHERE state_group <> '';
