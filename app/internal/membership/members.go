package membership

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/env"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	heartbeatEvery  = 2 * time.Second  // between two heartbeats of a replica
	replicaTimeout  = 8 * time.Second  // without a heartbeat a replica is dead
	maxPassDuration = 30 * time.Second // no pass of a healthy loop takes that long
	retryAfterError = time.Second
)

// Hooks connect the membership with parts that build on it. All may be nil.
type Hooks struct {
	// AlsoRead runs in the transaction of each heartbeat.
	AlsoRead func(ctx context.Context, tx *ports.Tx) error
	// ReplicaDied takes over from a dead replica. It is called again until the row of
	// the replica is gone.
	ReplicaDied func(ctx context.Context, replicaID string) error
	// Resumed is called when this replica, or the store, was away.
	Resumed func(now time.Time)
	// HeartbeatDone is called after each heartbeat.
	HeartbeatDone func()
}

// Members tracks the living replicas. It is safe for concurrent use.
type Members struct {
	*env.Env
	hooks Hooks

	heartbeating     sync.Mutex  // held during a heartbeat
	storeUnreachable atomic.Bool // the latest heartbeat failed

	mu              sync.Mutex
	peers           map[string]peer
	alive           []string // this replica among them
	nextHeartbeatAt time.Time
	lookedAt        time.Time // when the peers were last read
}

// peer is the latest heartbeat of another replica.
type peer struct {
	heartbeat time.Time // by its clock
	seenAt    time.Time // by ours
	certain   bool      // it changed while we looked, so the replica certainly lived
	startedAt time.Time // by its clock
}

// New returns the membership of a replica that knows no other yet.
func New(e *env.Env, h Hooks) *Members {
	return &Members{Env: e, hooks: h, peers: make(map[string]peer)}
}

// Heartbeat writes this replica's row if it is due, reads the rows of all replicas,
// and has the dead ones taken over. It returns when the next heartbeat is due.
func (m *Members) Heartbeat(ctx context.Context) (time.Time, error) {
	if !m.IsShared() {
		return time.Time{}, nil
	}
	m.heartbeating.Lock()
	defer m.heartbeating.Unlock()
	now := m.Now()
	m.mu.Lock()
	due := m.nextHeartbeatAt
	m.mu.Unlock()
	if now.Before(due) {
		return due, nil
	}
	all, err := m.exchange(ctx, now)
	if err != nil {
		m.storeUnreachable.Store(true)
		return now.Add(retryAfterError), err
	}
	next := now.Add(heartbeatEvery)
	dead, wasAway := m.observe(all, next, m.Now())
	if wasAway && m.hooks.Resumed != nil {
		m.hooks.Resumed(m.Now())
	}
	m.storeUnreachable.Store(false)
	var errs []error
	for _, id := range dead {
		if m.hooks.ReplicaDied != nil {
			errs = append(errs, m.hooks.ReplicaDied(ctx, id))
		}
	}
	if m.hooks.HeartbeatDone != nil {
		m.hooks.HeartbeatDone()
	}
	return next, errors.Join(errs...)
}

// exchange writes the row of this replica and reads those of all.
func (m *Members) exchange(ctx context.Context, now time.Time) (all []*domain.Replica, err error) {
	err = m.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		self := m.Self
		self.SeenAt = now
		if err := tx.Replicas.Put(ctx, &self); err != nil {
			return err
		}
		all, err = tx.Replicas.List(ctx)
		if err != nil || m.hooks.AlsoRead == nil {
			return err
		}
		return m.hooks.AlsoRead(ctx, tx)
	})
	return all, err
}

// observe records the heartbeats of all replicas and returns the dead ones. wasAway
// reports that this replica or the store was away: heartbeats may be on their way,
// and the time of unchanged ones counts from now.
func (m *Members) observe(all []*domain.Replica, next, now time.Time) (dead []string, wasAway bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wasAway = m.storeUnreachable.Load() || now.Sub(m.lookedAt) >= replicaTimeout/2
	m.nextHeartbeatAt, m.lookedAt = next, now
	m.alive = []string{m.Self.ID}
	listed := make(map[string]bool, len(all))
	for _, r := range all {
		listed[r.ID] = true
		if r.ID == m.Self.ID {
			continue
		}
		p, known := m.peers[r.ID]
		switch {
		case !known || !p.heartbeat.Equal(r.SeenAt):
			m.peers[r.ID] = peer{heartbeat: r.SeenAt, seenAt: now, certain: known, startedAt: r.StartedAt}
		case wasAway:
			p.seenAt = now
			m.peers[r.ID] = p
		}
		if now.Sub(m.peers[r.ID].seenAt) >= replicaTimeout {
			dead = append(dead, r.ID)
		} else {
			m.alive = append(m.alive, r.ID)
		}
	}
	for id := range m.peers {
		if !listed[id] {
			delete(m.peers, id)
		}
	}
	return dead, wasAway
}

// KeepAlive sends heartbeats until stop is called, also while one pass of the loop
// takes long or the process shuts down. It sends none while the loop is stuck.
// latestPass returns when the latest pass began.
func (m *Members) KeepAlive(loop context.Context, latestPass func() time.Time) (stop func()) {
	if !m.IsShared() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(loop))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			next := m.Now().Add(heartbeatEvery)
			if loop.Err() != nil || latestPass().Add(maxPassDuration).After(m.Now()) {
				var err error
				next, err = m.Heartbeat(ctx)
				m.LogFailure(ctx, "replica heartbeat failed", err)
			}
			select {
			case <-time.After(next.Sub(m.Now())):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// IsStoreUnreachable reports whether the latest heartbeat failed.
func (m *Members) IsStoreUnreachable() bool { return m.storeUnreachable.Load() }

// MayBePresumedDead reports whether this replica has not looked for so long that
// others may count it as dead.
func (m *Members) MayBePresumedDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.IsShared() && m.Now().Sub(m.lookedAt) >= replicaTimeout-heartbeatEvery
}

// HasOthers reports whether other replicas are alive.
func (m *Members) HasOthers() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.alive) > 1
}

// OlderReplicaSeen reports whether another replica, which certainly lives, started
// before this one.
func (m *Members) OlderReplicaSeen() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, p := range m.peers {
		isOlder := p.startedAt.Before(m.Self.StartedAt) || p.startedAt.Equal(m.Self.StartedAt) && id < m.Self.ID
		if p.certain && isOlder {
			return true
		}
	}
	return false
}
