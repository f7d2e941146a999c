package domain

import "time"

// UnscannedLimits bounds the sessions that were never linked and wait for a first scan. They hold slots
// that linked sessions need. A value of 0 or less means no such limit.
type UnscannedLimits struct {
	PerUser    int // sessions of one user that wait at once, besides the limit of the tier
	PerNetwork int // sessions connected from one client network that wait at once, see ClientNetwork; loopback is exempt
	// Cooldown is the wait for the next connect after two unscanned runs in a row. It doubles with each
	// further run, up to an hour.
	Cooldown time.Duration
	// ReclaimAfter is the time after the expiry of the last QR code from which a user of a higher tier
	// who finds no slot may take the session's.
	ReclaimAfter time.Duration
}

// DefaultUnscannedLimits returns the limits of the reference server. They let a user of the MAX tier link
// all sessions at once.
func DefaultUnscannedLimits() UnscannedLimits {
	return UnscannedLimits{PerNetwork: 20, Cooldown: 30 * time.Second, ReclaimAfter: time.Minute}
}

// maxScanCooldown bounds [Session.ScanCooldown].
const maxScanCooldown = time.Hour

// AwaitsScan reports whether the session is wanted up, is not linked, and has not connected yet. A session
// that logged out is not linked. A linked session may have no phone number: its worker did not report one.
func (s *Session) AwaitsScan() bool {
	return s.Intent == Up && !s.IsLinked() && (s.Status == Init || s.Status == QRRequired)
}

// UnscannedRuns counts the unscanned runs in a row of all sessions of one user, deleted ones too. Runs at the
// same time count as one: a user who links several sessions shows several codes at once.
type UnscannedRuns struct {
	Count   int       // at most MaxUnscannedRuns
	EndedAt time.Time // when the latest counted run ended; zero: none
}

// MaxUnscannedRuns is the highest [UnscannedRuns.Count]. More runs do not lengthen the cooldown.
const MaxUnscannedRuns = 100

// Cooldown returns how long the user still has to wait for the next connect of a session that is not linked.
func (r UnscannedRuns) Cooldown(l UnscannedLimits, now time.Time) time.Duration {
	return scanCooldown(l, r.Count, r.EndedAt, now)
}

// ScanCooldown returns how long the session still has to wait for its next connect because of its
// unscanned runs.
func (s *Session) ScanCooldown(l UnscannedLimits, now time.Time) time.Duration {
	if s.IsLinked() || s.Status.IsActive() {
		return 0
	}
	return scanCooldown(l, s.UnscannedRuns, s.StatusAt, now)
}

// scanCooldown returns the rest of the wait after a number of unscanned runs. end is when the latest of them
// ended.
func scanCooldown(l UnscannedLimits, runs int, end, now time.Time) time.Duration {
	if runs < 2 || l.Cooldown <= 0 {
		return 0
	}
	wait := maxScanCooldown
	if doublings := runs - 2; doublings < 12 && l.Cooldown < maxScanCooldown>>doublings {
		wait = l.Cooldown << doublings
	}
	return max(wait-now.Sub(end), 0)
}

// ScanResult is the meaning of a change of a session for the [UnscannedRuns] of its user.
type ScanResult uint8

// The scan results.
const (
	ScanUnchanged ScanResult = iota // the change ends no run
	ScanMissing                     // an unscanned run ended
	ScanDone                        // a phone scanned
)

// CompareScans returns the meaning of a change of a session from before to after. after is nil if
// the session was deleted. A run may end in a restart, which shows a new code.
func CompareScans(before, after *Session) ScanResult {
	switch {
	case after != nil && after.Status == Connected && (before.Status == QRRequired || after.IsLinked() && !before.IsLinked()):
		return ScanDone
	case before.Status != QRRequired || before.IsLinked() || before.Intent == Down:
		return ScanUnchanged
	case after == nil, after.UnscannedRuns > before.UnscannedRuns:
		return ScanMissing
	}
	return ScanUnchanged
}

// countUnscanned counts an unscanned run that a change of status by a report or by the user ends. A
// connection resets the count.
func (s *Session) countUnscanned(from, to Status) {
	switch {
	case to == Connected:
		s.UnscannedRuns = 0
	case from == QRRequired && !s.IsLinked() && (to == Disconnected || to == Errored):
		s.UnscannedRuns++
	}
}

// IsReclaimable reports whether a user of a higher tier may take the session's slot.
func (s *Session) IsReclaimable(l UnscannedLimits, now time.Time) bool {
	return l.ReclaimAfter > 0 && s.AwaitsScan() && s.Status == QRRequired && s.IsAssigned() && !s.Command.Stops() &&
		!s.QR.ExpiresAt.IsZero() && now.Sub(s.QR.ExpiresAt) > l.ReclaimAfter
}

// Reclaim takes the session down to free its slot.
func (s *Session) Reclaim(now time.Time) []Event {
	const why = "Nobody scanned the QR code in time, and the place was needed; connect again for a new code"
	_, events := s.stop(CommandDisconnect, why, now)
	s.LastError = why
	return events
}
