-- When the system switched the webhook off; NULL once its owner has been told.
ALTER TABLE webhooks ADD COLUMN untold_since {{.Integer}};
-- Redelivery reads ended deliveries since a time. Without the index it would read all of them in a write transaction.
CREATE INDEX deliveries_created ON deliveries (webhook_id, created_at, position) WHERE ended_at IS NOT NULL;
