package apptest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const recipient = "6289999999999"

// queueing is a harness with a session, and what its queue sends.
type queueing struct {
	*apptest.Harness
	t       *testing.T
	session *domain.Session
}

func newQueueing(t *testing.T, tier domain.Tier, o apptest.Options) *queueing {
	t.Helper()
	h := &queueing{Harness: apptest.With(t, o), t: t}
	h.Workers("w1", 50, "w2", 50)
	h.session = h.Connected(h.User(tier), "support")
	return h
}

func (h *queueing) sender() service.Sender {
	return service.Sender{UserID: h.session.UserID, SessionID: h.session.ID}
}

// tryQueue sends a text that may wait.
func (h *queueing) tryQueue(text string, s domain.Schedule) (*domain.Message, error) {
	h.t.Helper()
	return h.Orchestrator.Messages.Send(h.t.Context(), h.sender(), &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: text, Schedule: &s})
}

func (h *queueing) queue(text string, s domain.Schedule) *domain.Message {
	h.t.Helper()
	m, err := h.tryQueue(text, s)
	require.NoError(h.t, err)
	require.Equal(h.t, domain.MessagePending, m.Status)
	return m
}

// at returns a schedule some time ahead.
func (h *queueing) at(d time.Duration) domain.Schedule {
	return domain.Schedule{SendAt: h.Now().Add(d)}
}

func (h *queueing) message(id string) *domain.Message {
	h.t.Helper()
	m, err := h.Orchestrator.Messages.Get(h.t.Context(), h.session.UserID, h.session.ID, id)
	require.NoError(h.t, err)
	return m
}

// sent returns the texts of the events message.sent, in order.
func (h *queueing) sent() (texts []string) {
	for _, e := range h.Events() {
		if e.Type == domain.EventMessageSent {
			texts = append(texts, e.Message.Content)
		}
	}
	return texts
}

func (h *queueing) waiting() (texts []string) {
	h.t.Helper()
	list, _, err := h.Orchestrator.Scheduled.List(h.t.Context(), h.session.UserID, h.session.ID, domain.Cursor{}, 100)
	require.NoError(h.t, err)
	for _, m := range list {
		texts = append(texts, m.Message.Text)
	}
	return texts
}

// sendQueue returns the row of the queue.
func (h *queueing) sendQueue() *domain.SendQueue {
	h.t.Helper()
	var q *domain.SendQueue
	require.NoError(h.t, h.Store.View(h.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		q, err = tx.SendQueues.Get(ctx, h.session.ID)
		return err
	}))
	return q
}

// requireNothingWaits requires that the books of the queue agree with its being empty.
func (h *queueing) requireNothingWaits() {
	h.t.Helper()
	require.Empty(h.t, h.waiting())
	q := h.sendQueue()
	require.Zero(h.t, q.Waiting)
	require.Zero(h.t, q.Bytes)
	require.Empty(h.t, q.ClaimedBy)
	require.Empty(h.t, h.Repeats())
}

func TestQueue_SendAtInThirtyDays_IsSentThen(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	m := h.queue("later", h.at(domain.MaxSendAhead))
	require.Equal(t, []string{"later"}, h.waiting())
	require.Equal(t, domain.MessagePending, h.message(m.ID).Status)
	sendAt := h.Now().Add(domain.MaxSendAhead)
	h.Skip(domain.MaxSendAhead - time.Hour)
	h.Advance(time.Hour - time.Second)
	require.Equal(t, domain.MessagePending, h.message(m.ID).Status)
	require.Empty(t, h.sent())
	h.Advance(2 * time.Second)
	got := h.message(m.ID)
	require.NotEmpty(t, got.WhatsAppID)
	require.WithinDuration(t, sendAt, got.SentAt, time.Second)
	require.WithinDuration(t, sendAt, got.CreatedAt, time.Second, "it enters the history when it is forwarded")
	require.Equal(t, []string{"later"}, h.sent())
	h.requireNothingWaits()
}

