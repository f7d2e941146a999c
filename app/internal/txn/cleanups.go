package txn

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// FindCleanup returns the cleanup of a session on the disk that a worker uses now, or nil. A row
// without a state group stands for it if there is no other. Of a removed worker any row is
// returned, one with credentials first.
func FindCleanup(ctx context.Context, tx *ports.Tx, workerID, sessionID string) (*domain.Cleanup, error) {
	rows, err := CleanupsOf(ctx, tx, workerID, sessionID)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	w, err := findWorker(ctx, tx, workerID)
	switch {
	case err != nil:
		return nil, err
	case w != nil:
		return onDisk(rows, w.ID, w.StateGroup), nil
	}
	i := slices.IndexFunc(rows, (*domain.Cleanup).HoldsCredentials)
	return rows[max(i, 0)], nil
}

// CleanupsOf returns the cleanups of a session on a worker: one for each state group that the worker
// had when it was given the session.
func CleanupsOf(ctx context.Context, tx *ports.Tx, workerID, sessionID string) ([]*domain.Cleanup, error) {
	rows, err := tx.Cleanups.BySession(ctx, sessionID)
	return slices.DeleteFunc(rows, func(c *domain.Cleanup) bool { return c.WorkerID != workerID }), err
}

// findOnDisk returns the cleanup of a session on the disk that a worker uses in a state group, or nil.
func findOnDisk(ctx context.Context, tx *ports.Tx, workerID, group, sessionID string) (*domain.Cleanup, error) {
	rows, err := CleanupsOf(ctx, tx, workerID, sessionID)
	return onDisk(rows, workerID, group), err
}

// onDisk returns the row about the disk that a worker uses in a state group, or nil. A row that names
// the group comes before one that names none.
func onDisk(rows []*domain.Cleanup, workerID, group string) (found *domain.Cleanup) {
	for _, c := range rows {
		if c.IsOnDisk(workerID, group) && (found == nil || c.StateGroup == group) {
			found = c
		}
	}
	return found
}

// RecordAssignment records that a worker is given a session. The row stays until the worker
// has confirmed a wipe. The assignment cancels a pending stop of the session there.
func (tx *Tx) RecordAssignment(ctx context.Context, workerID string, s *domain.Session) error {
	c, err := tx.findAssigned(ctx, workerID, s.ID)
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
	c, err := tx.findAssigned(ctx, workerID, s.ID)
	if err != nil || c != nil && !c.IsWiped() {
		return err
	}
	return tx.putHolder(ctx, workerID, s, c)
}

