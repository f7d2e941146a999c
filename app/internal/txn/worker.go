package txn

import (
	"context"

	"github.com/switchyard-wa/switchyard/domain"
)

// SaveWorker stores a worker with its events.
func (tx *Tx) SaveWorker(ctx context.Context, w *domain.Worker, events []domain.Event) error {
	if err := tx.Workers.Put(ctx, w); err != nil {
		return err
	}
	tx.NoteWorker(w)
	return tx.Record(ctx, events...)
}

// DeleteWorker deletes a worker. Its cleanups wait for a worker that registers with its id
// or endpoint.
func (tx *Tx) DeleteWorker(ctx context.Context, w *domain.Worker) error {
	if err := tx.orphanCleanups(ctx, w); err != nil {
		return err
	}
	if err := tx.Workers.Delete(ctx, w.ID); err != nil {
		return err
	}
	tx.changes.Removed = append(tx.changes.Removed, w)
	return nil
}

// NoteWorker tells the observers of a worker that was read. The cache may be older.
func (tx *Tx) NoteWorker(w *domain.Worker) { tx.changes.Workers = append(tx.changes.Workers, w) }

// NoteMigrationEnded tells the observers that another migration may begin.
func (tx *Tx) NoteMigrationEnded() { tx.changes.MigrationEnded = true }

// Record appends events to the outbox.
func (tx *Tx) Record(ctx context.Context, events ...domain.Event) error {
	if len(events) == 0 {
		return nil
	}
	tx.changes.HasEvents = true
	return tx.Outbox.Append(ctx, events...)
}
