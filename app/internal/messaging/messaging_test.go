package messaging_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/internal/apikeys"
	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/messaging"
	"github.com/switchyard-wa/switchyard/app/internal/sendqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// replica is a core with the messages of session s1, which is CONNECTED on w1.
type replica struct {
	*coretest.Core
	messages *messaging.Messages
	sender   service.Sender
	limiter  ports.Limiter
}

func newReplica(core *coretest.Core, sender service.Sender) *replica {
	return newReplicaWith(core, sender, func(*messaging.Parts) {})
}

// newReplicaWith returns a replica whose parts are changed by adjust.
func newReplicaWith(core *coretest.Core, sender service.Sender, adjust func(p *messaging.Parts)) *replica {
	r := &replica{Core: core, sender: sender, limiter: memory.NewLimiter()}
	routes := messaging.NewRoutes(core.Env, memory.NewRoutes())
	core.AfterCommit(routes.AfterCommit)
	parts := messaging.Parts{
		Writer: core.Writer, Members: core.Members, Cache: core.Cache, Sync: core.Sync,
		Keys:     apikeys.New(core.Writer, r.limiter, func(ports.Invalidation) {}),
		Detector: failure.New(core.Writer, core.Members, core.Cache, core.Sync, core.Queue),
		Routes:   routes,
		Queues:   sendqueue.New(sendqueue.Parts{Writer: core.Writer, Members: core.Members, Parallel: 1, Wake: func() {}, Announce: func(string) {}}),
	}
	adjust(&parts)
	r.messages = messaging.New(parts)
	return r
}

// start adds the workers and the session.
func (r *replica) start(t *testing.T) *replica {
	r.AddSharingWorker("w1", 50)
	r.AddSharingWorker("w2", 50)
	r.sender = service.Sender{UserID: r.AddUser(domain.TierPro), SessionID: "s1"}
	r.AddConnected(r.sender.UserID, "s1", "w1")
	require.NoError(t, r.Sync.Load(context.Background()))
	return r
}

func newFixture(t *testing.T) *replica { return newReplica(coretest.New(t), service.Sender{}).start(t) }

// newPair returns two replicas that know each other and share a limiter.
func newPair(t *testing.T) (a, b *replica) {
	a = newReplica(coretest.NewReplica(t, "A"), service.Sender{}).start(t)
	core := a.Join("B", 0)
	b = newReplicaWith(core, a.sender, func(p *messaging.Parts) {
		p.Keys = apikeys.New(core.Writer, a.limiter, func(ports.Invalidation) {})
	})
	b.limiter = a.limiter
	require.NoError(t, b.Sync.Load(context.Background()))
	coretest.Exchange(t, a.Core, b.Core)
	return a, b
}

func (r *replica) send() (*domain.Message, error) {
	return r.messages.Send(context.Background(), r.sender, &domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: "hello"})
}

// stored returns the newest message of the session.
func (r *replica) stored(t *testing.T) *domain.Message {
	t.Helper()
	page, _, err := r.messages.History(context.Background(), r.sender.UserID, "s1", domain.MessageFilter{Limit: 1})
	require.NoError(t, err)
	require.NotEmpty(t, page)
	return page[0]
}

// used returns how many messages of the user are counted.
func (r *replica) used(t *testing.T) int {
	t.Helper()
	usage, err := r.limiter.AllowN(context.Background(), "messages/"+r.sender.UserID, r.Now(), time.Hour, 1000, 0)
	require.NoError(t, err)
	return usage.Used
}

// move moves the session to w2.
func (r *replica) move() {
	r.Change("s1", func(s *domain.Session) { s.UnassignForMove(domain.EventSessionMigrated, r.Now()) })
	r.Change("s1", func(s *domain.Session) { s.Assign("w2", r.Now()) })
	r.Report("s1", domain.Connected)
}

func TestSend_SteadyState_WritesTwoRowsAndReadsNothing(t *testing.T) {
	r := newFixture(t)
	_, err := r.send()
	require.NoError(t, err)

	updates, views := r.Stored.Count(func() {
		m, err := r.send()
		require.NoError(t, err)
		require.Equal(t, domain.MessageSent, m.Status)
	})
	require.Equal(t, 2, updates)
	require.Zero(t, views)
	require.Equal(t, domain.MessageSent, r.stored(t).Status)
	require.Equal(t, "WA-"+r.stored(t).ID, r.stored(t).WhatsAppID)
}

