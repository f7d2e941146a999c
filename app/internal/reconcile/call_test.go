package reconcile_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// answerOnce makes the first call fail in one way, and later ones succeed.
func (r *replica) answerOnce(f ports.WorkerFailure) {
	isFirst := true
	r.Gateway.Answer(func(coretest.Call) error {
		if !isFirst {
			return nil
		}
		isFirst = false
		return &ports.WorkerError{Failure: f, Message: "it failed"}
	})
}

func TestCall_FirstStartWasCertainlyNotExecuted_GoesElsewhereAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		failure  ports.WorkerFailure
		cleanups int // on the worker that failed it
	}{
		"nothing listens": {ports.WorkerConnectionRefused, 0},
		"rejected":        {ports.WorkerRejected, 1}, // it answers, and may have an earlier assignment
		"busy":            {ports.WorkerBusy, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.want("s1")
			r.answerOnce(c.failure)
			s := r.reconcile(t, "s1")
			require.Len(t, r.Gateway.Calls("start"), 2)
			require.NotEqual(t, s.WorkerID, s.ExcludedWorkerID)
			require.NotEmpty(t, s.ExcludedWorkerID)
			require.Len(t, r.Cleanups("s1"), c.cleanups)
		})
	}
}

// The port of a crashed worker refuses a start. Its next process registers before the replica has recorded
// that, and recovers what is assigned to it: the session may run there.
func TestCall_WorkerRestartsDuringTheFirstStart_SessionStaysThere(t *testing.T) {
	for name, failure := range map[string]ports.WorkerFailure{
		"nothing listens": ports.WorkerConnectionRefused, "rejected": ports.WorkerRejected, "busy": ports.WorkerBusy,
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.want("s1")
			first := ""
			r.Gateway.Answer(func(c coretest.Call) error {
				if first != "" {
					return nil
				}
				first = c.Worker
				r.Clock.Advance(time.Second)
				r.ChangeWorkerRow(c.Worker, func(w *domain.Worker) { w.RegisteredAt = r.Now() })
				return &ports.WorkerError{Failure: failure, Message: "it failed"}
			})
			s := r.reconcile(t, "s1")
			require.NotEmpty(t, first)
			require.Equal(t, first, s.WorkerID)
			require.EqualValues(t, 1, s.Generation)
			require.Empty(t, s.ExcludedWorkerID)
		})
	}
}

// A worker was told to stop generations that the store does not know.
func TestCall_WorkerRefusesTheGeneration_NextStartHasAHigherOne(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   []int64
	}{
		"generation is over": {http.StatusConflict, []int64{1, 2, 258}},
		"another refusal":    {http.StatusBadRequest, []int64{1, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.AddAssigned(r.user, "s1", "w1") // an earlier process may have called
			var asked []int64
			r.Gateway.Answer(func(call coretest.Call) error {
				asked = append(asked, call.Generation)
				return &ports.WorkerError{Failure: ports.WorkerRejected, Status: c.status, Message: "no"}
			})
			for range 3 {
				r.Change("s1", func(s *domain.Session) { s.DueAt = r.Now() })
				r.reconcile(t, "s1")
				if len(asked) == 3 {
					break
				}
			}
			require.Equal(t, c.want, asked)
		})
	}
}

// The answer to a start tells the generation that runs there.
func TestCall_WorkerAnswersWithAHigherGeneration_IsAdopted(t *testing.T) {
	r := newFixture(t)
	r.want("s1")
	r.Gateway.ReportOnStart(domain.Report{Status: domain.Connected, Generation: 7})
	s := r.reconcile(t, "s1")
	require.Equal(t, []any{domain.Connected, int64(7)}, []any{s.Status, s.Generation})
}

func TestCall_FirstStartMayHaveBeenExecuted_StaysThere(t *testing.T) {
	for _, f := range []ports.WorkerFailure{ports.WorkerTimedOut, ports.WorkerConnectionLost, ports.WorkerFailed} {
		r := newFixture(t)
		r.want("s1")
		r.answerOnce(f)
		s := r.reconcile(t, "s1")
		require.NotEmpty(t, s.WorkerID)
		require.Equal(t, domain.CommandStart, s.Command)
		require.Equal(t, r.Now().Add(r.Timing.Backoff(1)), s.DueAt)
		require.Len(t, r.Gateway.Calls("start"), 1)
	}
}

func TestCall_NotTheFirstOfTheAssignment_StaysThereThoughItIsRefused(t *testing.T) {
	r := newFixture(t)
	r.want("s1")
	r.answerOnce(ports.WorkerTimedOut)
	first := r.reconcile(t, "s1")

	r.Clock.Advance(r.Timing.Backoff(1))
	r.answerOnce(ports.WorkerConnectionRefused)
	require.Equal(t, first.WorkerID, r.reconcile(t, "s1").WorkerID, "the first start may run there")
}

