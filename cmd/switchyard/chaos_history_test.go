package main_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

// opKind is the kind of an observation about the owner of a session.
type opKind string

const (
	assigned opKind = "is assigned to" // recorded by the control plane
	released opKind = "is free, says"  // a response of the API shows no worker
	seen     opKind = "is on, says"    // a response of the API shows a worker
	started  opKind = "starts on"      // in the journal
	stopped  opKind = "stops on"       // in the journal, or the worker was killed
)

// op is one observation. It took effect at some moment between two times.
type op struct {
	kind       opKind
	worker     string
	generation int64
	from, to   time.Time // to is zero if there is no upper bound
	source     string    // where the observation comes from
}

func (o op) String() string {
	return fmt.Sprintf("%s: generation %d %s %s (%s)", during(o.from, o.to), o.generation, o.kind, cmp.Or(o.worker, "the API"), o.source)
}

// during formats an interval in a sortable form.
func during(from, to time.Time) string {
	const clock = "15:04:05.000000"
	at := from.UTC().Format(clock)
	if to.After(from) {
		at += " to " + to.UTC().Format(clock)
	}
	return at
}

// register models the assignment of one session as a sequential program. It holds
// the owner and a generation that only grows, and what runs where. Only the owner
// runs the session, and the run has stopped before the session changes its owner.
type register struct {
	generation int64
	owner      string // empty: none
	running    string // worker; empty: none
	run        int64  // generation of the run
}

// apply returns the register after an op, or the reason why the op is impossible.
func (r register) apply(o op) (register, string) {
	switch o.kind {
	case assigned:
		switch {
		case o.generation <= r.generation:
			return r, fmt.Sprintf("generation %d is there already", r.generation)
		case r.running != "" && r.running != o.worker:
			return r, fmt.Sprintf("it still runs on %s", r.running)
		}
		r.generation, r.owner = o.generation, o.worker
	case released:
		if o.generation < r.generation {
			return r, fmt.Sprintf("generation %d is there already", r.generation)
		}
		r.generation, r.owner = o.generation, ""
	case seen:
		if o.generation != r.generation || o.worker != r.owner {
			return r, fmt.Sprintf("generation %d is on %q", r.generation, r.owner)
		}
	case started:
		switch {
		case o.generation != r.generation || o.worker != r.owner:
			return r, fmt.Sprintf("generation %d is on %q", r.generation, r.owner)
		case r.running != "" && (r.running != o.worker || r.run >= o.generation):
			return r, fmt.Sprintf("it still runs on %s", r.running)
		}
		r.running, r.run = o.worker, o.generation
	case stopped:
		if r.running != o.worker {
			return r, fmt.Sprintf("it runs on %q", r.running)
		}
		r.running, r.run = "", 0
	}
	return r, ""
}

var registers = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		next, why := state.(register).apply(input.(op))
		return why == "", next
	},
}

// linearizable reports whether a register could have done all ops, each within its
// interval. If not, why describes the longest possible prefix and the next op.
func linearizable(history []op) (ok bool, why string) {
	history = complete(history)
	operations := make([]porcupine.Operation, len(history))
	for i, o := range history {
		operations[i] = porcupine.Operation{Input: o, Call: o.from.UnixNano(), Return: o.to.UnixNano()}
	}
	result, info := porcupine.CheckOperationsVerbose(registers, operations, patience)
	if result == porcupine.Ok {
		return true, ""
	}
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	return false, explain(history, longest, result)
}

func explain(history []op, longest []porcupine.Operation, result porcupine.CheckResult) string {
	var b strings.Builder
	var r register
	fmt.Fprintf(&b, "the history cannot be explained (%s). This much fits together:\n", result)
	left := slices.Clone(history)
	for _, o := range longest {
		r, _ = r.apply(o.Input.(op))
		fmt.Fprintf(&b, "  %s\n", o.Input)
		i := slices.Index(left, o.Input.(op))
		left = slices.Delete(left, i, i+1)
	}
	b.WriteString("but then what follows does not:\n")
	slices.SortStableFunc(left, func(a, b op) int { return a.from.Compare(b.from) })
	for _, o := range left[:min(len(left), 8)] {
		if _, why := r.apply(o); why != "" {
			fmt.Fprintf(&b, "  %s: %s\n", o, why)
		}
	}
	return b.String()
}

