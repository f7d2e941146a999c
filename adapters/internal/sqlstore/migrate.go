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

// The errors of a schema that is not the one this binary works with.
var (
	ErrOutdated = errors.New("the database's schema is out of date; run `switchyard migrate up`")
	ErrNewer    = errors.New("the database was written by a newer version of this program; use that one")
)

//go:embed migrations/*.sql
var migrations embed.FS

// migration brings the schema from the version before to its own.
type migration struct {
	version int
	name    string
	script  string // a template
}

// known are the migrations by version, which begins with 1 and has no gaps.
var known = sync.OnceValue(func() []migration {
	names, err := fs.Glob(migrations, "migrations/*.sql") // in order
	if err != nil {
		panic(err)
	}
	var list []migration
	for _, path := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".sql")
		script, err := migrations.ReadFile(path)
		if err != nil {
			panic(err)
		}
		m := migration{len(list) + 1, name, string(script)}
		if number, _, _ := strings.Cut(name, "_"); number != fmt.Sprintf("%04d", m.version) {
			panic("sqlstore: migration " + strconv.Itoa(m.version) + " is missing")
		}
		list = append(list, m)
	}
	return list
})

// Latest is the version of the schema that this binary works with.
func Latest() int { return len(known()) }

func (m migration) sql(d *Dialect) (string, error) {
	t, err := template.New(m.name).Parse(m.script)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = t.Execute(&text, d.types)
	return text.String(), err
}

type schemaStatements struct{ exists, version, record *Statement }

const migrationsTable = "schema_migrations"

func (b *Queries) schemaStatements() schemaStatements {
	tables := Statement{SQL: b.dialect.tables, columns: 1}
	return schemaStatements{
		exists:  b.add(tables, sqlText(tables.SQL)),
		version: b.read(pick(migrationsTable, "MAX(version)")),
		record:  b.write(insertInto(migrationsTable, "version", "name", "applied_at")),
	}
}

// sqlText is SQL as it stands.
type sqlText string

func (s sqlText) ToSql() (string, []any, error) { return string(s), nil, nil }

// Schema is a connection in a transaction that can change the schema.
type Schema interface {
	Conn
	// Script runs any number of statements.
	Script(ctx context.Context, sql string) error
}

// Version gives the version of the schema that is there; 0: none.
func (b *Queries) Version(ctx context.Context, c Conn) (int, error) {
	t := b.Begin(ctx, c, b, false)
	defer t.over.Store(true)
	number := func(r row) int { return r.int(0) }
	n, err := one(ctx, t, b.schema.exists, number, migrationsTable)
	if err != nil || n == 0 {
		return 0, err
	}
	return one(ctx, t, b.schema.version, number)
}

// Check returns an error if the schema is not the one this binary works with.
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

// Migrate brings the schema up to date. The adapter sees to it that nobody
// else does so at the same time, and commits.
func (b *Queries) Migrate(ctx context.Context, c Schema) error {
	if err := b.Check(ctx, c); !errors.Is(err, ErrOutdated) {
		return err
	}
	table := migration{name: migrationsTable, script: "CREATE TABLE IF NOT EXISTS " + migrationsTable +
		" (version {{.Integer}} NOT NULL PRIMARY KEY, name {{.Text}} NOT NULL, applied_at {{.Integer}} NOT NULL) {{.Plain}}"}
	if err := b.apply(ctx, c, table); err != nil {
		return err
	}
	version, err := b.Version(ctx, c)
	if err != nil {
		return err
	}
	t := b.Begin(ctx, c, b, true)
	defer t.over.Store(true)
	for _, m := range known()[version:] {
		if err := b.apply(ctx, c, m); err != nil {
			return err
		}
		if err := t.done(ctx, b.schema.record, m.version, m.name, micros(time.Now())); err != nil {
			return err
		}
	}
	return nil
}

func (b *Queries) apply(ctx context.Context, c Schema, m migration) error {
	text, err := m.sql(&b.dialect)
	if err == nil {
		err = c.Script(ctx, text)
	}
	if err != nil {
		return fmt.Errorf("migration %s: %w", m.name, err)
	}
	return nil
}
