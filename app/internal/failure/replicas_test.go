package failure_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// newReplicas returns two replicas that know w1; owner owns the work on it.
func newReplicas(t *testing.T) (owner, other *replica) {
	a := newReplica(coretest.NewReplica(t, "A"))
	b := newReplica(a.Join("B", time.Hour))
	coretest.Exchange(t, a.Core, b.Core)
	a.AddSharingWorker("w1", 50)
	require.NoError(t, a.Sync.Load(context.Background()))
	require.NoError(t, b.Sync.Load(context.Background()))
	if !a.Members.OwnsWork("worker/w1") {
		a, b = b, a
	}
	return a, b
}

// sync lets replicas hear of each other and read all rows.
func (r *replica) sync(t *testing.T) {
	t.Helper()
	require.NoError(t, r.Sync.RefreshAll(context.Background()))
}

func TestCheck_WorkerOfAnotherReplica_IsProbedByItsOwnerAlone(t *testing.T) {
	owner, other := newReplicas(t)
	for range 3 {
		coretest.Exchange(t, owner.Core, other.Core)
		other.check(t)
	}
	require.Empty(t, other.Gateway.Calls("health"))
	owner.check(t)
	owner.Clock.Advance(owner.Timing.ProbeInterval)
	owner.check(t)
	require.Len(t, owner.Gateway.Calls("health"), 1)
}

func TestCheck_SilentWorkerOfAnotherReplica_IsMarkedDownTwoSecondsLater(t *testing.T) {
	owner, other := newReplicas(t)
	deadline := 90 * time.Second
	owner.Clock.Advance(deadline)
	coretest.Exchange(t, owner.Core, other.Core) // 4 s, of which the first check uses none
	owner.Clock.Advance(-4 * time.Second)

	next := other.check(t)
	require.True(t, other.Worker("w1").Online, "it is its owner's to mark down")
	require.Equal(t, 2*time.Second, next.Sub(other.Now()), "no pass is wasted before")
	owner.Clock.Advance(2 * time.Second)
	other.check(t)
	require.Equal(t, domain.DownHeartbeatTimeout, other.Worker("w1").DownReason)
}

func TestCheck_HeartbeatWentToAnotherReplica_WorkerStaysUp(t *testing.T) {
	owner, other := newReplicas(t)
	for range 4 {
		owner.Clock.Advance(30 * time.Second)
		coretest.Exchange(t, owner.Core, other.Core)
		other.beat()
		owner.sync(t)
		owner.check(t)
	}
	require.True(t, owner.Worker("w1").Online)
}

func TestCheck_HeartbeatWasNotReadYet_RowDecides(t *testing.T) {
	owner, other := newReplicas(t)
	owner.Clock.Advance(90 * time.Second)
	other.beat() // the owner's cache does not know of it
	owner.check(t)
	require.True(t, owner.Worker("w1").Online)
}

func TestCheck_RowWasWrittenByAClockAhead_OwnClockMeasuresTheSilence(t *testing.T) {
	owner, _ := newReplicas(t)
	owner.ChangeWorkerRow("w1", func(w *domain.Worker) { w.LastHeartbeat = owner.Now().Add(time.Hour) })
	owner.Clock.Advance(90*time.Second - time.Microsecond)
	owner.check(t)
	require.True(t, owner.Worker("w1").Online)
	owner.Clock.Advance(time.Microsecond)
	owner.check(t)
	require.False(t, owner.Worker("w1").Online)
}

func TestCheck_StoreDoesNotAnswer_NobodyIsMarkedDown(t *testing.T) {
	owner, _ := newReplicas(t)
	owner.Clock.Advance(90 * time.Second)
	owner.Stored.FailCommits(errors.New("connection lost"))
	_, err := owner.Members.Heartbeat(context.Background())
	require.Error(t, err)

	owner.check(t)
	require.True(t, owner.Worker("w1").Online, "its heartbeats may wait for the store")
}

func TestRecheck_OnlyTheOtherReplicasLinkIsCut_WorkerIsBack(t *testing.T) {
	owner, other := newReplicas(t)
	other.AddConnected(other.AddUser(domain.TierPro), "s1", "w1")
	owner.sync(t)
	require.NoError(t, owner.detector.MarkDown(context.Background(), "w1", domain.DownCrashed, func(*domain.Worker) bool { return true }))
	other.sync(t)

	other.check(t)

	require.True(t, other.Worker("w1").Online)
	require.Len(t, other.Gateway.Calls("health"), 1)
	require.Equal(t, domain.CommandStart, other.Session("s1").Command, "its session is looked after")
}

