-- The reference to an inbound message's media, as JSON.
ALTER TABLE messages ADD COLUMN media {{.Text}} NOT NULL DEFAULT '';
