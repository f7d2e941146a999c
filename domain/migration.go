package domain

import "time"

// MigrationKind is the cause of a migration.
type MigrationKind string

// The kinds of migrations.
const (
	MigrationByOperator  MigrationKind = "OPERATOR"  // an administrator requested it
	MigrationByDrain     MigrationKind = "DRAIN"     // the worker is being drained
	MigrationByRebalance MigrationKind = "REBALANCE" // a rebalance evens out the load
	MigrationByFailover  MigrationKind = "FAILOVER"  // the worker was lost or failed to start the session
	MigrationByReturn    MigrationKind = "RETURN"    // the home is back before anybody scanned elsewhere
)

// MigrationStatus is the progress of a migration.
type MigrationStatus string

// The statuses of a migration. The last four end it.
const (
	MigrationPending   MigrationStatus = "PENDING"    // waits for admission; the session still runs on its worker
	MigrationRunning   MigrationStatus = "RUNNING"    // the session is being stopped, placed or started
	MigrationCompleted MigrationStatus = "COMPLETED"  // the session runs on the new worker
	MigrationNeedsScan MigrationStatus = "NEEDS_SCAN" // the session is on the new worker, which asks for a scan
	MigrationFailed    MigrationStatus = "FAILED"     // the session could not move
	MigrationCancelled MigrationStatus = "CANCELLED"  // before it began, or because the session was taken down
)

// Ended reports whether the migration is over.
func (s MigrationStatus) Ended() bool {
	switch s {
	case MigrationCompleted, MigrationNeedsScan, MigrationFailed, MigrationCancelled:
		return true
	}
	return false
}

// Migration is one move of a session from one worker to another.
type Migration struct {
	ID          string
	SessionID   string
	UserID      string
	Kind        MigrationKind
	BatchID     string // the drain or rebalance that the migration belongs to; empty if there is none
	FromWorker  string
	ToWorker    string // the preferred worker, and after placement the actual one; empty: not known yet
	Status      MigrationStatus
	Reason      string // for people
	Error       string // why it failed
	CreatedAt   time.Time
	StartedAt   time.Time // zero: it waits for admission
	CompletedAt time.Time // when it ended; zero: not yet
	Rev         int64
}

// CheckReason returns the reason of a migration without surrounding space. The reason has at most 255
// characters, otherwise the error is [Invalid].
func CheckReason(raw string) (string, error) { return checkText("Reason", raw, 0, 255, "") }

// NewMigration returns a migration that has not begun. [Session.Migrate] connects the session to it.
func NewMigration(id string, s *Session, kind MigrationKind, toWorker, reason string, now time.Time) *Migration {
	return &Migration{
		ID: id, SessionID: s.ID, UserID: s.UserID, Kind: kind,
		FromWorker: s.WorkerID, ToWorker: toWorker, Status: MigrationPending, Reason: reason, CreatedAt: now,
	}
}

// Migrate records that the session moves after the admission of the migration. Until then the session
// runs on its present worker. due is when the reconciler checks for admission, unless the session is due
// already. A session that abandons its home stops waiting for it. The caller makes sure that the session
// is assigned, wanted up, not being stopped, and has no other migration.
func (s *Session) Migrate(m *Migration, due time.Time) {
	s.MigrationID, s.MigrationTargetID = m.ID, m.ToWorker
	if s.DueAt.IsZero() || s.HomePolicy == HomeAbandoned && due.Before(s.DueAt) {
		s.DueAt = due
	}
}

// SyncWithSession updates the migration after a change of its session. It detaches the session from the
// migration when the migration is over.
func (m *Migration) SyncWithSession(s *Session, now time.Time) {
	if m.Status == MigrationPending && (!s.IsAssigned() || s.Command == CommandMove) {
		m.Status, m.StartedAt = MigrationRunning, now
	}
	placed := m.Status == MigrationRunning && s.IsAssigned() && !s.Command.Stops()
	if placed {
		m.ToWorker = s.WorkerID
	}
	switch {
	case m.Status.Ended():
	case s.Intent == Down && s.Status == Errored:
		m.end(MigrationFailed, first(s.LastError, "the session failed"), now)
	case s.Intent == Down:
		m.end(MigrationCancelled, "the session was taken down", now)
	case m.Status == MigrationPending && m.Kind == MigrationByReturn && !s.HasToScan():
		m.end(MigrationCancelled, "the session was linked where it is", now)
	case !placed || !s.Confirmed:
	case s.HasToScan(), s.Status == QRRequired && m.Kind == MigrationByReturn:
		m.end(MigrationNeedsScan, "the worker does not have the credentials; the QR code of the session has to be scanned", now)
	case m.ToWorker == m.FromWorker && m.Kind != MigrationByFailover:
		m.end(MigrationFailed, "no other worker could take the session; it runs where it was", now)
	default:
		m.end(MigrationCompleted, "", now)
	}
	if m.Status.Ended() && s.MigrationID == m.ID {
		s.MigrationID, s.MigrationTargetID = "", ""
		if s.isAtHome() {
			s.HomePolicy = HomePreferred // it did not leave after all
		}
	}
}

// Cancel ends a migration that has not begun. A migration that has begun cannot be cancelled.
func (m *Migration) Cancel(s *Session, why string, now time.Time) error {
	switch {
	case m.Status.Ended():
		return Errorf(Conflict, CodeInvalidState, "The migration is over: %s", m.Status)
	case m.Status != MigrationPending:
		return Errorf(Conflict, CodeInvalidState, "The migration has begun and cannot be cancelled any more; migrate the session back when it is over")
	}
	m.end(MigrationCancelled, why, now)
	m.SyncWithSession(s, now)
	return nil
}

// FailPending ends a migration as failed before it begins. The session stays on its worker.
func (m *Migration) FailPending(s *Session, why string, now time.Time) {
	m.end(MigrationFailed, why, now)
	m.SyncWithSession(s, now)
}

// Deleted ends a migration whose session was deleted.
func (m *Migration) Deleted(now time.Time) {
	m.end(MigrationCancelled, "the session was deleted", now)
}

// end sets the final status of the migration.
func (m *Migration) end(status MigrationStatus, why string, now time.Time) {
	m.Status, m.Error, m.CompletedAt = status, why, now
}
