package failure_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// replica is a core with a detector.
type replica struct {
	*coretest.Core
	detector *failure.Detector
}

func newReplica(core *coretest.Core) *replica {
	return &replica{core, failure.New(core.Writer, core.Members, core.Cache, core.Sync, core.Queue)}
}

// newDetector returns a detector that is alone, with session s1 CONNECTED on w1.
func newDetector(t *testing.T, capabilities ...domain.Capability) *replica {
	r := newReplica(coretest.New(t))
	r.AddSharingWorker("w1", 50, capabilities...)
	r.AddConnected(r.AddUser(domain.TierPro), "s1", "w1")
	return r
}

func (r *replica) check(t *testing.T) (next time.Time) {
	t.Helper()
	next, err := r.detector.Check(context.Background(), &workqueue.Batch{Context: context.Background()})
	require.NoError(t, err)
	return next
}

// watch checks whenever a check is due, for a while.
func (r *replica) watch(t *testing.T, d time.Duration) {
	t.Helper()
	end := r.Now().Add(d)
	for {
		next := r.check(t)
		if next.IsZero() || next.After(end) {
			r.Clock.Advance(end.Sub(r.Now()))
			r.check(t)
			return
		}
		r.Clock.Advance(max(next.Sub(r.Now()), time.Millisecond))
	}
}

// beat stores a heartbeat of w1.
func (r *replica) beat() {
	r.ChangeWorkerRow("w1", func(w *domain.Worker) { r.detector.ApplyHeartbeat(w, heartbeat, r.Now()) })
}

var heartbeat = domain.Heartbeat{CPU: -1, Memory: -1, MessageCount: -1}

func TestCheck_ThreeRefusedProbes_WorkerCrashedAndItsSessionsFailOverAfterTheGrace(t *testing.T) {
	r := newDetector(t)
	r.Gateway.Fail(ports.WorkerConnectionRefused)

	r.watch(t, r.Timing.ProbeInterval+2*r.Timing.ProbeRetry+10*time.Millisecond)

	w := r.Worker("w1")
	require.Equal(t, domain.DownCrashed, w.DownReason)
	require.Equal(t, w.DownAt.Add(r.Timing.FailoverDelay), w.FailoverAt)
	s := r.Session("s1")
	require.Equal(t, domain.Reconnecting, s.Status)
	require.Equal(t, w.FailoverAt, s.DueAt)
	require.Len(t, r.Gateway.Calls("health"), 3)
}

func TestCheck_HeartbeatAfterTheFirstRefusal_WorkerStaysUp(t *testing.T) {
	r := newDetector(t)
	r.Gateway.Fail(ports.WorkerConnectionRefused)
	r.watch(t, r.Timing.ProbeInterval)
	require.Len(t, r.Gateway.Calls("health"), 1)

	r.Clock.Advance(time.Millisecond)
	r.beat()
	r.watch(t, 5*r.Timing.ProbeInterval)
	require.True(t, r.Worker("w1").Online, "only the way to it is cut")
	require.Equal(t, "it failed", r.detector.Warning("w1"))
}

func TestCheck_ProbesTimeOut_IsAWarningAndNoProof(t *testing.T) {
	r := newDetector(t)
	r.Gateway.Fail(ports.WorkerTimedOut)
	r.watch(t, 60*time.Second)
	require.True(t, r.Worker("w1").Online)
	require.Equal(t, "it failed", r.detector.Warning("w1"))

	r.Gateway.Succeed()
	r.watch(t, r.Timing.ProbeInterval)
	require.Empty(t, r.detector.Warning("w1"))
}

