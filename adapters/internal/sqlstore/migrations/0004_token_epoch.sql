-- The epoch of a worker's own token. It ends with the worker's next registration, or with the worker.
ALTER TABLE workers ADD COLUMN token_epoch {{.Text}} NOT NULL DEFAULT '';