func TestQueue_Connected_IsSentAtOnceInOrder(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	for i := range 5 {
		h.queue(fmt.Sprint(i), domain.Schedule{})
	}
	h.Advance(time.Second)
	require.Equal(t, []string{"0", "1", "2", "3", "4"}, h.sent())
	h.requireNothingWaits()
}

func TestQueue_ScheduledOutOfOrder_IsSentBySendAt(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	h.queue("third", h.at(3*time.Minute))
	h.queue("first", h.at(time.Minute))
	h.queue("second", h.at(2*time.Minute))
	h.queue("now", domain.Schedule{})
	require.Equal(t, []string{"now", "first", "second", "third"}, h.waiting())
	h.Advance(time.Second)
	require.Equal(t, []string{"now"}, h.sent())
	h.Advance(time.Minute)
	require.Equal(t, []string{"now", "first"}, h.sent())
	h.Advance(5 * time.Minute)
	require.Equal(t, []string{"now", "first", "second", "third"}, h.sent())
}

func TestQueue_SessionDisconnected_HeldUntilConnectedAndReleasedInOrder(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	require.NoError(t, secondOf(h.Orchestrator.Sessions.Disconnect(t.Context(), h.session.UserID, h.session.ID)))
	h.Advance(time.Second)
	_, err := h.Orchestrator.Messages.Send(t.Context(), h.sender(), &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: "direct"})
	require.Equal(t, domain.CodeSessionNotConnected, domain.CodeOf(err))
	for i := range 4 {
		h.queue(fmt.Sprint(i), domain.Schedule{})
		h.Advance(time.Minute)
	}
	require.Empty(t, h.sent())
	require.Equal(t, []string{"0", "1", "2", "3"}, h.waiting())
	_, err = h.Orchestrator.Sessions.Connect(t.Context(), h.session.UserID, h.session.ID, service.ConnectOptions{})
	require.NoError(t, err)
	connected := advanceUntilConnected(t, h.Harness, []string{h.session.ID}, time.Minute)
	h.Advance(time.Second)
	require.Equal(t, []string{"0", "1", "2", "3"}, h.sent(), "a second after it was connected, which took %v", connected)
	h.requireNothingWaits()
}

func TestQueue_WorkerCrashes_HeldWhileMovingAndSentOnce(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	h.Crash(h.session.WorkerID)
	for i := range 3 {
		h.queue(fmt.Sprint(i), domain.Schedule{})
	}
	h.Advance(time.Second)
	require.Empty(t, h.sent())
	require.Len(t, h.waiting(), 3)
	h.Advance(2 * time.Minute)
	require.Equal(t, []string{"0", "1", "2"}, h.sent())
	require.NotEqual(t, h.session.WorkerID, h.Session(h.session.ID).WorkerID)
	h.requireNothingWaits()
}

func TestQueue_DeadlinePasses_FailsWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		schedule func(h *queueing) domain.Schedule
		after    time.Duration
	}{
		"default":  {func(*queueing) domain.Schedule { return domain.Schedule{} }, time.Hour},
		"patience": {func(*queueing) domain.Schedule { return domain.Schedule{Patience: 10 * time.Minute} }, 10 * time.Minute},
		"deadline": {func(h *queueing) domain.Schedule { return domain.Schedule{Deadline: h.Now().Add(20 * time.Minute)} }, 20 * time.Minute},
		"sendAt":   {func(h *queueing) domain.Schedule { return h.at(30 * time.Minute) }, 90 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			h := newQueueing(t, domain.TierPro, apptest.Options{})
			require.NoError(t, secondOf(h.Orchestrator.Sessions.Logout(t.Context(), h.session.UserID, h.session.ID)))
			m := h.queue("never", c.schedule(h))
			h.Advance(c.after - time.Second)
			require.Equal(t, domain.MessagePending, h.message(m.ID).Status)
			h.Advance(2 * time.Second)
			got := h.message(m.ID)
			require.Equal(t, domain.MessageFailed, got.Status)
			require.Equal(t, "the deadline passed before the message could be sent: the session was not connected", got.Error)
			events := h.Events()
			require.Equal(t, domain.EventMessageFailed, events[len(events)-1].Type)
			require.Equal(t, m.ID, events[len(events)-1].Message.ID)
			h.requireNothingWaits()
		})
	}
}

