package domain

import (
	"slices"
	"strings"
	"time"
)

// Intent is the user's wish for a session.
type Intent string

// The intents.
const (
	Up   Intent = "UP"
	Down Intent = "DOWN"
)

// Status is the observed state of a session.
type Status string

// The statuses. Sessions in one of the first four are active: they hold a slot on a worker or wait for
// one.
const (
	Init         Status = "INIT"
	QRRequired   Status = "QR_REQUIRED"
	Connected    Status = "CONNECTED"
	Reconnecting Status = "RECONNECTING"
	Disconnected Status = "DISCONNECTED"
	Errored      Status = "ERROR"
)

// IsActive reports whether a session of this status counts against its user's limit of active sessions.
func (s Status) IsActive() bool {
	switch s {
	case Init, QRRequired, Connected, Reconnecting:
		return true
	}
	return false
}

// ParseStatus returns the status with the given name, in any case.
func ParseStatus(s string) (Status, error) {
	switch st := Status(strings.ToUpper(strings.TrimSpace(s))); st {
	case Init, QRRequired, Connected, Reconnecting, Disconnected, Errored:
		return st, nil
	}
	return "", Errorf(Invalid, CodeValidation,
		"Status must be one of INIT, QR_REQUIRED, CONNECTED, RECONNECTING, DISCONNECTED, ERROR")
}

// Session is one WhatsApp account that a user wants online, or not.
//
// A session is assigned while WorkerID is set, and holds a slot on that worker exactly then.
type Session struct {
	ID          string
	UserID      string
	Name        string
	Description string
	DisplayName string // of the WhatsApp account
	PhoneNumber string // digits; empty while the account is not linked

	Intent        Intent
	Status        Status
	StatusAt      time.Time // when the session entered Status
	WasConnected  bool      // since the intent went up or a QR was last shown
	UnscannedRuns int       // consecutive connects whose QR nobody scanned
	ConnectedFrom string    // the network of the client that connected the session; empty: not known
	ScanRestarted bool      // a disconnect after a QR has caused the one restart of this connect
	LastError     string

	WorkerID            string
	Generation          int64 // grows with each assignment, never shrinks
	AssignedAt          time.Time
	CredentialsWorkerID string // the home; empty if there is none
	CredentialsGroup    string // the state group of the home when the session was linked there; empty: none
	HomePolicy          HomePolicy
	HomeWaitUntil       time.Time // when placement stops waiting for a home that is online and refuses; zero: it did not refuse
	PreviousWorkerID    string    // the worker that a moving session left; empty unless it moves
	PlacementEvent      EventType // the event of the next assignment; empty: EventSessionPlaced
	MigrationID         string    // the open migration; empty if there is none
	MigrationTargetID   string    // the preferred target of the migration; empty: any worker

	Command      Command
	Confirmed    bool // the worker confirmed that the session runs there
	Attempts     int  // of the present command, or of placement
	FailedStarts int  // consecutive failed starts, on any worker
	Restarts     int  // consecutive unwanted disconnects

	ClaimedBy    string    // the replica that calls the worker about the session; empty if there is none
	ClaimedUntil time.Time // when the claim ends

	DebounceUntil time.Time // when a DISCONNECTED with the intent up becomes final; zero: not debounced
	LoggedOut     bool      // the phone logged out; only while debounced

	ExcludedWorkerID string // placement avoids this worker until ExcludedUntil
	ExcludedUntil    time.Time

	QR           QR
	PairingPhone string // digits; not empty: the worker requests a pairing code instead of a QR
	PairingCode  string

	DueAt                time.Time // when the reconciler looks at the session; zero: never
	LastReportWorkerTime time.Time // the worker's time of the newest applied report
	LastReportAppliedAt  time.Time // our time of the latest applied report
	LastSeenAt           time.Time
	CreatedAt            time.Time
	UpdatedAt            time.Time
	Rev                  int64
}

// IsAssigned reports whether the session holds a slot on a worker.
func (s *Session) IsAssigned() bool { return s.WorkerID != "" }

