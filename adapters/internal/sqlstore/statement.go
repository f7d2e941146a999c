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
	// Index numbers the statements that are built once, from 0 to [Queries.Statements]-1. It is -1 for a statement that is
	// built for one use. Adapters keep the numbered ones prepared.
	Index int
	// Write means that the statement changes rows.
	Write bool
	// Long means that the statement may read many rows. An adapter interrupts it when its context ends.
	Long bool
	// Batched replaces several executions of this statement by one. Its arguments are arrays of theirs. It returns the rev
	// of every row that it has changed. Nil means that there is no such statement.
	Batched *Statement
	// Rev is the index of the argument that becomes the rev of the row. Only statements with Batched have it. With [NoRev] each
	// execution changes a row.
	Rev int
	// columns is the number of columns of a result, or 0 if the statement has no result.
	columns int
}

// NoRev is the Rev of statements whose rows have none.
const NoRev = -1

// Queries holds all statements in one dialect. It is immutable and safe for concurrent use.
type Queries struct {
	dialect Dialect
	all     []*Statement

	users           userStatements
	families        familyStatements
	passwordResets  passwordResetStatements
	apiKeys         apiKeyStatements
	sessions        sessionStatements
	workers         workerStatements
	cleanups        cleanupStatements
	migrations      migrationStatements
	messages        messageStatements
	idempotencyKeys idempotencyKeyStatements
	loadSamples     loadStatements
	usage           usageStatements
	analytics       analyticsStatements
	outbox          outboxStatements
	settings        settingStatements
	replicas        replicaStatements
	health          healthStatements
	audit           auditStatements
	webhooks        webhookStatements
	deliveries      deliveryStatements
	sendQueues      sendQueueStatements
	queuedMessages  queuedMessageStatements
	schema          schemaStatements
}

// Statements returns the number of statements that are built once.
func (b *Queries) Statements() int { return len(b.all) }

// compile builds all statements that do not depend on a filter.
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
	b.idempotencyKeys = b.idempotencyKeyStatements()
	b.loadSamples = b.loadStatements()
	b.usage = b.usageStatements()
	b.analytics = b.analyticsStatements()
	b.outbox = b.outboxStatements()
	b.settings = b.settingStatements()
	b.replicas = b.replicaStatements()
	b.health = b.healthStatements()
	b.audit = b.auditStatements()
	b.webhooks = b.webhookStatements()
	b.deliveries = b.deliveryStatements()
	b.sendQueues = b.sendQueueStatements()
	b.queuedMessages = b.queuedMessageStatements()
	b.schema = b.schemaStatements()
	if d.types.IsSQLite { // after the statements that all dialects have
		b.addIndexNew()
	}
	return b
}

// add builds and numbers a statement. It panics if the statement is invalid, which is an error in this package.
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

// read adds a query of few rows.
func (b *Queries) read(q query) *Statement {
	return b.add(Statement{columns: q.columns}, q)
}

// scan adds a query that may read many rows.
func (b *Queries) scan(q query) *Statement {
	return b.add(Statement{columns: q.columns, Long: true}, q)
}

// write adds a statement that changes rows.
func (b *Queries) write(change sq.Sqlizer) *Statement {
	return b.add(Statement{Write: true}, change)
}

// put adds a statement that changes at most one row. rev is the index of the argument that becomes its rev.
func (b *Queries) put(change sq.Sqlizer, rev int) *Statement {
	s := b.write(change)
	if b.dialect.batched != nil {
		s.Batched, s.Rev = &Statement{SQL: b.dialect.batched(s.SQL), Write: true, columns: 1}, rev
	}
	return s
}

// list builds a query whose conditions depend on a filter. It returns the arguments of the conditions as well.
func (b *Queries) list(q query) (*Statement, []any, error) {
	text, args, err := q.ToSql()
	if err == nil {
		text, err = b.dialect.placeholder.ReplacePlaceholders(text)
	}
	return &Statement{SQL: text, Index: -1, Long: true, columns: q.columns}, args, err
}

// query is a SELECT with a number of columns.
type query struct {
	sq.SelectBuilder
	columns int
}

// selectFrom returns a SELECT of columns of a table.
func selectFrom(from string, columns ...string) query {
	return query{sq.Select(columns...).From(from), len(columns)}
}

// where adds a condition. The arguments of the statement supply its values.
func (q query) where(condition string) query {
	q.SelectBuilder = q.Where(condition)
	return q
}

// all adds conditions with their values.
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

// limit adds a LIMIT. Its value is args[0], or else an argument of the statement; see [limitArgument].
func (q query) limit(args ...any) query {
	q.SelectBuilder = q.Suffix("LIMIT ?", args...)
	return q
}