func TestQueue_HourUsedUp_WaitsForTheNextWindow(t *testing.T) {
	h := newQueueing(t, domain.TierBasic, apptest.Options{})
	for i := range 100 {
		h.Send(h.session, recipient, fmt.Sprint("direct ", i))
	}
	patient := h.queue("patient", domain.Schedule{Patience: 2 * time.Hour})
	short := h.queue("short", domain.Schedule{Patience: 30 * time.Minute})
	h.Advance(31 * time.Minute)
	require.Equal(t, domain.MessagePending, h.message(patient.ID).Status)
	require.Equal(t, "the deadline passed before the message could be sent: the messages of the hour were used up", h.message(short.ID).Error)
	h.Advance(30 * time.Minute)
	require.False(t, h.message(patient.ID).SentAt.IsZero())
	for i := range 99 {
		h.Send(h.session, recipient, fmt.Sprint("next hour ", i))
	}
	_, err := h.Orchestrator.Messages.Send(t.Context(), h.sender(), &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: "101st"})
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err), "it counts in the hour in which it was forwarded")
	h.requireNothingWaits()
}

func TestQueue_LimiterLosesItsCounts_HourOfForwardingCounts(t *testing.T) {
	h := newQueueing(t, domain.TierBasic, apptest.Options{})
	for i := range 40 {
		h.queue(fmt.Sprint("later ", i), h.at(3*time.Hour))
	}
	h.Advance(2 * time.Hour)
	h.Restart()
	for i := range 100 {
		h.Send(h.session, recipient, fmt.Sprint("direct ", i)) // what waits takes no place
	}
	h.Advance(61 * time.Minute)
	require.Len(t, h.sent(), 140)
	h.Restart()
	for i := range 60 {
		h.Send(h.session, recipient, fmt.Sprint("direct again ", i))
	}
	_, err := h.Orchestrator.Messages.Send(t.Context(), h.sender(), &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: "101st"})
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
}

func TestQueue_Pace_SpacesMessagesWithJitter(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{SendPace: 6})
	for i := range 40 {
		h.queue(fmt.Sprint(i), domain.Schedule{Patience: 2 * time.Hour})
	}
	var gaps []time.Duration
	var former time.Time
	h.Advance(10 * time.Minute)
	for _, e := range h.Events() {
		if e.Type != domain.EventMessageSent {
			continue
		}
		if !former.IsZero() {
			gaps = append(gaps, e.At.Sub(former))
		}
		former = e.At
	}
	require.Len(t, h.sent(), 40)
	different := map[time.Duration]bool{}
	for _, gap := range gaps {
		require.GreaterOrEqual(t, gap, 5*time.Second)
		require.LessOrEqual(t, gap, 16*time.Second)
		different[gap] = true
	}
	require.Greater(t, len(different), 20, "there is jitter")
	h.Send(h.session, recipient, "a direct send does not wait")
	h.requireNothingWaits()
}

// A bulk call keeps to the pace. Virtual time does not pass during a call, so its second message is not sent. What was sent
// before takes no place in a repeat.
func TestQueue_PaceOfBulkCalls_IsKept(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{SendPace: 6})
	items := make([]service.SendItem, 3)
	for i := range items {
		items[i].Message = &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: fmt.Sprint(i)}
	}
	for call := range items {
		results, err := h.Orchestrator.Messages.SendAll(t.Context(), h.sender(), "key", items)
		require.NoError(t, err)
		for i, r := range results {
			if i > call {
				require.Equal(t, domain.CodeOverloaded, domain.CodeOf(r.Err))
				continue
			}
			require.NoError(t, r.Err)
			require.Equal(t, i < call, r.IsReplay)
		}
		h.Advance(16 * time.Second)
	}
	require.Equal(t, []string{"0", "1", "2"}, h.sent())
}

