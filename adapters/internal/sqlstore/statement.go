package sqlstore

import (
	"fmt"
	"math"
	"strings"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/ports"
)

// Statement is one SQL statement.
type Statement struct {
	SQL string
	// Index is the place of a statement that is built only once, below
	// [Body.Statements]; -1 for others.
	Index int
	// Write tells that it changes rows.
	Write bool
	// Long tells that it may read many rows, so that it is worth the cost of
	// being interrupted when its context ends.
	Long bool
	// Batched does at once what several of this statement would do one after
	// the other; nil: there is no such statement. Its arguments are arrays of
	// theirs, and it gives the rev of every row that it has changed.
	Batched *Statement
	// Rev is, with Batched, the place of the argument that becomes the rev.
	Rev int
	// columns is how many each of its rows has; 0: it has no rows.
	columns int
}

// Queries is all the SQL in one dialect. It does not change and is safe for
// concurrent use.
type Queries struct {
	dialect Dialect
	all     []*Statement

	users          userStatements
	families       familyStatements
	passwordResets passwordResetStatements
	apiKeys        apiKeyStatements
	sessions       sessionStatements
	workers        workerStatements
	cleanups       cleanupStatements
	migrations     migrationStatements
	messages       messageStatements
	loadSamples    loadStatements
	outbox         outboxStatements
	settings       settingStatements
	replicas       replicaStatements
	schema         schemaStatements
}

// Statements gives the number of statements that are built only once.
func (b *Queries) Statements() int { return len(b.all) }

func compile(d Dialect) *Queries {
	b := &Queries{dialect: d}
	b.users = b.userStatements()
	b.families = b.familyStatements()
	b.passwordResets = b.passwordResetStatements()
	b.apiKeys = b.apiKeyStatements()
	b.sessions = b.sessionStatements()
	b.workers = b.workerStatements()
	b.cleanups = b.cleanupStatements()
	b.migrations = b.migrationStatements()
	b.messages = b.messageStatements()
	b.loadSamples = b.loadStatements()
	b.outbox = b.outboxStatements()
	b.settings = b.settingStatements()
	b.replicas = b.replicaStatements()
	b.schema = b.schemaStatements()
	return b
}

// add builds a statement once and for all.
func (b *Queries) add(s Statement, query sq.Sqlizer) *Statement {
	text, _, err := query.ToSql()
	if err == nil {
		text, err = b.dialect.placeholder.ReplacePlaceholders(text)
	}
	if err != nil {
		panic(fmt.Sprintf("sqlstore: %v in %s", err, text))
	}
	s.SQL, s.Index = text, len(b.all)
	b.all = append(b.all, &s)
	return &s
}

// read builds a query.
func (b *Queries) read(q query) *Statement {
	return b.add(Statement{columns: q.columns}, q)
}

// scan builds a query that may go over many rows.
func (b *Queries) scan(q query) *Statement {
	return b.add(Statement{columns: q.columns, Long: true}, q)
}

// write builds a statement that changes rows.
func (b *Queries) write(change sq.Sqlizer) *Statement {
	return b.add(Statement{Write: true}, change)
}

// put builds a statement that changes at most one row, and its rev to that of an
// argument.
func (b *Queries) put(change sq.Sqlizer, rev int) *Statement {
	s := b.write(change)
	if b.dialect.batched != nil {
		s.Batched, s.Rev = &Statement{SQL: b.dialect.batched(s.SQL), Write: true, columns: 1}, rev
	}
	return s
}

// list builds a query whose conditions are known only now.
func (b *Queries) list(q query) (*Statement, []any, error) {
	text, args, err := q.ToSql()
	if err == nil {
		text, err = b.dialect.placeholder.ReplacePlaceholders(text)
	}
	return &Statement{SQL: text, Index: -1, Long: true, columns: q.columns}, args, err
}

// query is a SELECT of so many columns.
type query struct {
	sq.SelectBuilder
	columns int
}

func pick(from string, columns ...string) query {
	return query{sq.Select(columns...).From(from), len(columns)}
}

// where adds a condition, and leaves its values to arguments.
func (q query) where(condition string) query {
	q.SelectBuilder = q.Where(condition)
	return q
}

func (q query) all(conditions []sq.Sqlizer) query {
	for _, c := range conditions {
		q.SelectBuilder = q.Where(c)
	}
	return q
}