// RecordHolders records that a worker may have credentials of every session assigned to it on the
// disk that it uses now. A worker that comes back with another state group starts them there.
func (tx *Tx) RecordHolders(ctx context.Context, w *domain.Worker) error {
	assigned, err := tx.Sessions.ListByWorker(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, s := range assigned {
		if err := tx.RecordHolder(ctx, w.ID, s); err != nil {
			return err
		}
	}
	return nil
}

// recordHome records that the home of a linked session has its credentials, unless a row says on
// which of its disks.
func (tx *Tx) recordHome(ctx context.Context, s *domain.Session) error {
	rows, err := CleanupsOf(ctx, tx.Tx, s.CredentialsWorkerID, s.ID)
	if err != nil || slices.ContainsFunc(rows, (*domain.Cleanup).HoldsCredentials) {
		return err
	}
	return tx.RecordAssignment(ctx, s.CredentialsWorkerID, s)
}

// putHolder stores that a worker may have credentials of a session, and has nothing to do about
// it. c is the present row, or nil.
func (tx *Tx) putHolder(ctx context.Context, workerID string, s *domain.Session, c *domain.Cleanup) error {
	w, err := findWorker(ctx, tx.Tx, workerID)
	if err != nil {
		return err
	}
	if c == nil {
		c = &domain.Cleanup{WorkerID: workerID, SessionID: s.ID, Generation: s.Generation, CreatedAt: tx.env.Now()}
		if w != nil {
			c.StateGroup = w.StateGroup
		}
	}
	c.UserID = s.UserID
	c.Clear()
	return tx.putCleanup(ctx, c)
}

// findAssigned is FindCleanup for an assignment: a row without a state group does not stand for the
// disk of a worker that names its group by now.
func (tx *Tx) findAssigned(ctx context.Context, workerID, sessionID string) (*domain.Cleanup, error) {
	c, err := FindCleanup(ctx, tx.Tx, workerID, sessionID)
	if err != nil || c == nil {
		return nil, err
	}
	w, err := findWorker(ctx, tx.Tx, workerID)
	if err != nil || w != nil && c.StateGroup != w.StateGroup {
		return nil, err
	}
	return c, nil
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

// CanReport reports whether a worker may report on a session: only its present worker may.
// Without a worker id the report came with the fleet token, from a legacy worker that does not
// name itself. It is believed unless the present worker has a token of its own.
func CanReport(ctx context.Context, tx *ports.Tx, s *domain.Session, workerID string) (bool, error) {
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
	return tx.scheduleRow(ctx, c, command, generation)
}

// RecordHigherGeneration records that a worker runs a session in a generation that the store does not
// know. The session is assigned to another worker, or to none. The store was restored from a backup, and
// the worker was given the session later. The next assignment has a higher generation. A wipe that the
// worker has confirmed did not reach the generation: it is due again, unless the assigned worker uses
// the same disk.
func (tx *Tx) RecordHigherGeneration(ctx context.Context, w *domain.Worker, s *domain.Session, generation int64) error {
	if generation <= s.Generation || !domain.IsPlausibleGeneration(generation, s.Generation) {
		return nil
	}
	c, err := FindCleanup(ctx, tx.Tx, w.ID, s.ID)
	if err != nil || c == nil || generation <= c.Generation {
		return err
	}
	tx.env.Log.WarnContext(ctx, "generation unknown", "session", s.ID, "worker", w.ID, "known", s.Generation, "runs", generation)
	if c.IsWiped() {
		owner, err := findWorker(ctx, tx.Tx, s.WorkerID)
		if err != nil {
			return err
		}
		if owner == nil || !c.IsOnDisk(owner.ID, owner.StateGroup) {
			_, err = tx.scheduleRow(ctx, c, domain.CommandLogout, generation)
			return err
		}
	}
	c.Generation = generation
	return tx.putCleanup(ctx, c)
}

// scheduleRow merges a command into a cleanup, and stores it.
func (tx *Tx) scheduleRow(ctx context.Context, c *domain.Cleanup, command domain.Command, generation int64) (isDue bool, err error) {
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

// ScheduleWipes schedules the wipe of a session on every disk of a worker that was given it, except
// for the disk of the assigned worker. The workers of its state group share that disk, which the
// command of the assigned worker wipes. ScheduleWipes returns the workers whose wipe can be carried
// out now.
func (tx *Tx) ScheduleWipes(ctx context.Context, s *domain.Session, command domain.Command) (reachable []string, err error) {
	rows, err := tx.Cleanups.BySession(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	var owner *domain.Worker
	if s.IsAssigned() {
		owner, err = findWorker(ctx, tx.Tx, s.WorkerID)
		if err != nil {
			return nil, err
		}
	}
	for _, c := range rows {
		isInUse := owner != nil && c.IsOnDisk(owner.ID, owner.StateGroup)
		if isInUse || !c.HoldsCredentials() {
			continue
		}
		isDue, err := tx.scheduleRow(ctx, c, command, s.Generation)
		if err != nil {
			return nil, err
		}
		if isDue && !slices.Contains(reachable, c.WorkerID) {
			reachable = append(reachable, c.WorkerID)
		}
	}
	return reachable, nil
}

// CompleteWipe records that a worker has carried out a wipe. The wipe stays due if the worker has
// registered again meanwhile, or does not use the disk. A conflict means that the cleanup was
// replaced by another.
func CompleteWipe(ctx context.Context, tx *ports.Tx, c *domain.Cleanup, by *domain.Worker, now time.Time) error {
	done := *c
	present, err := findSameProcess(ctx, tx, by)
	if err != nil || present == nil || !c.IsOnDisk(present.ID, present.StateGroup) {
		return err
	}
	if err := markWiped(ctx, tx, &done, present, now); err != nil {
		return err
	}
	return completePeers(ctx, tx, c, present, now)
}

// CompleteStop records that the session of a cleanup does not run on the cleanup's worker. The
// worker still has the credentials of the session. A conflict means that the cleanup was replaced
// by another.
func CompleteStop(ctx context.Context, tx *ports.Tx, c *domain.Cleanup, now time.Time) error {
	done := *c
	if c.IsForeign() {
		done.DueAt, done.Attempts, done.ClaimedBy = time.Time{}, 0, ""
		return tx.Cleanups.Put(ctx, &done)
	}
	_, err := tx.Sessions.Get(ctx, c.SessionID)
	switch {
	case errors.Is(err, ports.ErrNotFound):
		done.MarkWiped(now) // the deletion scheduled a wipe, and it was carried out
	case err != nil:
		return err
	default:
		done.Clear()
	}
	return tx.Cleanups.Put(ctx, &done)
}