func TestQueue_SessionDeleted_NothingIsLeft(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	h.queue("a", h.at(time.Minute))
	h.queue("b", domain.Schedule{})
	require.NoError(t, h.Orchestrator.Sessions.Delete(t.Context(), h.session.UserID, h.session.ID))
	h.Advance(10 * time.Minute)
	require.NotContains(t, h.sent(), "a")
	require.NoError(t, h.Store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		next, err := tx.SendQueues.NextDue(ctx)
		require.True(t, next.IsZero())
		return err
	}))
}

// setText returns an edit that replaces the text.
func setText(text string) func(m *domain.Outgoing) error {
	return func(m *domain.Outgoing) error {
		m.Text = text
		return nil
	}
}

func TestQueue_ChangedAndCancelled_PresentContentIsSent(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	first, second := h.queue("first", h.at(time.Minute)), h.queue("second", h.at(2*time.Minute))
	o := h.Orchestrator
	user, session := h.session.UserID, h.session.ID
	sendAt := h.Now().Add(3 * time.Minute)
	changed, err := o.Scheduled.Update(t.Context(), user, session, first.ID, service.ScheduledChange{
		Schedule: &domain.Schedule{SendAt: sendAt}, Edit: setText("changed"),
	})
	require.NoError(t, err)
	require.Equal(t, sendAt, changed.SendAt)
	require.Equal(t, sendAt.Add(time.Hour), changed.Deadline, "it moves along")
	require.Equal(t, []string{"second", "changed"}, h.waiting())
	_, err = o.Scheduled.Update(t.Context(), user, session, first.ID, service.ScheduledChange{Edit: setText("")})
	require.Equal(t, domain.CodeValidation, domain.CodeOf(err))
	_, err = o.Scheduled.Update(t.Context(), user, session, first.ID, service.ScheduledChange{Schedule: &domain.Schedule{SendAt: h.Now().Add(31 * 24 * time.Hour)}})
	require.Equal(t, domain.CodeValidation, domain.CodeOf(err))
	require.NoError(t, o.Scheduled.Cancel(t.Context(), user, session, second.ID))
	h.Advance(5 * time.Minute)
	require.Equal(t, []string{"changed"}, h.sent())
	for what, err := range map[string]error{
		"get":  secondOf(o.Scheduled.Get(t.Context(), user, session, first.ID)),
		"sent": o.Scheduled.Cancel(t.Context(), user, session, first.ID),
		"edit": secondOf(o.Scheduled.Update(t.Context(), user, session, first.ID, service.ScheduledChange{Edit: setText("x")})),
	} {
		require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err), what)
		require.ErrorContains(t, err, "The message no longer waits: it was sent", what)
	}
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(o.Scheduled.Cancel(t.Context(), user, session, second.ID)))
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(secondOf(o.Scheduled.Get(t.Context(), user, session, second.ID))))
	_, err = o.Messages.Get(t.Context(), user, session, second.ID)
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))
	require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(o.Scheduled.Cancel(t.Context(), "another", session, first.ID)))
	h.requireNothingWaits()
}

func secondOf[T any](_ T, err error) error { return err }

func TestQueue_KeyRepeated_ReturnsThePresentState(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	out := &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: "once", Schedule: &domain.Schedule{SendAt: h.Now().Add(time.Minute), Patience: 2 * time.Minute}}
	send := func() (*domain.Message, bool) {
		m, isReplay, err := h.Orchestrator.Messages.SendOnce(t.Context(), h.sender(), "key", out)
		require.NoError(t, err)
		return m, isReplay
	}
	first, isReplay := send()
	require.False(t, isReplay)
	again, isReplay := send()
	require.True(t, isReplay)
	require.Equal(t, first.ID, again.ID)
	require.Equal(t, domain.MessagePending, again.Status)
	require.Len(t, h.waiting(), 1)
	h.Advance(10 * time.Minute) // sendAt and the deadline have passed
	again, isReplay = send()
	require.True(t, isReplay)
	require.Equal(t, domain.MessageRead, again.Status)
	other := *out
	other.Schedule = &domain.Schedule{}
	_, _, err := h.Orchestrator.Messages.SendOnce(t.Context(), h.sender(), "key", &other)
	require.Equal(t, domain.CodeIdempotencyConflict, domain.CodeOf(err))
	require.Equal(t, []string{"once"}, h.sent())
}

