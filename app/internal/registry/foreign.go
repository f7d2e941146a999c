package registry

import (
	"context"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// StopForeign stops a session that a worker runs and the store has never known. Nothing else
// stops it: it may belong to another control plane.
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
		isKnown, err := txn.IsKnown(ctx, tx.Tx, sessionID)
		if err != nil {
			return err
		}
		if isKnown {
			return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
				"This session is not foreign: it is, or was, a session of this server, which stops it where it should not run")
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
