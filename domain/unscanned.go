package domain

import "time"

// UnscannedLimits bounds the sessions that were never linked and wait for a first scan. They hold slots
// that linked sessions need. A value of 0 or less means no such limit.
type UnscannedLimits struct {
	PerUser    int // sessions of one user that wait at once, besides the limit of the tier
	PerNetwork int // sessions connected from one network of clients that wait at once, see ClientNetwork
	// Cooldown is the wait after the second connect in a row whose QR codes nobody scanned. It doubles
	// with each further one, up to an hour.
	Cooldown time.Duration
	// ReclaimAfter is how long after the expiry of its last QR code a session gives its slot to a user of
	// a higher tier that finds no room.
	ReclaimAfter time.Duration
}

// DefaultUnscannedLimits returns the limits of a reference server. They let a user of the MAX tier link
// all sessions at once.
func DefaultUnscannedLimits() UnscannedLimits {
	return UnscannedLimits{PerNetwork: 20, Cooldown: 30 * time.Second, ReclaimAfter: time.Minute}
}

const maxScanCooldown = time.Hour

// AwaitsScan reports whether the session was never linked, is wanted up, and has not connected yet.
func (s *Session) AwaitsScan() bool {
	return s.Intent == Up && s.PhoneNumber == "" && (s.Status == Init || s.Status == QRRequired)
}

// ScanCooldown returns how long the session has to wait for its next connect, because nobody scanned
// the QR codes of the latest ones.
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

// countUnscanned counts the runs that end without a scan. It is called before the status changes.
func (s *Session) countUnscanned(to Status) {
	switch {
	case to == Connected:
		s.UnscannedRuns = 0
	case s.Status == QRRequired && s.PhoneNumber == "" && (to == Disconnected || to == Errored):
		s.UnscannedRuns++
	}
}

// IsReclaimable reports whether the session has to give its slot to a user of a higher tier.
func (s *Session) IsReclaimable(l UnscannedLimits, now time.Time) bool {
	return l.ReclaimAfter > 0 && s.AwaitsScan() && s.Status == QRRequired && s.IsAssigned() && !s.Command.Stops() &&
		!s.QR.ExpiresAt.IsZero() && now.Sub(s.QR.ExpiresAt) > l.ReclaimAfter
}

// Reclaim takes down a session that nobody scanned, for the sake of its slot.
func (s *Session) Reclaim(now time.Time) []Event {
	const why = "Nobody scanned the QR code in time, and the place was needed; connect again for a new code"
	_, events := s.stop(CommandDisconnect, why, now)
	s.LastError = why
	return events
}
