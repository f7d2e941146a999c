package conformance

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// invalidationTimeout limits the delivery of an invalidation.
const invalidationTimeout = 10 * time.Second

// Invalidator tests two processes that send each other invalidations. The suite uses unique ids, so
// other processes may take part. A subscription may take effect after a moment. Invalidations may be
// split, joined, repeated or replaced by one with All, but every change arrives.
func Invalidator(t *testing.T, open func(t *testing.T) (a, b ports.Invalidator)) {
	t.Run("an invalidation reaches the other process, in both directions", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		for i, from := range []ports.Invalidator{h.a, h.b} {
			l := h.record(h.other(from))
			invalidation := ports.Invalidation{
				Sessions: []string{h.id("s", i), h.id("it's \"odd\" – 失\n,", i)}, Workers: []string{h.id("w", i)},
				Users: []string{h.id("u", i), h.id("v", i), h.id("x", i)},
			}
			from.Publish(invalidation)
			l.wait(invalidation)
			l.forget()
			from.Publish(ports.Invalidation{Workers: []string{h.id("alone", i)}})
			l.wait(ports.Invalidation{Workers: []string{h.id("alone", i)}})
			require.Empty(t, l.of(ports.Invalidation{Sessions: []string{h.id("alone", i)}, Users: []string{h.id("alone", i)}}))
		}
	})
	t.Run("every subscriber receives it", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		recorders := []*invalidationRecorder{h.record(h.b), h.record(h.b), h.record(h.b)}
		for i := range 10 {
			invalidation := ports.Invalidation{Sessions: []string{h.id("s", i)}}
			h.a.Publish(invalidation)
			for _, l := range recorders {
				l.wait(invalidation)
			}
		}
	})
	t.Run("a process does not receive its own invalidations", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		own, other := h.record(h.b), h.record(h.a)
		invalidation := ports.Invalidation{Sessions: []string{h.id("s", 0)}, Workers: []string{h.id("w", 0)}, Users: []string{h.id("u", 0)}}
		other.forget() // otherwise a former All would end the wait
		h.b.Publish(invalidation)
		other.wait(invalidation)
		own.flush()
		require.Empty(t, own.of(invalidation))
	})
	t.Run("recorded events arrive, alone and with other changes", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.record(h.b)
		for i, invalidation := range []ports.Invalidation{{Events: true}, {Events: true, Sessions: []string{h.id("s", 1)}}, {Events: true}} {
			l.flush()
			l.forget()
			h.a.Publish(ports.Invalidation{Sessions: []string{h.id("other", i)}})
			l.wait(ports.Invalidation{Sessions: []string{h.id("other", i)}})
			require.Empty(t, l.of(ports.Invalidation{Events: true}))
			h.a.Publish(invalidation)
			l.wait(invalidation)
		}
	})
	t.Run("All arrives as such", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.record(h.b)
		l.forget()
		h.a.Publish(ports.Invalidation{All: true})
		require.Eventually(t, l.receivedAll, invalidationTimeout, time.Millisecond)
	})
	t.Run("very large invalidations arrive", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.record(h.b)
		for _, kind := range []func(ids []string) ports.Invalidation{
			func(ids []string) ports.Invalidation { return ports.Invalidation{Sessions: ids} },
			func(ids []string) ports.Invalidation { return ports.Invalidation{Workers: ids} },
			func(ids []string) ports.Invalidation { return ports.Invalidation{Users: ids} },
			func(ids []string) ports.Invalidation {
				return ports.Invalidation{Sessions: ids, Workers: ids, Users: ids}
			},
		} {
			l.forget()
			ids := make([]string, 10_000)
			for i := range ids {
				ids[i] = h.id("0190f3f0-aaaa-7bbb-8ccc-large", i)
			}
			h.a.Publish(kind(ids))
			l.wait(kind(ids))
		}
	})
	t.Run("very many invalidations arrive", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.record(h.b)
		var want ports.Invalidation
		for i := range 10_000 {
			invalidation := ports.Invalidation{Sessions: []string{h.id("s", i)}}
			want.Sessions = append(want.Sessions, invalidation.Sessions...)
			h.a.Publish(invalidation)
		}
		l.wait(want)
	})
	t.Run("concurrent publishers, one invalidation at a time", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		var mu sync.Mutex
		busy, overlaps := false, 0
		l := h.recordWith(h.b, func() {
			mu.Lock()
			if busy {
				overlaps++
			}
			busy = true
			mu.Unlock()
			time.Sleep(10 * time.Microsecond)
			mu.Lock()
			busy = false
			mu.Unlock()
		})
		back := h.record(h.a)
		var want, wantBack ports.Invalidation
		for i := range racers {
			for n := range 50 {
				if i%2 == 0 {
					want.Workers = append(want.Workers, h.id("w", i*50+n))
				} else {
					wantBack.Workers = append(wantBack.Workers, h.id("w", i*50+n))
				}
			}
		}
		race(racers, func(i int) {
			from := []ports.Invalidator{h.a, h.b}[i%2]
			for n := range 50 {
				from.Publish(ports.Invalidation{Workers: []string{h.id("w", i*50+n)}})
			}
		})
		l.wait(want)
		back.wait(wantBack)
		mu.Lock()
		defer mu.Unlock()
		require.Zero(t, overlaps)
	})
	t.Run("the publisher may reuse its slices", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.record(h.b)
		var want ports.Invalidation
		ids := make([]string, 1)
		for i := range 100 {
			ids[0] = h.id("u", i)
			want.Users = append(want.Users, ids[0])
			h.a.Publish(ports.Invalidation{Users: ids})
			ids[0] = "overwritten"
		}
		l.wait(want)
	})
	t.Run("nothing arrives after cancel", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		cancelled, active := h.record(h.b), h.record(h.b)
		cancelled.cancel()
		cancelled.cancel() // a second cancel is harmless
		invalidation := ports.Invalidation{Sessions: []string{h.id("s", 1)}}
		h.a.Publish(invalidation)
		active.wait(invalidation)
		active.flush()
		require.Empty(t, cancelled.of(invalidation))
	})
	t.Run("a subscriber may cancel itself", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		active := h.record(h.b)
		var mu sync.Mutex
		calls := 0
		var cancel func()
		mu.Lock()
		cancel = h.b.Subscribe(func(ports.Invalidation) {
			mu.Lock() // wait until cancel is set
			defer mu.Unlock()
			calls++
			cancel()
		})
		mu.Unlock()
		called := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return calls > 0
		}
		deadline := time.Now().Add(invalidationTimeout)
		for i := 0; !called(); i++ {
			require.True(t, time.Now().Before(deadline), "the subscriber was never called")
			h.a.Publish(ports.Invalidation{Sessions: []string{h.id("s", i)}})
			active.wait(ports.Invalidation{Sessions: []string{h.id("s", i)}})
		}
		for i := range 5 {
			h.a.Publish(ports.Invalidation{Sessions: []string{h.id("t", i)}})
		}
		active.flush()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 1, calls)
	})
	t.Run("an empty invalidation is harmless", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.record(h.b)
		l.forget()
		h.a.Publish(ports.Invalidation{})
		h.a.Publish(ports.Invalidation{Sessions: []string{}, Workers: []string{""}})
		h.a.Publish(ports.Invalidation{Users: []string{h.id("u", 0)}})
		l.wait(ports.Invalidation{Users: []string{h.id("u", 0)}})
	})
	t.Run("publishing without subscribers succeeds", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		h.a.Publish(ports.Invalidation{Sessions: []string{h.id("s", 0)}, All: true})
	})
}

