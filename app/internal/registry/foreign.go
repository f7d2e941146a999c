package registry

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// StopForeign stops a session that a worker runs and this store never gave to it. Nobody else
// wipes it: it may belong to another control plane.
func (w *Workers) StopForeign(ctx context.Context, id, sessionID string, opt service.StopForeignOptions) error {
	if err := w.sync.EnsureLoaded(ctx); err != nil {
		return err
	}
	sessionID = domain.NormalizeSessionRef(sessionID)
	command := domain.CommandDisconnect
	if opt.Wipe {
		command = domain.CommandDelete
	}
	var worker *domain.Worker
	err := w.Transact(ctx, func(ctx context.Context, tx *txn.Tx) (err error) {
		worker, err = tx.Workers.Get(ctx, domain.NormalizeWorkerRef(id))
		if err != nil {
			return apperr.Worker(err)
		}
		isForeign, err := isForeignOn(ctx, tx.Tx, worker.ID, sessionID)
		if err != nil {
			return err
		}
		if !isForeign {
			return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
				"This session is not foreign on this worker: it is, or was, a session of this server, which stops it where it should not run")
		}
		return w.record(ctx, tx, domain.AuditForeignStopped, worker.ID, "session", sessionID, "command", string(command))
	})
	if err != nil {
		return apperr.Public(err)
	}
	err = w.reconciler.CallForeign(ctx, worker, sessionID, command)
	if err == nil && opt.Wipe {
		err = w.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
			return tx.ForgetForeign(ctx, worker.ID, sessionID)
		})
		if err != nil {
			return apperr.Public(err)
		}
	}
	w.cache.ForgetForeign(sessionID) // the next heartbeat notes it again if it still runs
	return apperr.WorkerCall(err)
}

// isForeignOn reports whether this store has never given the session to the worker.
func isForeignOn(ctx context.Context, tx *ports.Tx, workerID, sessionID string) (bool, error) {
	c, err := txn.FindCleanup(ctx, tx, workerID, sessionID)
	if err != nil || c != nil {
		return c != nil && c.IsForeign(), err
	}
	isKnown, err := txn.IsKnown(ctx, tx, sessionID)
	return !isKnown, err
}

// foreignSessions returns the foreign sessions of a worker by id: those that it runs, and those
// that it once ran, whose ids are taken still.
func foreignSessions(running []domain.ForeignSession, rows []*domain.Cleanup) []domain.ForeignSession {
	all := make(map[string]domain.ForeignSession, len(running))
	for _, f := range running {
		all[f.SessionID] = f
	}
	for _, c := range rows {
		if !c.IsForeign() {
			continue
		}
		f := all[c.SessionID]
		f.SessionID, f.FirstSeenAt = c.SessionID, c.CreatedAt
		all[c.SessionID] = f
	}
	return slices.SortedFunc(maps.Values(all), func(a, b domain.ForeignSession) int { return cmp.Compare(a.SessionID, b.SessionID) })
}
