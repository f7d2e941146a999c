package txn

import (
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// FindExecutor returns the worker that can carry out a cleanup now, or nil. The cleanup's own worker
// comes first, if it is online. A wipe needs a worker that uses the disk now. Any online worker of the
// state group can carry out a wipe for an own worker that certainly does not run the session on the
// disk. A worker that runs the session would write the credentials again.
func FindExecutor(ctx context.Context, tx *ports.Tx, c *domain.Cleanup) (*domain.Worker, error) {
	own, err := findWorker(ctx, tx, c.WorkerID)
	switch {
	case err != nil:
		return nil, err
	case !c.Command.Wipes():
		if own == nil || !own.Online {
			return nil, nil
		}
		return own, nil
	case own == nil || !c.IsOnDisk(own.ID, own.StateGroup):
	case own.Online:
		return own, nil
	case own.MayStillRun():
		return nil, nil
	}
	peer, err := findPeer(ctx, tx, c.WorkerID, c.StateGroup)
	if err != nil || peer == nil || !peer.Online || peer.IsLegacy() {
		return nil, err
	}
	return peer, nil
}

// findPeer returns another worker of a state group, an online one if there is any, or nil. A
// legacy worker comes last: it has to start a session before it can wipe it.
func findPeer(ctx context.Context, tx *ports.Tx, workerID, group string) (peer *domain.Worker, err error) {
	if group == "" {
		return nil, nil
	}
	workers, _, err := tx.Workers.List(ctx, ports.WorkerFilter{StateGroup: group}, ports.Page{})
	if err != nil {
		return nil, err
	}
	rank := func(w *domain.Worker) int {
		switch {
		case w.Online && !w.IsLegacy():
			return 2
		case w.Online:
			return 1
		}
		return 0
	}
	for _, w := range workers {
		if w.ID != workerID && (peer == nil || rank(w) > rank(peer)) {
			peer = w
		}
	}
	return peer, nil
}

// RecordWiped records that a worker has wiped a session up to a generation. The wipe also counts for
// workers of its state group that certainly do not run the session. The wipe is still due if the worker
// has registered again meanwhile: it may have wiped another disk.
func (tx *Tx) RecordWiped(ctx context.Context, by *domain.Worker, sessionID string, generation int64) error {
	c, err := findOnDisk(ctx, tx.Tx, by.ID, by.StateGroup, sessionID)
	if err != nil {
		return err
	}
	if c == nil {
		c = &domain.Cleanup{WorkerID: by.ID, SessionID: sessionID, StateGroup: by.StateGroup, CreatedAt: tx.env.Now()}
	}
	present, err := findSameProcess(ctx, tx.Tx, by)
	if err != nil {
		return err
	}
	if present == nil {
		_, err = tx.scheduleRow(ctx, c, domain.CommandLogout, generation)
		return err
	}
	done := *c
	done.Generation = max(c.Generation, generation)
	if err := markWiped(ctx, tx.Tx, &done, present, tx.env.Now()); err != nil {
		return err
	}
	return completePeers(ctx, tx.Tx, &done, present, tx.env.Now())
}

// findSameProcess returns the present row of a worker that was called, or nil if the worker was
// removed or has registered again since: another process may have another disk.
func findSameProcess(ctx context.Context, tx *ports.Tx, called *domain.Worker) (*domain.Worker, error) {
	present, err := findWorker(ctx, tx, called.ID)
	if present == nil || !present.RegisteredAt.Equal(called.RegisteredAt) || present.StateGroup != called.StateGroup {
		return nil, err
	}
	return present, err
}

// completePeers records the wipe of done, which a worker has carried out, in the other rows about the
// worker's disk. It leaves out rows whose own workers may still run the session.
func completePeers(ctx context.Context, tx *ports.Tx, done *domain.Cleanup, by *domain.Worker, now time.Time) error {
	rows, err := tx.Cleanups.BySession(ctx, done.SessionID)
	if err != nil {
		return err
	}
	for _, c := range rows {
		isDone := c.WorkerID == done.WorkerID && c.StateGroup == done.StateGroup
		if isDone || !c.IsOnDisk(by.ID, by.StateGroup) || !c.Command.Wipes() || c.Generation > done.Generation {
			continue
		}
		if err := markWiped(ctx, tx, c, by, now); err != nil {
			return err
		}
	}
	return nil
}

// markWiped stores that the credentials of a cleanup are gone, by a wipe that a worker has carried
// out on the same disk. An own worker that is down still gets a stop when it returns: a start may
// arrive late. The wipe does not count for an own worker that may run the session.
func markWiped(ctx context.Context, tx *ports.Tx, c *domain.Cleanup, by *domain.Worker, now time.Time) error {
	if c.WorkerID == by.ID {
		c.MarkWiped(now)
		return tx.Cleanups.Put(ctx, c)
	}
	own, err := findWorker(ctx, tx, c.WorkerID)
	switch {
	case err != nil:
		return err
	case own == nil, !c.IsOnDisk(own.ID, own.StateGroup):
		c.MarkWiped(now)
	case own.MayStillRun():
		return nil
	default:
		c.WaitForStop()
	}
	return tx.Cleanups.Put(ctx, c)
}

// dropWipes ends the wipes of a session on the workers of its home's state group: a login by a
// later generation has overwritten the credentials. The workers stay holders.
func (tx *Tx) dropWipes(ctx context.Context, s *domain.Session) error {
	if s.CredentialsGroup == "" {
		return nil
	}
	rows, err := tx.Cleanups.BySession(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, c := range rows {
		if c.StateGroup != s.CredentialsGroup || !c.Command.Wipes() || c.Generation >= s.Generation {
			continue
		}
		c.Clear()
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// WakeWipes makes wipes due for a worker that is online now: those that it can carry out for others of
// its state group.
func (tx *Tx) WakeWipes(ctx context.Context, w *domain.Worker) error {
	wipes, err := tx.Cleanups.WipesByGroup(ctx, w.StateGroup)
	if err != nil {
		return err
	}
	wipes = slices.DeleteFunc(wipes, func(c *domain.Cleanup) bool { return c.WorkerID == w.ID || !c.DueAt.IsZero() || c.Destroyed })
	for _, c := range wipes {
		c.DueAt = tx.env.Now()
		if err := tx.Cleanups.Put(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
