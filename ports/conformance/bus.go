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

// busTimeout limits the delivery of an event.
const busTimeout = 10 * time.Second

// Bus tests a bus. A subscription may take effect after a moment. The suite uses unique session ids, so
// others may use the bus at the same time.
func Bus(t *testing.T, open func(t *testing.T) ports.Bus) {
	t.Run("an event keeps all its fields", func(t *testing.T) {
		b := newBusTest(t, open)
		l := b.record()
		want := domain.Event{
			Seq: 1 << 40, Type: domain.EventSessionFailedOver, At: noon, UserID: "u1", SessionID: b.session(1), WorkerID: "w1",
			FromWorker: "w2", Generation: 1 << 41, Status: domain.Reconnecting, Reason: "it's \"lost\" – 失",
		}
		requireFull(t, &want, "Message", "Session") // see [ports.Bus]
		b.publish(want, domain.Event{Seq: 1<<40 + 1, Type: domain.EventWorkerOnline, SessionID: b.session(2)})
		got := l.wait(b.session(1), 1)[0]
		requireSame(t, &want, &got)
		require.Equal(t, want.Seq, got.Seq)
		bare := l.wait(b.session(2), 1)[0]
		require.True(t, bare.At.IsZero())
	})
	t.Run("every subscriber receives every event, in order for each session", func(t *testing.T) {
		b := newBusTest(t, open)
		recorders := []*recorder{b.record(), b.record(), b.record()}
		const each = 20
		for n := range each {
			b.publish(b.event(1, 2*n), b.event(2, 2*n), b.event(1, 2*n+1))
		}
		for _, l := range recorders {
			requireOrder(t, l.wait(b.session(1), 2*each))
			requireOrder(t, l.wait(b.session(2), each))
		}
	})
	t.Run("publishers of several sessions do not disturb each other", func(t *testing.T) {
		b := newBusTest(t, open)
		l := b.record()
		race(4, func(i int) {
			for n := range 25 {
				b.publish(b.event(i, n))
			}
		})
		for i := range 4 {
			requireOrder(t, l.wait(b.session(i), 25))
		}
	})
	t.Run("a subscriber receives one event at a time", func(t *testing.T) {
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
		}, busTimeout, 5*time.Millisecond)
		require.Zero(t, overlaps)
	})
	t.Run("a cancelled subscription receives nothing", func(t *testing.T) {
		b := newBusTest(t, open)
		active, cancelled := b.record(), b.record()
		b.publish(b.event(1, 0))
		active.wait(b.session(1), 1)
		cancelled.wait(b.session(1), 1)
		cancelled.cancel()
		cancelled.cancel() // a second cancel is harmless
		b.publish(b.event(1, 1), b.event(1, 2))
		active.wait(b.session(1), 3)
		time.Sleep(20 * time.Millisecond)
		require.Len(t, cancelled.of(b.session(1)), 1)
	})
	t.Run("a subscriber may cancel, subscribe and publish", func(t *testing.T) {
		b := newBusTest(t, open)
		l := b.record()
		var once sync.Once
		var cancel func()
		var mu sync.Mutex
		mu.Lock()
		cancel = b.subscribe(func(domain.Event) {
			once.Do(func() {
				mu.Lock() // wait until cancel is set
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
	t.Run("a slow subscriber delays nobody", func(t *testing.T) {
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
		quick := b.record()
		b.publish(b.event(0, 0))
		<-entered
		start := time.Now()
		const batches, batch = 40, 250 // more than a bus should keep for a subscriber
		for n := range batches {
			events := make([]domain.Event, batch)
			for i := range events {
				events[i] = b.event(1, n*batch+i)
			}
			b.publish(events...)
			quick.wait(b.session(1), (n+1)*batch)
		}
		requireOrder(t, quick.of(b.session(1)))
		require.Less(t, time.Since(start), busTimeout)
	})
	t.Run("publishing without subscribers succeeds", func(t *testing.T) {
		b := newBusTest(t, open)
		b.publish(b.event(1, 0))
		b.publish()
	})
}

// SharedBus tests two handles on one bus, as two processes hold them.
func SharedBus(t *testing.T, open func(t *testing.T) (a, b ports.Bus)) {
	t.Run("an event published through one handle arrives at the other, in order for each session", func(t *testing.T) {
		a, b := open(t)
		for _, way := range []busTest{{t, a, b, unique(t)}, {t, b, a, unique(t)}} {
			l := way.record()
			const each = 50
			for n := range each {
				way.publish(way.event(1, 2*n), way.event(2, n), way.event(1, 2*n+1))
			}
			requireOrder(t, l.wait(way.session(1), 2*each))
			requireOrder(t, l.wait(way.session(2), each))
		}
	})
	t.Run("publishers on both handles do not disturb each other", func(t *testing.T) {
		a, b := open(t)
		name := unique(t)
		sides := []*busTest{{t, a, b, name}, {t, b, a, name}}
		recorders := []*recorder{sides[0].record(), sides[1].record()}
		race(4, func(i int) {
			for n := range 25 {
				sides[i%2].publish(sides[i%2].event(i, n))
			}
		})
		for _, l := range recorders {
			for i := range 4 {
				requireOrder(t, l.wait(sides[0].session(i), 25))
			}
		}
	})
}

// A busTest is a bus under test with its unique session ids.
type busTest struct {
	t    *testing.T
	bus  ports.Bus // published through
	sub  ports.Bus // subscribed to
	name string
}

func newBusTest(t *testing.T, open func(t *testing.T) ports.Bus) *busTest {
	bus := open(t)
	return &busTest{t: t, bus: bus, sub: bus, name: unique(t)}
}

// session returns a session id of this test.
func (b *busTest) session(i int) string { return fmt.Sprint(b.name, "/", i) }

// event returns an event of a session of this test.
func (b *busTest) event(session, seq int) domain.Event {
	return domain.Event{Seq: int64(seq), Type: domain.EventSessionConnected, At: noon, SessionID: b.session(session)}
}

// publish publishes events.
func (b *busTest) publish(events ...domain.Event) {
	if err := b.bus.Publish(b.t.Context(), events...); err != nil {
		b.t.Error("publishing:", err)
	}
}

// subscribe subscribes to the events of this test and returns when the subscription is in effect. It
// does not pass on the probes that detect this.
func (b *busTest) subscribe(fn func(domain.Event)) (cancel func()) {
	probe := fmt.Sprint(unique(b.t), "/probe")
	seen := make(chan struct{})
	var once sync.Once
	cancel = b.sub.Subscribe(func(e domain.Event) {
		switch {
		case e.SessionID == probe:
			once.Do(func() { close(seen) })
		case len(e.SessionID) > len(b.name) && e.SessionID[:len(b.name)] == b.name:
			fn(e)
		}
	})
	b.t.Cleanup(cancel)
	deadline := time.After(busTimeout)
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

// A recorder stores the events of one subscription by session, without repetitions.
type recorder struct {
	t      *testing.T
	cancel func()
	mu     sync.Mutex
	events map[string][]domain.Event
	more   chan struct{}
}

// record subscribes a recorder.
func (b *busTest) record() *recorder {
	b.t.Helper()
	l := &recorder{t: b.t, events: make(map[string][]domain.Event), more: make(chan struct{}, 1)}
	l.cancel = b.subscribe(func(e domain.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, old := range l.events[e.SessionID][max(len(l.events[e.SessionID])-100, 0):] {
			if old.Seq == e.Seq {
				return // a repeated delivery
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

// of returns the recorded events of a session.
func (l *recorder) of(session string) []domain.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events[session]
}

// wait waits until n events of a session are recorded and returns them.
func (l *recorder) wait(session string, n int) []domain.Event {
	l.t.Helper()
	deadline := time.After(busTimeout)
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

// requireOrder requires that the events are in order of Seq.
func requireOrder(t *testing.T, events []domain.Event) {
	t.Helper()
	for i := 1; i < len(events); i++ {
		require.Greater(t, events[i].Seq, events[i-1].Seq)
	}
}