// complete adds bounds to ops that lack them. An assignment took effect before the
// first observation of its generation. A generation without a recorded assignment
// gets one before its first observation: a session that starts again on the same
// worker gets a new generation without an event.
func complete(history []op) []op {
	history = slices.Clone(history)
	var first, last time.Time
	signs := make(map[int64]op)       // first observation of each generation
	workers := make(map[int64]string) // worker of each generation
	known := make(map[int64]bool)
	for _, o := range history {
		known[o.generation] = known[o.generation] || o.kind == assigned
		if o.worker != "" {
			workers[o.generation] = o.worker
		}
		if first.IsZero() || o.from.Before(first) {
			first = o.from
		}
		for _, t := range []time.Time{o.from, o.to} {
			if t.After(last) {
				last = t
			}
		}
		if s, ok := signs[o.generation]; o.kind != assigned && (!ok || o.to.Before(s.to)) {
			signs[o.generation] = o
		}
	}
	for i := range history {
		o := &history[i]
		if s, ok := signs[o.generation]; o.kind == assigned && ok && (o.to.IsZero() || s.to.Before(o.to)) {
			o.to = s.to
		}
		if o.to.IsZero() {
			o.to = last
		}
		if o.to.Before(o.from) { // recorded after its own consequences; the checker must report it
			o.to = o.from
		}
	}
	for generation, worker := range workers {
		if !known[generation] {
			history = append(history, op{assigned, worker, generation, first, signs[generation].to, "concluded from what follows"})
		}
	}
	return history
}

// crash is a kill of a worker's process at some moment between two times. The
// process cannot record it.
type crash struct {
	worker   string
	from, to time.Time
}

// chronicle returns the journal entries in the order of writing, with the crashes
// inserted.
func chronicle(entries []simworker.Entry, crashes []crash) []simworker.Entry {
	all := slices.Clone(entries)
	for _, c := range crashes {
		all = append(all, simworker.Entry{Time: c.to, Event: simworker.Crashed, Worker: c.worker})
	}
	slices.SortStableFunc(all, func(a, b simworker.Entry) int { return a.Time.Compare(b.Time) })
	return all
}

// record holds the contents of journals for all sessions.
type record struct {
	ops     map[string][]op             // starts and stops by session
	running map[string]map[string]int64 // runs at the end: generation by worker, by session
}

// read replays the journals of all workers together.
func read(entries []simworker.Entry, crashes []crash) record {
	r := record{make(map[string][]op), make(map[string]map[string]int64)}
	for _, e := range chronicle(entries, crashes) {
		on := r.running[e.Session]
		if on == nil {
			on = make(map[string]int64)
			r.running[e.Session] = on
		}
		note := func(d opKind, session string, generation int64, from, to time.Time, source string) {
			r.ops[session] = append(r.ops[session], op{d, e.Worker, generation, from, to, source})
		}
		switch e.Event {
		case simworker.Started, simworker.Continued:
			note(started, e.Session, e.Generation, e.Time, e.Time, "journal: "+string(e.Event))
			on[e.Worker] = e.Generation
		case simworker.Stopped:
			note(stopped, e.Session, e.Generation, e.At(), e.At(), "journal: "+e.Reason)
			delete(on, e.Worker)
		case simworker.Crashed:
			i := slices.IndexFunc(crashes, func(c crash) bool { return c.worker == e.Worker && c.to.Equal(e.Time) })
			for session, on := range r.running {
				if generation, runs := on[e.Worker]; runs {
					note(stopped, session, generation, crashes[i].from, crashes[i].to, "killed")
					delete(on, e.Worker)
				}
			}
		}
	}
	return r
}
