package sqlstore

import (
	"context"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// migrationsTable stores migrations of sessions from worker to worker. Migrations of the schema are in migrate.go.
var migrationsTable = table{
	name: "moves", key: []string{"id"}, fixed: []string{"session_id", "created_at"},
	rest: []string{
		"user_id", "kind", "batch_id", "from_worker", "to_worker", "status", "reason", "error", "started_at", "completed_at",
	},
}

func scanMigration(r row) *domain.Migration {
	return &domain.Migration{
		ID: r.text(0), SessionID: r.text(1), CreatedAt: r.time(2),
		UserID: r.text(3), Kind: domain.MigrationKind(r.text(4)), BatchID: r.text(5),
		FromWorker: r.text(6), ToWorker: r.text(7), Status: domain.MigrationStatus(r.text(8)),
		Reason: r.text(9), Error: r.text(10), StartedAt: r.time(11), CompletedAt: r.time(12),
		Rev: r.int64(13),
	}
}

type migrationStatements struct {
	putStatements
	get, open, deleteBefore *Statement
}

func (b *Queries) migrationStatements() migrationStatements {
	rows := selectFrom("moves", migrationsTable.columns()...)
	return migrationStatements{
		putStatements: b.putStatements(migrationsTable),
		get:           b.read(rows.where(equal("id"))),
		open:          b.read(rows.where("status IN ('PENDING', 'RUNNING')").order("created_at", "id")),
		deleteBefore:  b.write(b.deleteFrom("moves", "completed_at < ?")),
	}
}

type migrations Tx

func (t *migrations) Get(ctx context.Context, id string) (*domain.Migration, error) {
	return queryOne(ctx, (*Tx)(t), t.queries.migrations.get, scanMigration, id)
}

func (t *migrations) Put(ctx context.Context, m *domain.Migration) error {
	return (*Tx)(t).put(ctx, &t.queries.migrations.putStatements, &m.Rev, m.ID, m.SessionID, micros(m.CreatedAt),
		m.UserID, string(m.Kind), m.BatchID, m.FromWorker, m.ToWorker, string(m.Status), m.Reason, m.Error,
		nullableMicros(m.StartedAt), nullableMicros(m.CompletedAt))
}

func (t *migrations) List(ctx context.Context, f ports.MigrationFilter, p ports.Page) ([]*domain.Migration, int, error) {
	var conditions []sq.Sqlizer
	addEqual := func(column, value string) {
		if value != "" {
			conditions = append(conditions, sq.Expr(column+" = ?", value))
		}
	}
	addEqual("session_id", f.SessionID)
	addEqual("batch_id", f.BatchID)
	addEqual("kind", string(f.Kind))
	addEqual("status", string(f.Status))
	if f.WorkerID != "" {
		conditions = append(conditions, sq.Expr("(from_worker = ? OR to_worker = ?)", f.WorkerID, f.WorkerID))
	}
	rows := selectFrom("moves", migrationsTable.columns()...).all(conditions).order("created_at DESC", "id DESC")
	return queryPage(ctx, (*Tx)(t), rows, selectFrom("moves", "COUNT(*)").all(conditions), p, scanMigration)
}

func (t *migrations) Open(ctx context.Context) ([]*domain.Migration, error) {
	return queryAll(ctx, (*Tx)(t), t.queries.migrations.open, scanMigration)
}

func (t *migrations) DeleteBefore(ctx context.Context, before time.Time) error {
	return (*Tx)(t).run(ctx, t.queries.migrations.deleteBefore, ceilMicros(before))
}
