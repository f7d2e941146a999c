package apptest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// newReplicated returns a harness with three replicas and the workers w1 to w4.
func newReplicated(t *testing.T) *apptest.Harness {
	t.Helper()
	return apptest.With(t, apptest.Options{Replicas: 3}).Workers("w1", 50, "w2", 50, "w3", 50, "w4", 50)
}

// skewedReplicas returns a harness with two replicas. The clock of the second is ahead by d.
func skewedReplicas(t *testing.T, d time.Duration, o apptest.Options) *apptest.Harness {
	o.Replicas = 2
	h := apptest.With(t, o)
	h.Skew(1, d)
	h.Start(1)
	return h
}

// withTwoProcesses returns a fleet in which a worker is cut off and runs on, and another
// process with the same id has just registered at another endpoint.
func withTwoProcesses(t *testing.T) (h *apptest.Harness, ids []string, old *simworker.Worker) {
	n := 0
	state := simworker.NewState()
	h = apptest.With(t, apptest.Options{Worker: func(c *apptest.WorkerConfig) {
		n++
		c.ID, c.Endpoint = "worker-w1", fmt.Sprintf("http://process-%d.sim:1", n)
		c.Seed, c.State = uint64(n), state
	}}).Workers("w1", 50)
	ids = connectSessions(h, 3)
	old = h.Worker("w1")
	old.CutOff()
	h.Advance(5 * time.Second)
	h.Workers("w1", 50)
	return h, ids, old
}

// connectSessions connects n sessions of one user of the highest tier.
func connectSessions(h *apptest.Harness, n int) (ids []string) {
	user := h.User(domain.TierMax)
	for i := range n {
		ids = append(ids, h.Connected(user, fmt.Sprint("line ", i)).ID)
	}
	return ids
}

// connectManySessions connects n sessions, 20 for each user.
func connectManySessions(h *apptest.Harness, n int) (ids []string) {
	for n > 0 {
		some := connectSessions(h, min(n, 20))
		ids = append(ids, some...)
		n -= len(some)
	}
	return ids
}

// migrations returns the migrations that match.
func migrations(t *testing.T, h *apptest.Harness, f ports.MigrationFilter) []*domain.Migration {
	t.Helper()
	list, total, err := h.Orchestrator.Operations.ListMigrations(t.Context(), f, ports.Page{})
	require.NoError(t, err)
	require.Len(t, list, total)
	return list
}

// openMigrations counts the migrations that have not ended.
func openMigrations(t *testing.T, h *apptest.Harness) (pending, running int) {
	t.Helper()
	pending = len(migrations(t, h, ports.MigrationFilter{Status: domain.MigrationPending}))
	return pending, len(migrations(t, h, ports.MigrationFilter{Status: domain.MigrationRunning}))
}

// connectedOn requires that every session is connected and runs on one worker, and that none
// is migrating. It returns the number of sessions on each worker.
func connectedOn(t *testing.T, h *apptest.Harness, ids []string) map[string]int {
	t.Helper()
	on := make(map[string]int)
	for _, id := range ids {
		s := h.Session(id)
		require.Equal(t, domain.Connected, s.Status, id)
		require.Equal(t, []string{s.WorkerID}, h.Owners(id))
		require.Empty(t, s.MigrationID+s.MigrationTargetID)
		on[s.WorkerID]++
	}
	return on
}

// countConnected returns how many of the sessions are connected on each worker.
func countConnected(h *apptest.Harness, ids []string) map[string]int {
	on := make(map[string]int)
	for _, id := range ids {
		if s := h.Session(id); s.Status == domain.Connected {
			on[s.WorkerID]++
		}
	}
	return on
}

// advanceUntilConnected advances until every session is connected and runs on one worker. It
// returns the time that this has taken, which is at most the limit.
func advanceUntilConnected(t *testing.T, h *apptest.Harness, ids []string, limit time.Duration) time.Duration {
	t.Helper()
	began := h.Now()
	for {
		waiting := 0
		for _, id := range ids {
			if s := h.Session(id); s.Status != domain.Connected || len(h.Owners(id)) != 1 || h.Owners(id)[0] != s.WorkerID {
				waiting++
			}
		}
		took := h.Now().Sub(began)
		if waiting == 0 {
			return took
		}
		require.LessOrEqual(t, took, limit, "%d sessions are not connected", waiting)
		h.Advance(100 * time.Millisecond)
	}
}

// eventsOf returns the types of the events of a worker, in order.
func eventsOf(h *apptest.Harness, worker string) (types []domain.EventType) {
	for _, e := range h.Events() {
		if e.WorkerID == worker && e.SessionID == "" {
			types = append(types, e.Type)
		}
	}
	return types
}

// placements returns the events that say where a session was placed, in order.
func placements(h *apptest.Harness, id string) (events []domain.Event) {
	for _, e := range h.Events() {
		switch e.Type {
		case domain.EventSessionPlaced, domain.EventSessionMigrated, domain.EventSessionFailedOver:
			if e.SessionID == id {
				events = append(events, e)
			}
		}
	}
	return events
}

// count returns how often one occurs.
func count[T comparable](all []T, one T) (n int) {
	for _, v := range all {
		if v == one {
			n++
		}
	}
	return n
}

// exampleT stands for the *testing.T of a test in the examples, which have none.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (*exampleT) Helper()                  {}
func (*exampleT) Context() context.Context { return context.Background() }
func (t *exampleT) Cleanup(fn func())      { t.cleanups = append(t.cleanups, fn) }

func (*exampleT) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (*exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// end runs the cleanups, as the end of a test does.
func (t *exampleT) end() {
	for _, fn := range slices.Backward(t.cleanups) {
		fn()
	}
}
