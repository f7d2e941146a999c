package txn

import (
	"context"
	"errors"
	"slices"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// IsKnown reports whether the store knows a session, has known it, or has cleanups for it.
func IsKnown(ctx context.Context, tx *ports.Tx, sessionID string) (bool, error) {
	_, err := tx.Sessions.Get(ctx, sessionID)
	if !errors.Is(err, ports.ErrNotFound) {
		return err == nil, err
	}
	_, isKnown, err := tx.Sessions.LastGeneration(ctx, sessionID)
	if isKnown || err != nil {
		return isKnown, err
	}
	cleanups, err := tx.Cleanups.BySession(ctx, sessionID)
	return slices.ContainsFunc(cleanups, func(c *domain.Cleanup) bool { return !c.IsForeign() }), err
}

// maxForeign bounds the foreign sessions that are recorded for a worker.
const maxForeign = 1000

// RecordForeign records foreign sessions that a worker runs. Their ids stay in use,
// also when the worker lists them no longer.
func (tx *Tx) RecordForeign(ctx context.Context, workerID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	recorded, err := tx.foreignSessions(ctx, workerID)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if recorded[id] || len(recorded) >= maxForeign {
			continue
		}
		isKnown, err := IsKnown(ctx, tx.Tx, id)
		if err != nil {
			return err
		}
		if isKnown {
			continue // it was created meanwhile
		}
		recorded[id] = true
		if err := tx.putForeign(ctx, workerID, id); err != nil {
			return err
		}
	}
	return nil
}

// RecordForeignUnlessGiven records that a session is foreign on a worker that runs it, although this
// store knows the id: the worker has the credentials of a stranger under the id. From then on the
// session is neither started on the worker nor wiped from it. RecordForeignUnlessGiven does nothing
// if the store gave the session to the worker.
func (tx *Tx) RecordForeignUnlessGiven(ctx context.Context, workerID, sessionID string) error {
	c, err := FindCleanup(ctx, tx.Tx, workerID, sessionID)
	if err != nil || c != nil {
		return err
	}
	recorded, err := tx.foreignSessions(ctx, workerID)
	if err != nil || len(recorded) >= maxForeign {
		return err
	}
	tx.env.Log.WarnContext(ctx, "session runs where it was never placed", "session", sessionID, "worker", workerID)
	return tx.putForeign(ctx, workerID, sessionID)
}

// foreignSessions returns the foreign sessions that are recorded for a worker.
func (tx *Tx) foreignSessions(ctx context.Context, workerID string) (map[string]bool, error) {
	rows, err := tx.Cleanups.ByWorker(ctx, workerID)
	recorded := make(map[string]bool)
	for _, c := range rows {
		if c.IsForeign() {
			recorded[c.SessionID] = true
		}
	}
	return recorded, err
}

// putForeign stores that a session is foreign on a worker.
func (tx *Tx) putForeign(ctx context.Context, workerID, sessionID string) error {
	c := &domain.Cleanup{WorkerID: workerID, SessionID: sessionID, Command: domain.CommandForeign, CreatedAt: tx.env.Now()}
	w, err := findWorker(ctx, tx.Tx, workerID)
	if err != nil {
		return err
	}
	if w != nil {
		c.StateGroup = w.StateGroup
	}
	return tx.putCleanup(ctx, c)
}

// ForgetForeign records that a foreign session was wiped from a worker.
func (tx *Tx) ForgetForeign(ctx context.Context, workerID, sessionID string) error {
	c, err := FindCleanup(ctx, tx.Tx, workerID, sessionID)
	if err != nil || c == nil || !c.IsForeign() {
		return err
	}
	return tx.Cleanups.Delete(ctx, c)
}
