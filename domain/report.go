package domain

import "time"

// reportable is the life cycle as far as a worker's report may move it: what
// the user does is in the methods of [Session]. DISCONNECTED is left by a report
// only while it is debounced.
var reportable = map[Status][]Status{
	Init:         {QRRequired, Connected, Disconnected, Errored},
	QRRequired:   {Connected, Disconnected, Errored},
	Connected:    {Reconnecting, Disconnected, Errored},
	Reconnecting: {QRRequired, Connected, Disconnected, Errored},
	Disconnected: {Init, QRRequired, Reconnecting, Connected},
}

// MayReport reports whether a worker's report may move a session from one
// status to another. From DISCONNECTED this holds only while it is debounced.
func MayReport(from, to Status) bool {
	for _, s := range reportable[from] {
		if s == to {
			return true
		}
	}
	return false
}

// Report is what a worker says of a session, in a status report, a heartbeat,
// or the answer to a call.
type Report struct {
	SessionID   string
	WorkerID    string // empty: the report does not say
	Generation  int64  // 0: the report does not say
	Status      Status
	PhoneNumber string
	DisplayName string
	QR          QR
	PairingCode string
	LoggedOut   bool // the credentials are gone
	Snapshot    bool // from a list of all sessions, which may be older than our latest call
	Reason      string
	Error       string
	At          time.Time // the worker's clock; zero: it does not say
}

// Outcome says what became of a report.
type Outcome uint8

// The outcomes of a report.
const (
	Applied   Outcome = iota // the status moved
	Repeated                 // the status stands; data was refreshed
	Unchanged                // nothing new at all
	Stale                    // refused: older, or not a move the life cycle has
	NotOwner                 // refused: from a worker, or a generation, that does not hold the session
	NotWanted                // refused: the user wants it down
	outcomeEnd
)

// String names the outcome for logs and counters.
func (o Outcome) String() string {
	return [outcomeEnd]string{"applied", "repeated", "unchanged", "stale", "not owner", "not wanted"}[o]
}

// clockSkew bounds how far a worker's clock is believed to be off, and how late
// a report that was overtaken may arrive.
const clockSkew = 5 * time.Second

// Apply lets a report change what is known of the session, as far as the life
// cycle and the debounce rule allow.
func (s *Session) Apply(r Report, t Timing, now time.Time) (Outcome, []Event) {
	switch {
	case !s.IsAssigned(),
		r.WorkerID != "" && r.WorkerID != s.WorkerID,
		r.Generation != 0 && r.Generation != s.Generation:
		return NotOwner, nil
	case s.Intent == Down && r.Status.IsActive():
		return NotWanted, nil
	case s.Intent == Up && s.Command.Stops():
		return Stale, nil // it is being stopped there to start afresh or elsewhere
	case r.Snapshot && !s.Confirmed && (s.Command == CommandRestart || s.Command == CommandStart && !r.Status.IsActive()):
		return Stale, nil // the worker may not have had the command yet
	case r.Snapshot && s.LoggedOut && r.Status.IsActive():
		return Stale, nil // the list was made before the phone logged out
	case !r.At.IsZero() && r.At.Before(s.LastReportWorkerTime) && now.Sub(s.LastReportAppliedAt) < clockSkew:
		return Stale, nil // long after, it is rather the worker's clock that was set back
	}
	if r.Status == s.Status {
		return s.refresh(r, now), nil
	}
	settling := !s.DebounceUntil.IsZero()
	if !MayReport(s.Status, r.Status) || s.Status == Disconnected && !settling {
		return Stale, nil
	}
	s.refresh(r, now)
	s.LastReportAppliedAt = now
	return Applied, s.applied(r, t, now)
}

// applied carries out a move that has been allowed.
func (s *Session) applied(r Report, t Timing, now time.Time) []Event {
	connectedFor := now.Sub(s.StatusAt)
	was := s.Status
	s.clearDebounce()
	if was == Connected && connectedFor >= t.StableAfter {
		s.Restarts = 0
	}
	switch r.Status {
	case Init, Reconnecting:
		if !s.Confirmed {
			s.DueAt = now.Add(t.StartTimeout)
		}
		return s.transition(r.Status, r.Reason, now)
	case QRRequired:
		s.markConfirmed()
		s.WasConnected = false // the link is gone: without a scan the attempts run out
		events := s.transition(QRRequired, r.Reason, now)
		if was == Reconnecting {
			s.PhoneNumber = ""
			events[0].Reason = "credentials are gone; scan again"
		}
		return events
	case Connected:
		s.markConfirmed()
		s.WasConnected, s.LastError, s.CredentialsWorkerID = true, "", s.WorkerID
		s.QR, s.PairingCode, s.PairingPhone = QR{}, "", ""
		return s.transition(Connected, r.Reason, now)
	case Disconnected:
		s.DebounceUntil = now.Add(t.DisconnectDebounce)
		if s.Command == CommandRestart && !s.WasConnected && !r.LoggedOut {
			s.DebounceUntil = now.Add(t.StartTimeout) // a moment of that restart; a first QR may take its time
		}
		s.DueAt = s.DebounceUntil
		s.LoggedOut = r.LoggedOut
		s.QR, s.PairingCode = QR{}, ""
		if r.LoggedOut {
			s.unlink()
		}
		return s.transition(Disconnected, r.Reason, now)
	default: // Errored
		return s.Fail(first(r.Error, r.Reason, "worker reported an error"), now)
	}
}

// refresh takes over the data of a report whatever its status.
func (s *Session) refresh(r Report, now time.Time) Outcome {
	before := *s
	if r.Status == Connected {
		s.PhoneNumber = first(r.PhoneNumber, s.PhoneNumber)
		s.DisplayName = first(r.DisplayName, s.DisplayName)
		if s.Status == Connected && !s.Confirmed {
			s.markConfirmed()
		}
	}
	if r.Status == QRRequired {
		if r.QR.Code != s.QR.Code && r.QR.Code != "" || len(r.QR.Image) > 0 {
			s.QR = r.QR
		}
		s.PairingCode = first(r.PairingCode, s.PairingCode)
		if s.Status == QRRequired && !s.Confirmed {
			s.markConfirmed()
		}
	}
	if r.Status == Disconnected && r.LoggedOut && !s.LoggedOut && s.Status == Disconnected {
		s.LoggedOut = !s.DebounceUntil.IsZero()
		s.unlink()
	}
	if r.At.After(s.LastReportWorkerTime) {
		s.LastReportWorkerTime = r.At
		if r.At.After(now.Add(clockSkew)) {
			s.LastReportWorkerTime = now // its clock is wrong, and may be set back
		}
	}
	if before.PhoneNumber == s.PhoneNumber && before.DisplayName == s.DisplayName &&
		before.QR.Code == s.QR.Code && len(r.QR.Image) == 0 && before.PairingCode == s.PairingCode &&
		before.Confirmed == s.Confirmed && before.LoggedOut == s.LoggedOut && before.CredentialsWorkerID == s.CredentialsWorkerID {
		return Unchanged
	}
	s.LastSeenAt, s.UpdatedAt = now, now
	return Repeated
}