// Clone returns a copy that shares nothing mutable with s.
func (s *Session) Clone() *Session {
	c := *s
	c.QR.Image = slices.Clone(s.QR.Image)
	return &c
}

// NewSession returns a session that has never been started.
func NewSession(id, userID, name, description string, now time.Time) *Session {
	return &Session{
		ID: id, UserID: userID, Name: name, Description: description,
		Intent: Down, Status: Disconnected, StatusAt: now, CreatedAt: now, UpdatedAt: now,
	}
}

// Connect records that the user wants the session up. A pairingPhone that is not empty requests a
// pairing code. A session whose code has expired starts anew.
//
// A session that is still assigned starts again on its worker: it is debounced, or its stop is not
// confirmed. Any other session waits for placement. An unconfirmed logout comes first: credentials that
// the user wanted wiped are not used again.
func (s *Session) Connect(pairingPhone string, now time.Time) error {
	switch {
	case s.IsCodeExpired(now) && s.Intent == Up:
		wasPairing := s.PairingPhone != ""
		s.PairingPhone = pairingPhone
		err := s.Restart(now)
		if wasPairing && s.Command == CommandRestart {
			s.setCommand(CommandDisconnect, now) // after a restart the worker would request a pairing code again
		}
		return err
	case s.Status == Connected:
		return Errorf(Conflict, CodeSessionConnected, "Session is already connected")
	case s.Status.IsActive():
		return Errorf(Conflict, CodeSessionConnecting, "Session is already connecting; follow it with its status or QR route")
	}
	s.Intent, s.LastError = Up, ""
	s.WasConnected, s.ScanRestarted, s.Restarts, s.FailedStarts = false, false, 0, 0
	s.PairingPhone, s.PairingCode = pairingPhone, ""
	s.HomePolicy = HomePreferred
	s.clearDebounce()
	s.setStatus(Init, now)
	switch {
	case s.Command == CommandLogout:
		return nil
	case s.Command.Stops():
		s.Generation++ // the worker may have stopped the present one, and never starts a stopped one again
		s.LastReportWorkerTime = time.Time{}
	}
	s.setCommand(CommandStart, now)
	return nil
}

// AcquireClaim records that a replica is about to call the worker about the session. Until then no
// other replica calls it. Decisions without a call do not wait for a claim.
func (s *Session) AcquireClaim(replicaID string, until time.Time) {
	s.ClaimedBy, s.ClaimedUntil = replicaID, until
}

// ReleaseClaim ends the claim on the session.
func (s *Session) ReleaseClaim() { s.ClaimedBy, s.ClaimedUntil = "", time.Time{} }

// IsClaimed reports whether a replica holds a claim on the session.
func (s *Session) IsClaimed(now time.Time) bool {
	return s.ClaimedBy != "" && now.Before(s.ClaimedUntil)
}

// Assign assigns the session to a worker, with a new generation. A session that was linked keeps
// RECONNECTING. Any other session becomes INIT.
func (s *Session) Assign(workerID string, now time.Time) []Event {
	from, kind := s.PreviousWorkerID, s.PlacementEvent
	s.WorkerID, s.AssignedAt = workerID, now
	s.Generation++
	s.PreviousWorkerID, s.PlacementEvent = "", ""
	s.LastReportWorkerTime = time.Time{}
	s.Confirmed, s.Attempts = false, 0
	s.endHomeRequirement(now)
	s.QR, s.PairingCode = QR{}, ""
	s.clearDebounce()
	if s.Status != Reconnecting {
		s.setStatus(Init, now)
	}
	s.setCommand(CommandStart, now)
	if kind == "" || from == "" {
		kind = EventSessionPlaced
	}
	e := s.event(kind, "", now)
	e.FromWorker = from
	return []Event{e}
}

// Disconnect records that the user wants the session down and keeps its credentials. stopDue reports
// whether the assigned worker has to be called.
func (s *Session) Disconnect(now time.Time) (stopDue bool, events []Event) {
	return s.stop(CommandDisconnect, "user disconnected", now)
}

