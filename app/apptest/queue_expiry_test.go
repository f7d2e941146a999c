package apptest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestQueue_ServerDownUntilTheDeadline_FailsWithThatReason(t *testing.T) {
	for name, isSentBefore := range map[string]bool{"nothing was sent": false, "an earlier message was sent": true} {
		t.Run(name, func(t *testing.T) {
			h := newQueueing(t, domain.TierPro, apptest.Options{})
			late := h.queue("late", h.at(10*time.Minute))
			if isSentBefore {
				h.queue("early", domain.Schedule{})
				h.Advance(time.Minute)
				require.Equal(t, []string{"early"}, h.sent())
			}

			h.Skip(3 * time.Hour)
			h.Restart()
			h.Advance(time.Minute)

			require.Equal(t, "the deadline passed before the message could be sent: the server was down, or too busy to try", h.message(late.ID).Error)
			h.requireNothingWaits()
		})
	}
}

func TestQueue_PaceTooSlowForTheDeadline_FailsWithThatReason(t *testing.T) {
	h := newQueueing(t, domain.TierPro, apptest.Options{SendPace: 1})
	h.queue("first", domain.Schedule{})
	second := h.queue("second", domain.Schedule{Patience: 10 * time.Second})

	h.Advance(time.Minute)

	require.Equal(t, "the deadline passed before the message could be sent: earlier messages of the queue went first", h.message(second.ID).Error)
}

func TestQueue_FailedUnforwarded_CountsInNoHour(t *testing.T) {
	for name, isRestarted := range map[string]bool{"the limiter is empty": false, "after a restart": true} {
		t.Run(name, func(t *testing.T) {
			h := newQueueing(t, domain.TierBasic, apptest.Options{})
			require.NoError(t, secondOf(h.Orchestrator.Sessions.Disconnect(t.Context(), h.session.UserID, h.session.ID)))
			for i := range 10 {
				h.queue(fmt.Sprint("never ", i), domain.Schedule{Patience: time.Second})
			}
			h.Advance(10 * time.Second)
			require.Len(t, h.failed(), 10)
			require.NoError(t, secondOf(h.Orchestrator.Sessions.Connect(t.Context(), h.session.UserID, h.session.ID, service.ConnectOptions{})))
			h.Advance(30 * time.Second)
			if isRestarted {
				h.Send(h.session, recipient, "before the restart")
				h.Restart()
			}

			passed := len(h.sent())
			for passed < 105 {
				_, err := h.Orchestrator.Messages.Send(t.Context(), h.sender(), &domain.Outgoing{To: recipient, Type: domain.TypeText, Text: "direct"})
				if err != nil {
					require.Equal(t, domain.CodeMessageLimit, domain.CodeOf(err))
					break
				}
				passed++
			}

			require.Equal(t, 100, passed)
		})
	}
}

// failed returns the texts of the events message.failed, in order.
func (h *queueing) failed() (texts []string) {
	for _, e := range h.Events() {
		if e.Type == domain.EventMessageFailed {
			texts = append(texts, e.Message.Content)
		}
	}
	return texts
}

func TestQueue_FailedUnforwarded_IsNotAmongThoseSent(t *testing.T) {
	h := newQueueing(t, domain.TierBasic, apptest.Options{})
	require.NoError(t, secondOf(h.Orchestrator.Sessions.Disconnect(t.Context(), h.session.UserID, h.session.ID)))
	h.queue("never", domain.Schedule{Patience: time.Second})
	h.Advance(10 * time.Second)
	since := h.Now().Truncate(time.Hour)

	cells, err := h.Orchestrator.Messages.Usage(t.Context(), h.session.UserID, "", since, time.Hour)
	require.NoError(t, err)
	points, err := h.Orchestrator.Operations.Analytics(t.Context(), time.Hour, 1)
	require.NoError(t, err)

	require.Equal(t, []service.MessageUsage{{
		Bucket: since, SessionID: h.session.ID, Type: domain.TypeText, Direction: domain.Outbound, Failed: true, Unforwarded: true, Count: 1,
	}}, cells)
	require.Equal(t, [3]int{0, 0, 1}, [3]int{points[0].Sent, points[0].Failed, points[0].Unforwarded})
}

func TestQueue_HourUsedUpAndLimitRaised_IsSentSoon(t *testing.T) {
	for name, raise := range map[string]func(h *queueing) error{
		"higher tier": func(h *queueing) error {
			return h.Orchestrator.Users.Add(t.Context(), domain.User{ID: h.session.UserID, Email: "raised@example.com", Tier: domain.TierPro})
		},
		"higher limit": func(h *queueing) error {
			tiers := domain.DefaultTiers()
			tiers[domain.TierBasic] = tiers[domain.TierPro]
			h.Orchestrator.SetTiers(tiers)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newQueueing(t, domain.TierBasic, apptest.Options{})
			for i := range 100 {
				h.Send(h.session, recipient, fmt.Sprint("direct ", i))
			}
			m := h.queue("patient", domain.Schedule{Patience: 2 * time.Hour})
			h.Advance(5 * time.Minute)
			require.Equal(t, domain.MessagePending, h.message(m.ID).Status)
			require.True(t, h.message(m.ID).SentAt.IsZero())

			require.NoError(t, raise(h))
			h.Advance(35 * time.Second)

			require.False(t, h.message(m.ID).SentAt.IsZero())
			h.requireNothingWaits()
		})
	}
}