func TestCheck_NoHeartbeatUntilTheDeadline_WorkerIsSilent(t *testing.T) {
	for name, c := range map[string]struct {
		capabilities []domain.Capability
		after        time.Duration
	}{
		"lease and drift":         {[]domain.Capability{domain.CapLease}, 46 * time.Second},
		"three missed heartbeats": {nil, 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			r := newDetector(t, c.capabilities...)
			r.watch(t, c.after-time.Millisecond)
			require.True(t, r.Worker("w1").Online)
			require.Zero(t, r.detector.SilentWorkers())

			r.Clock.Advance(time.Millisecond)
			r.check(t)
			w := r.Worker("w1")
			require.Equal(t, domain.DownHeartbeatTimeout, w.DownReason)
			require.Equal(t, w.DownAt, w.FailoverAt, "it had its time")
			require.Equal(t, 1, r.detector.SilentWorkers())
		})
	}
}

func TestCheck_ProbesStopped_SilentWorkersAreFoundAllTheSame(t *testing.T) {
	r := newDetector(t)
	status, err := r.detector.StopProbes(context.Background())
	require.NoError(t, err)
	require.False(t, status.Running)
	r.watch(t, 90*time.Second)
	require.Empty(t, r.Gateway.Calls("health"))
	require.False(t, r.Worker("w1").Online)
}

func TestCheck_ThisReplicaWasAway_TimersStartAgain(t *testing.T) {
	r := newDetector(t)
	r.Clock.Advance(10 * time.Minute)
	r.detector.ResetHeartbeatTimers(r.Now())
	r.watch(t, 90*time.Second-time.Millisecond)
	require.True(t, r.Worker("w1").Online, "it is not to blame")
	r.watch(t, time.Millisecond)
	require.False(t, r.Worker("w1").Online)
}

func TestRecordCall_CallsOfAnySort_CountAsProbes(t *testing.T) {
	r := newDetector(t)
	refused := &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "refused"}
	for range 3 {
		require.True(t, r.Worker("w1").Online)
		r.detector.RecordCall(context.Background(), r.Cache.Worker("w1"), refused)
	}
	require.Equal(t, domain.DownCrashed, r.Worker("w1").DownReason)
	require.Len(t, r.Queue.Woken(), 1, "the loop looks at once")
}

func TestRecordCall_AnswerBetweenRefusals_StartsTheCountAgain(t *testing.T) {
	r := newDetector(t)
	refused := &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "refused"}
	for _, err := range []error{refused, refused, nil, refused, refused} {
		r.detector.RecordCall(context.Background(), r.Cache.Worker("w1"), err)
	}
	require.True(t, r.Worker("w1").Online)
}

func TestRecordCall_FormerProcessWasCalled_IsIgnored(t *testing.T) {
	r := newDetector(t)
	former := r.Cache.Worker("w1")
	r.Clock.Advance(time.Second)
	r.ChangeWorkerRow("w1", func(w *domain.Worker) {
		w.Register(domain.Registration{WorkerID: "w1", Endpoint: w.Endpoint, Capacity: 50}, r.Timing, r.Now())
	})
	for range 3 {
		r.detector.RecordCall(context.Background(), former, &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "refused"})
	}
	require.True(t, r.Worker("w1").Online)
	require.Empty(t, r.detector.Warning("w1"))
}

func TestRecordCall_NewProcessRegistered_EarlierRefusalsAreForgotten(t *testing.T) {
	r := newDetector(t)
	refused := &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "refused"}
	r.detector.RecordCall(context.Background(), r.Cache.Worker("w1"), refused)
	r.detector.RecordCall(context.Background(), r.Cache.Worker("w1"), refused)
	r.Clock.Advance(time.Second)
	r.ChangeWorkerRow("w1", func(w *domain.Worker) {
		w.Register(domain.Registration{WorkerID: "w1", Endpoint: w.Endpoint, Capacity: 50}, r.Timing, r.Now())
	})
	require.Empty(t, r.detector.Warning("w1"))
	r.detector.RecordCall(context.Background(), r.Cache.Worker("w1"), refused)
	require.True(t, r.Worker("w1").Online)
}

