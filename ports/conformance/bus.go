package conformance

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// busPatience is how long an event may be on its way.
const busPatience = 10 * time.Second

// Bus tests a bus. A subscription may take a moment to take effect. The
// sessions of its events have names of their own, so others may use the bus too.
func Bus(t *testing.T, open func(t *testing.T) ports.Bus) {
	t.Run("events come back whole", func(t *testing.T) {
		b := newBusTest(t, open)
		l := b.listen()
		want := domain.Event{
			Seq: 1 << 40, Type: domain.EventSessionFailedOver, At: noon, UserID: "u1", SessionID: b.session(1), WorkerID: "w1",
			FromWorker: "w2", Generation: 1 << 41, Status: domain.Reconnecting, Reason: "it's \"lost\" – 失",
		}
		requireFull(t, &want)
		b.publish(want, domain.Event{Seq: 1<<40 + 1, Type: domain.EventWorkerOnline, SessionID: b.session(2)})
		got := l.wait(b.session(1), 1)[0]
		requireSame(t, &want, &got)
		require.Equal(t, want.Seq, got.Seq)
		bare := l.wait(b.session(2), 1)[0]
		require.True(t, bare.At.IsZero())
	})
	t.Run("every subscriber gets every event, in order for each session", func(t *testing.T) {
		b := newBusTest(t, open)
		listeners := []*listener{b.listen(), b.listen(), b.listen()}
		const each = 20
		for n := range each {
			b.publish(b.event(1, 2*n), b.event(2, 2*n), b.event(1, 2*n+1))
		}
		for _, l := range listeners {
			requireOrder(t, l.wait(b.session(1), 2*each))
			requireOrder(t, l.wait(b.session(2), each))
		}
	})
	t.Run("publishers of several sessions do not disturb each other", func(t *testing.T) {
		b := newBusTest(t, open)
		l := b.listen()
		race(4, func(i int) {
			for n := range 25 {
				b.publish(b.event(i, n))
			}
		})
		for i := range 4 {
			requireOrder(t, l.wait(b.session(i), 25))
		}
	})
	t.Run("one event at a time", func(t *testing.T) {
		b := newBusTest(t, open)
		var mu sync.Mutex
		busy, overlaps, calls := false, 0, 0
		b.subscribe(func(domain.Event) {
			mu.Lock()
			if busy {
				overlaps++
			}
			busy = true
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			busy = false
			calls++
			mu.Unlock()
		})
		race(4, func(i int) {
			for n := range 5 {
				b.publish(b.event(i, n))
			}
		})
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return calls >= 20
		}, busPatience, 5*time.Millisecond)
		require.Zero(t, overlaps)
	})
	t.Run("nothing arrives that is published after cancel", func(t *testing.T) {
		b := newBusTest(t, open)
		stays, goes := b.listen(), b.listen()
		b.publish(b.event(1, 0))
		stays.wait(b.session(1), 1)
		goes.wait(b.session(1), 1)
		goes.cancel()
		goes.cancel() // twice does no harm
		b.publish(b.event(1, 1), b.event(1, 2))
		stays.wait(b.session(1), 3)
		time.Sleep(20 * time.Millisecond)
		require.Len(t, goes.of(b.session(1)), 1)
	})
	t.Run("a subscriber may cancel, subscribe and publish", func(t *testing.T) {
		b := newBusTest(t, open)
		l := b.listen()
		var once sync.Once
		var cancel func()
		var mu sync.Mutex
		mu.Lock()
		cancel = b.subscribe(func(domain.Event) {
			once.Do(func() {
				mu.Lock() // until cancel is set
				defer mu.Unlock()
				cancel()
				b.bus.Subscribe(func(domain.Event) {})()
				b.publish(b.event(2, 0))
			})
		})
		mu.Unlock()
		b.publish(b.event(1, 0))
		l.wait(b.session(2), 1)
	})
	t.Run("a slow subscriber holds up nobody", func(t *testing.T) {
		b := newBusTest(t, open)
		release := make(chan struct{})
		entered := make(chan struct{}, 1)
		cancel := b.subscribe(func(domain.Event) {
			select {
			case entered <- struct{}{}:
			default:
			}
			<-release
		})
		defer cancel()
		defer close(release)
		quick := b.listen()
		b.publish(b.event(0, 0))
		<-entered
		start := time.Now()
		const batches, batch = 40, 250 // more than anybody should keep for it
		for n := range batches {
			events := make([]domain.Event, batch)
			for i := range events {
				events[i] = b.event(1, n*batch+i)
			}
			b.publish(events...)
			quick.wait(b.session(1), (n+1)*batch)
		}
		requireOrder(t, quick.of(b.session(1)))
		require.Less(t, time.Since(start), busPatience)
	})
	t.Run("publishing to nobody is fine", func(t *testing.T) {
		b := newBusTest(t, open)
		b.publish(b.event(1, 0))
		b.publish()
	})
}

