package domain

import (
	"slices"
	"strings"
	"time"
)

// Intent is what the user wants of a session.
type Intent string

// The intents.
const (
	Up   Intent = "UP"
	Down Intent = "DOWN"
)

// Status is what is observed of a session.
type Status string

// The statuses. The first four are live: they hold a slot on a worker or wait
// for one.
const (
	Init         Status = "INIT"
	QRRequired   Status = "QR_REQUIRED"
	Connected    Status = "CONNECTED"
	Reconnecting Status = "RECONNECTING"
	Disconnected Status = "DISCONNECTED"
	Errored      Status = "ERROR"
)

// IsActive reports whether a session of this status counts against the live
// sessions of its user.
func (s Status) IsActive() bool {
	switch s {
	case Init, QRRequired, Connected, Reconnecting:
		return true
	}
	return false
}

// ParseStatus accepts a status in any case.
func ParseStatus(s string) (Status, error) {
	switch st := Status(strings.ToUpper(strings.TrimSpace(s))); st {
	case Init, QRRequired, Connected, Reconnecting, Disconnected, Errored:
		return st, nil
	}
	return "", Errorf(Invalid, CodeValidation,
		"Status must be one of INIT, QR_REQUIRED, CONNECTED, RECONNECTING, DISCONNECTED, ERROR")
}

// Command is what the assigned worker has still to be told, or has not yet
// confirmed. It is recorded before the call is made, so a crash in between is
// found and finished by the reconciler.
type Command string

// The commands.
const (
	CommandNone       Command = ""
	CommandStart      Command = "START"
	CommandRestart    Command = "RESTART"
	CommandDisconnect Command = "DISCONNECT" // stop, keep credentials
	CommandLogout     Command = "LOGOUT"     // stop, forget credentials
	CommandMove       Command = "MOVE"       // stop there, then start elsewhere
	CommandDelete     Command = "DELETE"     // forget everything; only as a Cleanup
)

// Stops reports whether the command ends with the session not running there.
func (o Command) Stops() bool {
	return o == CommandDisconnect || o == CommandLogout || o == CommandMove || o == CommandDelete
}

// AsStop returns the stop that ends an assignment: Logout stays, every other command
// is Disconnect.
func (c Command) AsStop() Command {
	if c == CommandLogout {
		return CommandLogout
	}
	return CommandDisconnect
}

// MoreDestructive returns whichever of two stops leaves less behind.
func (o Command) MoreDestructive(other Command) Command {
	for _, most := range []Command{CommandDelete, CommandLogout} {
		if o == most || other == most {
			return most
		}
	}
	return o
}

