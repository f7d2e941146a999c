package main_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func second(n float64) time.Time { return dawn.Add(time.Duration(n * float64(time.Second))) }

// Handmade histories check the checker: it accepts the right ones and explains the
// wrong ones.
func TestLinearizable_HandmadeHistories_AreJudged(t *testing.T) {
	t.Parallel()
	at := func(n float64, d opKind, worker string, generation int64) op {
		return op{d, worker, generation, second(n), second(n), "by hand"}
	}
	within := func(from, to float64, d opKind, worker string, generation int64) op {
		return op{d, worker, generation, second(from), second(to), "by hand"}
	}
	since := func(from float64, worker string, generation int64) op {
		return op{assigned, worker, generation, second(from), time.Time{}, "by hand"}
	}
	for name, c := range map[string]struct {
		history []op
		why     string // empty: the history is correct
	}{
		"nothing": {},
		"a session that moves": {history: []op{
			since(1, "a", 1), at(2, started, "a", 1), at(5, stopped, "a", 1),
			since(4, "b", 2), at(6, started, "b", 2), at(9, seen, "b", 2),
		}},
		"the record of an assignment is older than the end of the run before, but may have been committed after it": {history: []op{
			since(1, "a", 1), at(2, started, "a", 1), since(3, "b", 2), at(5, stopped, "a", 1), at(6, started, "b", 2),
		}},
		"a killed worker, whose end is not known to the moment": {history: []op{
			since(1, "a", 1), at(2, started, "a", 1), within(4, 6, stopped, "a", 1), since(4, "b", 2), at(5, started, "b", 2),
		}},
		"the same worker runs it again, and under a new generation": {history: []op{
			since(1, "a", 1), at(2, started, "a", 1), at(3, stopped, "a", 1), at(4, started, "a", 1),
			since(5, "a", 2), at(6, started, "a", 2), at(7, stopped, "a", 2),
		}},
		"a generation without a record": {history: []op{
			since(1, "a", 1), at(2, started, "a", 1), at(3, stopped, "a", 1), at(4, started, "a", 2), at(5, seen, "a", 2),
		}},
		"a generation without a record, whose end is known before an answer that may be older": {history: []op{
			within(20, 21, released, "", 1), within(19, 22, seen, "a", 1),
		}},
		"answers that overlap with a change may be old or new": {history: []op{
			since(1, "a", 1), since(4, "b", 2), within(3, 6, seen, "b", 2), within(3.5, 6, seen, "a", 1),
		}},
		"released": {history: []op{
			at(0, released, "", 0), since(1, "a", 1), at(2, seen, "a", 1), at(3, released, "", 1), since(4, "b", 2), at(5, seen, "b", 2),
		}},
		"two at once": {
			history: []op{since(1, "a", 1), at(2, started, "a", 1), since(3, "b", 2), at(4, started, "b", 2), at(5, stopped, "a", 1)},
			why:     "it still runs on a",
		},
		"never stopped": {
			history: []op{since(1, "a", 1), at(2, started, "a", 1), since(3, "b", 2), at(4, started, "b", 2)},
			why:     "it still runs on a",
		},
		"assigned while it ran elsewhere, though it never ran there": {
			history: []op{since(1, "a", 1), at(2, started, "a", 1), since(3, "b", 2), at(4, seen, "b", 2), at(5, stopped, "a", 1)},
			why:     "it still runs on a",
		},
		"two owners under one generation": {
			history: []op{since(1, "a", 1), at(2, started, "a", 1), at(3, stopped, "a", 1), at(4, started, "b", 1)},
			why:     `generation 1 is on "a"`,
		},
		"one generation recorded twice": {
			history: []op{since(1, "a", 1), since(2, "b", 1)},
			why:     "generation 1 is there already",
		},
		"back from the dead": {
			history: []op{
				since(1, "a", 1), at(2, started, "a", 1), at(3, stopped, "a", 1),
				since(4, "b", 2), at(5, started, "b", 2), at(6, stopped, "b", 2), at(7, started, "a", 1),
			},
			why: `generation 2 is on "b"`,
		},
		"a start that was late": {
			history: []op{since(1, "a", 1), since(2, "b", 2), at(3, seen, "b", 2), at(4, started, "a", 1)},
			why:     `generation 2 is on "b"`,
		},
		"started after it was released": {
			history: []op{since(1, "a", 1), at(2, released, "", 1), at(3, started, "a", 1)},
			why:     `generation 1 is on ""`,
		},
		"a generation that shrinks": {
			history: []op{since(1, "a", 1), at(2, seen, "a", 1), since(3, "a", 2), at(4, seen, "a", 2), at(5, released, "", 1)},
			why:     "generation 2 is there already",
		},
		"an old answer": {
			history: []op{since(1, "a", 1), since(2, "b", 2), at(3, seen, "b", 2), within(4, 5, seen, "a", 1)},
			why:     `generation 2 is on "b"`,
		},
		"a stop of nothing": {
			history: []op{since(1, "a", 1), at(2, stopped, "a", 1)},
			why:     `it runs on ""`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ok, why := linearizable(c.history)
			assert.Equal(t, c.why == "", ok, why)
			assert.Contains(t, why, c.why)
		})
	}
}