// Its user deletes the session while a worker sends. The log has what became of the message.
func TestSend_SessionDeletedUnderWay_RecordsTheEvents(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(r *replica)
		code   domain.Code
		event  domain.EventType
	}{
		"sent": {func(*replica) {}, "", domain.EventMessageSent},
		"the worker says failed": {func(r *replica) {
			r.Gateway.AnswerSends(func(ports.Send) ports.Sent { return ports.Sent{Status: domain.MessageFailed, Error: "no such number"} })
		}, domain.CodeMessageSendFailed, domain.EventMessageFailed},
		"not sent": {func(r *replica) {
			r.Gateway.Answer(func(coretest.Call) error {
				r.DeleteSession("s1")
				return &ports.WorkerError{Failure: ports.WorkerRejected, Status: 400, Text: "no such number"}
			})
		}, domain.CodeValidation, domain.EventMessageFailed},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.Gateway.Answer(func(coretest.Call) error {
				r.DeleteSession("s1")
				return nil
			})
			c.answer(r)
			m, err := r.send()
			require.Equal(t, c.code, domain.CodeOf(err))
			require.NotEqual(t, domain.MessagePending, m.Status)
			events := r.Events()
			require.Equal(t, []domain.EventType{domain.EventSessionDeleted, c.event}, events[len(events)-2:])
		})
	}
}

func TestSend_UnderWay_MessageIsPending(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Answer(func(coretest.Call) error {
		require.Equal(t, domain.MessagePending, r.stored(t).Status)
		return nil
	})
	_, err := r.send()
	require.NoError(t, err)
}

func TestSend_CallerHangsUp_OutcomeIsRecorded(t *testing.T) {
	r := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	r.Gateway.Answer(func(coretest.Call) error { cancel(); return nil })
	_, err := r.messages.Send(ctx, r.sender, &domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: "hello"})
	require.NoError(t, err)
	require.Equal(t, domain.MessageSent, r.stored(t).Status)
}

func TestSend_OutcomeIsUnknown_StaysPendingAndCounts(t *testing.T) {
	for name, failure := range map[string]*ports.WorkerError{
		"timed out":           {Failure: ports.WorkerTimedOut, Message: "no answer"},
		"connection lost":     {Failure: ports.WorkerConnectionLost, Message: "lost"},
		"accepted, garbled":   {Failure: ports.WorkerFailed, Status: 200, Message: "garbled"},
		"accepted, no answer": {Failure: ports.WorkerFailed, Status: 202, Message: "garbled"},
		"failed":              {Failure: ports.WorkerFailed, Status: 500, Message: "crashed"},
		"failed behind proxy": {Failure: ports.WorkerFailed, Status: 502, Message: "no JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			r.Gateway.Answer(func(coretest.Call) error { return failure })
			m, err := r.send()
			require.Equal(t, domain.CodeWorkerTimeout, domain.CodeOf(err))
			require.Equal(t, domain.MessagePending, m.Status)
			require.Equal(t, domain.MessagePending, r.stored(t).Status)
			require.Equal(t, 1, r.used(t))
			require.Len(t, r.Gateway.Calls("send"), 1, "it is never repeated")
		})
	}
}

func TestSend_CertainlyNotSent_IsFailedAndGivenBack(t *testing.T) {
	for failure, code := range map[ports.WorkerFailure]domain.Code{
		ports.WorkerConnectionRefused: domain.CodeWorkerUnreachable,
		ports.WorkerSessionNotFound:   domain.CodeSessionNotConnected,
		ports.WorkerBusy:              domain.CodeWorkerUnreachable, // no response: too many calls are in progress
		ports.WorkerRejected:          domain.CodeMessageSendFailed,
	} {
		r := newFixture(t)
		r.Gateway.Fail(failure)
		_, err := r.send()
		require.Equal(t, code, domain.CodeOf(err))
		require.Equal(t, domain.MessageFailed, r.stored(t).Status)
		require.Equal(t, "it failed", r.stored(t).Error)
		require.Zero(t, r.used(t))
	}
}

func TestSend_WorkerSaysNotSent_IsFailedAndGivenBack(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Answer(func(coretest.Call) error {
		return &ports.WorkerError{Failure: ports.WorkerFailed, Status: 500, Message: "crashed", NotSent: true}
	})
	_, err := r.send()
	require.Equal(t, domain.CodeMessageSendFailed, domain.CodeOf(err))
	require.Equal(t, domain.MessageFailed, r.stored(t).Status)
	require.Zero(t, r.used(t))
}

