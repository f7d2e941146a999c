package apptest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// TestRandomFaults_OneReplica_FleetConverges makes users, workers and the control plane act
// and fail at random, for about an hour of virtual time. The seed determines all of it. At no
// moment does a session run twice (the harness checks it) or a message get sent twice. Once the
// faults have ended, a session whose intent is up is connected on one worker, and a session
// whose intent is down runs nowhere.
func TestRandomFaults_OneReplica_FleetConverges(t *testing.T) { randomFaults(t, 1) }

// TestRandomFaults_ThreeReplicas_FleetConverges does the same to three replicas on one store.
// Replicas also start, die, pause, lose invalidations, and have clocks that differ by seconds.
func TestRandomFaults_ThreeReplicas_FleetConverges(t *testing.T) { randomFaults(t, 3) }

// seeds returns how many seeds each test of random faults runs. FAULT_SEEDS in the
// environment sets it. The default is 25, and a fifth of them with -short.
func seeds(t *testing.T) uint64 {
	t.Helper()
	if value, isSet := os.LookupEnv("FAULT_SEEDS"); isSet {
		n, err := strconv.ParseUint(value, 10, 64)
		require.NoError(t, err, "FAULT_SEEDS")
		return n
	}
	if testing.Short() {
		return 5
	}
	return 25
}

func randomFaults(t *testing.T, replicas int) {
	for seed := range seeds(t) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f := newFaulty(t, apptest.Options{Seed: seed, Replicas: replicas})
			for range 150 {
				f.disturb()
				f.Advance(time.Duration(f.r.IntN(20_000)) * time.Millisecond)
			}
			f.endFaults(time.Minute, 5*time.Minute)
			for _, id := range f.ids {
				s := f.Session(id)
				if s.Intent == domain.Down {
					require.Empty(t, f.Owners(id), "the intent of %s is down", id)
					continue
				}
				require.Equal(t, domain.Connected, s.Status, "%s: command %s, attempts %d, %s", id, s.Command, s.Attempts, s.LastError)
				require.Equal(t, []string{s.WorkerID}, f.Owners(id))
			}
			require.Empty(t, f.Repeats())
		})
	}
}

// faulty is a fleet that suffers random faults.
type faulty struct {
	*apptest.Harness
	t       *testing.T
	r       *rand.Rand
	user    *domain.User
	ids     []string
	workers []string

	replicas int
}

func newFaulty(t *testing.T, o apptest.Options) *faulty {
	o.Worker = func(c *apptest.WorkerConfig) { c.FailRate = 0.05 }
	f := &faulty{
		Harness: apptest.With(t, o),
		t:       t, r: rand.New(rand.NewPCG(o.Seed, 1)), workers: []string{"w1", "w2", "w3"}, replicas: o.Replicas,
	}
	for _, w := range f.workers {
		f.Workers(w, 10)
	}
	f.user = f.User(domain.TierMax)
	for i := range 8 {
		f.ids = append(f.ids, f.CreateSession(f.user, fmt.Sprint("line ", i)).ID)
	}
	return f
}

// endFaults ends all faults. It activates every worker after the first wait. After the second
// wait no migration may be open.
func (f *faulty) endFaults(back, rest time.Duration) {
	f.t.Helper()
	for _, w := range f.workers {
		f.RestartWorker(w)
		f.ResumeWorker(w)
		f.Reconnect(w)
	}
	for i := range f.replicas {
		f.Resume(i)
	}
	f.Advance(back)
	for _, w := range f.workers {
		_, err := f.Orchestrator.Workers.Activate(f.t.Context(), "worker-"+w)
		require.NoError(f.t, err)
	}
	f.Advance(rest)
	pending, running := openMigrations(f.t, f.Harness)
	require.Zero(f.t, pending+running, "migrations still open")
}

// disturbReplica does something random to a replica, and returns a replica that runs.
func (f *faulty) disturbReplica() *orchestrator.Orchestrator {
	some := f.r.IntN(f.replicas)
	isOther := some > 0 // the first replica always runs
	switch f.r.IntN(12) {
	case 0:
		if isOther {
			f.Kill(some)
		}
	case 1:
		f.Skew(some, time.Duration(f.r.IntN(6000)-3000)*time.Millisecond)
		f.Start(some)
	case 2:
		if isOther {
			f.Pause(some)
		}
	case 3, 4:
		f.Resume(some)
	case 5:
		f.DropInvalidations(some)
	case 6:
		f.DeliverInvalidations(some)
	case 7:
		if f.r.IntN(2) == 0 {
			f.PinWorkers()
		} else {
			f.UnpinWorkers()
		}
	}
	if o := f.Running(); len(o) > 0 {
		return o[f.r.IntN(len(o))]
	}
	return f.Orchestrator
}

// disturb does one random thing. It ignores errors of services, which may refuse.
func (f *faulty) disturb() {
	ctx, o := f.t.Context(), f.Orchestrator
	if f.replicas > 1 {
		o = f.disturbReplica()
	}
	w, id := f.workers[f.r.IntN(len(f.workers))], f.ids[f.r.IntN(len(f.ids))]
	switch f.r.IntN(22) {
	case 0:
		f.Crash(w)
	case 1, 2:
		f.RestartWorker(w)
	case 3:
		f.Hang(w)
	case 4:
		f.ResumeWorker(w)
	case 5:
		f.CutOff(w)
	case 6:
		f.Reconnect(w)
	case 7:
		_, _ = o.Sessions.Disconnect(ctx, f.user.ID, id)
	case 8:
		_, _ = o.Sessions.Restart(ctx, f.user.ID, id)
	case 9:
		if f.r.IntN(4) == 0 {
			f.Restart()
		}
	case 10:
		_, _ = o.Messages.Send(ctx, service.Sender{UserID: f.user.ID, SessionID: id},
			&domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"})
	case 11:
		if f.r.IntN(3) == 0 {
			_, _ = o.Sessions.Logout(ctx, f.user.ID, id)
		}
	case 12:
		target := ""
		if f.r.IntN(2) == 0 {
			target = "worker-" + w
		}
		_, _ = o.Operations.Migrate(ctx, id, service.MigrateOptions{TargetWorkerID: target})
	case 13:
		_, _ = o.Operations.Rebalance(ctx, service.RebalanceOptions{})
	case 14:
		_, _ = o.Operations.Bulk(ctx, service.BulkRequest{Action: service.BulkMigrate, Filter: ports.SessionFilter{WorkerID: "worker-" + w}})
	case 15:
		if list, _, _ := o.Operations.ListMigrations(ctx, ports.MigrationFilter{}, ports.Page{Limit: 1}); len(list) > 0 {
			_, _, _ = o.Operations.CancelMigrations(ctx, list[0].ID)
		}
	case 16:
		_, _ = o.Workers.Drain(ctx, "worker-"+w, service.DrainOptions{})
	case 17:
		_, _ = o.Workers.Activate(ctx, "worker-"+w)
	default:
		_, _ = o.Sessions.Connect(ctx, f.user.ID, id, service.ConnectOptions{})
	}
}
