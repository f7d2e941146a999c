package main_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// action is the kind of a fault.
type action string

const (
	killing    action = "kill -9"   // of processes, which restart later
	freezing   action = "SIGSTOP"   // of processes, which resume later
	restarting action = "SIGTERM"   // of processes, which restart after their end
	rolling    action = "roll"      // SIGTERM to one process after the other, each when the one before is ready again
	silencing  action = "silence"   // of workers: their outgoing links are cut
	cutting    action = "cut"       // of links, in both directions
	muting     action = "mute"      // of links: nothing reaches the target
	deafening  action = "deafen"    // of links: nothing comes back
	resetting  action = "reset"     // of links: connections are reset
	flushing   action = "FLUSHALL"  // of Redis
	draining   action = "drain"     // of workers by an administrator, who activates them later
	balancing  action = "rebalance" // of all workers by an administrator
)

// fault is an action on processes or links, by name, at a time after the start.
type fault struct {
	at, lasts time.Duration
	action    action
	on        []string
	then      action // how the fault ends; empty: blocked traffic continues
}

func (f fault) String() string {
	s := fmt.Sprintf("%s %s", f.action, strings.Join(f.on, ", "))
	if f.lasts > 0 {
		s += fmt.Sprintf(" for %v", f.lasts)
	}
	if f.then != "" {
		s += fmt.Sprintf(", then %s", f.then)
	}
	return s
}

// sequels maps an action to the action that may end it.
var sequels = map[action]action{silencing: killing, cutting: resetting, muting: resetting, deafening: resetting}

// Names of processes and links.
const (
	postgres = "postgres"
	redis    = "redis"
)

func replica(n int) string           { return fmt.Sprint("replica-", n) }
func worker(n int) string            { return fmt.Sprint("worker-", n) }
func between(from, to string) string { return from + ">" + to }

// all returns the names for 1 to n.
func all(n int, name func(int) string) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = name(i + 1)
	}
	return names
}

const (
	clients  = "clients"
	control  = "control" // the control plane as workers see it: any ready replica
	operator = "operator"
	fleet    = "fleet"
)

// Names of the links of a replica and of a worker.
func toPostgres(n int) string { return between(replica(n), postgres) }
func toRedis(n int) string    { return between(replica(n), redis) }
func toReplica(n int) string  { return between(clients, replica(n)) }
func toWorker(n int) string   { return between(control, worker(n)) }
func toControl(n int) string  { return between(worker(n), control) }

// onDuty names the administration of a worker, which may overlap with other faults.
func onDuty(n int) string { return between(operator, worker(n)) }

// Faults come in waves. A wave ends before the next one starts. Now and then one
// fault lasts longer than the default lease and longer than any call or claim. The
// waves go on meanwhile.
const (
	waveLeast, waveMost     = 5 * time.Second, 9 * time.Second
	breathLeast, breathMost = 1500 * time.Millisecond, 3 * time.Second
	mostInWave              = 5
	longLeast, longMost     = 46 * time.Second, 60 * time.Second
	longOneIn               = 8
)

