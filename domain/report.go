package domain

import (
	"regexp"
	"strings"
	"time"
)

// reportTransitions lists the status changes that a worker's report may cause. User actions are methods
// of [Session]. A report changes DISCONNECTED only while it is debounced.
var reportTransitions = map[Status][]Status{
	Init:         {QRRequired, Connected, Disconnected, Errored},
	QRRequired:   {Connected, Disconnected, Errored},
	Connected:    {Reconnecting, Disconnected, Errored},
	Reconnecting: {QRRequired, Connected, Disconnected, Errored},
	Disconnected: {Init, QRRequired, Reconnecting, Connected},
}

// CanReportTransition reports whether a worker's report may change the status from one to the other. From
// DISCONNECTED this holds only while it is debounced.
func CanReportTransition(from, to Status) bool {
	for _, s := range reportTransitions[from] {
		if s == to {
			return true
		}
	}
	return false
}

// ParseReportedStatus translates a worker's word for a session's status, in any case. Workers use words of
// their own besides the names of the statuses. loggedOut reports that the worker has no credentials any
// more. ok is false for an unknown word.
func ParseReportedStatus(word string) (s Status, loggedOut, ok bool) {
	switch toUnderscores.Replace(strings.ToLower(strings.TrimSpace(word))) {
	case "init", "initializing", "starting", "connecting":
		return Init, false, true
	case "qr_required", "qr_ready":
		return QRRequired, false, true
	case "connected", "open":
		return Connected, false, true
	case "reconnecting", "restarting":
		return Reconnecting, false, true
	case "disconnected", "close", "closed", "qr_expired": // nobody scanned, and there is no further code
		return Disconnected, false, true
	case "logged_out":
		return Disconnected, true, true
	case "error", "failed":
		return Errored, false, true
	}
	return "", false, false
}

var toUnderscores = strings.NewReplacer("-", "_", " ", "_")

// Report is a worker's statement about a session, in a status report, a heartbeat, or the response to a
// call.
type Report struct {
	SessionID   string
	WorkerID    string // empty: not stated
	Generation  int64  // 0: not stated
	Status      Status
	PhoneNumber string
	DisplayName string
	QR          QR
	PairingCode string
	LoggedOut   bool // the worker has no credentials any more
	Snapshot    bool // from a list of all sessions, which may be older than our latest call
	Reason      string
	Error       string
	At          time.Time // the worker's clock; zero: not stated
}

// Outcome is the result of a report.
type Outcome uint8

// The outcomes of a report.
const (
	Applied     Outcome = iota // the status changed
	Repeated                   // the status was the same; data was refreshed
	Unchanged                  // the report contained nothing new
	Stale                      // refused: older, or not a transition of the life cycle
	NotOwner                   // refused: the worker or the generation does not hold the session
	NotWanted                  // refused: the user wants the session down
	Implausible                // refused: the generation is far beyond the session's
	outcomeEnd
)

// String returns the outcome for logs and counters.
func (o Outcome) String() string {
	return [outcomeEnd]string{"applied", "repeated", "unchanged", "stale", "not owner", "not wanted", "implausible generation"}[o]
}

// clockSkew limits the assumed error of a worker's clock, and the delay of a report that a newer one
// overtook.
const clockSkew = 5 * time.Second

