package membership

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

const (
	// ClaimLife is how long a claim lasts: longer than any call to a worker.
	ClaimLife = 40 * time.Second
	// CallLimit bounds a call under a claim.
	CallLimit = 35 * time.Second

	claimPollEvery = 100 * time.Millisecond
)

// ErrClaimed reports that another replica has a claim on the session. The function
// given to [Members.RetryWhileClaimed] returns it.
var ErrClaimed = errors.New("another replica has a claim")

// AcquireClaim records in the row of a session that this replica calls its worker.
func (m *Members) AcquireClaim(s *domain.Session, now time.Time) {
	s.ReleaseClaim()
	if m.IsShared() {
		s.AcquireClaim(m.Self.ID, now.Add(ClaimLife))
	}
}

// HasClaimUntil reports whether this replica has a claim on the session that lasts
// until a time. Without other replicas it always has.
func (m *Members) HasClaimUntil(s *domain.Session, until time.Time) bool {
	return s.ClaimedBy == m.Self.ID && (!m.IsShared() || !s.ClaimedUntil.Before(until))
}

// IsClaimedByOther reports whether another replica has a claim on the session.
func (m *Members) IsClaimedByOther(s *domain.Session, now time.Time) bool {
	return m.IsOthersClaim(s.ClaimedBy, s.ClaimedUntil, now)
}

// IsOthersClaim reports whether a claim belongs to another replica and has not
// ended. until is by the clock of its owner.
func (m *Members) IsOthersClaim(owner string, until, now time.Time) bool {
	return owner != "" && owner != m.Self.ID && now.Before(m.ToLocalClock(owner, until))
}

// ToLocalClock translates a time by another replica's clock into this replica's. The
// result is late by at most the age of the latest heartbeat, two seconds.
func (m *Members) ToLocalClock(replicaID string, at time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, known := m.peers[replicaID]; known {
		at = at.Add(p.seenAt.Sub(p.heartbeat))
	}
	return at
}

// ClockLead returns by how much the clock of another replica is ahead of ours.
func (m *Members) ClockLead(replicaID string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, known := m.peers[replicaID]; known {
		return p.heartbeat.Sub(p.seenAt)
	}
	return 0
}

// MaxClockLag returns by how much the slowest clock of all replicas is behind ours.
func (m *Members) MaxClockLag() (lag time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		lag = max(lag, p.seenAt.Sub(p.heartbeat))
	}
	return lag
}

// RetryWhileClaimed calls fn until it does not return ErrClaimed, or ctx ends.
func (m *Members) RetryWhileClaimed(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		if !errors.Is(err, ErrClaimed) {
			return err
		}
		if err := m.Sleep(ctx, claimPollEvery); err != nil {
			return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
				"The session is being started or stopped at the moment; try again in a minute").WithCause(err)
		}
	}
}

// NextStep returns domain.NextStep for the session. A claim of this replica is no
// reason to wait, and the claim of another ends by this replica's clock.
func (m *Members) NextStep(s *domain.Session, w *domain.Worker, now time.Time) (domain.Step, time.Time) {
	if s.ClaimedBy != "" {
		seen := *s
		seen.ClaimedUntil = m.ToLocalClock(s.ClaimedBy, s.ClaimedUntil)
		if s.ClaimedBy == m.Self.ID {
			seen.ReleaseClaim()
		}
		s = &seen
	}
	return domain.NextStep(s, w, m.Timing, now)
}
