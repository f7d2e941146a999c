-- What a message refers to, as JSON. See relations.go.
ALTER TABLE messages ADD COLUMN relations {{.Text}} NOT NULL DEFAULT '';