// plan returns a schedule of faults that depends on its arguments alone. lease is
// how long a worker runs without a heartbeat. Faults are either much shorter or
// longer.
func plan(seed uint64, duration time.Duration, replicas, workers int, lease time.Duration) (faults []fault) {
	r := rand.New(rand.NewPCG(seed, uint64(duration)))
	span := func(least, most time.Duration) time.Duration {
		return (least + time.Duration(r.Int64N(int64(most-least)))).Round(10 * time.Millisecond)
	}
	// One card stands for one fault.
	oneOf := func(n int, name func(int) string) []string { return []string{name(1 + r.IntN(n))} }
	silence := func() fault {
		n := 1 + r.IntN(workers)
		return fault{action: silencing, on: []string{worker(n), toControl(n)}}
	}
	cards := []func() fault{
		func() fault { return fault{action: killing, on: oneOf(replicas, replica)} },
		func() fault { return fault{action: killing, on: oneOf(replicas, replica)} },
		func() fault { return fault{action: freezing, on: oneOf(replicas, replica)} },
		func() fault { return fault{action: freezing, on: oneOf(replicas, replica)} },
		func() fault { return fault{action: restarting, on: oneOf(replicas, replica)} },
		func() fault { return fault{action: rolling, on: all(replicas, replica)} },
		func() fault { // an isolated replica
			n := 1 + r.IntN(replicas)
			return fault{action: cutting, on: []string{toPostgres(n), toRedis(n), toReplica(n)}}
		},
		func() fault { return fault{action: cutting, on: oneOf(replicas, toPostgres)} },
		func() fault { return fault{action: deafening, on: oneOf(replicas, toPostgres)} },
		func() fault { return fault{action: cutting, on: oneOf(replicas, toRedis)} },
		func() fault { return fault{action: muting, on: oneOf(replicas, toReplica)} },
		func() fault { return fault{action: resetting, on: all(replicas, toPostgres)} },
		func() fault {
			return fault{action: resetting, on: append(all(replicas, toRedis), all(replicas, toReplica)...)}
		},

		func() fault { return fault{action: killing, on: oneOf(workers, worker)} },
		func() fault { return fault{action: killing, on: oneOf(workers, worker)} },
		func() fault { return fault{action: killing, on: oneOf(workers, worker)} },
		func() fault { return fault{action: freezing, on: oneOf(workers, worker)} },
		func() fault { return fault{action: freezing, on: oneOf(workers, worker)} },
		func() fault { return fault{action: restarting, on: oneOf(workers, worker)} },
		silence, silence,
		func() fault { return fault{action: draining, on: oneOf(workers, onDuty)} },
		func() fault { return fault{action: draining, on: oneOf(workers, onDuty)} },
		func() fault { return fault{action: balancing, on: []string{between(operator, fleet)}} },
		func() fault { return fault{action: balancing, on: []string{between(operator, fleet)}} },
		func() fault { // an isolated worker
			n := 1 + r.IntN(workers)
			return fault{action: cutting, on: []string{toWorker(n), toControl(n)}}
		},
		func() fault { return fault{action: cutting, on: oneOf(workers, toWorker)} },
		func() fault { return fault{action: muting, on: oneOf(workers, toWorker)} },
		func() fault { return fault{action: deafening, on: oneOf(workers, toWorker)} },
		func() fault { return fault{action: cutting, on: oneOf(workers, toControl)} },
		func() fault { return fault{action: deafening, on: oneOf(workers, toControl)} },
		func() fault {
			return fault{action: resetting, on: append(all(workers, toWorker), all(workers, toControl)...)}
		},

		func() fault { return fault{action: killing, on: []string{postgres}} },
		func() fault { return fault{action: freezing, on: []string{postgres}} },
		func() fault { return fault{action: killing, on: []string{redis}} },
		func() fault { return fault{action: freezing, on: []string{redis}} },
		func() fault { return fault{action: flushing, on: []string{redis}} },
	}
	busy := make(map[string]time.Duration) // until when, by name
	var deck []func() fault
	// A card that does not fit stays in the deck. A new deck is shuffled only when no
	// card fits. Thus every kind of fault happens.
	deal := func(now time.Duration) fault {
		for {
			for i, card := range deck {
				if f := card(); !slices.ContainsFunc(f.on, func(name string) bool { return busy[name] > now }) {
					deck = slices.Delete(deck, i, i+1)
					return f
				}
			}
			old := len(deck)
			deck = append(deck, cards...)
			r.Shuffle(len(cards), func(i, j int) { deck[old+i], deck[old+j] = deck[old+j], deck[old+i] })
		}
	}
	var long time.Duration // end of the long fault, if any
	for from := time.Second; ; from += span(breathLeast, breathMost) {
		wave := span(waveLeast, waveMost)
		if from+wave > duration {
			wave = duration - from
		}
		if wave < waveLeast {
			slices.SortStableFunc(faults, func(a, b fault) int { return int(a.at - b.at) })
			return faults
		}
		for range 2 + r.IntN(mostInWave-1) {
			f, until := deal(from), from+wave
			f.at = from + span(0, wave/3)
			switch f.action {
			case restarting, rolling, resetting, flushing, balancing:
			default:
				f.lasts = span(200*time.Millisecond, lease/2)
				if r.IntN(2) == 0 {
					f.lasts = span(lease+time.Second, 2*lease+2*time.Second)
				}
				f.lasts = min(f.lasts, until-f.at)
				if lasts := span(longLeast, longMost); long <= from && f.at+lasts <= duration && r.IntN(longOneIn) == 0 {
					f.lasts, long = lasts, f.at+lasts+breathLeast
					until = long
				}
			}
			for _, name := range f.on {
				busy[name] = until
			}
			if r.IntN(2) == 0 {
				f.then = sequels[f.action]
			}
			faults = append(faults, f)
		}
		from += wave
	}
}

func TestPlan_AnySeed_KeepsItsRules(t *testing.T) {
	t.Parallel()
	const replicas, workers, lease = 3, 6, 3 * time.Second
	then, long := make(map[action]action), 0
	for seed := range uint64(200) {
		for _, duration := range []time.Duration{12 * time.Second, 3 * time.Minute} {
			faults := plan(seed, duration, replicas, workers, lease)
			require.Equal(t, faults, plan(seed, duration, replicas, workers, lease), "a function of the seed")
			if seed > 0 {
				require.NotEqual(t, plan(seed-1, duration, replicas, workers, lease), faults)
			}
			seen := make(map[action]int)
			ends := make(map[string]time.Duration)
			for _, f := range faults {
				seen[f.action]++
				if f.then != "" {
					then[f.action] = f.then
				}
				require.Positive(t, f.at)
				require.LessOrEqual(t, f.at+f.lasts, duration, f)
				for _, name := range f.on {
					require.GreaterOrEqual(t, f.at, ends[name], "%v at %v", f, f.at)
					ends[name] = f.at + f.lasts
				}
				together, longOnes := 0, 0
				for _, other := range faults {
					if other.at <= f.at && f.at <= other.at+other.lasts {
						together++
						if other.lasts >= longLeast {
							longOnes++
						}
					}
				}
				require.LessOrEqual(t, together, mostInWave+longOnes)
				require.LessOrEqual(t, longOnes, 1)
				long += longOnes
			}
			if duration == 3*time.Minute {
				assert.Len(t, seen, 12, "seed %d: whatever can happen does: %v", seed, seen)
			}
			require.NotEmpty(t, faults)
		}
	}
	assert.Equal(t, sequels, then)
	assert.Positive(t, long)
}
