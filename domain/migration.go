package domain

import "time"

// MigrationKind says why a session moves.
type MigrationKind string

// The kinds of migrations.
const (
	MigrationByOperator  MigrationKind = "OPERATOR"  // an administrator asked for it
	MigrationByDrain     MigrationKind = "DRAIN"     // its worker is being drained
	MigrationByRebalance MigrationKind = "REBALANCE" // to even out the load
	MigrationByFailover  MigrationKind = "FAILOVER"  // its worker was lost or failed it
)

// MigrationStatus is how far a migration is.
type MigrationStatus string

// The statuses of a migration; the last three end it.
const (
	MigrationPending   MigrationStatus = "PENDING"   // waits for its turn; the session runs where it was
	MigrationRunning   MigrationStatus = "RUNNING"   // the session is being stopped, placed or started
	MigrationCompleted MigrationStatus = "COMPLETED" // the session runs at the new worker
	MigrationFailed    MigrationStatus = "FAILED"
	MigrationCancelled MigrationStatus = "CANCELLED" // before it began, or the session was taken down
)

// Ended reports whether nothing more becomes of the migration.
func (s MigrationStatus) Ended() bool {
	return s == MigrationCompleted || s == MigrationFailed || s == MigrationCancelled
}

// Migration is one move of a session from one worker to another.
type Migration struct {
	ID          string
	SessionID   string
	UserID      string
	Kind        MigrationKind
	BatchID     string // of the drain or rebalance that it belongs to; empty: none
	FromWorker  string
	ToWorker    string // where it is to go, and once it is placed where it went; empty: not known yet
	Status      MigrationStatus
	Reason      string // for people
	Error       string // why it failed
	CreatedAt   time.Time
	StartedAt   time.Time // zero: it waits
	CompletedAt time.Time // when it ended; zero: not yet
	Rev         int64
}

// CheckReason trims what somebody gives as the reason of a migration; at most
// 255 characters.
func CheckReason(raw string) (string, error) { return checkText("Reason", raw, 0, 255, "") }

// NewMigration makes a migration that has not begun. The session does not know of it
// yet; see [Session.Migrate].
func NewMigration(id string, s *Session, kind MigrationKind, toWorker, reason string, now time.Time) *Migration {
	return &Migration{
		ID: id, SessionID: s.ID, UserID: s.UserID, Kind: kind,
		FromWorker: s.WorkerID, ToWorker: toWorker, Status: MigrationPending, Reason: reason, CreatedAt: now,
	}
}

// Migrate records that the session is to move, when its turn comes: until then
// it runs where it is. due is when to look for that, if nothing is due earlier.
// The caller makes sure that it is assigned, wanted up, not being stopped, and
// has no migration yet.
func (s *Session) Migrate(m *Migration, due time.Time) {
	s.MigrationID, s.MigrationTargetID = m.ID, m.ToWorker
	if s.DueAt.IsZero() {
		s.DueAt = due
	}
}

// SyncWithSession brings the migration up to date after a change of its session, and
// lets go of the session when it is over.
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
	case !placed || !s.Confirmed:
	case m.ToWorker == m.FromWorker && m.Kind != MigrationByFailover:
		m.end(MigrationFailed, "no other worker could take the session; it runs where it was", now)
	default:
		m.end(MigrationCompleted, "", now)
	}
	if m.Status.Ended() && s.MigrationID == m.ID {
		s.MigrationID, s.MigrationTargetID = "", ""
	}
}

// Cancel ends a migration that has not begun; one that has takes its course.
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

// FailPending ends a migration as failed before it has begun; the session stays
// where it is.
func (m *Migration) FailPending(s *Session, why string, now time.Time) {
	m.end(MigrationFailed, why, now)
	m.SyncWithSession(s, now)
}

// Deleted ends a migration whose session is no more.
func (m *Migration) Deleted(now time.Time) {
	m.end(MigrationCancelled, "the session was deleted", now)
}

func (m *Migration) end(status MigrationStatus, why string, now time.Time) {
	m.Status, m.Error, m.CompletedAt = status, why, now
}