// Logout records that the user wants the session down and its phone unlinked. The session forgets its
// phone number at once. stopDue reports whether the assigned worker has to be called. For an unassigned
// session the caller records a cleanup on the home.
func (s *Session) Logout(now time.Time) (stopDue bool, events []Event) {
	s.unlink()
	return s.stop(CommandLogout, "user logged out", now)
}

// stop records that the user wants the session down, and c as the stop of the assigned worker.
func (s *Session) stop(c Command, reason string, now time.Time) (stopDue bool, events []Event) {
	s.Intent = Down
	s.clearDebounce()
	s.ExcludedWorkerID, s.PreviousWorkerID, s.PlacementEvent, s.LastError = "", "", "", ""
	s.QR, s.PairingCode = QR{}, ""
	s.HomePolicy = HomePreferred
	events = s.transition(Disconnected, reason, now)
	if !s.IsAssigned() {
		s.Command, s.DueAt = CommandNone, time.Time{}
		return false, events
	}
	if s.Command == CommandLogout {
		c = CommandLogout // a disconnect does not replace a logout
	}
	s.setCommand(c, now)
	return true, events
}

// Restart records that the user wants the session started again. A session with the intent down cannot
// restart. A restart names no phone number. A session that requests a pairing code therefore stops, and a
// new assignment starts it.
func (s *Session) Restart(now time.Time) error {
	if s.Intent != Up {
		return Errorf(Conflict, CodeInvalidState, "Session is not running; connect it instead")
	}
	s.clearDebounce()
	s.countUnscanned(s.Status, Disconnected) // another code follows
	s.Restarts, s.Confirmed, s.LastError = 0, false, ""
	s.QR, s.PairingCode = QR{}, ""
	s.setStatus(Init, now)
	switch {
	case s.Command.Stops(): // the stop comes first, and the next assignment starts the session
	case s.IsAssigned() && s.PairingPhone != "":
		s.setCommand(CommandDisconnect, now)
	case s.IsAssigned():
		s.setCommand(CommandRestart, now)
	default:
		s.setCommand(CommandStart, now)
	}
	return nil
}

// Fail ends the session in ERROR and frees its slot. The session stays in ERROR until the user
// connects, disconnects or logs out.
func (s *Session) Fail(why string, now time.Time) []Event {
	s.Intent, s.LastError = Down, why
	s.clearDebounce()
	s.QR, s.PairingCode = QR{}, ""
	s.PreviousWorkerID, s.PlacementEvent = "", ""
	worker := s.WorkerID
	s.unassign()
	events := s.transition(Errored, why, now)
	for i := range events {
		events[i].WorkerID = worker
	}
	return events
}

// WorkerLost records that the worker of the session is gone, perhaps only for a moment. A CONNECTED
// session becomes RECONNECTING.
func (s *Session) WorkerLost(reason string, now time.Time) []Event {
	if s.Status != Connected {
		return nil
	}
	s.LastReportAppliedAt = now
	return s.transition(Reconnecting, reason, now)
}

// RequestStopForMove sets the command to stop the session on its worker and start it elsewhere.
func (s *Session) RequestStopForMove(now time.Time) {
	if s.Status == Connected || s.HasToScan() {
		s.setStatus(Reconnecting, now)
	}
	s.QR, s.PairingCode = QR{}, "" // the user must not link the session on the worker that it leaves
	s.setCommand(CommandMove, now)
}

// ReportedMissing records that the worker does not list the session although it should run there for
// some time. The session starts there again.
func (s *Session) ReportedMissing(now time.Time) []Event {
	events := s.WorkerLost("worker does not have the session", now)
	s.setCommand(CommandStart, now)
	return events
}

