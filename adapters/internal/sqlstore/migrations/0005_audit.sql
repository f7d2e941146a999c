-- The audit trail. Entries outlive the objects that they name.
CREATE TABLE audit (
	id          {{.Text}} NOT NULL PRIMARY KEY,
	occurred_at {{.Integer}} NOT NULL,
	actor_kind  {{.Text}} NOT NULL,
	actor_id    {{.Text}} NOT NULL,
	actor_email {{.Text}} NOT NULL,
	action      {{.Text}} NOT NULL,
	object      {{.Text}} NOT NULL,
	address     {{.Text}} NOT NULL,
	outcome     {{.Text}} NOT NULL,
	details     {{.Text}} NOT NULL,
	events      {{.Integer}} NOT NULL
) {{.Plain}};
CREATE INDEX audit_age ON audit (occurred_at, id);
CREATE INDEX audit_object ON audit (object, occurred_at, id);
