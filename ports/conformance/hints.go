package conformance

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// hintPatience is how long a hint may be on its way.
const hintPatience = 10 * time.Second

// Hints tests two parties that tell each other what has changed. The ids that
// it uses are its own, so others may be parties too. Listening may take a
// moment to take effect. What arrives may be cut up, put together, repeated, or
// replaced by a hint with All, but it is there in the end.
func Hints(t *testing.T, open func(t *testing.T) (a, b ports.Hints)) {
	t.Run("what one tells reaches the other, both ways", func(t *testing.T) {
		h := newHintTest(t, open)
		for i, from := range []ports.Hints{h.a, h.b} {
			l := h.listen(h.other(from))
			hint := ports.Hint{
				Sessions: []string{h.id("s", i), h.id("it's \"odd\" – 失\n,", i)}, Workers: []string{h.id("w", i)},
				Users: []string{h.id("u", i), h.id("v", i), h.id("x", i)},
			}
			from.Tell(hint)
			l.wait(hint)
			l.forget()
			from.Tell(ports.Hint{Workers: []string{h.id("alone", i)}})
			l.wait(ports.Hint{Workers: []string{h.id("alone", i)}})
			require.Empty(t, l.of(ports.Hint{Sessions: []string{h.id("alone", i)}, Users: []string{h.id("alone", i)}}))
		}
	})
	t.Run("every listener hears of it", func(t *testing.T) {
		h := newHintTest(t, open)
		listeners := []*hearing{h.listen(h.b), h.listen(h.b), h.listen(h.b)}
		for i := range 10 {
			hint := ports.Hint{Sessions: []string{h.id("s", i)}}
			h.a.Tell(hint)
			for _, l := range listeners {
				l.wait(hint)
			}
		}
	})
	t.Run("nobody hears what it tells itself", func(t *testing.T) {
		h := newHintTest(t, open)
		own, other := h.listen(h.b), h.listen(h.a)
		hint := ports.Hint{Sessions: []string{h.id("s", 0)}, Workers: []string{h.id("w", 0)}, Users: []string{h.id("u", 0)}}
		other.forget() // or else it would wait for nothing
		h.b.Tell(hint)
		other.wait(hint)
		own.settle()
		require.Empty(t, own.of(hint))
	})
	t.Run("All arrives as such", func(t *testing.T) {
		h := newHintTest(t, open)
		l := h.listen(h.b)
		l.forget()
		h.a.Tell(ports.Hint{All: true})
		require.Eventually(t, l.heardAll, hintPatience, time.Millisecond)
	})
	t.Run("very large hints arrive", func(t *testing.T) {
		h := newHintTest(t, open)
		l := h.listen(h.b)
		for _, kind := range []func(ids []string) ports.Hint{
			func(ids []string) ports.Hint { return ports.Hint{Sessions: ids} },
			func(ids []string) ports.Hint { return ports.Hint{Workers: ids} },
			func(ids []string) ports.Hint { return ports.Hint{Users: ids} },
			func(ids []string) ports.Hint { return ports.Hint{Sessions: ids, Workers: ids, Users: ids} },
		} {
			l.forget()
			ids := make([]string, 10_000)
			for i := range ids {
				ids[i] = h.id("0190f3f0-aaaa-7bbb-8ccc-large", i)
			}
			h.a.Tell(kind(ids))
			l.wait(kind(ids))
		}
	})
	t.Run("very many hints arrive", func(t *testing.T) {
		h := newHintTest(t, open)
		l := h.listen(h.b)
		var want ports.Hint
		for i := range 10_000 {
			hint := ports.Hint{Sessions: []string{h.id("s", i)}}
			want.Sessions = append(want.Sessions, hint.Sessions...)
			h.a.Tell(hint)
		}
		l.wait(want)
	})
	t.Run("many may tell at a time, and one hint comes at a time", func(t *testing.T) {
		h := newHintTest(t, open)
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
		var want, wantBack ports.Hint
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
			from := []ports.Hints{h.a, h.b}[i%2]
			for n := range 50 {
				from.Tell(ports.Hint{Workers: []string{h.id("w", i*50+n)}})
			}
		})
		l.wait(want)
		back.wait(wantBack)
		mu.Lock()
		defer mu.Unlock()
		require.Zero(t, overlaps)
	})
	t.Run("what was told is the teller's again", func(t *testing.T) {
		h := newHintTest(t, open)
		l := h.listen(h.b)
		var want ports.Hint
		ids := make([]string, 1)
		for i := range 100 {
			ids[0] = h.id("u", i)
			want.Users = append(want.Users, ids[0])
			h.a.Tell(ports.Hint{Users: ids})
			ids[0] = "overwritten"
		}
		l.wait(want)
	})
	t.Run("nothing arrives after cancel", func(t *testing.T) {
		h := newHintTest(t, open)
		goes, stays := h.listen(h.b), h.listen(h.b)
		goes.cancel()
		goes.cancel() // twice does no harm
		hint := ports.Hint{Sessions: []string{h.id("s", 1)}}
		h.a.Tell(hint)
		stays.wait(hint)
		stays.settle()
		require.Empty(t, goes.of(hint))
	})
	t.Run("a listener may cancel itself", func(t *testing.T) {
		h := newHintTest(t, open)
		stays := h.listen(h.b)
		var mu sync.Mutex
		calls := 0
		var cancel func()
		mu.Lock()
		cancel = h.b.Listen(func(ports.Hint) {
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
		deadline := time.Now().Add(hintPatience)
		for i := 0; !called(); i++ {
			require.True(t, time.Now().Before(deadline), "it was never called")
			h.a.Tell(ports.Hint{Sessions: []string{h.id("s", i)}})
			stays.wait(ports.Hint{Sessions: []string{h.id("s", i)}})
		}
		for i := range 5 {
			h.a.Tell(ports.Hint{Sessions: []string{h.id("t", i)}})
		}
		stays.settle()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 1, calls)
	})
	t.Run("an empty hint does no harm", func(t *testing.T) {
		h := newHintTest(t, open)
		l := h.listen(h.b)
		l.forget()
		h.a.Tell(ports.Hint{})
		h.a.Tell(ports.Hint{Sessions: []string{}, Workers: []string{""}})
		h.a.Tell(ports.Hint{Users: []string{h.id("u", 0)}})
		l.wait(ports.Hint{Users: []string{h.id("u", 0)}})
	})
	t.Run("telling nobody is fine", func(t *testing.T) {
		h := newHintTest(t, open)
		h.a.Tell(ports.Hint{Sessions: []string{h.id("s", 0)}, All: true})
	})
}

