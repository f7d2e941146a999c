package sqlstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"
)

// Errors of a schema with another version than [Latest].
var (
	// ErrOutdated means that the schema is older.
	ErrOutdated = errors.New("the database's schema is out of date; run `switchyard migrate up`")
	// ErrNewer means that the schema is newer.
	ErrNewer = errors.New("the database was written by a newer version of this program; use that one")
)

// ErrForeign means that the database is another program's. It was not changed.
var ErrForeign = errors.New("the database belongs to another program, and was not changed; use another one")

//go:embed migrations/*.sql
var migrationFiles embed.FS

// schemaMigration upgrades the schema from the previous version to its own.
type schemaMigration struct {
	version int
	name    string
	script  string // a template with the types of a dialect
}

// schemaMigrations returns all migrations in order of version. Versions begin with 1 and have no gaps.
var schemaMigrations = sync.OnceValue(func() []schemaMigration {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql") // sorted by name
	if err != nil {
		panic(err)
	}
	var list []schemaMigration
	for _, path := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".sql")
		script, err := migrationFiles.ReadFile(path)
		if err != nil {
			panic(err)
		}
		m := schemaMigration{len(list) + 1, name, string(script)}
		if number, _, _ := strings.Cut(name, "_"); number != fmt.Sprintf("%04d", m.version) {
			panic("sqlstore: migration " + strconv.Itoa(m.version) + " is missing")
		}
		list = append(list, m)
	}
	return list
})

// Latest returns the version of the schema that this package works with.
func Latest() int { return len(schemaMigrations()) }

// sql returns the script in a dialect.
func (m schemaMigration) sql(d *Dialect) (string, error) {
	t, err := template.New(m.name).Parse(m.script)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = t.Execute(&text, d.types)
	return text.String(), err
}

// schemaOwner is who has made the tables of a database.
type schemaOwner int

const (
	ownedByNobody schemaOwner = iota // there are none
	ownedByUs
	ownedByOthers
)

type schemaStatements struct{ owner, version, record *Statement }

const schemaMigrationsTable = "schema_migrations"

func (b *Queries) schemaStatements() schemaStatements {
	return schemaStatements{
		owner:   b.add(Statement{columns: 1}, sqlText(b.dialect.findOwner)),
		version: b.read(selectFrom(schemaMigrationsTable, "MAX(version)")),
		record:  b.write(insertInto(schemaMigrationsTable, "version", "name", "applied_at")),
	}
}

// sqlText is a literal SQL statement.
type sqlText string

func (s sqlText) ToSql() (string, []any, error) { return string(s), nil, nil }

// Schema is a connection, in a transaction, that can change the schema.
type Schema interface {
	Conn
	// Script runs a script of any number of statements.
	Script(ctx context.Context, sql string) error
}

// Version returns the version of the schema in the database, or 0 if there is none. It returns [ErrForeign] for a database of
// another program.
func (b *Queries) Version(ctx context.Context, c Conn) (int, error) {
	t := b.Begin(ctx, c, b, ReadOnly)
	defer t.done.Store(true)
	toInt := func(r row) int { return r.int(0) }
	owner, err := queryOne(ctx, t, b.schema.owner, toInt)
	switch {
	case err != nil:
		return 0, err
	case schemaOwner(owner) == ownedByNobody:
		return 0, nil
	case schemaOwner(owner) == ownedByOthers:
		return 0, ErrForeign
	}
	return queryOne(ctx, t, b.schema.version, toInt)
}

// Check returns [ErrOutdated] or [ErrNewer] if the version of the schema is not [Latest], and the errors of Version.
func (b *Queries) Check(ctx context.Context, c Conn) error {
	version, err := b.Version(ctx, c)
	switch {
	case err != nil:
		return err
	case version > Latest():
		return fmt.Errorf("%w (its schema has version %d, this program knows %d)", ErrNewer, version, Latest())
	case version < Latest():
		return fmt.Errorf("%w (it has version %d, this program needs %d)", ErrOutdated, version, Latest())
	}
	return nil
}

// Migrate upgrades the schema to [Latest]. The adapter excludes concurrent migrations, and commits the transaction.
func (b *Queries) Migrate(ctx context.Context, c Schema) error {
	if err := b.Check(ctx, c); !errors.Is(err, ErrOutdated) {
		return err
	}
	table := schemaMigration{name: schemaMigrationsTable, script: "CREATE TABLE IF NOT EXISTS " + schemaMigrationsTable +
		" (version {{.Integer}} NOT NULL PRIMARY KEY, name {{.Text}} NOT NULL, applied_at {{.Integer}} NOT NULL) {{.Plain}}"}
	if err := b.apply(ctx, c, table); err != nil {
		return err
	}
	version, err := b.Version(ctx, c)
	if err != nil {
		return err
	}
	t := b.Begin(ctx, c, b, ReadWrite)
	defer t.done.Store(true)
	for _, m := range schemaMigrations()[version:] {
		if err := b.apply(ctx, c, m); err != nil {
			return err
		}
		if err := b.afterScript(ctx, c, m); err != nil {
			return err
		}
		if err := t.run(ctx, b.schema.record, m.version, m.name, micros(time.Now())); err != nil {
			return err
		}
	}
	return nil
}

// apply runs the script of a migration.
func (b *Queries) apply(ctx context.Context, c Schema, m schemaMigration) error {
	text, err := m.sql(&b.dialect)
	if err == nil {
		err = c.Script(ctx, text)
	}
	if err != nil {
		return fmt.Errorf("migration %s: %w", m.name, err)
	}
	return nil
}

// afterScript does what no script can do after a migration.
func (b *Queries) afterScript(ctx context.Context, c Conn, m schemaMigration) error {
	if strings.HasSuffix(m.name, "_history") && b.dialect.indexWords != nil {
		return b.IndexMessages(ctx, c)
	}
	return nil
}
