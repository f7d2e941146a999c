package orchestrator_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// withSeparateRoutes sets for each replica routes that the others do not write to.
func withSeparateRoutes(cfg *orchestrator.Config) { cfg.Routes = memory.NewRoutes() }

// B learns of the new worker before the migration, or not at all.
func TestSend_SessionMoved_ReachesTheNewWorker(t *testing.T) {
	for _, known := range []bool{true, false} { // whether B knows the new worker
		t.Run(fmt.Sprint("known=", known), func(t *testing.T) {
			c := newReplicaSet(t, 2, withSeparateRoutes)
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 5)
			s := c.connectSession(a)
			_, err := b.Messages.Send(t.Context(), senderOf(s), &hello)
			require.NoError(t, err)
			if known {
				c.register(a, "worker-2", 5)
				require.NoError(t, c.runReplica(b))
			}
			a.invalidator.cut.Store(true)
			if !known {
				c.register(a, "worker-2", 5)
			}
			_, err = a.Operations.Migrate(t.Context(), s.ID, service.MigrateOptions{TargetWorkerID: "worker-2"})
			require.NoError(t, err)
			require.Equal(t, "worker-2", c.session(s.ID).WorkerID)
			require.Equal(t, domain.Connected, c.session(s.ID).Status)
			c.workers.answerWith(func(made call) error {
				if (made.kind == "send" || made.kind == "act") && made.worker == "worker-1" {
					return &ports.WorkerError{Failure: ports.WorkerSessionNotFound, Status: 404, Message: "no such session"}
				}
				return nil
			})
			if known {
				require.NoError(t, b.Messages.PerformAction(t.Context(), senderOf(s), domain.Action{Type: domain.ActionTypingStart, Phone: "6281234567890"}))
			}

			m, err := b.Messages.Send(t.Context(), senderOf(s), &hello)
			require.NoError(t, err)

			require.Equal(t, []string{"worker-2"}, c.workers.sent[m.ID])
			require.Equal(t, domain.MessageSent, m.Status)
		})
	}
}

func TestSend_OutcomeUnknown_IsNotRepeated(t *testing.T) {
	c := newReplicaSet(t, 2, withSeparateRoutes)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	c.register(a, "worker-2", 5)
	s := c.connectSession(a)
	_, err := b.Messages.Send(t.Context(), senderOf(s), &hello)
	require.NoError(t, err)
	first := c.session(s.ID).WorkerID

	for _, failure := range []ports.WorkerFailure{ports.WorkerTimedOut, ports.WorkerConnectionLost, ports.WorkerFailed} {
		c.workers.answerWith(func(made call) error {
			if made.kind == "send" {
				_, err := a.Sessions.Restart(t.Context(), s.UserID, s.ID)
				require.NoError(t, err)
				return &ports.WorkerError{Failure: failure, Status: 500, Message: "no answer"}
			}
			return nil
		})
		before := c.workers.count("send")
		_, err := b.Messages.Send(t.Context(), senderOf(s), &hello)
		require.Error(t, err)
		require.Equal(t, before+1, c.workers.count("send"), "the message may have been sent")
	}

	c.workers.answerWith(nil)
	require.Equal(t, first, c.session(s.ID).WorkerID)
}

// B does not learn that the session is connected again, nor that its worker is up.
func TestSend_CacheIsOld_SessionThatIsConnectedSends(t *testing.T) {
	c := newReplicaSet(t, 2, withSeparateRoutes)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	c.runAll()
	s := c.connectSession(b)
	_, err := b.Sessions.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	_, err = b.Messages.Send(t.Context(), senderOf(s), &hello)
	require.Equal(t, domain.CodeSessionNotConnected, domain.CodeOf(err))

	a.invalidator.cut.Store(true) // B receives no invalidation
	require.NoError(t, c.runReplica(b))
	require.NoError(t, onlyError(b.Protocol.Unregister(t.Context(), "worker-1", "")))
	c.register(a, "worker-1", 5)
	_, err = a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.NoError(t, err)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)

	m, err := b.Messages.Send(t.Context(), senderOf(s), &hello)
	require.NoError(t, err)

	require.Len(t, c.workers.sent[m.ID], 1)
}

