package txn

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// FindCleanup returns the cleanup of a session on a worker, or nil.
func FindCleanup(ctx context.Context, tx *ports.Tx, workerID, sessionID string) (*domain.Cleanup, error) {
	all, err := tx.Cleanups.BySession(ctx, sessionID)
	for _, c := range all {
		if c.WorkerID == workerID {
			return c, nil
		}
	}
	return nil, err
}

// RecordAssignment records that a worker is given a session. The row stays until the worker
// has confirmed a wipe. The assignment cancels a pending stop of the session there.
func (tx *Tx) RecordAssignment(ctx context.Context, workerID string, s *domain.Session) error {
	c, err := FindCleanup(ctx, tx.Tx, workerID, s.ID)
	if err != nil {
		return err
	}
	if c != nil && c.Command != domain.CommandDisconnect && !c.IsWiped() {
		return nil
	}
	return tx.putHolder(ctx, workerID, s, c)
}

// RecordHolder records that a worker may have credentials of a session, unless a row says
// that already.
func (tx *Tx) RecordHolder(ctx context.Context, workerID string, s *domain.Session) error {
	c, err := FindCleanup(ctx, tx.Tx, workerID, s.ID)
	if err != nil || c != nil && !c.IsWiped() {
		return err
	}
	return tx.putHolder(ctx, workerID, s, c)
}

// putHolder stores that a worker may have credentials of a session, and has nothing to do about
// it. c is the present row, or nil.
func (tx *Tx) putHolder(ctx context.Context, workerID string, s *domain.Session, c *domain.Cleanup) error {
	if c == nil {
		c = &domain.Cleanup{WorkerID: workerID, SessionID: s.ID, Generation: s.Generation, CreatedAt: tx.env.Now()}
	}
	w, err := findWorker(ctx, tx.Tx, workerID)
	if err != nil {
		return err
	}
	if w != nil {
		c.StateGroup = w.StateGroup
	}
	c.UserID = s.UserID
	c.Clear()
	return tx.putCleanup(ctx, c)
}

// findWorker returns a worker, or nil if it was removed.
func findWorker(ctx context.Context, tx *ports.Tx, id string) (*domain.Worker, error) {
	w, err := tx.Workers.Get(ctx, id)
	if errors.Is(err, ports.ErrNotFound) {
		return nil, nil
	}
	return w, err
}

// IsWipedElsewhere reports whether the session is being wiped from a worker to which it is not
// assigned. A legacy worker has to start a session before it can delete it. Meanwhile it reports on
// the former owner's account, and does not name itself.
func IsWipedElsewhere(ctx context.Context, tx *ports.Tx, s *domain.Session) (bool, error) {
	cleanups, err := tx.Cleanups.BySession(ctx, s.ID)
	return slices.ContainsFunc(cleanups, func(c *domain.Cleanup) bool {
		return c.WorkerID != s.WorkerID && c.Command.Wipes() && !c.DueAt.IsZero()
	}), err
}

// MayReport reports whether a worker may report on a session: only its present worker may.
// Without a worker id the report came with the fleet token, from a legacy worker that does not
// name itself. It is believed unless the present worker has a token of its own.
func MayReport(ctx context.Context, tx *ports.Tx, s *domain.Session, workerID string) (bool, error) {
	if workerID != "" || !s.IsAssigned() {
		return workerID == "" || workerID == s.WorkerID, nil
	}
	w, err := tx.Workers.Get(ctx, s.WorkerID)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return false, err
	}
	var fleet domain.TokenHolder
	return fleet.Authorize(w) == nil, nil
}

// ScheduleCleanup records that a session has to be stopped on a worker or wiped from it. The
// cleanup is due at once if a worker can carry it out. An earlier cleanup of the session on the
// worker merges into it. A wipe also waits for a worker that was removed, where nothing runs that
// could be stopped. A foreign session on the worker is stopped, and never wiped.
func (tx *Tx) ScheduleCleanup(ctx context.Context, workerID, sessionID string, command domain.Command, generation int64) error {
	_, err := tx.scheduleCleanup(ctx, workerID, sessionID, command, generation)
	return err
}