func TestQueue_Bounds_AreKept(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	for range domain.MaxQueuedMessages {
		h.queue("x", h.at(time.Hour))
	}
	_, err := h.tryQueue("one more", h.at(time.Hour))
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
	require.ErrorContains(t, err, "1000 messages wait")
	h.Advance(2 * time.Hour)
	h.requireNothingWaits()

	document := func(size int) *domain.Outgoing {
		return &domain.Outgoing{
			To: recipient, Type: domain.TypeDocument, Schedule: &domain.Schedule{SendAt: h.Now().Add(time.Hour)},
			Upload: &domain.Upload{Content: strings.NewReader(strings.Repeat("x", size)), Size: int64(size)},
		}
	}
	_, err = h.Orchestrator.Messages.Send(t.Context(), h.sender(), document(domain.MaxQueuedUpload+1))
	require.Equal(t, domain.CodeValidation, domain.CodeOf(err))
	for range 6 {
		_, err = h.Orchestrator.Messages.Send(t.Context(), h.sender(), document(domain.MaxQueuedUpload))
		require.NoError(t, err)
	}
	_, err = h.Orchestrator.Messages.Send(t.Context(), h.sender(), document(domain.MaxQueuedUpload))
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
	require.ErrorContains(t, err, "100 MiB")
	h.Advance(2 * time.Hour)
	h.requireNothingWaits()
}

func TestQueue_InvalidSchedule_IsRefused(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	for want, s := range map[string]domain.Schedule{
		"sendAt must be at most 30 days ahead":              h.at(domain.MaxSendAhead + time.Second),
		"sendAt was more than an hour ago":                  h.at(-61 * time.Minute),
		"The deadline has passed":                           {Deadline: h.Now()},
		"The deadline must be after sendAt":                 {SendAt: h.Now().Add(time.Hour), Deadline: h.Now().Add(time.Minute)},
		"The deadline must be at most 30 days after sendAt": {Patience: domain.MaxSendAhead + time.Second},
	} {
		_, err := h.tryQueue("x", s)
		require.Equal(t, domain.CodeValidation, domain.CodeOf(err), want)
		require.ErrorContains(t, err, want)
	}
	h.queue("just past", h.at(-time.Minute))
	h.Advance(time.Second)
	require.Equal(t, []string{"just past"}, h.sent())
}

func TestQueue_TwoReplicas_SendOnceInOrder(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{Replicas: 2})
	for i := range 30 {
		o := h.Replica(i % 2)
		_, err := o.Messages.Send(t.Context(), h.sender(), &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: fmt.Sprint(i), Schedule: &domain.Schedule{}})
		require.NoError(t, err)
		h.Advance(100 * time.Millisecond)
	}
	h.Advance(10 * time.Second)
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprint(i))
	}
	require.Equal(t, want, h.sent())
	h.requireNothingWaits()
}

func TestQueue_OwnerKilled_TheOtherReplicaGoesOn(t *testing.T) {
	for killed := range 2 {
		h := newQueueing(t, domain.TierPro, apptest.Options{Replicas: 2})
		h.queue("a", h.at(10*time.Second))
		h.queue("b", h.at(20*time.Second))
		h.Advance(time.Second)
		h.Kill(killed)
		h.Advance(2 * time.Minute)
		require.Equal(t, []string{"a", "b"}, h.sent())
		h.requireNothingWaits()
	}
}

