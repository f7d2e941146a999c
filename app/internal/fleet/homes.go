package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// HomeOf returns where the credentials of a session are, and whether placement has to
// wait for it. The credentials stay with the state group in which the session was linked, also if the
// home has another group by now.
func HomeOf(ctx context.Context, tx *ports.Tx, session *domain.Session, t domain.Timing, now time.Time) (domain.Home, error) {
	if !session.IsLinked() {
		return domain.Home{}, nil
	}
	worker, err := tx.Workers.Get(ctx, session.CredentialsWorkerID)
	if errors.Is(err, ports.ErrNotFound) {
		worker, err = nil, nil
	}
	if err != nil {
		return domain.Home{}, err
	}
	home := domain.Home{
		WorkerID: session.CredentialsWorkerID, Group: session.CredentialsGroup, Only: session.ShouldWaitForHome(worker, t, now),
	}
	if worker != nil && home.Group == "" {
		home.Group = worker.StateGroup // the session was linked before the worker named its group
	}
	home.IsLeaving, err = isLeavingHome(ctx, tx, session)
	return home, err
}

// isLeavingHome reports whether an administrator's migration takes the session off its
// home.
func isLeavingHome(ctx context.Context, tx *ports.Tx, session *domain.Session) (bool, error) {
	if session.MigrationID == "" {
		return false, nil
	}
	m, err := tx.Migrations.Get(ctx, session.MigrationID)
	if errors.Is(err, ports.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return m.FromWorker == session.CredentialsWorkerID && m.Kind != domain.MigrationByFailover, nil
}

// NeedingScan returns the sessions that would have to scan a QR code on another worker. A
// session of a state group waits for another worker of the group instead, if one is there
// and targetID names no worker outside.
func (s *Sync) NeedingScan(ctx context.Context, tx *ports.Tx, sessions []*domain.Session, targetID string) (needing []*domain.Session, err error) {
	target := domain.Load{WorkerID: targetID}
	if w := s.cache.Worker(targetID); w != nil {
		target = LoadOf(w)
	}
	for _, session := range sessions {
		if session.Intent == domain.Down || !session.IsLinked() || session.HasToScan() {
			continue
		}
		home, err := HomeOf(ctx, tx, session, s.Timing, s.Now())
		if err != nil {
			return nil, err
		}
		hasCredentials := session.WorkerID != home.WorkerID || s.cache.HasPeer(session.WorkerID, home.Group)
		if targetID != "" {
			hasCredentials = home.Has(&target)
		}
		if !hasCredentials {
			needing = append(needing, session)
		}
	}
	return needing, nil
}

// ScanRefusal returns the public error for moves that would cost scans which the caller did
// not accept.
func ScanRefusal(scans int) error {
	return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
		"%d linked session(s) would need a new QR scan, because no other worker has their credentials; use force=true to move them all the same", scans)
}

// HasPeer reports whether the state group has another worker, even if that receives no
// sessions now.
func (c *Cache) HasPeer(workerID, group string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if group == "" {
		return false
	}
	for id, n := range c.workers {
		if id != workerID && n.worker.StateGroup == group {
			return true
		}
	}
	return false
}