// limitAndOffset adds a LIMIT and an OFFSET, whose values are arguments of the statement.
func (q query) limitAndOffset() query {
	q.SelectBuilder = q.Suffix("LIMIT ? OFFSET ?")
	return q
}

// page adds the LIMIT and OFFSET of a page.
func (q query) page(p ports.Page) query {
	q.SelectBuilder = q.Suffix("LIMIT ? OFFSET ?", limitArgument(p.Limit), max(p.Offset, 0))
	return q
}

// limitArgument returns the argument of a LIMIT. A limit that is not positive means all rows.
func limitArgument(limit int) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return int64(limit)
}

// insert adds an INSERT that changes nothing if a unique value exists.
func (b *Queries) insert(table string, columns ...string) *Statement {
	return b.write(insertNew(table, columns...))
}

func insertNew(table string, columns ...string) sq.InsertBuilder {
	return insertInto(table, columns...).Suffix("ON CONFLICT DO NOTHING")
}

// upsert adds an INSERT that replaces the row with the same key.
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

// set assigns an expression to a column in an UPDATE. It holds the column and the expression.
type set [2]string

// sets assigns arguments to columns.
func sets(columns ...string) []set {
	list := make([]set, len(columns))
	for i, column := range columns {
		list[i] = set{column, "?"}
	}
	return list
}

// update builds an UPDATE. It is the only function that does, so that no UPDATE lacks a condition.
func (b *Queries) update(table string, sets []set, condition string) sq.UpdateBuilder {
	u := sq.Update(table).Where(requireCondition(table, condition))
	for _, s := range sets {
		u = u.Set(s[0], sq.Expr(s[1]))
	}
	return u
}

// deleteFrom builds a DELETE. It is the only function that does, so that no DELETE lacks a condition.
func (b *Queries) deleteFrom(table, condition string) sq.DeleteBuilder {
	return sq.Delete(table).Where(requireCondition(table, condition))
}

// requireCondition returns a condition. It panics if the condition is empty, which is an error in this package.
func requireCondition(table, condition string) string {
	if strings.TrimSpace(condition) == "" {
		panic("sqlstore: every row of " + table + " would be changed")
	}
	return condition
}

// equal returns the condition that each column equals an argument.
func equal(columns ...string) string { return strings.Join(columns, " = ? AND ") + " = ?" }

// unchanged returns the condition that each column equals an argument, as NOT column <> ?. SQLite uses no index for this
// form, so it finds the row by its key.
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

// table describes a table whose rows have a rev. The values of a Put are in the order key, fixed, rest.
type table struct {
	name string
	key  []string
	// fixed columns are indexed and rarely change. An update does not set them, and so does not touch their indexes, if
	// their values are unchanged. They are never NULL.
	fixed []string
	rest  []string
	// computed columns follow from fixed ones. A Put sets them when it inserts the row, or changes fixed columns. No query
	// reads them.
	computed []string
}

// columns returns the columns of a query that reads rows.
func (t table) columns(more ...string) []string {
	return join(t.key, t.fixed, t.rest, []string{"rev"}, more)
}

// putStatements are the statements of a Put.
type putStatements struct {
	keys, fixed int // the numbers of columns
	insert      *Statement
	update      *Statement // changes the row unless fixed columns differ
	replace     *Statement // changes all columns; nil if no column is fixed
	// compute returns the values of the table's computed columns. Nil means that there are none.
	compute func(values []any) []any
	// derive returns the arguments of insert and replace besides the row's values. Nil means that there are none.
	derive func(values []any) []any
}

func (b *Queries) putStatements(t table) putStatements {
	hasRev := equal(join(t.key, []string{"rev"})...)
	p := putStatements{
		keys:   len(t.key),
		fixed:  len(t.fixed),
		insert: b.put(insertNew(t.name, t.columns(t.computed...)...), len(t.columns())-1),
		update: b.put(b.update(t.name, sets(join(t.rest, []string{"rev"})...), hasRev+unchanged(t.fixed)), len(t.rest)),
	}
	if len(t.fixed) > 0 {
		p.replace = b.write(b.update(t.name, sets(join(t.fixed, t.rest, []string{"rev"}, t.computed)...), hasRev))
	}
	return p
}

// computed returns the values of the computed columns.
func (p *putStatements) computed(values []any) []any {
	if p.compute == nil {
		return nil
	}
	return p.compute(values)
}

// derived returns the arguments of insert and replace besides the row's values.
func (p *putStatements) derived(values []any) []any {
	if p.derive == nil {
		return nil
	}
	return p.derive(values)
}