func TestRecheck_WorkerRefusesHereToo_StaysDownAndIsAskedOnce(t *testing.T) {
	owner, other := newReplicas(t)
	require.NoError(t, owner.detector.MarkDown(context.Background(), "w1", domain.DownCrashed, func(*domain.Worker) bool { return true }))
	other.sync(t)
	other.Gateway.Fail(ports.WorkerConnectionRefused)

	other.check(t)
	other.check(t)
	require.False(t, other.Worker("w1").Online)
	require.Len(t, other.Gateway.Calls("health"), 1)
}

func TestRecheck_WorkerCrashesAgainMeanwhile_TheAnswerIsOld(t *testing.T) {
	owner, other := newReplicas(t)
	crash := func() {
		require.NoError(t, owner.detector.MarkDown(context.Background(), "w1", domain.DownCrashed, func(*domain.Worker) bool { return true }))
	}
	crash()
	other.sync(t)
	other.Gateway.Answer(func(coretest.Call) error {
		owner.Clock.Advance(time.Second)
		owner.beat()
		crash()
		return nil
	})
	other.check(t)
	require.False(t, other.Worker("w1").Online)
}

func TestRecheck_WorkerLeftOrFellSilent_IsNotAsked(t *testing.T) {
	for _, reason := range []domain.DownReason{domain.DownUnregistered, domain.DownHeartbeatTimeout} {
		t.Run(string(reason), func(t *testing.T) {
			owner, other := newReplicas(t)
			require.NoError(t, owner.detector.MarkDown(context.Background(), "w1", reason, func(*domain.Worker) bool { return true }))
			other.sync(t)
			other.check(t)
			require.Empty(t, other.Gateway.Calls("health"))
		})
	}
}

func TestRecordCall_FirstRefusal_HeartbeatsKnownElsewhereDoNotContradictIt(t *testing.T) {
	owner, other := newReplicas(t)
	owner.Clock.Advance(time.Second)
	other.beat() // before the crash; the owner does not know of it yet
	for range 3 {
		owner.detector.RecordCall(context.Background(), owner.Cache.Worker("w1"), &ports.WorkerError{Failure: ports.WorkerConnectionRefused})
	}
	require.Equal(t, domain.DownCrashed, owner.Worker("w1").DownReason)
}

func TestProbeStatus_StoppedOnAnotherReplica_IsKnownAtOnceAndHoldsFromTheNextHeartbeat(t *testing.T) {
	owner, other := newReplicas(t)
	_, err := other.detector.StopProbes(context.Background())
	require.NoError(t, err)
	require.False(t, owner.detector.ProbeStatus(context.Background()).Running)

	owner.Read(owner.detector.ReadSetting)
	owner.check(t)
	owner.Clock.Advance(owner.Timing.ProbeInterval)
	owner.check(t)
	require.Empty(t, owner.Gateway.Calls("health"))

	status, err := owner.detector.StartProbes(context.Background())
	require.NoError(t, err)
	require.True(t, status.Running)
	require.Equal(t, 1, status.Workers)
}

func TestEvaluateCanaries_CanaryDisconnectsItsSessions_ReceivesNoMore(t *testing.T) {
	r := newDetector(t)
	user := r.AddUser(domain.TierMax)
	r.AddSharingWorker("w2", 50)
	r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.CanarySince = time.Time{} })
	for i := range 4 {
		id := fmt.Sprint("c", i)
		r.AddConnected(user, id, "w2")
		r.Report(id, domain.Reconnecting)
	}

	next, err := r.detector.EvaluateCanaries(context.Background())
	require.NoError(t, err)
	require.Empty(t, r.Worker("w2").Suspect)

	r.Clock.Advance(next.Sub(r.Now()))
	_, err = r.detector.EvaluateCanaries(context.Background())
	require.NoError(t, err)
	require.NotEmpty(t, r.Worker("w2").Suspect)
	require.Contains(t, r.Events(), domain.EventWorkerSuspect)
	require.Empty(t, r.Worker("w1").Suspect)
}

func TestEvaluateCanaries_StoreFails_IsEvaluatedAgain(t *testing.T) {
	r := newDetector(t)
	user := r.AddUser(domain.TierMax)
	r.AddWorker("w2", 50)
	for i := range 4 {
		id := fmt.Sprint("c", i)
		r.AddConnected(user, id, "w2")
		r.Report(id, domain.Reconnecting)
	}
	next, err := r.detector.EvaluateCanaries(context.Background())
	require.NoError(t, err)
	r.Clock.Advance(next.Sub(r.Now()))
	r.Stored.FailCommits(errors.New("connection lost"))
	_, err = r.detector.EvaluateCanaries(context.Background())
	require.Error(t, err)

	_, err = r.detector.EvaluateCanaries(context.Background())
	require.NoError(t, err)
	require.NotEmpty(t, r.Worker("w2").Suspect)
}