func TestCall_AssignedByAnEarlierProcess_StaysThereThoughItIsRefused(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1") // the earlier process may have called
	r.answerOnce(ports.WorkerConnectionRefused)
	require.Equal(t, "w1", r.reconcile(t, "s1").WorkerID)
}

func TestCall_WorkerIsBusy_GetsNoSessionsMeanwhile(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1")
	r.answerOnce(ports.WorkerBusy)
	s := r.reconcile(t, "s1")
	require.Equal(t, "w1", s.WorkerID)
	require.Zero(t, s.Attempts, "it does not count against the worker")
	require.False(t, r.Cache.HasRoom(domain.Request{Avoid: []string{"w2"}}, r.Now()))
	r.Clock.Advance(r.Timing.RestartBackoff)
	require.True(t, r.Cache.HasRoom(domain.Request{Avoid: []string{"w2"}}, r.Now()))
}

func TestCall_UnderWay_RowIsClaimedAndNoOtherReplicaCalls(t *testing.T) {
	a, b := newPair(t)
	a.AddAssigned(a.user, "s1", "w1")
	a.Gateway.Answer(func(coretest.Call) error {
		require.Equal(t, "A", a.Session("s1").ClaimedBy)
		b.reconcile(t, "s1")
		return nil
	})
	s := a.reconcile(t, "s1")
	require.Len(t, a.Gateway.Calls("start"), 1)
	require.Empty(t, s.ClaimedBy, "the claim ends with the answer")
}

func TestCall_PlacedHere_ClaimIsWrittenWithTheAssignment(t *testing.T) {
	a, _ := newPair(t)
	a.want("s1")
	updates, _ := a.Stored.Count(func() { a.reconcile(t, "s1") })
	require.Equal(t, 2, updates, "the assignment, the answer")
}

func TestCall_ClaimWasTakenAwayMeanwhile_AnswerIsDropped(t *testing.T) {
	a, b := newPair(t)
	a.AddAssigned(a.user, "s1", "w1")
	a.Gateway.Answer(func(coretest.Call) error {
		a.Gateway.Succeed()
		require.NoError(t, b.reconciler.TakeOver(context.Background(), "A")) // A seemed dead
		return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "no answer"}
	})
	_, err := a.reconciler.Session(context.Background(), "s1")
	require.Error(t, err)
	require.Len(t, a.Gateway.Calls("start"), 2)
	require.Equal(t, 1, a.Session("s1").Attempts, "the first call does not count")
}

func TestCall_OtherCommandMeanwhile_IsCarriedOutNext(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1")
	r.Gateway.Answer(func(c coretest.Call) error {
		if c.Kind == "start" {
			r.Change("s1", func(s *domain.Session) { s.Disconnect(r.Now()) })
		}
		return nil
	})
	s := r.reconcile(t, "s1")
	require.Equal(t, []string{"start w1 s1", "disconnect w1 s1"}, r.Gateway.Calls())
	require.Empty(t, s.WorkerID)
}

func TestCall_ReportMeanwhile_IsNewerThanTheAnswer(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1")
	r.Gateway.ReportOnStart(domain.Report{Status: domain.QRRequired, QR: domain.QR{Code: "old"}})
	r.Gateway.Answer(func(coretest.Call) error {
		r.Clock.Advance(time.Second)
		r.Report("s1", domain.Connected)
		return nil
	})
	s := r.reconcile(t, "s1")
	require.Equal(t, domain.Connected, s.Status)
	require.Equal(t, domain.CommandNone, s.Command)
	require.Zero(t, s.DueAt)
}

func TestCall_DisconnectMeanwhile_IsNewerThanTheAnswer(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1")
	r.Gateway.ReportOnStart(domain.Report{Status: domain.Connected})
	r.Gateway.Answer(func(coretest.Call) error {
		r.Clock.Advance(time.Second)
		r.Report("s1", domain.Disconnected)
		return nil
	})
	require.Equal(t, domain.Disconnected, r.reconcile(t, "s1").Status)
}

func TestCall_AnswerCarriesAReport_IsApplied(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1")
	r.Gateway.ReportOnStart(domain.Report{Status: domain.QRRequired, QR: domain.QR{Code: "scan me"}})
	s := r.reconcile(t, "s1")
	require.Equal(t, domain.QRRequired, s.Status)
	require.Equal(t, "scan me", s.QR.Code)
	require.Contains(t, r.Events(), domain.EventSessionQR)
}

func TestCall_WorkerIsMarkedDownMeanwhile_CallIsGivenUp(t *testing.T) {
	r := newFixture(t)
	r.AddAssigned(r.user, "s1", "w1")
	r.Gateway.Answer(func(coretest.Call) error {
		r.down("w1", domain.DownCrashed)
		return nil // the fake returns the error of the context then
	})
	_, err := r.reconciler.Session(context.Background(), "s1")
	require.ErrorIs(t, err, context.Canceled)
}