// Session is one WhatsApp account that a user wants online, or not.
//
// A session is assigned while WorkerID is set, and exactly then holds a slot
// there.
type Session struct {
	ID          string
	UserID      string
	Name        string
	Description string
	DisplayName string // of the WhatsApp account
	PhoneNumber string // digits; empty while not linked

	Intent       Intent
	Status       Status
	StatusAt     time.Time // since when
	WasConnected bool      // since the intent went up, or a QR was last shown
	LastError    string

	WorkerID            string
	Generation          int64 // grows by one with each assignment, never shrinks
	AssignedAt          time.Time
	CredentialsWorkerID string // the worker that holds its credentials; empty if none does
	PreviousWorkerID    string // the worker it is on its way from; empty unless moving
	PlacementEvent      EventType
	MigrationID         string // the migration that is open; empty: none
	MigrationTargetID   string // where that wants it, if it can; empty: anywhere

	Command      Command
	Confirmed    bool // the worker confirmed that the session runs there
	Attempts     int  // of the present command, or of finding room
	FailedStarts int  // starts in a row that failed, on any worker
	Restarts     int  // unwanted disconnects in a row

	ClaimedBy    string    // the replica that is calling the worker about it; empty: none
	ClaimedUntil time.Time // the claim counts until then

	DebounceUntil time.Time // a DISCONNECTED with the intent up is final then; zero: not debounced
	LoggedOut     bool      // while debounced: the phone logged out

	ExcludedWorkerID string // not there, until
	ExcludedUntil    time.Time

	QR           QR
	PairingPhone string // asks for a pairing code instead of a QR; digits
	PairingCode  string

	DueAt                time.Time // when the reconciler must look; zero: nothing to do
	LastReportWorkerTime time.Time // worker's clock: newest report that was applied
	LastReportAppliedAt  time.Time // our clock: when a report was last applied
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

// NewSession returns a new session that has never been started.
func NewSession(id, userID, name, description string, now time.Time) *Session {
	return &Session{
		ID: id, UserID: userID, Name: name, Description: description,
		Intent: Down, Status: Disconnected, StatusAt: now, CreatedAt: now, UpdatedAt: now,
	}
}

// Connect records that the user wants the session up. pairingPhone, if not
// empty, asks for a pairing code. If the session is still assigned (it
// is debounced, or its stop is not confirmed), it starts again where it is;
// otherwise it is to be placed. A logout that is not confirmed yet comes
// first: credentials that were to be forgotten are not used again.
func (s *Session) Connect(pairingPhone string, now time.Time) error {
	switch {
	case s.Status == Connected:
		return Errorf(Conflict, CodeSessionConnected, "Session is already connected")
	case s.Status.IsActive():
		return Errorf(Conflict, CodeSessionConnecting, "Session is already connecting; follow it with its status or QR route")
	}
	s.Intent, s.LastError = Up, ""
	s.WasConnected, s.Restarts, s.FailedStarts = false, 0, 0
	s.PairingPhone, s.PairingCode = pairingPhone, ""
	s.clearDebounce()
	s.setStatus(Init, now)
	switch {
	case s.Command == CommandLogout:
		return nil
	case s.Command.Stops():
		s.Generation++ // the worker may have been told to stop the present one, and starts that no more
		s.LastReportWorkerTime = time.Time{}
	}
	s.setCommand(CommandStart, now)
	return nil
}

// AcquireClaim notes that a replica is about to call the worker about the session:
// until then no other does. What is decided without a call is not held up.
func (s *Session) AcquireClaim(replicaID string, until time.Time) {
	s.ClaimedBy, s.ClaimedUntil = replicaID, until
}

// ReleaseClaim ends a claim.
func (s *Session) ReleaseClaim() { s.ClaimedBy, s.ClaimedUntil = "", time.Time{} }

// IsClaimed reports whether a replica has a claim on the session.
func (s *Session) IsClaimed(now time.Time) bool {
	return s.ClaimedBy != "" && now.Before(s.ClaimedUntil)
}

// Assign gives the session to a worker, with a new generation. A session that
// was linked keeps RECONNECTING; others start afresh at INIT.
func (s *Session) Assign(workerID string, now time.Time) []Event {
	from, kind := s.PreviousWorkerID, s.PlacementEvent
	s.WorkerID, s.AssignedAt = workerID, now
	s.Generation++
	s.PreviousWorkerID, s.PlacementEvent = "", ""
	s.LastReportWorkerTime = time.Time{}
	s.Confirmed, s.Attempts = false, 0
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

// Disconnect records that the user wants the session down, keeping its
// credentials. It reports whether a worker has still to be told.
func (s *Session) Disconnect(now time.Time) (told bool, events []Event) {
	return s.stop(CommandDisconnect, "user disconnected", now)
}

// Logout records that the user wants the session down and its phone unlinked.
// The phone number is forgotten at once. It reports whether the assigned
// worker has still to be told; the home of an unassigned session is the
// caller's to clean up.
func (s *Session) Logout(now time.Time) (told bool, events []Event) {
	s.unlink()
	return s.stop(CommandLogout, "user logged out", now)
}

func (s *Session) stop(o Command, reason string, now time.Time) (bool, []Event) {
	s.Intent = Down
	s.clearDebounce()
	s.ExcludedWorkerID, s.PreviousWorkerID, s.PlacementEvent, s.LastError = "", "", "", ""
	s.QR, s.PairingCode = QR{}, ""
	events := s.transition(Disconnected, reason, now)
	if !s.IsAssigned() {
		s.Command, s.DueAt = CommandNone, time.Time{}
		return false, events
	}
	if s.Command == CommandLogout {
		o = CommandLogout // never weakened to a mere disconnect
	}
	s.setCommand(o, now)
	return true, events
}

// Restart records that the user wants the session started afresh. A session
// that is down cannot restart.
func (s *Session) Restart(now time.Time) error {
	if s.Intent != Up {
		return Errorf(Conflict, CodeInvalidState, "Session is not running; connect it instead")
	}
	s.clearDebounce()
	s.Restarts, s.Confirmed, s.LastError = 0, false, ""
	s.QR, s.PairingCode = QR{}, ""
	s.setStatus(Init, now)
	switch {
	case s.Command == CommandLogout: // it comes first, see Connect
	case s.Command == CommandMove: // it starts afresh anyway, elsewhere
	case s.IsAssigned():
		s.setCommand(CommandRestart, now)
	default:
		s.setCommand(CommandStart, now)
	}
	return nil
}

// Fail ends the session in ERROR and frees its slot; it stays there until the
// user connects, disconnects or logs out.
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

// WorkerLost notes that the worker of the session is gone, perhaps for a moment
// only: a session that was linked is RECONNECTING from now on.
func (s *Session) WorkerLost(reason string, now time.Time) []Event {
	if s.Status != Connected {
		return nil
	}
	s.LastReportAppliedAt = now
	return s.transition(Reconnecting, reason, now)
}

// RequestStopForMove commands the session to be stopped on its worker and started elsewhere.
func (s *Session) RequestStopForMove(now time.Time) {
	if s.Status == Connected {
		s.setStatus(Reconnecting, now)
	}
	s.QR, s.PairingCode = QR{}, "" // not to be linked where it leaves
	s.setCommand(CommandMove, now)
}

// ReportedMissing notes that the worker, which should have had the session for long,
// does not list it: it is started there again.
func (s *Session) ReportedMissing(now time.Time) []Event {
	events := s.WorkerLost("worker does not have the session", now)
	s.setCommand(CommandStart, now)
	return events
}

// AwaitRecovery notes that the worker is back, perhaps as a new process: the
// session is the worker's to recover, and is asked for again after a grace.
func (s *Session) AwaitRecovery(grace time.Duration, now time.Time) []Event {
	if s.Intent != Up || s.Command.Stops() {
		s.DueAt = now
		return nil
	}
	events := s.WorkerLost("worker came back", now)
	s.LastReportWorkerTime = time.Time{} // a new process may have another clock
	if s.DebounceUntil.IsZero() {
		o := CommandStart
		if s.Command == CommandRestart {
			o = CommandRestart // not lost if it was only cut off
		}
		s.setCommand(o, now)
		s.DueAt = now.Add(grace)
	}
	return events
}

// CommandAccepted notes that the worker accepted the command. A start is confirmed only by
// a report that the session runs; until then it is asked for again in time.
func (s *Session) CommandAccepted(t Timing, now time.Time) {
	if s.Command == CommandRestart {
		s.Command = CommandStart
	}
	s.Attempts++
	if s.DueAt = s.DebounceUntil; s.DueAt.IsZero() {
		s.DueAt = now.Add(t.StartTimeout)
	}
}

// CommandOutcomeUnknown notes that the outcome of a call about the present command is not
// known; it is made again after a back-off.
func (s *Session) CommandOutcomeUnknown(t Timing, now time.Time) {
	s.Attempts++
	s.DueAt = now.Add(t.Backoff(s.Attempts))
}

// CommandThrottled notes that the worker limits us and did nothing: the call is made again
// when the worker asked for it, and does not count against it.
func (s *Session) CommandThrottled(wait time.Duration, t Timing, now time.Time) {
	s.DueAt = now.Add(min(max(wait, 2*t.RestartBackoff), t.MaxBackoff))
}

// UnassignForMove takes the session from its worker so that it can be placed elsewhere:
// kind is [EventSessionFailedOver] or [EventSessionMigrated].
func (s *Session) UnassignForMove(kind EventType, now time.Time) {
	if s.Status == Connected || s.Status == Disconnected && s.WasConnected {
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

// StopConfirmed notes that the worker confirmed a stop, or that it need not any
// more: the slot is free. A session that was only moving waits to be placed. One
// that the user has started again meanwhile stays.
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
	if s.UpdatedAt = now; s.Intent == Up {
		s.DueAt = now // it was logged out and then connected again
	}
}

// StartRejected notes that the assigned worker certainly did not take the first start
// of this assignment: the session leaves it, avoids it for a while, and is
// placed again: at once after the first failures, then with a back-off. A report
// that it runs there is the newer truth: then nothing changes. If it was asked
// again meanwhile, by another replica, it may have taken that.
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
	if s.DueAt = now; s.FailedStarts >= t.StartAttempts {
		s.DueAt = now.Add(t.Backoff(s.FailedStarts - t.StartAttempts + 1))
	}
	s.FailedStarts++
}

// StartTimedOut notes that the worker never confirmed a start that it may have had all
// the same: the session is stopped there before it is started elsewhere, so
// that it never runs twice: at once after the first failures, then with a
// back-off. A stop that cannot be confirmed waits until the worker counts as
// lost.
func (s *Session) StartTimedOut(why string, t Timing, now time.Time) {
	s.ExcludedWorkerID, s.ExcludedUntil = s.WorkerID, now.Add(t.ExclusionPeriod)
	s.LastError = why
	s.RequestStopForMove(now)
	if s.FailedStarts >= t.StartAttempts {
		s.DueAt = now.Add(t.Backoff(s.FailedStarts - t.StartAttempts + 1))
	}
	s.FailedStarts++
}

// CancelConnect takes back an intent that could not be carried out even once: the
// caller is told so, and the session is down as before.
func (s *Session) CancelConnect(now time.Time) {
	s.Intent = Down
	s.clearDebounce()
	s.unassign()
	s.setStatus(Disconnected, now)
}

// PlacementFailed notes that no worker could take the session; it waits.
func (s *Session) PlacementFailed(t Timing, now time.Time) {
	s.Attempts++
	s.DueAt = now.Add(t.Backoff(s.Attempts))
}

// EndDebounce ends the debounce of a DISCONNECTED that nothing has followed: the
// intent goes down if the phone logged out or the session was never linked;
// otherwise the session is to be started again, or has failed too often.
func (s *Session) EndDebounce(t Timing, now time.Time) []Event {
	if s.DebounceUntil.IsZero() {
		return nil
	}
	gone := s.LoggedOut || !s.WasConnected
	s.clearDebounce()
	if gone {
		s.Intent = Down
		s.unassign()
		s.UpdatedAt = now
		return nil
	}
	if s.Restarts++; s.Restarts > t.RestartAttempts {
		return s.Fail("the connection was lost and could not be restored", now)
	}
	s.setStatus(Init, now)
	s.setCommand(CommandStart, now)
	s.DueAt = now.Add(t.Backoff(s.Restarts))
	return nil
}

// setCommand sets what the worker is to be told now.
func (s *Session) setCommand(o Command, now time.Time) {
	s.Command, s.Attempts, s.DueAt, s.UpdatedAt = o, 0, now, now
	if o == CommandStart || o == CommandRestart {
		s.Confirmed = false
	}
}

// markConfirmed notes that the worker has done what it was told to. DueAt stays: the
// worker may be offline or draining, which is not known here, and then there is
// more to do.
func (s *Session) markConfirmed() {
	s.Confirmed, s.Attempts, s.FailedStarts, s.ExcludedWorkerID = true, 0, 0, ""
	if !s.Command.Stops() {
		s.Command = CommandNone
	}
}

func (s *Session) clearDebounce() { s.DebounceUntil, s.LoggedOut = time.Time{}, false }

func (s *Session) unassign() {
	s.WorkerID, s.Command, s.Confirmed, s.DueAt = "", CommandNone, false, time.Time{}
	s.PairingCode, s.QR = "", QR{}
	s.ReleaseClaim()
}

func (s *Session) unlink() {
	s.PhoneNumber, s.DisplayName, s.CredentialsWorkerID = "", "", ""
}

// setStatus changes the status without an event.
func (s *Session) setStatus(to Status, now time.Time) {
	if s.Status != to {
		s.Status, s.StatusAt = to, now
	}
	s.UpdatedAt = now
}

// transition changes the status and raises the event that goes with it, if any.
func (s *Session) transition(to Status, reason string, now time.Time) []Event {
	if s.Status == to {
		return nil
	}
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

func (s *Session) event(e EventType, reason string, now time.Time) Event {
	return Event{
		Type: e, At: now, UserID: s.UserID, SessionID: s.ID, WorkerID: s.WorkerID,
		Generation: s.Generation, Status: s.Status, Reason: reason,
	}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