// scheduleCleanup is ScheduleCleanup. It reports whether a worker can carry out the cleanup now.
func (tx *Tx) scheduleCleanup(ctx context.Context, workerID, sessionID string, command domain.Command, generation int64) (isDue bool, err error) {
	w, err := findWorker(ctx, tx.Tx, workerID)
	if err != nil || w == nil && !command.Wipes() {
		return false, err
	}
	c, err := FindCleanup(ctx, tx.Tx, workerID, sessionID)
	if err != nil {
		return false, err
	}
	if c == nil {
		c = &domain.Cleanup{WorkerID: workerID, SessionID: sessionID, CreatedAt: tx.env.Now()}
		if w != nil {
			c.StateGroup = w.StateGroup
		}
	}
	if c.IsForeign() && command.Wipes() {
		return false, nil
	}
	if !c.IsForeign() {
		c.Command = command.MoreDestructive(c.Command)
	}
	c.Generation = max(generation, c.Generation)
	isDue, err = tx.makeDue(ctx, c)
	if err != nil {
		return false, err
	}
	return isDue, tx.putCleanup(ctx, c)
}

// makeDue makes a cleanup due now if a worker can carry it out, and otherwise when one returns.
func (tx *Tx) makeDue(ctx context.Context, c *domain.Cleanup) (isDue bool, err error) {
	executor, err := FindExecutor(ctx, tx.Tx, c)
	if err != nil {
		return false, err
	}
	c.DueAt, c.Attempts, c.ClaimedBy = time.Time{}, 0, ""
	if executor != nil {
		c.DueAt = tx.env.Now()
	}
	return executor != nil, nil
}

// putCleanup stores a cleanup.
func (tx *Tx) putCleanup(ctx context.Context, c *domain.Cleanup) error {
	err := tx.Cleanups.Put(ctx, c)
	if errors.Is(err, ports.ErrExists) {
		return ports.ErrConflict // another replica recorded one meanwhile
	}
	return err
}

// ScheduleWipes schedules the wipe of a session on every worker that was given it, except for the
// assigned worker and its state group. They share credentials, which the command of the assigned
// worker wipes. ScheduleWipes returns the workers whose wipe can be carried out now.
func (tx *Tx) ScheduleWipes(ctx context.Context, s *domain.Session, command domain.Command) (reachable []string, err error) {
	rows, err := tx.Cleanups.BySession(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	shared := ""
	for _, c := range rows {
		if s.IsAssigned() && c.WorkerID == s.WorkerID {
			shared = c.StateGroup
		}
	}
	for _, c := range rows {
		isShared := shared != "" && c.StateGroup == shared
		if c.WorkerID == s.WorkerID || isShared || !c.HoldsCredentials() {
			continue
		}
		isDue, err := tx.scheduleCleanup(ctx, c.WorkerID, s.ID, command, s.Generation)
		if err != nil {
			return nil, err
		}
		if isDue {
			reachable = append(reachable, c.WorkerID)
		}
	}
	return reachable, nil
}

// CompleteCleanup records that a worker has carried out a cleanup. A stop names no worker: nil. After
// a stop the cleanup's own worker still has the credentials of the session. A conflict means that the
// cleanup was replaced by another.
func CompleteCleanup(ctx context.Context, tx *ports.Tx, c *domain.Cleanup, by *domain.Worker, now time.Time) error {
	done := *c
	switch {
	case c.Command.Wipes():
		if err := markWiped(ctx, tx, &done, by, now); err != nil {
			return err
		}
		return completePeers(ctx, tx, c, by, now)
	case c.IsForeign():
		done.DueAt, done.Attempts, done.ClaimedBy = time.Time{}, 0, ""
		return tx.Cleanups.Put(ctx, &done)
	}
	_, err := tx.Sessions.Get(ctx, c.SessionID)
	switch {
	case errors.Is(err, ports.ErrNotFound):
		done.MarkWiped(now) // whoever deleted the session scheduled a wipe, and it was carried out
	case err != nil:
		return err
	default:
		done.Clear()
	}
	return tx.Cleanups.Put(ctx, &done)
}
