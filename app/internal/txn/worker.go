package txn

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// SaveWorker stores a worker with its events.
func (tx *Tx) SaveWorker(ctx context.Context, w *domain.Worker, events []domain.Event) error {
	if err := tx.Workers.Put(ctx, w); err != nil {
		return err
	}
	tx.NoteWorker(w)
	return tx.Record(ctx, events...)
}

// DeleteWorker deletes a worker and its cleanups.
func (tx *Tx) DeleteWorker(ctx context.Context, w *domain.Worker) error {
	cleanups, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, c := range cleanups {
		if err := tx.Cleanups.Delete(ctx, c); err != nil {
			return err
		}
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

// ScheduleCleanup records what has to be stopped or wiped on a worker. A worker that
// was removed keeps nothing that could be reached.
func (tx *Tx) ScheduleCleanup(ctx context.Context, workerID, sessionID string, command domain.Command, generation int64) error {
	return ScheduleCleanup(ctx, tx.Tx, &domain.Cleanup{
		WorkerID: workerID, SessionID: sessionID, Command: command, Generation: generation, CreatedAt: tx.env.Now(),
	})
}

// ScheduleCleanup records a cleanup, which is due at once if the worker is online. An
// earlier cleanup of the session on the worker merges into it.
func ScheduleCleanup(ctx context.Context, tx *ports.Tx, c *domain.Cleanup) error {
	w, err := tx.Workers.Get(ctx, c.WorkerID)
	if errors.Is(err, ports.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if w.Online {
		c.DueAt = c.CreatedAt
	}
	existing, err := tx.Cleanups.BySession(ctx, c.SessionID)
	if err != nil {
		return err
	}
	for _, e := range existing {
		if e.WorkerID == c.WorkerID {
			c.Command, c.Rev = c.Command.MoreDestructive(e.Command), e.Rev
			c.Generation = max(c.Generation, e.Generation)
		}
	}
	err = tx.Cleanups.Put(ctx, c)
	if errors.Is(err, ports.ErrExists) {
		return ports.ErrConflict // another replica recorded one meanwhile
	}
	return err
}