// past returns a random history of a register. It draws a true sequence first, and
// then removes part of the knowledge about it.
func past(t *rapid.T) []op {
	workers := []string{"a", "b", "c"}
	var r register
	var history []op
	now := 0.0
	for range rapid.IntRange(1, 40).Draw(t, "length") {
		now += rapid.Float64Range(0.01, 2).Draw(t, "pause")
		o := op{
			kind: rapid.SampledFrom([]opKind{assigned, assigned, started, started, stopped, seen, released}).Draw(t, "deed"),
			from: second(now), to: second(now), worker: r.owner, generation: r.generation, source: "drawn",
		}
		switch o.kind {
		case assigned:
			o.worker, o.generation = rapid.SampledFrom(workers).Draw(t, "worker"), r.generation+1
			o.to = time.Time{}
		case stopped:
			o.worker, o.generation = r.running, r.run
		case seen:
			o.to = second(now + rapid.Float64Range(0, 3).Draw(t, "until"))
		case released:
			o.worker = ""
			if r.running != "" {
				continue
			}
		}
		if o.kind != assigned {
			o.from = o.from.Add(-time.Duration(rapid.Float64Range(0, 1e6).Draw(t, "since")))
		}
		if o.worker == "" && o.kind != released {
			continue
		}
		next, why := r.apply(o)
		if why != "" {
			continue
		}
		r = next
		if o.kind == seen || o.kind == assigned {
			o.from = second(now - rapid.Float64Range(0, 3).Draw(t, "since"))
			if rapid.IntRange(0, 9).Draw(t, "known") == 0 {
				continue
			}
		}
		history = append(history, o)
	}
	return history
}

func TestLinearizable_TrueHistory_IsAccepted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ok, why := linearizable(past(t))
		if !ok {
			t.Fatal(why)
		}
	})
}

