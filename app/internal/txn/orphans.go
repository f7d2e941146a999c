package txn

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// orphanCleanups makes the cleanups of a worker that is removed wait for its return, or for another
// worker of its state group.
func (tx *Tx) orphanCleanups(ctx context.Context, w *domain.Worker) error {
	all, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, c := range all {
		peer, err := findPeer(ctx, tx.Tx, w.ID, c.StateGroup)
		if err != nil {
			return err
		}
		switch {
		case c.IsWiped():
			if err := tx.Cleanups.Delete(ctx, c); err != nil {
				return err
			}
			continue
		case c.Command == domain.CommandDisconnect:
			c.Clear() // nothing runs there that could be stopped
		}
		c.DueAt, c.ClaimedBy, c.Attempts, c.Endpoint = time.Time{}, "", 0, w.Endpoint
		if c.Command.Wipes() && peer != nil && peer.Online {
			c.DueAt = tx.env.Now()
		}
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// DiscardDisk records that the disk of a removed worker is gone: its wipes block no session
// id any more. If the worker returns nevertheless, it is wiped before any start. It returns
// the number of sessions that the worker had.
func (tx *Tx) DiscardDisk(ctx context.Context, workerID string) (sessions int, err error) {
	all, err := tx.Cleanups.ByWorker(ctx, workerID)
	if err != nil {
		return 0, err
	}
	for _, c := range all {
		if err := tx.discardCleanup(ctx, c); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

// discardCleanup records that the disk of a cleanup's own worker is gone. The credentials of a state
// group are not gone while the group has another worker. That worker inherits the cleanup.
func (tx *Tx) discardCleanup(ctx context.Context, c *domain.Cleanup) error {
	peer, err := findPeer(ctx, tx.Tx, c.WorkerID, c.StateGroup)
	if err != nil {
		return err
	}
	s, err := tx.Sessions.Get(ctx, c.SessionID)
	if err == nil {
		c.Generation = max(c.Generation, s.Generation)
	} else if !errors.Is(err, ports.ErrNotFound) {
		return err
	}
	switch {
	case peer != nil:
		if s != nil && s.IsAssigned() {
			c.Clear() // a wipe would end the session that runs
		}
		return tx.adoptCleanup(ctx, peer, c)
	case !c.HoldsCredentials():
		return tx.Cleanups.Delete(ctx, c)
	}
	c.Command, c.Destroyed = domain.CommandDelete, true
	c.DueAt, c.ClaimedBy, c.Attempts = time.Time{}, "", 0
	return tx.Cleanups.Put(ctx, c)
}

// AdoptCleanups gives a worker the cleanups that have waited for a removed worker with its
// id or its endpoint, and are about its disk. A worker of a state group shows that the disk of
// the group is there.
func (tx *Tx) AdoptCleanups(ctx context.Context, w *domain.Worker) error {
	own, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, c := range own {
		if c.Endpoint == "" && !c.Destroyed || !c.IsOnDisk(w.ID, w.StateGroup) {
			continue
		}
		c.Endpoint, c.Destroyed = "", false
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
			if c.StateGroup != "" && c.StateGroup != w.StateGroup {
				continue // another disk: it waits for a worker of that group
			}
			if err := tx.adoptCleanup(ctx, w, c); err != nil {
				return err
			}
		}
	}
	return tx.restoreDisk(ctx, w)
}

// restoreDisk ends the statement that the disk of a worker's state group is gone.
func (tx *Tx) restoreDisk(ctx context.Context, w *domain.Worker) error {
	shared, err := tx.Cleanups.WipesByGroup(ctx, w.StateGroup)
	if err != nil {
		return err
	}
	for _, c := range shared {
		if !c.Destroyed {
			continue
		}
		c.Destroyed = false
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// adoptCleanup moves one cleanup of a removed worker to another worker.
func (tx *Tx) adoptCleanup(ctx context.Context, w *domain.Worker, orphan *domain.Cleanup) error {
	group := cmp.Or(orphan.StateGroup, w.StateGroup)
	own, err := findOnDisk(ctx, tx.Tx, w.ID, group, orphan.SessionID)
	if err != nil {
		return err
	}
	if own != nil && own.StateGroup != group {
		own = nil
	}
	if err := tx.Cleanups.Delete(ctx, orphan); err != nil {
		return err
	}
	adopted := *orphan
	adopted.WorkerID, adopted.Endpoint, adopted.Destroyed, adopted.Rev = w.ID, "", false, 0
	adopted.StateGroup = group
	if own != nil {
		adopted.Rev = own.Rev
		adopted.Command = adopted.Command.MoreDestructive(own.Command)
		adopted.Generation = max(adopted.Generation, own.Generation)
	}
	if adopted.IsWiped() {
		adopted.MarkWiped(tx.env.Now())
		return tx.putCleanup(ctx, &adopted)
	}
	if _, err := tx.makeDue(ctx, &adopted); err != nil {
		return err
	}
	if adopted.IsForeign() || adopted.Command == domain.CommandNone {
		adopted.DueAt = time.Time{}
	}
	return tx.putCleanup(ctx, &adopted)
}
