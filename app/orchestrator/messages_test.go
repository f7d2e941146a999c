package orchestrator_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// ownRoutes gives each replica routes that the others do not write to.
func ownRoutes(cfg *orchestrator.Config) { cfg.Routes = memory.NewRoutes() }

func holder(s *ports.CreatedSession) ports.KeyHolder {
	return ports.KeyHolder{UserID: s.UserID, SessionID: s.ID}
}

var hello = domain.Outgoing{To: "6281234567890", Type: domain.TypeText, Text: "hello"}

func TestSendsFollowASessionThatHasMoved(t *testing.T) {
	for _, known := range []bool{true, false} { // whether B knows the new worker
		t.Run(fmt.Sprint("known=", known), func(t *testing.T) {
			c := newCrowd(t, 2, ownRoutes)
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 5)
			s := c.connected(a)
			_, err := b.Send(t.Context(), holder(s), &hello)
			require.NoError(t, err)
			if known {
				c.register(a, "worker-2", 5)
				require.NoError(t, c.stepOf(b))
			}
			a.ears.cut.Store(true)
			if !known {
				c.register(a, "worker-2", 5)
			}
			_, err = a.Migrate(t.Context(), s.ID, "worker-2", "")
			require.NoError(t, err)
			require.Equal(t, "worker-2", c.session(s.ID).WorkerID)
			require.Equal(t, domain.Connected, c.session(s.ID).Status)
			c.hands.set(func(made call) error {
				if (made.kind == "send" || made.kind == "act") && made.worker == "worker-1" {
					return &ports.WorkerError{Failure: ports.WorkerUnknown, Status: 404, Message: "no such session"}
				}
				return nil
			})
			if known {
				require.NoError(t, b.Act(t.Context(), holder(s), domain.Action{Type: domain.ActionTypingStart, Phone: "6281234567890"}))
			}
			m, err := b.Send(t.Context(), holder(s), &hello)
			require.NoError(t, err)
			require.Equal(t, []string{"worker-2"}, c.hands.sent[m.ID])
			require.Equal(t, domain.MessageSent, m.Status)
		})
	}
}

func TestNothingIsSentTwice(t *testing.T) {
	c := newCrowd(t, 2, ownRoutes)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	c.register(a, "worker-2", 5)
	s := c.connected(a)
	_, err := b.Send(t.Context(), holder(s), &hello)
	require.NoError(t, err)
	first := c.session(s.ID).WorkerID
	for _, failure := range []ports.WorkerFailure{ports.WorkerTimedOut, ports.WorkerBroken, ports.WorkerFailed} {
		c.hands.set(func(made call) error {
			if made.kind == "send" {
				_, err := a.Restart(t.Context(), s.UserID, s.ID)
				require.NoError(t, err)
				return &ports.WorkerError{Failure: failure, Status: 500, Message: "no answer"}
			}
			return nil
		})
		before := c.hands.made("send")
		_, err := b.Send(t.Context(), holder(s), &hello)
		require.Error(t, err)
		require.Equal(t, before+1, c.hands.made("send"), "it may have been sent")
	}
	c.hands.set(nil)
	require.Equal(t, first, c.session(s.ID).WorkerID)
}

func TestASessionThatIsConnectedSends(t *testing.T) {
	c := newCrowd(t, 2, ownRoutes)
	a, b := c.all[0], c.all[1]
	c.register(a, "worker-1", 5)
	c.step()
	s := c.connected(b)
	_, err := b.Disconnect(t.Context(), s.UserID, s.ID)
	require.NoError(t, err)
	_, err = b.Send(t.Context(), holder(s), &hello)
	require.Equal(t, domain.CodeSessionNotConnected, domain.CodeOf(err))

	a.ears.cut.Store(true) // B does not hear that it is connected again, nor that its worker is
	require.NoError(t, c.stepOf(b))
	require.NoError(t, left(b.UnregisterWorker(t.Context(), "worker-1", "")))
	c.register(a, "worker-1", 5)
	_, err = a.Connect(t.Context(), s.UserID, s.ID, ports.ConnectOptions{})
	require.NoError(t, err)
	require.Equal(t, domain.Connected, c.session(s.ID).Status)
	m, err := b.Send(t.Context(), holder(s), &hello)
	require.NoError(t, err)
	require.Len(t, c.hands.sent[m.ID], 1)
}

func TestAReportReachesAnotherReplicaBeforeTheSendIsAnswered(t *testing.T) {
	for _, busy := range []bool{false, true} { // whether that replica is sending, too
		t.Run(fmt.Sprint("busy=", busy), func(t *testing.T) {
			slept := func() {}
			c := newCrowd(t, 2, func(cfg *orchestrator.Config) {
				cfg.Sleep = func(context.Context, time.Duration) error { slept(); return nil }
			})
			a, b := c.all[0], c.all[1]
			c.register(a, "worker-1", 5)
			s := c.connected(a)
			answerA, answerB := make(chan struct{}), make(chan struct{})
			reached := make(chan string, 2)
			c.hands.set(func(made call) error {
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
			sentA := aside(func() { sent, _ = a.Send(context.Background(), holder(s), &hello) })
			require.Equal(t, "A", <-reached)
			sentB := aside(func() {})
			if busy {
				sentB = aside(func() { _, _ = b.Send(context.Background(), holder(s), &hello) })
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
			slept = func() { once.Do(func() { close(answerA); wait(t, sentA) }) }
			applied, err := b.MessageReport(t.Context(), domain.MessageReport{SessionID: s.ID, WhatsAppID: "WA-" + id, Status: domain.MessageDelivered})
			require.NoError(t, err)
			require.True(t, applied)
			close(answerB)
			wait(t, sentB)
			wait(t, sentA)
			require.Equal(t, id, sent.ID)
			m, err := b.Message(t.Context(), s.UserID, s.ID, id)
			require.NoError(t, err)
			require.Equal(t, domain.MessageDelivered, m.Status)
		})
	}
}

func TestLimitsHoldForAllReplicasTogether(t *testing.T) {
	c := newCrowd(t, 2, func(cfg *orchestrator.Config) {
		cfg.Tiers = domain.DefaultTiers()
		limits := cfg.Tiers[domain.TierBasic]
		limits.MessagesPerHour = 50
		cfg.Tiers[domain.TierBasic] = limits
	})
	c.register(c.all[0], "worker-1", 5)
	s := c.connected(c.all[0])
	require.NoError(t, c.stepOf(c.all[1]))
	var sent, refused atomic.Int64
	flood := func(n int) {
		race(n, func(i int) {
			_, err := c.all[i%2].Send(context.Background(), holder(s), &hello)
			switch domain.CodeOf(err) {
			case "":
				sent.Add(1)
			case domain.CodeMessageLimit:
				refused.Add(1)
			}
		})
	}
	flood(30)
	require.EqualValues(t, 30, sent.Load())
	c.limiter.(*forgetful).forget()
	flood(4) // as many may be under way while what was lost is counted again
	flood(60)
	require.LessOrEqual(t, sent.Load(), int64(50+4))
	require.GreaterOrEqual(t, sent.Load(), int64(50))
	require.EqualValues(t, 94, sent.Load()+refused.Load())
	require.EqualValues(t, sent.Load(), c.hands.made("send"))
	c.limiter.(*forgetful).forget()
	_, err := c.all[1].Send(t.Context(), holder(s), &hello)
	require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
}
