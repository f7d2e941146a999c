package messaging_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// outcome is what SendOnce returns.
type outcome struct {
	message  *domain.Message
	isReplay bool
	err      error
}

func (r *replica) sendOnce(key string) outcome { return r.sendTextOnce(key, "hello") }

func (r *replica) sendTextOnce(key, text string) (o outcome) {
	out := &domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: text}
	o.message, o.isReplay, o.err = r.messages.SendOnce(context.Background(), r.sender, key, out)
	return o
}

// repeat repeats the send with a key, and requires that nothing is sent or counted.
func (r *replica) repeat(t *testing.T, key string) outcome {
	t.Helper()
	sends, used := len(r.Gateway.Calls("send")), r.used(t)
	got := r.sendOnce(key)
	require.True(t, got.isReplay)
	require.Len(t, r.Gateway.Calls("send"), sends)
	require.Equal(t, used, r.used(t))
	return got
}

func TestSendOnce_SteadyState_CostsNoFurtherTransaction(t *testing.T) {
	r := newFixture(t)
	require.NoError(t, r.sendOnce("warm-up").err)
	updates, views := r.Stored.Count(func() {
		got := r.sendOnce("k")
		require.NoError(t, got.err)
		require.False(t, got.isReplay)
	})
	require.Equal(t, 2, updates)
	require.Zero(t, views)
}

func TestSendOnce_Repeat_AnswersThePresentState(t *testing.T) {
	r := newFixture(t)
	first := r.sendOnce("k")
	require.NoError(t, first.err)

	again := r.repeat(t, "k")
	require.NoError(t, again.err)
	require.Equal(t, first.message.ID, again.message.ID)
	require.Equal(t, domain.MessageSent, again.message.Status)

	_, err := r.messages.ReportMessage(context.Background(), domain.MessageReport{SessionID: "s1", WhatsAppID: first.message.WhatsAppID, Status: domain.MessageRead})
	require.NoError(t, err)
	require.Equal(t, domain.MessageRead, r.repeat(t, "k").message.Status)

	other := r.sendOnce("K")
	require.NoError(t, other.err)
	require.False(t, other.isReplay)
}

func TestSendOnce_OtherBody_Conflicts(t *testing.T) {
	r := newFixture(t)
	require.NoError(t, r.sendOnce("k").err)
	got := r.sendTextOnce("k", "hello!")
	require.Equal(t, domain.CodeIdempotencyConflict, domain.CodeOf(got.err))
	require.Nil(t, got.message)
	require.Equal(t, 1, r.used(t))
	require.Len(t, r.Gateway.Calls("send"), 1)
}

func TestSendOnce_OtherSession_HasItsOwnKeys(t *testing.T) {
	r := newFixture(t)
	require.NoError(t, r.sendOnce("k").err)
	r.AddConnected(r.sender.UserID, "s2", "w1")
	r.sender.SessionID = "s2"
	require.False(t, r.sendOnce("k").isReplay)
}

// The repeats of a send that failed are answered with its error, whatever that was.
func TestSendOnce_FirstSendFailed_RepeatAnswersTheSame(t *testing.T) {
	for name, c := range map[string]struct {
		failure *ports.WorkerError
		code    domain.Code
		status  domain.MessageStatus
	}{
		"rejected":     {&ports.WorkerError{Failure: ports.WorkerRejected, Status: 400, Text: "no such number"}, domain.CodeValidation, domain.MessageFailed},
		"busy":         {&ports.WorkerError{Failure: ports.WorkerBusy, Status: 429}, domain.CodeRateLimit, domain.MessageFailed},
		"refused":      {&ports.WorkerError{Failure: ports.WorkerConnectionRefused}, domain.CodeWorkerUnreachable, domain.MessageFailed},
		"circuit open": {&ports.WorkerError{Failure: ports.WorkerCircuitOpen}, domain.CodeWorkerUnreachable, domain.MessageFailed},
		"timed out":    {&ports.WorkerError{Failure: ports.WorkerTimedOut}, domain.CodeWorkerTimeout, domain.MessagePending},
		"crashed":      {&ports.WorkerError{Failure: ports.WorkerFailed, Status: 500, Text: "oops"}, domain.CodeWorkerTimeout, domain.MessagePending},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPair(t)
			a.Gateway.Answer(func(coretest.Call) error { return c.failure })
			first := a.sendOnce("k")
			require.Equal(t, c.code, domain.CodeOf(first.err))
			a.Gateway.Succeed()
			for _, r := range []*replica{a, b} {
				before := r.Now()
				again := r.repeat(t, "k")
				require.Equal(t, c.code, domain.CodeOf(again.err))
				var was, is *domain.Error
				require.ErrorAs(t, first.err, &was)
				require.ErrorAs(t, again.err, &is)
				require.Equal(t, was.Message, is.Message)
				require.Equal(t, was.Kind, is.Kind)
				require.Equal(t, c.status, again.message.Status)
				require.Equal(t, before, r.Now(), "it does not wait")
			}
		})
	}
}

