package coretest

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/internal/env"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Core holds the parts that other parts build on, over a store in memory.
type Core struct {
	*txn.Writer
	Clock   *Clock
	Stored  *Store   // the store, to count and disturb transactions
	Gateway *Workers // the fake workers
	Members *membership.Members
	Queue   *workqueue.Queue
	Calls   *workqueue.Calls
	Cache   *fleet.Cache
	Sync    *fleet.Sync

	t testing.TB
}

// New returns a core that is alone on its store.
func New(t testing.TB) *Core {
	return newCore(t, "", memory.NewStore(), newClock(), new(Workers))
}

// NewReplica returns a replica, which other replicas may join.
func NewReplica(t testing.TB, id string) *Core {
	return newCore(t, id, memory.NewStore(), newClock(), new(Workers))
}

// Join returns another replica on the same store, whose clock is ahead. It calls the
// same workers.
func (c *Core) Join(id string, clockLead time.Duration) *Core {
	return newCore(c.t, id, c.Stored.Store, c.Clock.ahead(clockLead), c.Gateway)
}

func newCore(t testing.TB, replicaID string, store ports.Store, clock *Clock, gateway *Workers) *Core {
	c := &Core{Clock: clock, Stored: &Store{Store: store}, Gateway: gateway, t: t}
	e := &env.Env{
		Store: c.Stored, Workers: gateway, IDs: &ids{prefix: replicaID}, Random: new(random), Now: clock.Now,
		Timing: domain.DefaultTiming(), Log: slog.New(slog.DiscardHandler),
		Spawn: func(f func()) { f() },
		Sleep: func(ctx context.Context, d time.Duration) error {
			clock.Advance(d)
			return ctx.Err()
		},
	}
	if replicaID != "" {
		e.Self = domain.Replica{ID: replicaID, StartedAt: clock.Now()}
	}
	e.SetTiers(domain.DefaultTiers())
	c.Writer = txn.NewWriter(e)
	c.Queue = workqueue.New(256, e.Now, e.Spawn)
	c.Calls = new(workqueue.Calls)
	c.Members = membership.New(e, membership.Hooks{})
	c.Cache = fleet.NewCache(domain.MultiFactor{Weights: domain.DefaultWeights()})
	c.Sync = fleet.NewSync(e, c.Cache, c.Calls, c.Queue, func(context.Context, *ports.Tx) error { return nil })
	c.AfterCommit(c.updateCache)
	return c
}

// updateCache is the observer that brings committed rows into the cache, as the
// orchestrator's does.
func (c *Core) updateCache(_ context.Context, changes *txn.Changes) {
	for _, w := range changes.Workers {
		c.Sync.CacheWorker(w)
	}
	for _, w := range changes.Removed {
		c.Cache.RemoveWorker(w.ID, w.Rev)
	}
	for _, s := range append(changes.Read, changes.Sessions...) {
		c.Cache.PutSession(s)
	}
	for _, s := range changes.Deleted {
		c.Cache.RemoveSession(s.ID, s.Rev)
	}
	if changes.MigrationEnded {
		c.Cache.MigrationEnded.Set()
	}
}

// Exchange makes replicas hear of each other: each writes a heartbeat and reads those of
// the others.
func Exchange(t testing.TB, replicas ...*Core) {
	t.Helper()
	for range 2 {
		replicas[0].Clock.Advance(2 * time.Second)
		for _, r := range replicas {
			if _, err := r.Members.Heartbeat(context.Background()); err != nil {
				t.Fatalf("heartbeat of replica %s: %v", r.Self.ID, err)
			}
		}
	}
}

// ids counts.
type ids struct {
	prefix string
	n      atomic.Int64
}

func (i *ids) NewID() string { return fmt.Sprintf("id-%s%06d", i.prefix, i.n.Add(1)) }

// random repeats the same bytes in every run.
type random struct{ n atomic.Uint64 }

func (r *random) Read(p []byte) (int, error) {
	for i := 0; i < len(p); i += 8 {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], r.n.Add(1)*0x9e3779b97f4a7c15)
		copy(p[i:], b[:])
	}
	return len(p), nil
}