// Two replicas, 50 senders at once, messages sent directly, later and in bulk: exactly 100 pass in the hour, and what waits
// is sent in the next one.
func TestQueue_FiftySendersOnTwoReplicas_ExactlyTheLimitPasses(t *testing.T) {
	h := newQueueing(t, domain.TierBasic, apptest.Options{Replicas: 2})
	schedule := &domain.Schedule{Patience: 3 * time.Hour}
	text := func(s string, later *domain.Schedule) *domain.Outgoing {
		return &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: s, Schedule: later}
	}
	var mu sync.Mutex
	passed, refused, later := 0, 0, 0
	count := func(m *domain.Outgoing, err error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
			refused++
		case m.Schedule != nil:
			later++
		default:
			passed++
		}
	}
	round := func() {
		var senders sync.WaitGroup
		for i := range 50 {
			senders.Go(func() {
				o, name := h.Replica(i%2), fmt.Sprint("sender ", i)
				direct, scheduled := text(name, nil), text(name+" later", schedule)
				_, err := o.Messages.Send(t.Context(), h.sender(), direct)
				count(direct, err)
				_, err = o.Messages.Send(t.Context(), h.sender(), scheduled)
				count(scheduled, err)
				results, err := o.Messages.SendAll(t.Context(), h.sender(), "", []service.SendItem{{Message: direct}, {Message: scheduled}})
				if err != nil {
					t.Error(err)
					return
				}
				count(direct, results[0].Err)
				count(scheduled, results[1].Err)
			})
		}
		senders.Wait()
	}
	// Each sender fits in directly at first, then those that wait and the next ones compete for what is left.
	for i := range 40 {
		direct := text(fmt.Sprint("first ", i), nil)
		_, err := h.Orchestrator.Messages.Send(t.Context(), h.sender(), direct)
		count(direct, err)
	}
	for i := range 20 {
		scheduled := text(fmt.Sprint("waits ", i), schedule)
		_, err := h.Orchestrator.Messages.Send(t.Context(), h.sender(), scheduled)
		count(scheduled, err)
	}
	h.Advance(10 * time.Second)
	require.Len(t, h.sent(), 60)
	round()
	h.Advance(time.Minute)
	require.Len(t, h.sent(), 100)
	require.Equal(t, 140, passed+refused)
	require.Equal(t, 80, passed, "40 at first, and 40 were left by those that had waited")
	require.Equal(t, 120, later)
	h.Advance(90 * time.Minute)
	require.Len(t, h.sent(), 200, "the next hour takes 100 of those that wait")
	h.requireNothingWaits()
}

func TestQueue_WorkerHangs_OutcomeStaysUnknownAndOthersGoOn(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{})
	h.Hang(h.session.WorkerID)
	first := h.queue("first", domain.Schedule{})
	h.Advance(time.Second)
	require.Equal(t, domain.MessagePending, h.message(first.ID).Status)
	require.Empty(t, h.waiting(), "it was handed to the worker")
	err := h.Orchestrator.Scheduled.Cancel(t.Context(), h.session.UserID, h.session.ID, first.ID)
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
	require.ErrorContains(t, err, "the outcome is not known yet")
	second := h.queue("second", domain.Schedule{Patience: 3 * time.Hour})
	h.Advance(3 * time.Hour)
	require.Equal(t, domain.MessageFailed, h.message(first.ID).Status)
	require.Contains(t, h.message(first.ID).Error, "never reported")
	require.NotContains(t, h.sent(), "first")
	require.NotEqual(t, domain.MessagePending, h.message(second.ID).Status)
	h.requireNothingWaits()
}

// A legacy worker counts sends by the minute and refuses more. What it refuses waits, is sent once and in order, and counts once.
func TestQueue_WorkerIsBusy_WaitsAndKeepsTheOrder(t *testing.T) {
	h := newQueueing(t, domain.TierBasic, apptest.Options{Worker: func(c *apptest.WorkerConfig) { c.Limited = true }})
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprint(i))
		h.queue(want[i], domain.Schedule{})
	}
	h.Advance(time.Second)
	require.NotEmpty(t, h.waiting(), "the worker refuses some")
	require.Equal(t, "the worker limits how fast the session sends", h.sendQueue().Hold)
	h.Advance(20 * time.Minute)
	require.Equal(t, want, h.sent())
	h.requireNothingWaits()
}