// InvalidatorCut tests two processes whose connection may break. cut disconnects one of the two that
// open returned, and heal connects it again. Invalidations published in between arrive later, or an
// invalidation with All does.
func InvalidatorCut(t *testing.T, open func(t *testing.T) (a, b ports.Invalidator, cut func(h ports.Invalidator) (heal func()))) {
	for _, who := range []string{"the subscriber", "the publisher"} {
		t.Run(who+" is cut off", func(t *testing.T) {
			var cut func(h ports.Invalidator) (heal func())
			h := newInvalidatorTest(t, func(t *testing.T) (a, b ports.Invalidator) {
				a, b, cut = open(t)
				return a, b
			})
			party := map[string]ports.Invalidator{"the subscriber": h.b, "the publisher": h.a}[who]
			l := h.record(h.b)
			for round := range 3 {
				l.forget()
				heal := cut(party)
				invalidation := ports.Invalidation{
					Sessions: []string{h.id("s", round)}, Workers: []string{h.id("w", round)}, Users: []string{h.id("u", round)},
				}
				start := time.Now()
				h.a.Publish(invalidation)
				require.Less(t, time.Since(start), time.Second, "Publish returns at once")
				heal()
				l.wait(invalidation)
				l.flush() // later invalidations arrive too
			}
		})
	}
}