// Apply applies a report to the session, as far as the life cycle and the debounce allow. It adopts a
// higher generation of the assigned worker, whatever the outcome of the report. A QR without an expiry lives
// for [Timing.QRLife].
func (s *Session) Apply(r Report, t Timing, now time.Time) (Outcome, []Event) {
	if !r.QR.IsZero() && r.QR.ExpiresAt.IsZero() {
		r.QR.ExpiresAt = now.Add(t.QRLife)
	}
	if refused, ok := s.admit(r); !ok {
		return refused, nil
	}
	switch {
	case s.Intent == Down && r.Status.IsActive():
		return NotWanted, nil
	case s.Intent == Up && s.Command.Stops():
		return Stale, nil // the stop precedes a new start or a move
	case r.Snapshot && !s.Confirmed && (s.Command == CommandRestart || s.Command == CommandStart && !r.Status.IsActive()):
		return Stale, nil // the list may be older than the command
	case r.Snapshot && s.LoggedOut && r.Status.IsActive():
		return Stale, nil // the list is older than the logout
	case !r.At.IsZero() && r.At.Before(s.LastReportWorkerTime) && now.Sub(s.LastReportAppliedAt) < clockSkew:
		return Stale, nil // after a longer time the worker's clock was rather set back
	}
	if r.Status == s.Status {
		return s.refreshData(r, now), nil
	}
	isDebounced := !s.DebounceUntil.IsZero()
	if !CanReportTransition(s.Status, r.Status) || s.Status == Disconnected && !isDebounced {
		return Stale, nil
	}
	s.refreshData(r, now)
	s.LastReportAppliedAt = now
	return Applied, s.applyStatus(r, t, now)
}

// applyStatus changes the status to the report's. Apply has checked that the transition is allowed.
func (s *Session) applyStatus(r Report, t Timing, now time.Time) []Event {
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
		s.WasConnected = false // the link is gone: without a scan the restart attempts run out
		return s.askForScan(was, s.transition(QRRequired, r.Reason, now), now)
	case Connected:
		s.markConfirmed()
		s.WasConnected, s.ScanRestarted, s.LastError, s.CredentialsWorkerID = true, false, "", s.WorkerID
		s.QR, s.PairingCode, s.PairingPhone = QR{}, "", ""
		s.resetHomePolicy()
		return s.transition(Connected, r.Reason, now)
	case Disconnected:
		if was == QRRequired && s.mayEndScan(r) {
			s.restartAfterScan(now)
			return nil
		}
		s.DebounceUntil = now.Add(t.DisconnectDebounce)
		if s.Command == CommandRestart && !s.WasConnected && !r.LoggedOut {
			s.DebounceUntil = now.Add(t.StartTimeout) // the worker disconnects during the restart; its first QR may take longer
		}
		s.DueAt = s.DebounceUntil
		s.LoggedOut, s.LastError = r.LoggedOut, first(r.Error, r.Reason)
		s.QR, s.PairingCode = QR{}, ""
		if r.LoggedOut {
			s.unlink()
		}
		return s.transition(Disconnected, r.Reason, now)
	default: // Errored
		return s.Fail(first(r.Error, r.Reason, "worker reported an error"), now)
	}
}

// mayEndScan reports whether a disconnect of a session that showed a QR may be the end of a scan.
// WhatsApp closes the connection after a scan, and some workers report only the disconnect. The session
// is then restarted once. A second disconnect counts as one.
func (s *Session) mayEndScan(r Report) bool {
	return !s.ScanRestarted && !r.LoggedOut && mayNameRestart(r.Reason) && mayNameRestart(r.Error)
}

// restartReason matches the reasons of a disconnect that asks for a restart. WhatsApp's code for it is 515.
var restartReason = regexp.MustCompile(`(?i)restart[ _-]?required|\b515\b`)

// mayNameRestart reports whether the reason of a disconnect is empty or asks for a restart.
func mayNameRestart(reason string) bool {
	reason = strings.TrimSpace(reason)
	return reason == "" || restartReason.MatchString(reason)
}

// restartAfterScan orders a restart at once, with the credentials of the scan.
func (s *Session) restartAfterScan(now time.Time) {
	s.ScanRestarted = true
	s.QR, s.PairingCode = QR{}, ""
	s.setStatus(Init, now)
	s.setCommand(CommandRestart, now)
}

// refreshData takes over the data of a report. It does not change the status.
func (s *Session) refreshData(r Report, now time.Time) Outcome {
	before := *s
	if r.Status == Connected {
		s.PhoneNumber = first(AccountPhone(r.PhoneNumber), s.PhoneNumber)
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
			s.LastReportWorkerTime = now // the worker's clock is wrong and may be set back
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
