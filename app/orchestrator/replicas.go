package orchestrator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Replicas share the background work without doing it twice. Each keeps a row
// in the store and writes it every two seconds; one whose row does not change for
// a while is dead, by the clock of whoever looks, so no two clocks are compared.
// What falls to whom follows from who is alive (domain.OwnsWork). That is for
// speed only: what must not happen twice at a time is claimed in its own row,
// and whoever was away finds its claims gone.
const (
	attendEvery = 2 * time.Second        // between two signs of life
	absence     = 8 * time.Second        // without one, a replica is dead
	stuck       = 30 * time.Second       // no pass of the loop takes that long
	claimGlance = 100 * time.Millisecond // between two looks whether a claim has ended
	awaitGlance = time.Second            // between two looks at a session that somebody waits for
	patience    = 2 * time.Second        // what another replica has not begun by then, anyone may
	claimLife   = 40 * time.Second       // longer than any call to a worker
	callLimit   = 35 * time.Second       // of a call under a claim
	workersLife = 10 * time.Second       // how old the view of workers that report elsewhere may get
	reloadEvery = 2 * time.Minute        // between two looks at everything, should hints have been lost
)

// members is what is known of the replicas.
type members struct {
	mu      sync.Mutex
	seen    map[string]sighting
	alive   []string    // all that live, this one among them
	due     time.Time   // of the next sign of life
	looked  time.Time   // when the others were last looked at
	reload  time.Time   // when everything is to be read again
	workers time.Time   // when the workers are
	blind   atomic.Bool // the store does not answer
	listen  sync.Once   // of RunOnce

	attending sync.Mutex

	looks struct {
		turn  chan struct{} // one at a time
		begun atomic.Uint64
		// The latest that nobody gave up; for whoever has the turn.
		done    uint64
		outcome error
	}

	stale struct {
		all            bool
		sessions, some map[string]bool // ids of sessions, and of workers
	}
}

// sighting is a sign of life, when it was first seen here, and whether there was
// another before it.
type sighting struct {
	sign, at time.Time // by its clock, and by ours
	again    bool
	since    time.Time // when that replica began, by its own clock
}

func (m *members) init() {
	m.seen = make(map[string]sighting)
	m.looks.turn = make(chan struct{}, 1)
	m.stale.sessions, m.stale.some = make(map[string]bool), make(map[string]bool)
}

// shared reports whether there may be other replicas.
func (o *Orchestrator) shared() bool { return o.self.ID != "" }

// stoodStill reports whether this replica has not looked who lives for so long that
// others may count it as dead by now.
func (o *Orchestrator) stoodStill() bool {
	o.members.mu.Lock()
	defer o.members.mu.Unlock()
	return o.shared() && o.now().Sub(o.members.looked) >= absence-attendEvery
}

// others reports whether other replicas are alive.
func (o *Orchestrator) others() bool {
	o.members.mu.Lock()
	defer o.members.mu.Unlock()
	return len(o.members.alive) > 1
}

// OlderReplicaSeen reports whether another replica, which certainly lives, was at work on
// the store before this one.
func (o *Orchestrator) OlderReplicaSeen() bool {
	o.members.mu.Lock()
	defer o.members.mu.Unlock()
	for id, s := range o.members.seen {
		if s.again && (s.since.Before(o.self.StartedAt) || s.since.Equal(o.self.StartedAt) && id < o.self.ID) {
			return true
		}
	}
	return false
}

// ReplicasAlive reports whether replicas are at work on a store, for a process that is
// not one of them yet. It waits for a sign of life: for the time given, which may
// be none, and where there are rows until their replicas count as dead.
func ReplicasAlive(ctx context.Context, store ports.Store, wait time.Duration) (bool, error) {
	began := time.Now()
	var signs map[string]time.Time
	for {
		var all []*domain.Replica
		err := store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			all, err = tx.Replicas.List(ctx)
			return err
		})
		if err != nil {
			return false, err
		}
		if signs == nil {
			signs = make(map[string]time.Time)
			for _, r := range all {
				signs[r.ID] = r.SeenAt
				wait = max(wait, absence)
			}
		}
		for _, r := range all {
			if sign, known := signs[r.ID]; !known || !sign.Equal(r.SeenAt) {
				return true, nil
			}
		}
		if time.Since(began) >= wait {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(claimGlance):
		}
	}
}

// attend gives a sign of life now and then, and takes over from those that give
// none any more.
func (o *Orchestrator) attend(ctx context.Context, _ *tasks) (time.Time, error) {
	if !o.shared() {
		return time.Time{}, nil
	}
	m := &o.members
	m.attending.Lock()
	defer m.attending.Unlock()
	now := o.now()
	m.mu.Lock()
	due := m.due
	m.mu.Unlock()
	if now.Before(due) {
		return due, nil
	}
	var all []*domain.Replica
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		self := o.self
		self.SeenAt = now
		if err := tx.Replicas.Put(ctx, &self); err != nil {
			return err
		}
		if all, err = tx.Replicas.List(ctx); err != nil {
			return err
		}
		return o.readMonitor(ctx, tx)
	})
	if err != nil {
		m.blind.Store(true)
		return now.Add(pauseAfterFault), err
	}
	next := now.Add(attendEvery)
	var errs []error
	dead, away := m.look(o.self.ID, all, next, o.now())
	if away {
		o.fleet.listenAnew(o.now()) // heartbeats were refused, or not read
	}
	m.blind.Store(false)
	for _, id := range dead {
		errs = append(errs, o.inherit(ctx, id))
	}
	o.loop.relay.Store(true) // hints of events may have been lost
	return next, errors.Join(errs...)
}