func TestSend_MessageCannotBeRecorded_NothingIsSentAndItIsGivenBack(t *testing.T) {
	r := newFixture(t)
	r.Stored.FailCommits(errors.New("disk full"))
	_, err := r.send()
	require.Equal(t, domain.CodeInternal, domain.CodeOf(err))
	require.Empty(t, r.Gateway.Calls("send"))
	require.Zero(t, r.used(t))
}

func TestSend_OutcomeCannotBeRecorded_CallerCanRelyOnNothing(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Answer(func(coretest.Call) error {
		r.Stored.FailCommits(errors.New("disk full"))
		return nil
	})
	m, err := r.send()
	require.Equal(t, domain.CodeInternal, domain.CodeOf(err))
	require.NotNil(t, m)
	require.Equal(t, domain.MessagePending, r.stored(t).Status)
}

func TestSend_SessionIsDeletedMeanwhile_SucceedsAllTheSame(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Answer(func(coretest.Call) error { r.DeleteSession("s1"); return nil })
	_, err := r.send()
	require.NoError(t, err)
}

func TestSend_QuotaUsedUp_StoresNothing(t *testing.T) {
	r := newFixture(t)
	r.SetTiers(domain.Tiers{domain.TierPro: {Sessions: 5, MessagesPerHour: 1}})
	_, err := r.send()
	require.NoError(t, err)
	updates, _ := r.Stored.Count(func() {
		_, err = r.send()
		require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
	})
	require.Zero(t, updates)
	require.Len(t, r.Gateway.Calls("send"), 1)
}

func TestTarget_SessionCannotSend_TellsWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*replica)
		code   domain.Code
	}{
		"down":         {func(r *replica) { r.Change("s1", func(s *domain.Session) { s.Disconnect(r.Now()) }) }, domain.CodeSessionNotConnected},
		"reconnecting": {func(r *replica) { r.Report("s1", domain.Reconnecting) }, domain.CodeSessionNotConnected},
		"other's":      {func(r *replica) { r.sender.UserID = r.AddUser(domain.TierPro) }, domain.CodeSessionNotFound},
		"worker is down": {func(r *replica) {
			r.ChangeWorkerRow("w1", func(w *domain.Worker) { w.MarkDown(domain.DownCrashed, r.Timing, r.Now()) })
		}, domain.CodeWorkerUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFixture(t)
			c.change(r)
			_, err := r.send()
			require.Equal(t, c.code, domain.CodeOf(err))
			require.Empty(t, r.Gateway.Calls("send"))
		})
	}
}

func TestTarget_RouteIsOld_WhatItForbidsIsReadFromTheStore(t *testing.T) {
	a, b := newPair(t)
	a.Report("s1", domain.Reconnecting)
	_, err := b.send() // b caches a route that forbids
	require.Error(t, err)
	a.Report("s1", domain.Connected)

	_, err = b.send()
	require.NoError(t, err)
}

func TestTarget_SessionMovedAndTheOldWorkerRefuses_SendGoesToTheNewOneOnce(t *testing.T) {
	a, b := newPair(t)
	_, err := b.send() // b caches the route to w1
	require.NoError(t, err)
	a.move()
	a.Gateway.Forget()
	a.Gateway.Answer(func(c coretest.Call) error {
		if c.Worker == "w1" {
			return &ports.WorkerError{Failure: ports.WorkerSessionNotFound, Message: "unknown"}
		}
		return nil
	})

	m, err := b.send()
	require.NoError(t, err)
	require.Equal(t, domain.MessageSent, m.Status)
	require.Equal(t, []string{"send w1 s1", "send w2 s1"}, b.Gateway.Calls())
}

func TestTarget_SessionMovedButTheSendMayHaveBeenMade_IsNotRepeated(t *testing.T) {
	a, b := newPair(t)
	_, err := b.send()
	require.NoError(t, err)
	a.move()
	a.Gateway.Forget()
	a.Gateway.Fail(ports.WorkerTimedOut)
	_, err = b.send()
	require.Equal(t, domain.CodeWorkerTimeout, domain.CodeOf(err))
	require.Len(t, b.Gateway.Calls("send"), 1)
}