// An invalidatorTest is two processes under test with their unique ids.
type invalidatorTest struct {
	*testing.T
	a, b ports.Invalidator
	name string
}

func newInvalidatorTest(t *testing.T, open func(t *testing.T) (a, b ports.Invalidator)) *invalidatorTest {
	a, b := open(t)
	return &invalidatorTest{T: t, a: a, b: b, name: unique(t)}
}

// other returns the other process.
func (h *invalidatorTest) other(party ports.Invalidator) ports.Invalidator {
	if party == h.a {
		return h.b
	}
	return h.a
}

// id returns an id of this test.
func (h *invalidatorTest) id(kind string, i int) string { return fmt.Sprint(kind, i, "@", h.name) }

// An invalidationRecorder stores what one subscription has received.
type invalidationRecorder struct {
	h      *invalidatorTest
	from   ports.Invalidator
	cancel func()

	mu      sync.Mutex
	ids     map[string]bool
	isAll   bool
	probes  int
	changed chan struct{}
}

// record subscribes to the invalidations of the other process and returns when the subscription is in
// effect.
func (h *invalidatorTest) record(party ports.Invalidator) *invalidationRecorder {
	return h.recordWith(party, func() {})
}

// recordWith is record with a function that runs before each invalidation is stored.
func (h *invalidatorTest) recordWith(party ports.Invalidator, fn func()) *invalidationRecorder {
	h.Helper()
	l := &invalidationRecorder{h: h, from: h.other(party), ids: make(map[string]bool), changed: make(chan struct{}, 1)}
	l.cancel = party.Subscribe(func(invalidation ports.Invalidation) {
		fn()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, id := range names(invalidation) {
			l.ids[id] = true
		}
		l.isAll = l.isAll || invalidation.All
		select {
		case l.changed <- struct{}{}:
		default:
		}
	})
	h.Cleanup(l.cancel)
	l.flush()
	return l
}

// names returns the ids of an invalidation, each with its kind.
func names(invalidation ports.Invalidation) (all []string) {
	for kind, ids := range map[string][]string{"session": invalidation.Sessions, "worker": invalidation.Workers, "user": invalidation.Users} {
		for _, id := range ids {
			all = append(all, kind+" "+id)
		}
	}
	if invalidation.Events {
		all = append(all, "events")
	}
	return all
}

// flush publishes a probe until it arrives. Every earlier invalidation has then arrived or is lost.
func (l *invalidationRecorder) flush() {
	l.h.Helper()
	l.probes++
	probe := ports.Invalidation{Sessions: []string{fmt.Sprintf("probe %d of %p@%s", l.probes, l, l.h.name)}}
	deadline := time.After(invalidationTimeout)
	for {
		l.from.Publish(probe)
		retry := time.After(10 * time.Millisecond)
		for waiting := true; waiting; {
			if len(l.of(probe)) > 0 {
				return
			}
			select {
			case <-l.changed:
			case <-retry:
				waiting = false
			case <-deadline:
				require.FailNow(l.h.T, "no invalidation arrives")
			}
		}
	}
}

// forget removes what was received so far.
func (l *invalidationRecorder) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isAll = false
	clear(l.ids)
}

// receivedAll reports whether an invalidation with All has arrived.
func (l *invalidationRecorder) receivedAll() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isAll
}

// of returns the received part of an invalidation.
func (l *invalidationRecorder) of(invalidation ports.Invalidation) (received []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names(invalidation) {
		if l.ids[name] {
			received = append(received, name)
		}
	}
	return received
}

// wait waits until all of an invalidation has arrived, or All.
func (l *invalidationRecorder) wait(invalidation ports.Invalidation) {
	l.h.Helper()
	rest := names(invalidation)
	complete := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for len(rest) > 0 && l.ids[rest[0]] {
			rest = rest[1:]
		}
		return l.isAll || len(rest) == 0
	}
	for deadline := time.After(invalidationTimeout); !complete(); {
		select {
		case <-l.changed:
		case <-deadline:
			require.FailNow(l.h.T, "an invalidation was lost", "missing: %v", rest[:min(len(rest), 5)])
		}
	}
}