// live gives signs of life until stop is called, also while one pass of the loop
// takes long, or its end is waited for; but not if the loop is stuck.
func (o *Orchestrator) live(loop context.Context) (stop func()) {
	if !o.shared() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(loop))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			next := o.now().Add(attendEvery)
			if loop.Err() != nil || time.UnixMicro(o.loop.passed.Load()).Add(stuck).After(o.now()) {
				var err error
				next, err = o.attend(ctx, nil)
				o.logFailure(ctx, "no sign of life given", err)
			}
			select {
			case <-time.After(next.Sub(o.now())):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// look takes in who gave a sign of life, and gives those that are dead. away says
// that the store was away, or this replica: signs of life may be on their way.
func (m *members) look(self string, all []*domain.Replica, next, now time.Time) (dead []string, away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	away = m.blind.Load() || now.Sub(m.looked) >= absence/2
	m.due, m.looked = next, now
	m.alive = append(m.alive[:0:0], self)
	listed := make(map[string]bool, len(all))
	for _, r := range all {
		listed[r.ID] = true
		if r.ID == self {
			continue
		}
		s, known := m.seen[r.ID]
		switch {
		case !known || !s.sign.Equal(r.SeenAt):
			m.seen[r.ID] = sighting{r.SeenAt, now, known, r.StartedAt}
		case away:
			s.at = now
			m.seen[r.ID] = s
		}
		if now.Sub(m.seen[r.ID].at) >= absence {
			dead = append(dead, r.ID)
		} else {
			m.alive = append(m.alive, r.ID)
		}
	}
	for id := range m.seen {
		if !listed[id] {
			delete(m.seen, id)
		}
	}
	return dead, away
}

// inherit takes away the claims of a replica that is dead, or of this one when it
// retires: what it was doing is due for everyone. Should it come back, it finds
// them gone.
func (o *Orchestrator) inherit(ctx context.Context, replicaID string) error {
	freed, kept := 0, 0
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		freed, kept = 0, 0
		claimed, err := tx.Sessions.ClaimedBy(ctx, replicaID)
		if err != nil {
			return err
		}
		now := o.now()
		for _, s := range claimed {
			if replicaID == o.self.ID && o.calls.underWay(s.ID) {
				kept++
				continue // for a use case, which ends the claim
			}
			before := s.Clone()
			s.ReleaseClaim()
			s.DueAt = now
			if err := o.save(ctx, tx, c, before, s, nil); err != nil {
				return err
			}
			freed++
		}
		if ahead := o.members.ahead(replicaID); ahead > time.Minute {
			if err := o.sooner(ctx, tx, c, ahead); err != nil {
				return err
			}
		}
		if kept > 0 {
			return nil // if the process ends before, the others find it dead and take the claims away
		}
		return tx.Replicas.Delete(ctx, replicaID)
	})
	if err == nil && replicaID != o.self.ID {
		o.log.WarnContext(ctx, "replica is gone", "replica", replicaID, "takenOver", freed)
	}
	return err
}

// ahead gives by how much the clock of another replica is ahead of ours.
func (m *members) ahead(replicaID string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, known := m.seen[replicaID]; known {
		return s.sign.Sub(s.at)
	}
	return 0
}

// sooner makes due what a replica that is dead would have done when it is due by its
// clock, which was ahead: by ours that would be long after.
func (o *Orchestrator) sooner(ctx context.Context, tx *ports.Tx, c *changes, ahead time.Duration) error {
	now := o.now()
	longest := now.Add(o.timing.MaxBackoff + o.timing.StartTimeout) // nothing of ours waits for longer
	workers, _, err := tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
	if err != nil {
		return err
	}
	for _, w := range workers {
		if at := now.Add(o.timing.FailoverDelay); !w.Online && w.FailoverAt.After(at) {
			w.FailoverAt = at
			if err := o.saveWorker(ctx, tx, c, w, nil); err != nil {
				return err
			}
		}
	}
	due, err := tx.Sessions.Due(ctx, longest.Add(ahead), 0)
	if err != nil {
		return err
	}
	for _, s := range due {
		if !s.DueAt.After(longest) {
			continue
		}
		before := s.Clone()
		if s.DueAt = now; s.DebounceUntil.After(longest) {
			s.DebounceUntil = now.Add(o.timing.DisconnectDebounce)
		}
		if err := o.save(ctx, tx, c, before, s, nil); err != nil {
			return err
		}
	}
	left, err := tx.Cleanups.Due(ctx, longest.Add(ahead), 0)
	if err != nil {
		return err
	}
	for _, l := range left {
		if l.DueAt.After(longest) {
			l.DueAt, l.ClaimedBy = now, ""
			if err := tx.Cleanups.Put(ctx, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// spread gives by how much the clock that is furthest behind ours is.
func (m *members) spread() (most time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.seen {
		most = max(most, s.at.Sub(s.sign))
	}
	return most
}

// retire hands the background work over.
func (o *Orchestrator) retire(ctx context.Context) {
	if !o.shared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := o.inherit(ctx, o.self.ID); err != nil {
		o.log.WarnContext(ctx, "background work not handed over; others take it on a little later", "error", err)
	}
}