// A later report carries our id, and with it the id of WhatsApp.
func TestSend_AnswerWithoutMessageID_StaysPending(t *testing.T) {
	w, s := newConnectedFixture(t)
	w.workers.EXPECT().Send(gomock.Any(), gomock.Any(), gomock.Any()).
		Return(ports.Sent{}, &ports.WorkerError{Failure: ports.WorkerFailed, Status: 200, Message: "no messageId"})

	m, err := w.Messages.Send(context.Background(), senderOf(s), &hello)
	require.Equal(t, domain.CodeWorkerTimeout, domain.CodeOf(err))
	require.Equal(t, domain.MessagePending, m.Status)

	// The report carries our id and the id of WhatsApp.
	applied, err := w.Protocol.ReportMessage(context.Background(), domain.MessageReport{SessionID: s.ID, ID: m.ID, WhatsAppID: "WA1", Status: domain.MessageDelivered})
	require.NoError(t, err)
	require.True(t, applied)
	found, err := w.Messages.Get(context.Background(), s.UserID, s.ID, "WA1")
	require.NoError(t, err)
	require.Equal(t, domain.MessageDelivered, found.Status)
}

// In half of the cases the other replica is sending too.
func TestMessageReport_AtAnotherReplicaBeforeTheAnswer_IsApplied(t *testing.T) {
	for _, busy := range []bool{false, true} { // whether the other replica is sending
		t.Run(fmt.Sprint("busy=", busy), func(t *testing.T) {
			slept := func() {}
			c := newReplicaSet(t, 2, func(cfg *orchestrator.Config) {
				cfg.Sleep = func(context.Context, time.Duration) error { slept(); return nil }
			})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 5)
			s := c.connectSession(a)
			answerA, answerB := make(chan struct{}), make(chan struct{})
			reached := make(chan string, 2)
			c.workers.answerWith(func(made call) error {
				if made.kind != "send" {
					return nil
				}
				reached <- made.by
				if made.by == "A" {
					<-answerA
				} else {
					<-answerB
				}
				return nil
			})
			var sent *domain.Message
			sentA := inBackground(func() { sent, _ = a.Messages.Send(context.Background(), senderOf(s), &hello) })
			require.Equal(t, "A", <-reached)
			sentB := inBackground(func() {})
			if busy {
				sentB = inBackground(func() { _, _ = b.Messages.Send(context.Background(), senderOf(s), &hello) })
				require.Equal(t, "B", <-reached)
			}
			var id string
			require.NoError(t, c.store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
				pending, err := tx.Messages.List(ctx, s.ID, domain.MessageFilter{Limit: 10})
				for _, m := range pending {
					id = m.ID // the oldest is A's
				}
				return err
			}))
			var once sync.Once
			slept = func() { once.Do(func() { close(answerA); waitFor(t, sentA) }) }

			applied, err := b.Protocol.ReportMessage(t.Context(), domain.MessageReport{SessionID: s.ID, WhatsAppID: "WA-" + id, Status: domain.MessageDelivered})
			require.NoError(t, err)
			require.True(t, applied)
			close(answerB)
			waitFor(t, sentB)
			waitFor(t, sentA)

			require.Equal(t, id, sent.ID)
			m, err := b.Messages.Get(t.Context(), s.UserID, s.ID, id)
			require.NoError(t, err)
			require.Equal(t, domain.MessageDelivered, m.Status)
		})
	}
}