func TestSendOnce_WorkerSaysFailed_RepeatAnswersTheSame(t *testing.T) {
	r := newFixture(t)
	r.Gateway.AnswerSends(func(ports.Send) ports.Sent {
		return ports.Sent{Status: domain.MessageFailed, Error: "not on WhatsApp"}
	})
	first := r.sendOnce("k")
	require.Equal(t, domain.CodeMessageSendFailed, domain.CodeOf(first.err))
	again := r.repeat(t, "k")
	require.Equal(t, first.err.Error(), again.err.Error())
}

func TestSendOnce_WorkerSaysPending_RepeatAnswersPending(t *testing.T) {
	r := newFixture(t)
	r.Gateway.AnswerSends(func(ports.Send) ports.Sent {
		return ports.Sent{WhatsAppID: "WA1", Status: domain.MessagePending}
	})
	require.NoError(t, r.sendOnce("k").err)
	again := r.repeat(t, "k")
	require.NoError(t, again.err)
	require.Equal(t, domain.MessagePending, again.message.Status)
}

// A message whose outcome was unknown is settled by a report, or fails in the end. Its repeats follow.
func TestSendOnce_OutcomeWasUnknown_RepeatFollowsTheMessage(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Fail(ports.WorkerTimedOut)
	first := r.sendOnce("k")
	require.Equal(t, domain.CodeWorkerTimeout, domain.CodeOf(first.err))
	r.Gateway.Succeed()

	r.Clock.Advance(2 * time.Hour)
	require.NoError(t, r.messages.Housekeep(context.Background(), r.Now()))
	failed := r.repeat(t, "k")
	require.Equal(t, domain.CodeMessageSendFailed, domain.CodeOf(failed.err))
	require.ErrorContains(t, failed.err, "its outcome was never reported")

	_, err := r.messages.ReportMessage(context.Background(), domain.MessageReport{SessionID: "s1", ID: first.message.ID, WhatsAppID: "WA1", Status: domain.MessageDelivered})
	require.NoError(t, err)
	delivered := r.repeat(t, "k")
	require.NoError(t, delivered.err)
	require.Equal(t, domain.MessageDelivered, delivered.message.Status)
}

// Whatever refuses a new send does not refuse a repeat.
func TestSendOnce_SendIsNotPossibleByNow_RepeatIsAnswered(t *testing.T) {
	for name, change := range map[string]func(r *replica){
		"limit reached": func(r *replica) { r.SetTiers(domain.Tiers{domain.TierPro: {Sessions: 5, MessagesPerHour: 1}}) },
		"disconnected":  func(r *replica) { r.Change("s1", func(s *domain.Session) { s.Disconnect(r.Now()) }) },
		"reconnecting":  func(r *replica) { r.Report("s1", domain.Reconnecting) },
		"worker is down": func(r *replica) {
			r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.MarkDown(domain.DownCrashed, r.Timing, r.Now()) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			require.NoError(t, r.sendOnce("k").err)
			change(r)
			r.Clock.Advance(2 * time.Second) // limits are cached for a second
			require.NoError(t, r.repeat(t, "k").err)
			require.Error(t, r.sendOnce("new").err)
		})
	}
}

// A refusal before the message is recorded binds nothing.
func TestSendOnce_RefusedBeforeTheRecord_KeyStaysFree(t *testing.T) {
	r := newFixture(t)
	r.Report("s1", domain.Reconnecting)
	require.Equal(t, domain.CodeSessionNotConnected, domain.CodeOf(r.sendOnce("k").err))
	require.Equal(t, domain.CodeValidation, domain.CodeOf(r.sendTextOnce("k", "").err))
	r.Report("s1", domain.Connected)
	r.Stored.FailCommits(errors.New("disk full"))
	require.Equal(t, domain.CodeInternal, domain.CodeOf(r.sendOnce("k").err))
	got := r.sendTextOnce("k", "another body")
	require.NoError(t, got.err)
	require.False(t, got.isReplay)
}

func TestSendOnce_BadKeyAndBadBody_BothAreTold(t *testing.T) {
	r := newFixture(t)
	got := r.sendTextOnce(strings.Repeat("k", 256), "")
	var e *domain.Error
	require.ErrorAs(t, got.err, &e)
	require.Len(t, e.Fields, 2)
	require.Equal(t, []string{"Idempotency-Key", "message"}, []string{e.Fields[0].Field, e.Fields[1].Field})
}

func TestSendOnce_KeyIsADayOld_SendsAgain(t *testing.T) {
	r := newFixture(t)
	first := r.sendOnce("k")
	require.NoError(t, first.err)
	r.Clock.Advance(domain.IdempotencyKeyLife - time.Second)
	require.True(t, r.sendOnce("k").isReplay)
	r.Clock.Advance(time.Second)
	second := r.sendOnce("k")
	require.NoError(t, second.err)
	require.False(t, second.isReplay, "whether or not housekeeping has deleted the key")
	require.NotEqual(t, first.message.ID, second.message.ID)
	require.Equal(t, second.message.ID, r.repeat(t, "k").message.ID)
}