func TestHistory_MoreThanAPage_HasACursor(t *testing.T) {
	r := newFixture(t)
	for range 3 {
		_, err := r.send()
		require.NoError(t, err)
		r.Clock.Advance(time.Second)
	}
	page, next, err := r.messages.History(context.Background(), r.sender.UserID, "s1", domain.MessageFilter{Limit: 2})
	require.NoError(t, err)
	require.Len(t, page, 2)
	require.Equal(t, page[1].ID, next.ID)
	page, next, err = r.messages.History(context.Background(), r.sender.UserID, "s1", domain.MessageFilter{Limit: 3})
	require.NoError(t, err)
	require.Len(t, page, 3)
	require.Zero(t, next)
	_, _, err = r.messages.History(context.Background(), "somebody else", "s1", domain.MessageFilter{})
	require.Equal(t, domain.CodeSessionNotFound, domain.CodeOf(err))
}

func TestHousekeep_OutcomeNeverReported_MessageFailsAfterAnHour(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Fail(ports.WorkerTimedOut)
	_, _ = r.send()

	r.Clock.Advance(time.Hour - time.Second)
	require.NoError(t, r.messages.Housekeep(context.Background(), r.Now()))
	require.Equal(t, domain.MessagePending, r.stored(t).Status)

	r.Clock.Advance(2 * time.Second)
	require.NoError(t, r.messages.Housekeep(context.Background(), r.Now()))
	require.Equal(t, domain.MessageFailed, r.stored(t).Status)
}

func TestHousekeep_ClockOfTheSenderIsBehind_MessageHasItsWholeHour(t *testing.T) {
	a := newReplica(coretest.NewReplica(t, "A"), service.Sender{}).start(t)
	slow := newReplica(a.Join("B", -30*time.Minute), a.sender)
	require.NoError(t, slow.Sync.Load(context.Background()))
	coretest.Exchange(t, a.Core, slow.Core)
	a.Gateway.Fail(ports.WorkerTimedOut)
	_, _ = slow.send()
	a.Clock.Advance(45 * time.Minute)
	require.NoError(t, a.messages.Housekeep(context.Background(), a.Now()))
	require.Equal(t, domain.MessagePending, a.stored(t).Status)
}

// A user's messages are kept as long as the tier says, and the user who changes the tier has the new retention.
func TestHousekeep_MessagesOlderThanRetentionOfTier_AreDeleted(t *testing.T) {
	r := newFixture(t)
	tiers := domain.DefaultTiers()
	require.Equal(t, 90*24*time.Hour, tiers[domain.TierPro].MessageRetention)
	for range 300 { // more than one pass deletes
		_, err := r.send()
		require.NoError(t, err)
	}
	r.Clock.Advance(24 * time.Hour)
	_, err := r.send()
	require.NoError(t, err)
	count := func() int {
		require.NoError(t, r.messages.Housekeep(context.Background(), r.Now()))
		page, _, err := r.messages.History(context.Background(), r.sender.UserID, "s1", domain.MessageFilter{Limit: 1000})
		require.NoError(t, err)
		return len(page)
	}
	r.Clock.Advance(89 * 24 * time.Hour)
	require.Equal(t, 301, count(), "exactly 90 days old")
	r.Clock.Advance(time.Second)
	require.Equal(t, 1, count())

	pro := tiers[domain.TierPro]
	pro.MessageRetention = 0
	tiers[domain.TierPro] = pro
	r.SetTiers(tiers)
	r.Clock.Advance(10_000 * 24 * time.Hour)
	require.Equal(t, 1, count(), "no retention")
	pro.MessageRetention = time.Hour
	tiers[domain.TierPro] = pro
	r.SetTiers(tiers)
	require.Zero(t, count())
}

// Housekeep reaches every user in rounds.
func TestHousekeep_MoreUsersThanARound_AllAreTrimmed(t *testing.T) {
	r := newFixture(t)
	for range 450 {
		r.AddUser(domain.TierBasic)
	}
	last := service.Sender{UserID: r.AddUser(domain.TierPro), SessionID: "s2"}
	r.AddConnected(last.UserID, "s2", "w1")
	_, err := r.messages.Send(context.Background(), last, &domain.Outgoing{To: "6281111111111", Type: domain.TypeText, Text: "hello"})
	require.NoError(t, err)
	r.Clock.Advance(91 * 24 * time.Hour)
	for range 3 {
		require.NoError(t, r.messages.Housekeep(context.Background(), r.Now()))
	}
	page, _, err := r.messages.History(context.Background(), last.UserID, "s2", domain.MessageFilter{Limit: 1})
	require.NoError(t, err)
	require.Empty(t, page)
}