// AwaitRecovery records that the worker is back, perhaps as a new process. The worker recovers the
// session by itself. The start is sent again after the grace. A debounced session is due at the end of
// its debounce, though it waited longer for the worker.
func (s *Session) AwaitRecovery(grace time.Duration, now time.Time) []Event {
	if s.Intent != Up || s.Command.Stops() {
		s.DueAt = now
		return nil
	}
	events := s.WorkerLost("worker came back", now)
	s.LastReportWorkerTime = time.Time{} // a new process may run on another clock
	if s.DebounceUntil.IsZero() {
		c := CommandStart
		if s.Command == CommandRestart {
			c = CommandRestart // the old process may still run the session
		}
		s.setCommand(c, now)
		s.DueAt = now.Add(grace)
	} else {
		s.DueAt = s.DebounceUntil
	}
	return events
}

// UnassignForMove ends the assignment so that the session can be placed on another worker. The kind of
// the next placement is [EventSessionFailedOver] or [EventSessionMigrated].
func (s *Session) UnassignForMove(kind EventType, now time.Time) {
	if s.Status == Connected || s.Status == Disconnected && s.WasConnected || s.HasToScan() {
		s.setStatus(Reconnecting, now)
	} else if s.Status != Reconnecting {
		s.setStatus(Init, now)
	}
	s.clearDebounce()
	s.QR, s.PairingCode = QR{}, ""
	s.PreviousWorkerID, s.PlacementEvent = s.WorkerID, kind
	s.unassign()
	s.DueAt = now
}

// StopConfirmed records that the stop is confirmed or no longer necessary, and frees the slot. A
// session that moves then waits for placement. A session that the user has started again meanwhile
// stays assigned.
func (s *Session) StopConfirmed(now time.Time) {
	if s.Intent == Up && !s.Command.Stops() {
		return
	}
	if s.Command == CommandMove {
		kind := EventSessionMigrated
		if s.ExcludedWorkerID == s.WorkerID {
			kind = EventSessionFailedOver
		}
		s.UnassignForMove(kind, now)
		return
	}
	s.unassign()
	s.UpdatedAt = now
	if s.Intent == Up {
		s.DueAt = now // the user connected the session again after the logout
	}
}

// StartRejected records that the assigned worker certainly did not execute the first start of this
// assignment. The session leaves the worker, avoids it for ExclusionPeriod, and waits for placement:
// none after the first failures, then a backoff.
//
// A report that the session runs on the worker is newer than the rejection: nothing changes. Another
// replica may have sent the start again meanwhile, and the worker may have executed that start: the
// outcome is unknown.
func (s *Session) StartRejected(why string, t Timing, now time.Time) {
	switch {
	case s.Confirmed:
		return
	case s.Attempts > 0:
		s.CommandOutcomeUnknown(t, now)
		return
	}
	s.ExcludedWorkerID, s.ExcludedUntil = s.WorkerID, now.Add(t.ExclusionPeriod)
	s.LastError = why
	s.clearDebounce()
	s.unassign()
	if s.Status != Reconnecting {
		s.setStatus(Init, now)
	}
	s.DueAt = s.failedStartDueAt(t, now)
	s.FailedStarts++
}

// StartTimedOut records that the worker never confirmed a start that it may have executed. The session
// is stopped on that worker before it starts on another, so it never runs twice. The stop is due at
// once after the first failures, then after a backoff. A stop that cannot be confirmed waits until the
// worker counts as lost.
func (s *Session) StartTimedOut(why string, t Timing, now time.Time) {
	s.ExcludedWorkerID, s.ExcludedUntil = s.WorkerID, now.Add(t.ExclusionPeriod)
	s.LastError = why
	s.RequestStopForMove(now)
	s.DueAt = s.failedStartDueAt(t, now)
	s.FailedStarts++
}

// failedStartDueAt returns when the step after a failed start is due. The first
// StartAttempts failures cause no wait, further ones a growing backoff.
func (s *Session) failedStartDueAt(t Timing, now time.Time) time.Time {
	if s.FailedStarts < t.StartAttempts {
		return now
	}
	return now.Add(t.Backoff(s.FailedStarts - t.StartAttempts + 1))
}

