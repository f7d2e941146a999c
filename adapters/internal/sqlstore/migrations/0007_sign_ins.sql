-- Where a user is signed in. Families from before this version tell no earlier token from a made-up one.
ALTER TABLE sign_ins ADD COLUMN reuse_key {{.Bytes}};
ALTER TABLE sign_ins ADD COLUMN last_used_at {{.Integer}};
ALTER TABLE sign_ins ADD COLUMN address {{.Text}} NOT NULL DEFAULT '';
ALTER TABLE sign_ins ADD COLUMN user_agent {{.Text}} NOT NULL DEFAULT '';
UPDATE sign_ins SET last_used_at = created_at;
