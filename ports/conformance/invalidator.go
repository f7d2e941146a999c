package conformance

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// invalidationTimeout is how long an invalidation may be on its way.
const invalidationTimeout = 10 * time.Second

// Invalidator tests two parties that tell each other what has changed. The ids that
// it uses are its own, so others may be parties too. Listening may take a
// moment to take effect. What arrives may be cut up, put together, repeated, or
// replaced by an invalidation with All, but it is there in the end.
func Invalidator(t *testing.T, open func(t *testing.T) (a, b ports.Invalidator)) {
	t.Run("what one tells reaches the other, both ways", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		for i, from := range []ports.Invalidator{h.a, h.b} {
			l := h.listen(h.other(from))
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
	t.Run("every listener hears of it", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		listeners := []*hearing{h.listen(h.b), h.listen(h.b), h.listen(h.b)}
		for i := range 10 {
			invalidation := ports.Invalidation{Sessions: []string{h.id("s", i)}}
			h.a.Publish(invalidation)
			for _, l := range listeners {
				l.wait(invalidation)
			}
		}
	})
	t.Run("nobody hears what it tells itself", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		own, other := h.listen(h.b), h.listen(h.a)
		invalidation := ports.Invalidation{Sessions: []string{h.id("s", 0)}, Workers: []string{h.id("w", 0)}, Users: []string{h.id("u", 0)}}
		other.forget() // or else it would wait for nothing
		h.b.Publish(invalidation)
		other.wait(invalidation)
		own.settle()
		require.Empty(t, own.of(invalidation))
	})
	t.Run("All arrives as such", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.listen(h.b)
		l.forget()
		h.a.Publish(ports.Invalidation{All: true})
		require.Eventually(t, l.heardAll, invalidationTimeout, time.Millisecond)
	})
	t.Run("very large invalidations arrive", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.listen(h.b)
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
		l := h.listen(h.b)
		var want ports.Invalidation
		for i := range 10_000 {
			invalidation := ports.Invalidation{Sessions: []string{h.id("s", i)}}
			want.Sessions = append(want.Sessions, invalidation.Sessions...)
			h.a.Publish(invalidation)
		}
		l.wait(want)
	})
	t.Run("many may tell at a time, and one invalidation comes at a time", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		var mu sync.Mutex
		busy, overlaps := false, 0
		l := h.listenWith(h.b, func() {
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
		back := h.listen(h.a)
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
	t.Run("what was told is the teller's again", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.listen(h.b)
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
		goes, stays := h.listen(h.b), h.listen(h.b)
		goes.cancel()
		goes.cancel() // twice does no harm
		invalidation := ports.Invalidation{Sessions: []string{h.id("s", 1)}}
		h.a.Publish(invalidation)
		stays.wait(invalidation)
		stays.settle()
		require.Empty(t, goes.of(invalidation))
	})
	t.Run("a listener may cancel itself", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		stays := h.listen(h.b)
		var mu sync.Mutex
		calls := 0
		var cancel func()
		mu.Lock()
		cancel = h.b.Subscribe(func(ports.Invalidation) {
			mu.Lock() // until cancel is set
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
			require.True(t, time.Now().Before(deadline), "it was never called")
			h.a.Publish(ports.Invalidation{Sessions: []string{h.id("s", i)}})
			stays.wait(ports.Invalidation{Sessions: []string{h.id("s", i)}})
		}
		for i := range 5 {
			h.a.Publish(ports.Invalidation{Sessions: []string{h.id("t", i)}})
		}
		stays.settle()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 1, calls)
	})
	t.Run("an empty invalidation does no harm", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		l := h.listen(h.b)
		l.forget()
		h.a.Publish(ports.Invalidation{})
		h.a.Publish(ports.Invalidation{Sessions: []string{}, Workers: []string{""}})
		h.a.Publish(ports.Invalidation{Users: []string{h.id("u", 0)}})
		l.wait(ports.Invalidation{Users: []string{h.id("u", 0)}})
	})
	t.Run("telling nobody is fine", func(t *testing.T) {
		h := newInvalidatorTest(t, open)
		h.a.Publish(ports.Invalidation{Sessions: []string{h.id("s", 0)}, All: true})
	})
}

