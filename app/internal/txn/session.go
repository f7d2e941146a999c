package txn

import (
	"context"
	"errors"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// OwnedSession reads a session of a user. A session of another user is a public
// not-found error.
func OwnedSession(ctx context.Context, tx *ports.Tx, userID, sessionID string) (*domain.Session, error) {
	s, err := tx.Sessions.Get(ctx, sessionID)
	if err == nil && s.UserID != userID {
		err = ports.ErrNotFound
	}
	if err != nil {
		return nil, apperr.Session(err)
	}
	return s, nil
}

// SaveSession stores a session and keeps the books that hang on it. before is the
// session as it was read. It returns ports.ErrFull if the new worker has no slot.
func (tx *Tx) SaveSession(ctx context.Context, before, after *domain.Session, events []domain.Event) error {
	if before.WorkerID != after.WorkerID {
		if err := tx.moveSlot(ctx, before, after); err != nil {
			return err
		}
	}
	if before.Intent != after.Intent {
		if err := tx.countActive(ctx, after); err != nil {
			return err
		}
	}
	isLinkedNow := after.Status == domain.Connected && before.Status != domain.Connected
	if before.CredentialsWorkerID != after.CredentialsWorkerID || isLinkedNow {
		if err := tx.recordHomeGroup(ctx, before, after); err != nil {
			return err
		}
	}
	if err := tx.syncMigration(ctx, after); err != nil {
		return err
	}
	if before.CredentialsWorkerID != "" && after.CredentialsWorkerID == "" {
		// The phone is unlinked: no worker may keep credentials.
		if _, err := tx.ScheduleWipes(ctx, after, domain.CommandLogout); err != nil {
			return err
		}
	}
	if err := tx.Sessions.Put(ctx, after); err != nil {
		return err
	}
	tx.changes.Sessions = append(tx.changes.Sessions, after)
	if err := tx.countScan(ctx, before, after); err != nil {
		return err
	}
	if after.HasToScan() && !before.HasToScan() {
		tx.env.Log.WarnContext(ctx, "session needs scan", "session", after.ID, "worker", after.WorkerID, "home", after.CredentialsWorkerID)
	}
	return tx.Record(ctx, events...)
}

// countScan counts an unscanned run that ended with the change of a session, or resets the count of the
// user after a scan. after is nil if the session was deleted.
func (tx *Tx) countScan(ctx context.Context, before, after *domain.Session) error {
	switch domain.CompareScans(before, after) {
	case domain.ScanMissing:
		return tx.Users.CountUnscannedRun(ctx, before.UserID, before.StatusAt, tx.env.Now())
	case domain.ScanDone:
		return tx.Users.ResetUnscannedRuns(ctx, before.UserID)
	}
	return nil
}

// recordHomeGroup records the state group of a session's new home, or the new group of its home.
// The group outlives the home's removal. Its credentials are new, and are not wiped for what was
// before.
func (tx *Tx) recordHomeGroup(ctx context.Context, before, s *domain.Session) error {
	if !s.IsLinked() {
		return nil
	}
	w, err := tx.Workers.Get(ctx, s.CredentialsWorkerID)
	if errors.Is(err, ports.ErrNotFound) {
		return nil
	}
	if err != nil || w.ID == before.CredentialsWorkerID && w.StateGroup == s.CredentialsGroup {
		return err
	}
	s.CredentialsGroup = w.StateGroup
	return tx.dropWipes(ctx, s)
}

// AddSession stores a new session. Its user's usage is the caller's to reserve.
func (tx *Tx) AddSession(ctx context.Context, s *domain.Session) error {
	if err := tx.Sessions.Put(ctx, s); err != nil {
		return err
	}
	tx.changes.Sessions = append(tx.changes.Sessions, s)
	return nil
}

// DeleteSession deletes a session and schedules its wipe on every worker that was ever
// given it. It returns those that can be called now.
func (tx *Tx) DeleteSession(ctx context.Context, s *domain.Session) (reachable []string, err error) {
	if s.IsAssigned() {
		if err := tx.RecordAssignment(ctx, s.WorkerID, s); err != nil {
			return nil, err
		}
	}
	if s.IsLinked() {
		if err := tx.recordHome(ctx, s); err != nil {
			return nil, err
		}
	}
	unassigned := *s
	unassigned.WorkerID = ""
	reachable, err = tx.ScheduleWipes(ctx, &unassigned, domain.CommandDelete)
	if err != nil {
		return nil, err
	}
	if s.IsAssigned() {
		if err := tx.releaseSlot(ctx, s.WorkerID); err != nil {
			return nil, err
		}
	}
	if err := tx.closeMigration(ctx, s); err != nil {
		return nil, err
	}
	refund := domain.UserUsage{Sessions: -1}
	if s.Intent == domain.Up {
		refund.ActiveSessions = -1
	}
	if err := tx.Users.Reserve(ctx, s.UserID, refund, domain.UserUsage{}); err != nil {
		return nil, err
	}
	if err := tx.Sessions.Delete(ctx, s.ID, s.Rev); err != nil {
		return nil, err
	}
	if err := tx.countScan(ctx, s, nil); err != nil {
		return nil, err
	}
	tx.changes.Deleted = append(tx.changes.Deleted, s)
	return reachable, tx.Record(ctx, s.DeletionEvent(tx.env.Now()))
}

// ChangeSessionsOf lets fn change every session that is assigned to a worker. It
// leaves a session alone for which fn returns ErrUnchanged.
func (tx *Tx) ChangeSessionsOf(ctx context.Context, workerID string, fn func(*domain.Session) ([]domain.Event, error)) error {
	assigned, err := tx.Sessions.ListByWorker(ctx, workerID)
	if err != nil {
		return err
	}
	for _, s := range assigned {
		before := s.Clone()
		events, err := fn(s)
		if errors.Is(err, ErrUnchanged) {
			continue
		}
		if err == nil {
			err = tx.SaveSession(ctx, before, s, events)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// NoteRead tells the observers of a session that was read and not changed. The cache
// may be older.
func (tx *Tx) NoteRead(s *domain.Session) { tx.changes.Read = append(tx.changes.Read, s) }

// moveSlot releases the slot of the old worker and reserves one of the new, which may have
// credentials of the session from now on.
func (tx *Tx) moveSlot(ctx context.Context, before, after *domain.Session) error {
	if before.IsAssigned() {
		if err := tx.releaseSlot(ctx, before.WorkerID); err != nil {
			return err
		}
		if err := tx.fence(ctx, before); err != nil {
			return err
		}
	}
	if !after.IsAssigned() {
		return nil
	}
	if err := tx.RecordAssignment(ctx, after.WorkerID, after); err != nil {
		return err
	}
	return tx.Workers.Reserve(ctx, after.WorkerID)
}

// releaseSlot releases a slot of a worker. The last slot of a drain is an event.
func (tx *Tx) releaseSlot(ctx context.Context, workerID string) error {
	if err := tx.Workers.Release(ctx, workerID); err != nil {
		return err
	}
	w, err := tx.Workers.Get(ctx, workerID)
	if errors.Is(err, ports.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return tx.Record(ctx, w.Drained(tx.env.Now())...)
}

// fence schedules a stop on a worker that the session left without one:
//
//	replica A: calls start ──(paused)──────────────► start arrives
//	replica B:      worker lost, session placed elsewhere
//
// The worker learns that the generation is over before it may start anything, and
// refuses A's start.
func (tx *Tx) fence(ctx context.Context, s *domain.Session) error {
	if !tx.env.IsShared() || s.Command.Stops() {
		return nil
	}
	w, err := tx.Workers.Get(ctx, s.WorkerID)
	if errors.Is(err, ports.ErrNotFound) || err == nil && !w.Supports(domain.CapGeneration) {
		return nil
	}
	if err != nil {
		return err
	}
	return tx.ScheduleCleanup(ctx, s.WorkerID, s.ID, domain.CommandDisconnect, s.Generation)
}

// countActive counts the session as live, within the limit of the tier, or no longer.
func (tx *Tx) countActive(ctx context.Context, s *domain.Session) error {
	if s.Intent == domain.Down {
		return tx.Users.Reserve(ctx, s.UserID, domain.UserUsage{ActiveSessions: -1}, domain.UserUsage{})
	}
	u, err := tx.Users.Get(ctx, s.UserID)
	if err != nil {
		return err
	}
	limit := tx.env.Limits(u.Tier).Sessions
	err = tx.Users.Reserve(ctx, s.UserID, domain.UserUsage{ActiveSessions: 1}, domain.UserUsage{ActiveSessions: limit})
	if errors.Is(err, ports.ErrFull) {
		return domain.Errorf(domain.Conflict, domain.CodeSessionLimit,
			"%s tier allows %d live session(s) at a time; disconnect another one first or upgrade", u.Tier, limit)
	}
	if err != nil {
		return err
	}
	// The reservation holds the user's row. What the row says now is true at the commit.
	u, err = tx.Users.Get(ctx, s.UserID)
	if err != nil {
		return err
	}
	if !u.Active {
		return domain.Errorf(domain.Forbidden, domain.CodeAccountDeactivated,
			"This account is deactivated; ask an administrator to activate it")
	}
	return nil
}

// syncMigration updates the open migration of a session.
func (tx *Tx) syncMigration(ctx context.Context, s *domain.Session) error {
	if s.MigrationID == "" {
		return nil
	}
	m, err := tx.Migrations.Get(ctx, s.MigrationID)
	if errors.Is(err, ports.ErrNotFound) {
		s.MigrationID, s.MigrationTargetID = "", ""
		return nil
	}
	if err != nil {
		return err
	}
	before := *m
	m.SyncWithSession(s, tx.env.Now())
	if *m == before {
		return nil
	}
	tx.changes.MigrationEnded = tx.changes.MigrationEnded || m.Status.Ended()
	return tx.Migrations.Put(ctx, m)
}

// closeMigration ends the open migration of a session that is deleted.
func (tx *Tx) closeMigration(ctx context.Context, s *domain.Session) error {
	if s.MigrationID == "" {
		return nil
	}
	m, err := tx.Migrations.Get(ctx, s.MigrationID)
	if errors.Is(err, ports.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	m.Deleted(tx.env.Now())
	tx.changes.MigrationEnded = true
	return tx.Migrations.Put(ctx, m)
}
