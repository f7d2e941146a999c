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
	if c == nil {
		return tx.RecordHolder(ctx, workerID, s)
	}
	if c.Command != domain.CommandDisconnect {
		return nil
	}
	clearCommand(c)
	return tx.putCleanup(ctx, c)
}

// RecordHolder records that a worker may have credentials of a session, unless a row says
// that already.
func (tx *Tx) RecordHolder(ctx context.Context, workerID string, s *domain.Session) error {
	c, err := FindCleanup(ctx, tx.Tx, workerID, s.ID)
	if c != nil || err != nil {
		return err
	}
	return tx.putCleanup(ctx, &domain.Cleanup{
		WorkerID: workerID, SessionID: s.ID, UserID: s.UserID, Generation: s.Generation, CreatedAt: tx.env.Now(),
	})
}

// IsWipedElsewhere reports whether the session is being wiped from a worker that does not
// own it. A legacy worker has to start a session before it can delete it. It then reports
// on the former owner's account without naming itself.
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
	left, err := tx.Cleanups.BySession(ctx, sessionID)
	return slices.ContainsFunc(left, func(c *domain.Cleanup) bool { return !c.IsForeign() }), err
}

// maxForeign bounds the foreign sessions that are recorded for a worker.
const maxForeign = 1000

// RecordForeign records foreign sessions that a worker runs. Their ids are taken from then
// on, also when the worker lists them no longer.
func (tx *Tx) RecordForeign(ctx context.Context, workerID string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	rows, err := tx.Cleanups.ByWorker(ctx, workerID)
	if err != nil {
		return err
	}
	recorded := make(map[string]bool)
	for _, c := range rows {
		if c.IsForeign() {
			recorded[c.SessionID] = true
		}
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
		err = tx.putCleanup(ctx, &domain.Cleanup{
			WorkerID: workerID, SessionID: id, Command: domain.CommandForeign, CreatedAt: tx.env.Now(),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ForgetForeign records that a foreign session was wiped from a worker.
func (tx *Tx) ForgetForeign(ctx context.Context, workerID, sessionID string) error {
	c, err := FindCleanup(ctx, tx.Tx, workerID, sessionID)
	if err != nil || c == nil || !c.IsForeign() {
		return err
	}
	return tx.Cleanups.Delete(ctx, c)
}

// clearCommand leaves a cleanup that only records a holder.
func clearCommand(c *domain.Cleanup) {
	c.Command, c.DueAt, c.Attempts, c.ClaimedBy = domain.CommandNone, time.Time{}, 0, ""
}

// ScheduleCleanup records that a session has to be stopped on a worker or wiped from it. The
// cleanup is due at once if the worker is online. An earlier cleanup of the session on the worker merges into it.
// A wipe also waits for a worker that was removed, where nothing runs that could be stopped.
func (tx *Tx) ScheduleCleanup(ctx context.Context, workerID, sessionID string, command domain.Command, generation int64) error {
	w, err := tx.Workers.Get(ctx, workerID)
	if errors.Is(err, ports.ErrNotFound) {
		if !command.Wipes() {
			return nil
		}
		w, err = nil, nil
	}
	if err != nil {
		return err
	}
	c, err := FindCleanup(ctx, tx.Tx, workerID, sessionID)
	if err != nil {
		return err
	}
	now := tx.env.Now()
	if c == nil {
		c = &domain.Cleanup{WorkerID: workerID, SessionID: sessionID, CreatedAt: now}
	}
	c.Command = command.MoreDestructive(c.Command)
	c.Generation = max(generation, c.Generation)
	c.DueAt, c.Attempts, c.ClaimedBy = time.Time{}, 0, ""
	if w != nil && w.Online {
		c.DueAt = now
	}
	return tx.putCleanup(ctx, c)
}

// putCleanup stores a cleanup.
func (tx *Tx) putCleanup(ctx context.Context, c *domain.Cleanup) error {
	err := tx.Cleanups.Put(ctx, c)
	if errors.Is(err, ports.ErrExists) {
		return ports.ErrConflict // another replica recorded one meanwhile
	}
	return err
}

// ScheduleWipes schedules the wipe of a session on every worker that was given it, except
// for the one to which it is assigned. It returns the workers that can be called now.
func (tx *Tx) ScheduleWipes(ctx context.Context, s *domain.Session, command domain.Command) (reachable []string, err error) {
	holders, err := tx.Cleanups.BySession(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	for _, c := range holders {
		if c.WorkerID == s.WorkerID {
			continue
		}
		if err := tx.ScheduleCleanup(ctx, c.WorkerID, s.ID, command, s.Generation); err != nil {
			return nil, err
		}
		w, err := tx.Workers.Get(ctx, c.WorkerID)
		switch {
		case err == nil && w.Online:
			reachable = append(reachable, c.WorkerID)
		case err != nil && !errors.Is(err, ports.ErrNotFound):
			return nil, err
		}
	}
	return reachable, nil
}

// ForgetHolder records that the worker to which a session is assigned has confirmed a wipe.
func (tx *Tx) ForgetHolder(ctx context.Context, workerID, sessionID string) error {
	c, err := FindCleanup(ctx, tx.Tx, workerID, sessionID)
	if err != nil || c == nil {
		return err
	}
	return tx.Cleanups.Delete(ctx, c)
}

// CompleteCleanup records that a cleanup was carried out. After a stop the worker still has
// the credentials of the session. A conflict means that the cleanup was replaced by another.
func CompleteCleanup(ctx context.Context, tx *ports.Tx, c *domain.Cleanup) error {
	if c.Command.Wipes() {
		return tx.Cleanups.Delete(ctx, c)
	}
	_, err := tx.Sessions.Get(ctx, c.SessionID)
	if errors.Is(err, ports.ErrNotFound) {
		return tx.Cleanups.Delete(ctx, c)
	}
	if err != nil {
		return err
	}
	holder := *c
	clearCommand(&holder)
	return tx.Cleanups.Put(ctx, &holder)
}

// orphanCleanups lets the cleanups of a worker that is removed wait for its return.
func (tx *Tx) orphanCleanups(ctx context.Context, w *domain.Worker) error {
	all, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.Command == domain.CommandDisconnect {
			if err := CompleteCleanup(ctx, tx.Tx, c); err != nil {
				return err
			}
			c, err = FindCleanup(ctx, tx.Tx, w.ID, c.SessionID)
			if err != nil {
				return err
			}
			if c == nil {
				continue
			}
		}
		c.DueAt, c.ClaimedBy, c.Attempts, c.Endpoint = time.Time{}, "", 0, w.Endpoint
		c.StateGroup = w.StateGroup
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// DiscardDisk records that the disk of a removed worker is gone: its wipes block no session
// id any more. If the worker returns nevertheless, it is wiped before any start. The
// credentials of a state group are not gone while the group has another worker: that one
// inherits the cleanups. DiscardDisk returns how many sessions the worker had.
func (tx *Tx) DiscardDisk(ctx context.Context, workerID string) (sessions int, err error) {
	all, err := tx.Cleanups.ByWorker(ctx, workerID)
	if err != nil {
		return 0, err
	}
	for _, c := range all {
		peer, err := tx.findPeer(ctx, workerID, c.StateGroup)
		if err != nil {
			return 0, err
		}
		s, err := tx.Sessions.Get(ctx, c.SessionID)
		if err == nil {
			c.Generation = max(c.Generation, s.Generation)
		} else if !errors.Is(err, ports.ErrNotFound) {
			return 0, err
		}
		if peer != nil {
			if s != nil && s.IsAssigned() {
				clearCommand(c) // a wipe would end the session that runs
			}
			if err := tx.adoptCleanup(ctx, peer, c); err != nil {
				return 0, err
			}
			continue
		}
		if c.IsForeign() {
			if err := tx.Cleanups.Delete(ctx, c); err != nil {
				return 0, err
			}
			continue
		}
		c.Command, c.Destroyed = domain.CommandDelete, true
		c.DueAt, c.ClaimedBy, c.Attempts = time.Time{}, "", 0
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

// findPeer returns another worker of a state group, an online one if there is any, or nil.
func (tx *Tx) findPeer(ctx context.Context, workerID, group string) (peer *domain.Worker, err error) {
	if group == "" {
		return nil, nil
	}
	workers, _, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
	if err != nil {
		return nil, err
	}
	for _, w := range workers {
		if w.ID != workerID && w.StateGroup == group && (peer == nil || w.Online && !peer.Online) {
			peer = w
		}
	}
	return peer, nil
}

// AdoptCleanups gives a worker the cleanups that have waited for a removed worker with its
// id or its endpoint.
func (tx *Tx) AdoptCleanups(ctx context.Context, w *domain.Worker) error {
	own, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, c := range own {
		if c.Endpoint == "" && !c.Destroyed {
			continue
		}
		c.Endpoint, c.StateGroup, c.Destroyed = "", "", false
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return err
		}
	}
	for _, endpoint := range domain.EndpointSpellings(w.Endpoint) {
		orphans, err := tx.Cleanups.ByEndpoint(ctx, endpoint)
		if err != nil {
			return err
		}
		for _, c := range orphans {
			if err := tx.adoptCleanup(ctx, w, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// adoptCleanup moves one cleanup of a removed worker to another worker.
func (tx *Tx) adoptCleanup(ctx context.Context, w *domain.Worker, orphan *domain.Cleanup) error {
	own, err := FindCleanup(ctx, tx.Tx, w.ID, orphan.SessionID)
	if err != nil {
		return err
	}
	if err := tx.Cleanups.Delete(ctx, orphan); err != nil {
		return err
	}
	adopted := *orphan
	adopted.WorkerID, adopted.Endpoint, adopted.StateGroup, adopted.Destroyed, adopted.Rev = w.ID, "", "", false, 0
	if own != nil {
		adopted.Rev = own.Rev
		adopted.Command = adopted.Command.MoreDestructive(own.Command)
		adopted.Generation = max(adopted.Generation, own.Generation)
	}
	adopted.DueAt, adopted.Attempts, adopted.ClaimedBy = time.Time{}, 0, ""
	if w.Online && adopted.IsPending() {
		adopted.DueAt = tx.env.Now()
	}
	return tx.putCleanup(ctx, &adopted)
}