// CancelConnect takes back a connect whose first placement or start failed. The caller reports the
// failure to the user, and the session is down as before.
func (s *Session) CancelConnect(now time.Time) {
	s.Intent = Down
	s.clearDebounce()
	s.unassign()
	s.setStatus(Disconnected, now)
}

// PlacementFailed records that no worker has a free slot for the session. The session waits for a
// backoff. A session that takes its home alone waits longer: the home's return makes it due.
func (s *Session) PlacementFailed(t Timing, now time.Time) {
	s.Attempts++
	s.DueAt = now.Add(t.Backoff(s.Attempts))
	if s.HomePolicy == HomeRequired {
		s.DueAt = now.Add(t.HomeWait)
	}
}

// EndDebounce ends the debounce of a DISCONNECTED that no other report followed. The intent goes down
// if the phone logged out or the session was never linked. A session whose credentials are elsewhere
// and that nobody scanned waits for its home. Otherwise the session starts again after a backoff, or
// fails after RestartAttempts.
func (s *Session) EndDebounce(t Timing, now time.Time) []Event {
	if s.DebounceUntil.IsZero() {
		return nil
	}
	isFinal := s.LoggedOut || !s.WasConnected
	isAway := s.IsLinked() && !s.isAtHome() && !s.LoggedOut && s.HomePolicy != HomeAbandoned
	s.clearDebounce()
	switch {
	case isFinal && isAway:
		s.requireHome(t, now)
		return nil
	case isFinal:
		s.Intent = Down
		s.unassign()
		s.UpdatedAt = now
		return nil
	}
	s.Restarts++
	if s.Restarts > t.RestartAttempts {
		return s.Fail("the connection was lost and could not be restored", now)
	}
	s.setStatus(Init, now)
	s.setCommand(CommandStart, now)
	s.DueAt = now.Add(t.Backoff(s.Restarts))
	return nil
}

// setCommand sets the command that is due now.
func (s *Session) setCommand(c Command, now time.Time) {
	s.Command, s.Attempts, s.DueAt, s.UpdatedAt = c, 0, now, now
	if c == CommandStart || c == CommandRestart {
		s.Confirmed = false
	}
}

// markConfirmed records that the worker executed the command. DueAt stays: the worker may be offline or
// draining. This method does not know that, and both need another step.
func (s *Session) markConfirmed() {
	s.Confirmed, s.Attempts, s.FailedStarts, s.ExcludedWorkerID = true, 0, 0, ""
	if !s.Command.Stops() {
		s.Command = CommandNone
	}
}

// clearDebounce ends the debounce without a decision.
func (s *Session) clearDebounce() { s.DebounceUntil, s.LoggedOut = time.Time{}, false }

// unassign ends the assignment and everything that belongs to it.
func (s *Session) unassign() {
	s.WorkerID, s.Command, s.Confirmed, s.DueAt = "", CommandNone, false, time.Time{}
	s.PairingCode, s.QR = "", QR{}
	s.ReleaseClaim()
}

// unlink forgets the linked WhatsApp account.
func (s *Session) unlink() {
	s.PhoneNumber, s.DisplayName, s.CredentialsWorkerID, s.CredentialsGroup = "", "", "", ""
	s.resetHomePolicy()
}

// setStatus changes the status without an event.
func (s *Session) setStatus(to Status, now time.Time) {
	if s.Status != to {
		s.Status, s.StatusAt = to, now
	}
	s.UpdatedAt = now
}

// transition changes the status and returns the event of the new status, if any.
func (s *Session) transition(to Status, reason string, now time.Time) []Event {
	if s.Status == to {
		return nil
	}
	s.countUnscanned(s.Status, to)
	s.setStatus(to, now)
	s.LastSeenAt = now
	switch to {
	case Connected:
		return []Event{s.event(EventSessionConnected, reason, now)}
	case Disconnected:
		return []Event{s.event(EventSessionDisconnected, reason, now)}
	case QRRequired:
		return []Event{s.event(EventSessionQR, reason, now)}
	case Errored:
		return []Event{s.event(EventSessionError, reason, now)}
	}
	return nil
}

// first returns the first value that is not empty.
func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