func TestRecordCall_NotTheWorkersDoing_ChangesNothing(t *testing.T) {
	for name, err := range map[string]error{
		"cancelled":           &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "no answer", Err: context.Canceled},
		"circuit open":        &ports.WorkerError{Failure: ports.WorkerCircuitOpen, Message: "not called"},
		"our own rate limit":  &ports.WorkerError{Failure: ports.WorkerBusy, Message: "busy"},
		"no error of workers": errors.New("broken"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newDetector(t)
			r.detector.RecordCall(context.Background(), r.Cache.Worker("w1"), &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "earlier"})
			r.detector.RecordCall(context.Background(), r.Cache.Worker("w1"), err)
			require.Equal(t, "earlier", r.detector.Warning("w1"))
		})
	}
}

func TestMarkDown_WorkerCameBack_StaysUpAndTheCacheLearnsIt(t *testing.T) {
	a := newReplica(coretest.NewReplica(t, "A"))
	b := newReplica(a.Join("B", 0))
	a.AddSharingWorker("w1", 50)
	require.NoError(t, b.Sync.Load(context.Background()))
	a.Clock.Advance(time.Minute)
	a.beat() // B has not heard of it

	require.NoError(t, b.detector.MarkDown(context.Background(), "w1", domain.DownHeartbeatTimeout, func(w *domain.Worker) bool {
		return w.LastHeartbeat.Equal(b.Cache.Worker("w1").LastHeartbeat)
	}))
	require.True(t, b.Worker("w1").Online)
	require.Equal(t, a.Worker("w1").LastHeartbeat, b.Cache.Worker("w1").LastHeartbeat)
}

func TestMarkDown_DownAlready_KeepsTheFirstReason(t *testing.T) {
	r := newDetector(t)
	always := func(*domain.Worker) bool { return true }
	require.NoError(t, r.detector.MarkDown(context.Background(), "w1", domain.DownUnregistered, always))
	events := len(r.Events())
	require.NoError(t, r.detector.MarkDown(context.Background(), "w1", domain.DownCrashed, always))
	require.NoError(t, r.detector.MarkDown(context.Background(), "unknown", domain.DownCrashed, always))
	require.Equal(t, domain.DownUnregistered, r.Worker("w1").DownReason)
	require.Len(t, r.Events(), events)
}

func TestApplyHeartbeat_RowWasWrittenByAClockAhead_TimeGrowsAllTheSame(t *testing.T) {
	r := newDetector(t)
	ahead := r.Now().Add(time.Hour)
	w := &domain.Worker{Online: true, LastHeartbeat: ahead}
	r.detector.ApplyHeartbeat(w, heartbeat, r.Now())
	require.Equal(t, ahead.Add(time.Microsecond), w.LastHeartbeat, "others see that it lives")
}

func TestWorkerReturned_SessionsAndCleanups_BecomeDueWhereTheyMust(t *testing.T) {
	r := newDetector(t)
	user := r.AddUser(domain.TierPro)
	r.AddConnected(user, "runs", "w1")
	r.AddConnected(user, "deleted", "w1")
	r.DeleteSession("deleted")
	require.NoError(t, r.detector.MarkDown(context.Background(), "w1", domain.DownCrashed, func(*domain.Worker) bool { return true }))
	r.Change("runs", func(s *domain.Session) { s.Status, s.DueAt = domain.Connected, time.Time{} })
	r.Clock.Advance(time.Second)

	r.Write(func(ctx context.Context, tx *txn.Tx) error {
		w, err := tx.Workers.Get(ctx, "w1")
		if err != nil {
			return err
		}
		events := r.detector.ApplyHeartbeat(w, heartbeat, r.Now())
		if err := tx.SaveWorker(ctx, w, events); err != nil {
			return err
		}
		return r.detector.WorkerReturned(ctx, tx, w, time.Minute, map[string]bool{"runs": true}, r.Now())
	})

	require.Equal(t, r.Now(), r.Cleanups("deleted")[0].DueAt)
	require.Equal(t, r.Now().Add(time.Minute), r.Session("s1").DueAt, "the worker recovers it by itself until then")
	require.Equal(t, domain.CommandStart, r.Session("s1").Command)
	require.Zero(t, r.Session("runs").DueAt)
	require.Equal(t, domain.CommandNone, r.Session("runs").Command)
}