func TestHousekeep_KeysOlderThanADay_AreDeletedInPasses(t *testing.T) {
	r := newFixture(t)
	for range 300 {
		require.NoError(t, r.sendOnce(r.IDs.NewID()).err)
	}
	r.Clock.Advance(time.Hour)
	require.NoError(t, r.sendOnce("young").err)
	r.Clock.Advance(domain.IdempotencyKeyLife - time.Minute)
	require.NoError(t, r.messages.Housekeep(context.Background(), r.Now()))
	count := 0
	require.NoError(t, r.Stored.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) (err error) {
		count, err = tx.IdempotencyKeys.DeleteBefore(ctx, r.Now(), 1000)
		return err
	}))
	require.Equal(t, 1, count)
}

// newRacingPair is newPair with replicas that really wait. Time stands still for them.
func newRacingPair(t *testing.T) (a, b *replica) {
	a, b = newPair(t)
	for _, r := range []*replica{a, b} {
		r.Sleep = func(ctx context.Context, _ time.Duration) error {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
			}
			return ctx.Err()
		}
	}
	return a, b
}

// sendTogether repeats a send on every replica at once, and returns the outcomes.
func sendTogether(n int, replicas ...*replica) []outcome {
	outcomes := make([]outcome, n)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() { outcomes[i] = replicas[i%len(replicas)].sendOnce("k") })
	}
	wg.Wait()
	return outcomes
}

func requireOneSend(t *testing.T, r *replica, outcomes []outcome) {
	t.Helper()
	require.Len(t, r.Gateway.Calls("send"), 1)
	for _, o := range outcomes {
		require.NoError(t, o.err)
		require.Equal(t, outcomes[0].message.ID, o.message.ID)
		require.Equal(t, domain.MessageSent, o.message.Status)
	}
	first := slices.DeleteFunc(slices.Clone(outcomes), func(o outcome) bool { return o.isReplay })
	require.Len(t, first, 1)
}

func TestSendOnce_TwentyAtOnce_WorkerIsCalledOnce(t *testing.T) {
	r := newFixture(t)
	requireOneSend(t, r, sendTogether(20, r))
	require.Equal(t, 1, r.used(t))
}

func TestSendOnce_TwentyAtOnceOnTwoReplicas_WorkerIsCalledOnce(t *testing.T) {
	a, b := newRacingPair(t)
	requireOneSend(t, a, sendTogether(20, a, b))
	require.Equal(t, 1, a.used(t))
}

// A repeat on another replica sees how the first send ends.
func TestSendOnce_UnderWayOnAnotherReplica_RepeatWaits(t *testing.T) {
	a, b := newRacingPair(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	a.Gateway.Answer(func(coretest.Call) error { close(asked); <-answer; return nil })
	first := make(chan outcome)
	go func() { first <- a.sendOnce("k") }()
	<-asked
	looks := 0
	b.Stored.BeforeEachView(func() {
		looks++
		if looks == 3 {
			close(answer)
		}
	})
	again := b.sendOnce("k")
	require.NoError(t, again.err)
	require.True(t, again.isReplay)
	require.Equal(t, domain.MessageSent, again.message.Status)
	require.Equal(t, (<-first).message.ID, again.message.ID)
}

// The first replica dies between the record and the answer: its send has ended after its time limit at the latest.
func TestSendOnce_FirstReplicaDies_RepeatAnswersUnknownAfterTheLimit(t *testing.T) {
	a, b := newPair(t)
	a.Gateway.Answer(func(coretest.Call) error {
		a.Stored.FailCommits(errors.New("the process is gone"))
		return nil
	})
	require.Error(t, a.sendOnce("k").err)
	began := b.Now()
	again := b.repeat(t, "k")
	require.Equal(t, domain.CodeWorkerTimeout, domain.CodeOf(again.err))
	require.Equal(t, domain.MessagePending, again.message.Status)
	require.NotEmpty(t, again.message.ID)
	require.InDelta(t, 35, b.Now().Sub(began).Seconds(), 3)
}

func TestSendOnce_WaitingClientHangsUp_StopsWaiting(t *testing.T) {
	r := newFixture(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	r.Gateway.Answer(func(coretest.Call) error { close(asked); <-answer; return nil })
	first := make(chan outcome)
	go func() { first <- r.sendOnce("k") }()
	<-asked
	ctx, hangUp := context.WithCancel(context.Background())
	hangUp()
	_, _, err := r.messages.SendOnce(ctx, r.sender, "k", &domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: "hello"})
	require.ErrorIs(t, err, context.Canceled)
	close(answer)
	require.NoError(t, (<-first).err)
}

func TestSendOnce_MessageIsNoLongerKept_Conflicts(t *testing.T) {
	r := newFixture(t)
	require.NoError(t, r.sendOnce("k").err)
	r.Clock.Advance(time.Hour)
	require.NoError(t, r.Stored.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Messages.DeleteBefore(ctx, "s1", r.Now(), 10)
		return err
	}))
	got := r.sendOnce("k")
	require.Equal(t, domain.CodeIdempotencyConflict, domain.CodeOf(got.err))
	require.Len(t, r.Gateway.Calls("send"), 1)
}