// InvalidatorCut tests parties that are connected by something which may break. cut
// takes one of the two that open gave off, and heal connects it again. What was
// told in between arrives all the same, or an invalidation with All does.
func InvalidatorCut(t *testing.T, open func(t *testing.T) (a, b ports.Invalidator, cut func(h ports.Invalidator) (heal func()))) {
	for _, who := range []string{"the listener", "the teller"} {
		t.Run(who+" is cut off", func(t *testing.T) {
			var cut func(h ports.Invalidator) (heal func())
			h := newInvalidatorTest(t, func(t *testing.T) (a, b ports.Invalidator) {
				a, b, cut = open(t)
				return a, b
			})
			party := map[string]ports.Invalidator{"the listener": h.b, "the teller": h.a}[who]
			l := h.listen(h.b)
			for round := range 3 {
				l.forget()
				heal := cut(party)
				invalidation := ports.Invalidation{
					Sessions: []string{h.id("s", round)}, Workers: []string{h.id("w", round)}, Users: []string{h.id("u", round)},
				}
				start := time.Now()
				h.a.Publish(invalidation)
				require.Less(t, time.Since(start), time.Second, "Publish is quick")
				heal()
				l.wait(invalidation)
				l.settle() // and it goes on
			}
		})
	}
}

type invalidatorTest struct {
	*testing.T
	a, b ports.Invalidator
	name string
}

func newInvalidatorTest(t *testing.T, open func(t *testing.T) (a, b ports.Invalidator)) *invalidatorTest {
	a, b := open(t)
	return &invalidatorTest{T: t, a: a, b: b, name: unique(t)}
}

func (h *invalidatorTest) other(party ports.Invalidator) ports.Invalidator {
	if party == h.a {
		return h.b
	}
	return h.a
}

func (h *invalidatorTest) id(kind string, i int) string { return fmt.Sprint(kind, i, "@", h.name) }

// hearing is what a listener has heard.
type hearing struct {
	h      *invalidatorTest
	from   ports.Invalidator
	cancel func()

	mu      sync.Mutex
	ids     map[string]bool
	isAll   bool
	probes  int
	changed chan struct{}
}

// listen listens to what the other party tells, and returns once that has
// taken effect.
func (h *invalidatorTest) listen(party ports.Invalidator) *hearing {
	return h.listenWith(party, func() {})
}

func (h *invalidatorTest) listenWith(party ports.Invalidator, fn func()) *hearing {
	h.Helper()
	l := &hearing{h: h, from: h.other(party), ids: make(map[string]bool), changed: make(chan struct{}, 1)}
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
	l.settle()
	return l
}

// names gives the ids of an invalidation with what they are ids of.
func names(invalidation ports.Invalidation) (all []string) {
	for kind, ids := range map[string][]string{"session": invalidation.Sessions, "worker": invalidation.Workers, "user": invalidation.Users} {
		for _, id := range ids {
			all = append(all, kind+" "+id)
		}
	}
	return all
}

// settle tells something until it is heard: whatever was told before it has
// been heard too, or is lost.
func (l *hearing) settle() {
	l.h.Helper()
	l.probes++
	probe := ports.Invalidation{Sessions: []string{fmt.Sprintf("probe %d of %p@%s", l.probes, l, l.h.name)}}
	deadline := time.After(invalidationTimeout)
	for {
		l.from.Publish(probe)
		again := time.After(10 * time.Millisecond)
		for waiting := true; waiting; {
			if len(l.of(probe)) > 0 {
				return
			}
			select {
			case <-l.changed:
			case <-again:
				waiting = false
			case <-deadline:
				require.FailNow(l.h.T, "nothing is heard")
			}
		}
	}
}

func (l *hearing) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isAll = false
	clear(l.ids)
}

func (l *hearing) heardAll() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isAll
}

// of gives what was heard of an invalidation.
func (l *hearing) of(invalidation ports.Invalidation) (heard []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names(invalidation) {
		if l.ids[name] {
			heard = append(heard, name)
		}
	}
	return heard
}

// wait waits until all of an invalidation was heard, or All.
func (l *hearing) wait(invalidation ports.Invalidation) {
	l.h.Helper()
	left := names(invalidation)
	complete := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for len(left) > 0 && l.ids[left[0]] {
			left = left[1:]
		}
		return l.isAll || len(left) == 0
	}
	for deadline := time.After(invalidationTimeout); !complete(); {
		select {
		case <-l.changed:
		case <-deadline:
			require.FailNow(l.h.T, "a invalidation was lost", "of %v, nothing is heard", left[:min(len(left), 5)])
		}
	}
}