func TestMessageReport_BeforeTheAnswer_IsKept(t *testing.T) {
	w, s := newConnectedFixture(t)
	by, usage, err := w.APIKeys.Authenticate(context.Background(), s.APIKey)
	require.NoError(t, err)
	require.True(t, usage.Allowed)
	w.workers.EXPECT().Send(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(
		func(ctx context.Context, _ ports.WorkerRef, send ports.Send) (ports.Sent, error) {
			applied, err := w.Protocol.ReportMessage(ctx, domain.MessageReport{SessionID: s.ID, WhatsAppID: "WA1", Status: domain.MessageDelivered})
			require.NoError(t, err)
			require.True(t, applied)
			return ports.Sent{WhatsAppID: "WA1"}, nil
		})

	m, err := w.Messages.Send(context.Background(), by, &hello)
	require.NoError(t, err)

	stored, err := w.Messages.Get(context.Background(), s.UserID, s.ID, m.ID)
	require.NoError(t, err)
	require.Equal(t, domain.MessageDelivered, stored.Status)
	_, err = w.Protocol.ReportMessage(context.Background(), domain.MessageReport{SessionID: s.ID, WhatsAppID: "WA2", Status: domain.MessageRead})
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))
}

func TestMessageReport_NotFromTheOwner_IsIgnored(t *testing.T) {
	ctx := context.Background()
	w, s := newConnectedFixture(t)
	report := func(by string, status domain.MessageStatus) bool {
		t.Helper()
		applied, err := w.Protocol.ReportMessage(ctx, domain.MessageReport{SessionID: s.ID, WorkerID: by, WhatsAppID: "WA1", Status: status})
		require.NoError(t, err)
		return applied
	}
	w.workers.EXPECT().Send(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(
		func(context.Context, ports.WorkerRef, ports.Send) (ports.Sent, error) {
			require.False(t, report("worker-2", domain.MessageRead), "not before the answer either")
			require.True(t, report("worker-1", domain.MessageDelivered))
			return ports.Sent{WhatsAppID: "WA1"}, nil
		})

	m, err := w.Messages.Send(ctx, senderOf(s), &hello)
	require.NoError(t, err)
	status := func() domain.MessageStatus {
		m, err := w.Messages.Get(ctx, s.UserID, s.ID, m.ID)
		require.NoError(t, err)
		return m.Status
	}
	require.Equal(t, domain.MessageDelivered, status())
	require.False(t, report("worker-2", domain.MessageRead))
	require.Equal(t, domain.MessageDelivered, status())
	require.True(t, report("Worker 1", domain.MessageRead))

	stored := 0
	for i, by := range []string{"worker-2", "worker-1", ""} {
		in := service.InboundMessage{SessionID: s.ID, WorkerID: by, WhatsAppID: fmt.Sprint("IN", i), From: "1", Type: domain.TypeText, At: w.clock.Now()}
		taken, err := w.Protocol.ReceiveMessage(ctx, in)
		require.NoError(t, err)
		require.Equal(t, by != "worker-2", taken)
		if taken {
			stored++
		}
	}
	all, _, err := w.Messages.History(ctx, s.UserID, s.ID, domain.MessageFilter{Direction: domain.Inbound, Limit: 10})
	require.NoError(t, err)
	require.Len(t, all, stored)

	_, err = w.Protocol.ReportMessage(ctx, domain.MessageReport{SessionID: "none", WorkerID: "worker-1", WhatsAppID: "WA1", Status: domain.MessageRead})
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))
	w.workers.EXPECT().Disconnect(gomock.Any(), gomock.Any(), s.ID, gomock.Any()).Return(nil)
	_, err = w.Sessions.Disconnect(ctx, s.UserID, s.ID)
	require.NoError(t, err)
	taken, err := w.Protocol.ReceiveMessage(ctx, service.InboundMessage{SessionID: s.ID, WorkerID: "worker-1", WhatsAppID: "IN9", From: "1", Type: domain.TypeText, At: w.clock.Now()})
	require.NoError(t, err)
	require.False(t, taken, "the session has no owner")
}
