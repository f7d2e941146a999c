package sqlstore

import (
	"context"
	"time"

	sq "github.com/Masterminds/squirrel"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// migrationRowsTable keeps migrations of sessions, as opposed to those of the schema.
var migrationRowsTable = table{
	name: "moves", key: []string{"id"}, fixed: []string{"session_id", "created_at"},
	rest: []string{
		"user_id", "kind", "batch_id", "from_worker", "to_worker", "status", "reason", "error", "started_at", "completed_at",
	},
}

func scanMove(r row) *domain.Migration {
	return &domain.Migration{
		ID: r.text(0), SessionID: r.text(1), CreatedAt: r.time(2),
		UserID: r.text(3), Kind: domain.MigrationKind(r.text(4)), BatchID: r.text(5),
		FromWorker: r.text(6), ToWorker: r.text(7), Status: domain.MigrationStatus(r.text(8)),
		Reason: r.text(9), Error: r.text(10), StartedAt: r.time(11), CompletedAt: r.time(12),
		Rev: r.int64(13),
	}
}

type migrationStatements struct {
	puts
	get, open, deleteBefore *Statement
}

func (b *Queries) migrationStatements() migrationStatements {
	moves := pick("moves", migrationRowsTable.columns()...)
	return migrationStatements{
		puts:         b.puts(migrationRowsTable),
		get:          b.read(moves.where(same("id"))),
		open:         b.read(moves.where("status IN ('PENDING', 'RUNNING')").order("created_at", "id")),
		deleteBefore: b.write(b.remove("moves", "completed_at < ?")),
	}
}

type migrationRows Tx

func (t *migrationRows) Get(ctx context.Context, id string) (*domain.Migration, error) {
	return one(ctx, (*Tx)(t), t.body.migrations.get, scanMove, id)
}

func (t *migrationRows) Put(ctx context.Context, m *domain.Migration) error {
	return (*Tx)(t).put(ctx, &t.body.migrations.puts, &m.Rev, m.ID, m.SessionID, micros(m.CreatedAt),
		m.UserID, string(m.Kind), m.BatchID, m.FromWorker, m.ToWorker, string(m.Status), m.Reason, m.Error,
		when(m.StartedAt), when(m.CompletedAt))
}

func (t *migrationRows) List(ctx context.Context, f ports.MigrationFilter, p ports.Page) ([]*domain.Migration, int, error) {
	var conditions []sq.Sqlizer
	equal := func(column, value string) {
		if value != "" {
			conditions = append(conditions, sq.Expr(column+" = ?", value))
		}
	}
	equal("session_id", f.SessionID)
	equal("batch_id", f.BatchID)
	equal("kind", string(f.Kind))
	equal("status", string(f.Status))
	if f.WorkerID != "" {
		conditions = append(conditions, sq.Expr("(from_worker = ? OR to_worker = ?)", f.WorkerID, f.WorkerID))
	}
	rows := pick("moves", migrationRowsTable.columns()...).all(conditions).order("created_at DESC", "id DESC")
	return listed(ctx, (*Tx)(t), rows, pick("moves", "COUNT(*)").all(conditions), p, scanMove)
}

func (t *migrationRows) Open(ctx context.Context) ([]*domain.Migration, error) {
	return many(ctx, (*Tx)(t), t.body.migrations.open, scanMove)
}

func (t *migrationRows) DeleteBefore(ctx context.Context, before time.Time) error {
	return (*Tx)(t).done(ctx, t.body.migrations.deleteBefore, ceiling(before))
}