func (q query) order(by ...string) query {
	q.SelectBuilder = q.OrderBy(by...)
	return q
}

func (q query) group(by ...string) query {
	q.SelectBuilder = q.GroupBy(by...)
	return q
}

// first leaves the number of rows to an argument; see [upTo].
func (q query) first(args ...any) query {
	q.SelectBuilder = q.Suffix("LIMIT ?", args...)
	return q
}

func (q query) page(p ports.Page) query {
	q.SelectBuilder = q.Suffix("LIMIT ? OFFSET ?", upTo(p.Limit), max(p.Offset, 0))
	return q
}

// upTo is the argument of a LIMIT: all rows if there is no limit.
func upTo(limit int) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return int64(limit)
}

// insert builds an INSERT that changes nothing if a unique value is there
// already.
func (b *Queries) insert(table string, columns ...string) *Statement {
	return b.write(insertNew(table, columns...))
}

func insertNew(table string, columns ...string) sq.InsertBuilder {
	return insertInto(table, columns...).Suffix("ON CONFLICT DO NOTHING")
}

// upsert builds an INSERT that replaces the row of the same key.
func (b *Queries) upsert(table string, key, rest []string) *Statement {
	set := make([]string, len(rest))
	for i, column := range rest {
		set[i] = column + " = excluded." + column
	}
	return b.write(insertInto(table, join(key, rest)...).
		Suffix("ON CONFLICT (" + strings.Join(key, ", ") + ") DO UPDATE SET " + strings.Join(set, ", ")))
}

func insertInto(table string, columns ...string) sq.InsertBuilder {
	return sq.Insert(table).Columns(columns...).Values(make([]any, len(columns))...)
}

// A set is the part of an UPDATE between SET and WHERE: a column, or a column
// and the expression that it becomes.
type set [2]string

func sets(columns ...string) []set {
	list := make([]set, len(columns))
	for i, column := range columns {
		list[i] = set{column, "?"}
	}
	return list
}

// update is the only way to an UPDATE, and remove to a DELETE: neither goes
// without a condition.
func (b *Queries) update(table string, sets []set, condition string) sq.UpdateBuilder {
	u := sq.Update(table).Where(checked(table, condition))
	for _, s := range sets {
		u = u.Set(s[0], sq.Expr(s[1]))
	}
	return u
}

func (b *Queries) remove(table, condition string) sq.DeleteBuilder {
	return sq.Delete(table).Where(checked(table, condition))
}

func checked(table, condition string) string {
	if strings.TrimSpace(condition) == "" {
		panic("sqlstore: every row of " + table + " would be changed")
	}
	return condition
}

// same is the condition that every column has the value of an argument.
func same(columns ...string) string { return strings.Join(columns, " = ? AND ") + " = ?" }

// unchanged is the condition that columns are what they were, in words that keep
// SQLite from looking for the row by them.
func unchanged(columns []string) string {
	var s strings.Builder
	for _, column := range columns {
		s.WriteString(" AND NOT " + column + " <> ?")
	}
	return s.String()
}

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// table describes a table whose rows carry a rev, as far as Put is concerned.
// Its values are given in the order key, fixed, rest.
type table struct {
	name string
	key  []string
	// fixed are columns that are indexed and hardly ever change: an update
	// does without them, and thus without touching their indexes, if they are
	// as they were. They are never NULL.
	fixed []string
	rest  []string
}

// columns are those that a row is read from.
func (t table) columns(more ...string) []string {
	return join(t.key, t.fixed, t.rest, []string{"rev"}, more)
}

// puts are the statements of a Put.
type puts struct {
	keys, fixed             int
	insert, update, replace *Statement
}

func (b *Queries) puts(t table) puts {
	present := same(join(t.key, []string{"rev"})...)
	p := puts{
		keys:   len(t.key),
		fixed:  len(t.fixed),
		insert: b.put(insertNew(t.name, t.columns()...), len(t.columns())-1),
		update: b.put(b.update(t.name, sets(join(t.rest, []string{"rev"})...), present+unchanged(t.fixed)), len(t.rest)),
	}
	if len(t.fixed) > 0 {
		p.replace = b.write(b.update(t.name, sets(join(t.fixed, t.rest, []string{"rev"})...), present))
	}
	return p
}