// SharedBus tests two handles on one bus, such as those of two processes.
func SharedBus(t *testing.T, open func(t *testing.T) (a, b ports.Bus)) {
	t.Run("what is published through one arrives at the other, in order for each session", func(t *testing.T) {
		a, b := open(t)
		for _, way := range []busTest{{t, a, b, unique(t)}, {t, b, a, unique(t)}} {
			l := way.listen()
			const each = 50
			for n := range each {
				way.publish(way.event(1, 2*n), way.event(2, n), way.event(1, 2*n+1))
			}
			requireOrder(t, l.wait(way.session(1), 2*each))
			requireOrder(t, l.wait(way.session(2), each))
		}
	})
	t.Run("publishers on both sides do not disturb each other", func(t *testing.T) {
		a, b := open(t)
		name := unique(t)
		sides := []*busTest{{t, a, b, name}, {t, b, a, name}}
		listeners := []*listener{sides[0].listen(), sides[1].listen()}
		race(4, func(i int) {
			for n := range 25 {
				sides[i%2].publish(sides[i%2].event(i, n))
			}
		})
		for _, l := range listeners {
			for i := range 4 {
				requireOrder(t, l.wait(sides[0].session(i), 25))
			}
		}
	})
}

type busTest struct {
	t    *testing.T
	bus  ports.Bus // that is published through
	on   ports.Bus // that is listened to
	name string
}

func newBusTest(t *testing.T, open func(t *testing.T) ports.Bus) *busTest {
	bus := open(t)
	return &busTest{t: t, bus: bus, on: bus, name: unique(t)}
}

func (b *busTest) session(i int) string { return fmt.Sprint(b.name, "/", i) }

func (b *busTest) event(session, seq int) domain.Event {
	return domain.Event{Seq: int64(seq), Type: domain.EventSessionConnected, At: noon, SessionID: b.session(session)}
}

func (b *busTest) publish(events ...domain.Event) {
	if err := b.bus.Publish(b.t.Context(), events...); err != nil {
		b.t.Error("publishing:", err)
	}
}

// subscribe subscribes to the events of this test, and returns once it has
// taken effect. The events that find this out are not passed on.
func (b *busTest) subscribe(fn func(domain.Event)) (cancel func()) {
	probe := fmt.Sprint(unique(b.t), "/probe")
	seen := make(chan struct{})
	var once sync.Once
	cancel = b.on.Subscribe(func(e domain.Event) {
		switch {
		case e.SessionID == probe:
			once.Do(func() { close(seen) })
		case len(e.SessionID) > len(b.name) && e.SessionID[:len(b.name)] == b.name:
			fn(e)
		}
	})
	b.t.Cleanup(cancel)
	deadline := time.After(busPatience)
	for {
		b.publish(domain.Event{Type: domain.EventWorkerOnline, SessionID: probe})
		select {
		case <-seen:
			return cancel
		case <-deadline:
			b.t.Fatal("the subscription never took effect")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// listener keeps what a subscriber got, by session, without repetitions.
type listener struct {
	t      *testing.T
	cancel func()
	mu     sync.Mutex
	events map[string][]domain.Event
	more   chan struct{}
}

func (b *busTest) listen() *listener {
	b.t.Helper()
	l := &listener{t: b.t, events: make(map[string][]domain.Event), more: make(chan struct{}, 1)}
	l.cancel = b.subscribe(func(e domain.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, old := range l.events[e.SessionID][max(len(l.events[e.SessionID])-100, 0):] {
			if old.Seq == e.Seq {
				return // delivered at least once
			}
		}
		l.events[e.SessionID] = append(l.events[e.SessionID], e)
		select {
		case l.more <- struct{}{}:
		default:
		}
	})
	return l
}

func (l *listener) of(session string) []domain.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events[session]
}

// wait waits for that many events of a session.
func (l *listener) wait(session string, n int) []domain.Event {
	l.t.Helper()
	deadline := time.After(busPatience)
	for {
		if got := l.of(session); len(got) >= n {
			return got
		}
		select {
		case <-l.more:
		case <-deadline:
			require.Len(l.t, l.of(session), n, "events of %s", session)
		}
	}
}

// requireOrder requires that the events are all in order of Seq.
func requireOrder(t *testing.T, events []domain.Event) {
	t.Helper()
	for i := 1; i < len(events); i++ {
		require.Greater(t, events[i].Seq, events[i-1].Seq)
	}
}
