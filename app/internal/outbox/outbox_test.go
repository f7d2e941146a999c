package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/outbox"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// bus records what is published, unless it is cut off.
type bus struct {
	published []string // reasons of the events, which name them
	fails     error
}

func (b *bus) Publish(_ context.Context, events ...domain.Event) error {
	if b.fails != nil {
		return b.fails
	}
	for _, e := range events {
		b.published = append(b.published, e.Reason)
	}
	return nil
}

func (b *bus) Subscribe(func(domain.Event)) (cancel func()) { return func() {} }

// fixture is a relay of one replica.
type fixture struct {
	*coretest.Core
	*outbox.Relay
	bus bus
}

func newFixture(core *coretest.Core) *fixture {
	f := &fixture{Core: core}
	f.Relay = outbox.NewRelay(core.Writer, core.Members, &f.bus, 24*time.Hour)
	core.AfterCommit(f.Relay.AfterCommit)
	return f
}

// record commits one event for each name.
func (f *fixture) record(names ...string) {
	f.Write(func(ctx context.Context, tx *txn.Tx) error {
		for _, n := range names {
			if err := tx.Record(ctx, domain.Event{Type: domain.EventWorkerOnline, At: f.Core.Now(), Reason: n}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *fixture) publish(t *testing.T) time.Time {
	t.Helper()
	next, err := f.Publish(context.Background())
	require.NoError(t, err)
	return next
}

func TestPublish_EventsCommitted_ArePublishedOnceInOrder(t *testing.T) {
	f := newFixture(coretest.New(t))
	f.record("a", "b")
	f.record("c")
	require.Zero(t, f.publish(t))
	f.Wake()
	f.publish(t)
	require.Equal(t, []string{"a", "b", "c"}, f.bus.published)
}

func TestPublish_NoWake_ReadsNothing(t *testing.T) {
	f := newFixture(coretest.New(t))
	f.record("a")
	f.publish(t)
	f.Write(func(context.Context, *txn.Tx) error { return nil }) // a commit without an event
	updates, views := f.Stored.Count(func() { f.publish(t) })
	require.Zero(t, updates+views)
}

func TestPublish_MoreThanAPage_PublishesAll(t *testing.T) {
	f := newFixture(coretest.New(t))
	var names []string
	for i := range 600 {
		names = append(names, fmt.Sprint(i))
	}
	f.record(names...)
	f.publish(t)
	require.Equal(t, names, f.bus.published)
}

func TestPublish_BusIsAway_EventsWaitAndKeepTheirOrder(t *testing.T) {
	f := newFixture(coretest.New(t))
	f.bus.fails = errors.New("bus away")
	f.record("a")
	next, err := f.Publish(context.Background())
	require.Error(t, err)
	require.Equal(t, f.Core.Now().Add(time.Second), next)

	f.bus.fails = nil
	f.record("b")
	f.publish(t)
	require.Equal(t, []string{"a", "b"}, f.bus.published)
}

func TestPublish_CrashBeforeThePositionIsStored_PublishesAgain(t *testing.T) {
	f := newFixture(coretest.New(t))
	f.record("a")
	f.Stored.FailCommits(errors.New("crash"))
	_, err := f.Publish(context.Background())
	require.Error(t, err)

	f.publish(t)
	require.Equal(t, []string{"a", "a"}, f.bus.published, "at least once")
}

// pair returns the replica that owns the relay, and another.
func pair(t *testing.T) (owner, other *fixture) {
	a := coretest.NewReplica(t, "A")
	b := a.Join("B", 0)
	coretest.Exchange(t, a, b)
	if !a.Members.OwnsWork("relay") {
		a, b = b, a
	}
	return newFixture(a), newFixture(b)
}

// look lets a replica look whether the owner publishes.
func (f *fixture) look(t *testing.T, replicas ...*fixture) {
	t.Helper()
	for range 10 {
		coretest.Exchange(t, f.Core, replicas[0].Core) // 4 s
	}
	f.Wake()
	f.publish(t)
}

func TestPublish_OwnerIsCutOffFromTheBus_AnotherReplicaPublishes(t *testing.T) {
	owner, other := pair(t)
	owner.record("a")

	other.look(t, owner)
	require.Empty(t, other.bus.published, "the owner may be about to")
	other.Wake()
	other.publish(t)
	require.Empty(t, other.bus.published, "it looks every 20 s")
	other.look(t, owner)
	require.Equal(t, []string{"a"}, other.bus.published)
}

func TestPublish_OwnerPublishes_OtherReplicasDoNot(t *testing.T) {
	owner, other := pair(t)
	owner.record("a")
	other.look(t, owner)
	owner.publish(t)
	owner.record("b")
	other.look(t, owner)
	require.Equal(t, []string{"a"}, owner.bus.published)
	require.Empty(t, other.bus.published)
}

func TestPublish_ReplicaWasPaused_WaitsForItsNextHeartbeat(t *testing.T) {
	owner, other := pair(t)
	owner.record("a")
	owner.Clock.Advance(6 * time.Second)

	require.Equal(t, owner.Core.Now(), owner.publish(t))
	require.Empty(t, owner.bus.published, "it may have been replaced")

	coretest.Exchange(t, owner.Core, other.Core)
	owner.publish(t)
	require.Equal(t, []string{"a"}, owner.bus.published)
}

func TestHousekeep_EventsOfYesterday_GoOnceTheyArePublished(t *testing.T) {
	f := newFixture(coretest.New(t))
	f.record("published")
	f.publish(t)
	f.record("waits")
	f.Clock.Advance(24*time.Hour + time.Second)

	require.NoError(t, f.Housekeep(context.Background(), f.Core.Now()))
	require.True(t, slices.Contains(f.names(), "waits"), "not published yet")

	f.publish(t)
	require.NoError(t, f.Housekeep(context.Background(), f.Core.Now()))
	require.Empty(t, f.names())
}

func TestHousekeep_EventsOfToday_Stay(t *testing.T) {
	f := newFixture(coretest.New(t))
	f.record("a")
	f.publish(t)
	f.Clock.Advance(24 * time.Hour)
	require.NoError(t, f.Housekeep(context.Background(), f.Core.Now()))
	require.Equal(t, []string{"a"}, f.names())
}

// names returns the events that are kept.
func (f *fixture) names() (names []string) {
	f.Read(func(ctx context.Context, tx *ports.Tx) error {
		events, err := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 1000)
		for _, e := range events {
			names = append(names, e.Reason)
		}
		return err
	})
	return names
}
