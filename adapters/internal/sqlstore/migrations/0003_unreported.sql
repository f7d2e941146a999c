-- A message that FAILED because nobody reported its outcome. Receipts may still settle it.
ALTER TABLE messages ADD COLUMN unreported {{.Bool}} NOT NULL DEFAULT {{.False}};
UPDATE messages SET unreported = NOT {{.False}} WHERE status = 'FAILED' AND error = 'its outcome was never reported';