// HintsCut tests parties that are connected by something which may break. cut
// takes one of the two that open gave off, and heal connects it again. What was
// told in between arrives all the same, or a hint with All does.
func HintsCut(t *testing.T, open func(t *testing.T) (a, b ports.Hints, cut func(h ports.Hints) (heal func()))) {
	for _, who := range []string{"the listener", "the teller"} {
		t.Run(who+" is cut off", func(t *testing.T) {
			var cut func(h ports.Hints) (heal func())
			h := newHintTest(t, func(t *testing.T) (a, b ports.Hints) {
				a, b, cut = open(t)
				return a, b
			})
			party := map[string]ports.Hints{"the listener": h.b, "the teller": h.a}[who]
			l := h.listen(h.b)
			for round := range 3 {
				l.forget()
				heal := cut(party)
				hint := ports.Hint{
					Sessions: []string{h.id("s", round)}, Workers: []string{h.id("w", round)}, Users: []string{h.id("u", round)},
				}
				start := time.Now()
				h.a.Tell(hint)
				require.Less(t, time.Since(start), time.Second, "Tell is quick")
				heal()
				l.wait(hint)
				l.settle() // and it goes on
			}
		})
	}
}

type hintTest struct {
	*testing.T
	a, b ports.Hints
	name string
}

func newHintTest(t *testing.T, open func(t *testing.T) (a, b ports.Hints)) *hintTest {
	a, b := open(t)
	return &hintTest{T: t, a: a, b: b, name: unique(t)}
}

func (h *hintTest) other(party ports.Hints) ports.Hints {
	if party == h.a {
		return h.b
	}
	return h.a
}

func (h *hintTest) id(kind string, i int) string { return fmt.Sprint(kind, i, "@", h.name) }

// hearing is what a listener has heard.
type hearing struct {
	h      *hintTest
	from   ports.Hints
	cancel func()

	mu      sync.Mutex
	ids     map[string]bool
	isAll   bool
	probes  int
	changed chan struct{}
}

// listen listens to what the other party tells, and returns once that has
// taken effect.
func (h *hintTest) listen(party ports.Hints) *hearing { return h.listenWith(party, func() {}) }

func (h *hintTest) listenWith(party ports.Hints, fn func()) *hearing {
	h.Helper()
	l := &hearing{h: h, from: h.other(party), ids: make(map[string]bool), changed: make(chan struct{}, 1)}
	l.cancel = party.Listen(func(hint ports.Hint) {
		fn()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, id := range names(hint) {
			l.ids[id] = true
		}
		l.isAll = l.isAll || hint.All
		select {
		case l.changed <- struct{}{}:
		default:
		}
	})
	h.Cleanup(l.cancel)
	l.settle()
	return l
}

// names gives the ids of a hint with what they are ids of.
func names(hint ports.Hint) (all []string) {
	for kind, ids := range map[string][]string{"session": hint.Sessions, "worker": hint.Workers, "user": hint.Users} {
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
	probe := ports.Hint{Sessions: []string{fmt.Sprintf("probe %d of %p@%s", l.probes, l, l.h.name)}}
	deadline := time.After(hintPatience)
	for {
		l.from.Tell(probe)
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

// of gives what was heard of a hint.
func (l *hearing) of(hint ports.Hint) (heard []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names(hint) {
		if l.ids[name] {
			heard = append(heard, name)
		}
	}
	return heard
}

// wait waits until all of a hint was heard, or All.
func (l *hearing) wait(hint ports.Hint) {
	l.h.Helper()
	left := names(hint)
	complete := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for len(left) > 0 && l.ids[left[0]] {
			left = left[1:]
		}
		return l.isAll || len(left) == 0
	}
	for deadline := time.After(hintPatience); !complete(); {
		select {
		case <-l.changed:
		case <-deadline:
			require.FailNow(l.h.T, "a hint was lost", "of %v, nothing is heard", left[:min(len(left), 5)])
		}
	}
}
