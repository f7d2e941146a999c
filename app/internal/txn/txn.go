package txn

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/env"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// ErrUnchanged is returned by a function that changes a row to say that there is
// nothing to store. Callers of the package never see it.
var ErrUnchanged = errors.New("unchanged")

// Changes lists what one transaction did. Observers must not change the rows.
type Changes struct {
	Sessions []*domain.Session
	Deleted  []*domain.Session
	Workers  []*domain.Worker
	Removed  []*domain.Worker  // workers that were deleted
	Read     []*domain.Session // not changed, but perhaps newer than the cache

	HasEvents      bool
	MigrationEnded bool // another migration may begin
}

// Observer is told what was committed. It runs in the goroutine of the caller, with a
// context that is not cancelled with the caller's.
type Observer func(ctx context.Context, c *Changes)

// Writer runs units of work. It is safe for concurrent use.
type Writer struct {
	*env.Env
	observers []Observer
}

// NewWriter returns a writer without observers.
func NewWriter(e *env.Env) *Writer { return &Writer{Env: e} }

// AfterCommit registers an observer. Call it before the first transaction.
func (w *Writer) AfterCommit(o Observer) { w.observers = append(w.observers, o) }

// Tx is a transaction that keeps the books of the rows it saves.
type Tx struct {
	*ports.Tx
	env     *env.Env
	changes Changes
}

// Transact runs fn in an Update and tells the observers after the commit. fn runs
// again after a conflict, so it touches nothing outside of tx that does not start
// afresh.
func (w *Writer) Transact(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	var committed *Tx
	err := w.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		committed = &Tx{Tx: tx, env: w.Env}
		return fn(ctx, committed)
	})
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	for _, o := range w.observers {
		o(ctx, &committed.changes)
	}
	return nil
}

// ChangeSession lets fn change one session and saves it with the returned events. It
// returns the session as it is afterwards, also when fn returns ErrUnchanged.
func (w *Writer) ChangeSession(ctx context.Context, id string,
	fn func(ctx context.Context, tx *Tx, s *domain.Session) ([]domain.Event, error),
) (*domain.Session, error) {
	var result *domain.Session
	err := w.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		s, err := tx.Sessions.Get(ctx, id)
		if err != nil {
			return apperr.Session(err)
		}
		before := s.Clone()
		result = s
		events, err := fn(ctx, tx, s)
		switch {
		case errors.Is(err, ErrUnchanged):
			return nil
		case err != nil:
			return err
		}
		return tx.SaveSession(ctx, before, s, events)
	})
	return result, err
}

// ChangeWorker lets fn change one worker and saves it with the returned events.
func (w *Writer) ChangeWorker(ctx context.Context, id string,
	fn func(ctx context.Context, tx *Tx, w *domain.Worker) ([]domain.Event, error),
) (*domain.Worker, error) {
	var result *domain.Worker
	err := w.Transact(ctx, func(ctx context.Context, tx *Tx) error {
		worker, err := tx.Workers.Get(ctx, id)
		if err != nil {
			return apperr.Worker(err)
		}
		result = worker
		events, err := fn(ctx, tx, worker)
		if err != nil {
			return err
		}
		return tx.SaveWorker(ctx, worker, events)
	})
	return result, err
}