// Random changes make correct histories wrong. The checker must find them.
func TestLinearizable_SpoiltHistory_IsRefused(t *testing.T) {
	t.Parallel()
	spoil := map[string]func(history []op, o op) []op{
		"the session runs on a second worker at the same time": func(h []op, o op) []op {
			return insert(h, op{started, "z", o.generation, o.to, o.to, "spoiled"})
		},
		"it runs again under a generation that is over": func(h []op, o op) []op {
			last := h[len(h)-1]
			for _, p := range h {
				if p.kind == started && p.generation > o.generation {
					at := latest(h).Add(time.Second)
					return append(slices.Clone(h), op{started, o.worker, o.generation, at, at, "spoiled after " + last.String()})
				}
			}
			return nil
		},
		"an answer comes from the past": func(h []op, o op) []op {
			for _, p := range h {
				if p.kind == started && p.generation > o.generation {
					at := latest(h).Add(time.Second)
					return append(slices.Clone(h), op{seen, o.worker, o.generation, at, at.Add(time.Second), "spoiled"})
				}
			}
			return nil
		},
		"a run never ended, though another began": func(h []op, o op) []op {
			i := slices.Index(h, o)
			end := slices.IndexFunc(h[i:], func(p op) bool { return p.kind == stopped })
			if end < 0 {
				return nil
			}
			h = slices.Delete(slices.Clone(h), i+end, i+end+1)
			next := slices.IndexFunc(h[i+end:], func(p op) bool { return p.kind == started })
			if next < 0 || h[i+end+next].worker == o.worker {
				return nil
			}
			return h
		},
		"its generation has another owner on record": func(h []op, o op) []op {
			h = slices.DeleteFunc(slices.Clone(h), func(p op) bool { return p.kind == assigned && p.generation == o.generation })
			return insert(h, op{assigned, "z", o.generation, dawn, time.Time{}, "spoiled"})
		},
	}
	for name, f := range spoil {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spoiled := 0
			rapid.Check(t, func(t *rapid.T) {
				h := past(t)
				var begun []op
				for _, o := range h {
					if o.kind == started {
						begun = append(begun, o)
					}
				}
				if len(begun) == 0 {
					return
				}
				bad := f(h, rapid.SampledFrom(begun).Draw(t, "which"))
				if bad == nil {
					return
				}
				spoiled++
				if ok, _ := linearizable(bad); ok {
					t.Fatalf("accepted: %v", bad)
				}
			})
			require.Positive(t, spoiled)
		})
	}
}

func insert(h []op, o op) []op {
	h = append(slices.Clone(h), o)
	slices.SortStableFunc(h, func(a, b op) int { return a.from.Compare(b.from) })
	return h
}

func latest(h []op) (t time.Time) {
	for _, o := range h {
		for _, at := range []time.Time{o.from, o.to} {
			if at.After(t) {
				t = at
			}
		}
	}
	return t
}

// Handmade journals check the reader.
func TestRead_HandmadeJournals_YieldRuns(t *testing.T) {
	t.Parallel()
	entry := func(n float64, e simworker.Event, worker, session string, generation int64) simworker.Entry {
		return simworker.Entry{Time: second(n), Event: e, Worker: worker, Session: session, Generation: generation}
	}
	fenced := entry(9.5, simworker.Stopped, "f", "s", 1)
	fenced.Effective, fenced.Reason = second(5), "the lease ran out"
	entries := []simworker.Entry{
		entry(1, simworker.Started, "f", "s", 1),
		entry(2, simworker.Started, "a", "killed", 1),
		entry(3, simworker.Continued, "a", "killed", 2),
		entry(9, simworker.Started, "b", "s", 2),
		fenced,
		entry(7, simworker.Stopped, "c", "two", 1), // written later, effective earlier
		entry(6, simworker.Started, "c", "two", 1),
		entry(8, simworker.Started, "d", "two", 2),
	}
	r := read(entries, []crash{{"a", second(6.5), second(7)}})
	assert.Equal(t, []op{
		{started, "f", 1, second(1), second(1), "journal: start"},
		{started, "b", 2, second(9), second(9), "journal: start"},
		{stopped, "f", 1, second(5), second(5), "journal: the lease ran out"},
	}, r.ops["s"])
	assert.Equal(t, []op{
		{started, "a", 1, second(2), second(2), "journal: start"},
		{started, "a", 2, second(3), second(3), "journal: continue"},
		{stopped, "a", 2, second(6.5), second(7), "killed"},
	}, r.ops["killed"])
	assert.Equal(t, map[string]int64{"b": 2}, r.running["s"])
	assert.Empty(t, r.running["killed"])
	assert.Equal(t, map[string]int64{"d": 2}, r.running["two"])
}
