package domain

import "time"

// UnscannedLimits bounds the sessions that were never linked and wait for a first scan. They hold slots
// that linked sessions need. A value of 0 or less means no such limit.
type UnscannedLimits struct {
	PerUser    int // sessions of one user that wait at once, besides the limit of the tier
	PerNetwork int // sessions connected from one client network that wait at once, see ClientNetwork
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

// AwaitsScan reports whether the session was never linked, is wanted up, and has not connected yet.
func (s *Session) AwaitsScan() bool {
	return s.Intent == Up && s.PhoneNumber == "" && (s.Status == Init || s.Status == QRRequired)
}

// ScanCooldown returns how long the session still has to wait for its next connect because of its
// unscanned runs.
func (s *Session) ScanCooldown(l UnscannedLimits, now time.Time) time.Duration {
	if s.UnscannedRuns < 2 || s.PhoneNumber != "" || s.Status.IsActive() || l.Cooldown <= 0 {
		return 0
	}
	wait := maxScanCooldown
	if doublings := s.UnscannedRuns - 2; doublings < 12 && l.Cooldown < maxScanCooldown>>doublings {
		wait = l.Cooldown << doublings
	}
	return max(wait-now.Sub(s.StatusAt), 0)
}

// countUnscanned counts an unscanned run that a change of status ends. A connection resets the count.
func (s *Session) countUnscanned(from, to Status) {
	switch {
	case to == Connected:
		s.UnscannedRuns = 0
	case from == QRRequired && s.PhoneNumber == "" && (to == Disconnected || to == Errored):
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
