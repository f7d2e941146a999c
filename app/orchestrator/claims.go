package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
)

// claim keeps other replicas from calling the worker about the session.
func (o *Orchestrator) claim(s *domain.Session, now time.Time) {
	if s.ReleaseClaim(); o.shared() {
		s.AcquireClaim(o.self.ID, now.Add(claimLife))
	}
}

// holds reports whether this replica has a claim on the session until a time. One
// that is alone has it always.
func (o *Orchestrator) holds(s *domain.Session, until time.Time) bool {
	return s.ClaimedBy == o.self.ID && (!o.shared() || !s.ClaimedUntil.Before(until))
}

// taken reports whether another replica has a claim on the session.
func (o *Orchestrator) taken(s *domain.Session, now time.Time) bool {
	return o.othersClaim(s.ClaimedBy, s.ClaimedUntil, now)
}

// othersClaim reports whether a claim is another replica's and has not ended.
func (o *Orchestrator) othersClaim(by string, until, now time.Time) bool {
	return by != "" && by != o.self.ID && now.Before(o.members.here(by, until))
}

// here gives what another replica's clock will show at that time by this one's,
// or up to two seconds more: so old is the latest sign of life that was seen of it.
func (m *members) here(replicaID string, at time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, known := m.seen[replicaID]; known {
		at = at.Add(s.at.Sub(s.sign))
	}
	return at
}

// errTaken is returned by the function given to unclaimed if another replica has a
// claim on the session.
var errTaken = errors.New("another replica has a claim")

// unclaimed calls fn until it does not return errTaken, or the context ends.
func (o *Orchestrator) unclaimed(ctx context.Context, fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, errTaken) {
			return err
		}
		if err := o.sleep(ctx, claimGlance); err != nil {
			return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
				"The session is being started or stopped at the moment; try again in a minute").WithCause(err)
		}
	}
}

// next is domain.NextStep, in which a claim of this replica is no reason to wait, and
// one of another ends by this replica's clock.
func (o *Orchestrator) next(s *domain.Session, w *domain.Worker, now time.Time) (domain.Step, time.Time) {
	if s.ClaimedBy != "" {
		seen := *s
		if seen.ClaimedUntil = o.members.here(s.ClaimedBy, s.ClaimedUntil); s.ClaimedBy == o.self.ID {
			seen.ReleaseClaim()
		}
		s = &seen
	}
	return domain.NextStep(s, w, o.timing, now)
}
