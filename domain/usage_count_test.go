package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

// TestUsageOf_AnyLife_CountsTheMessageOnce adds up the changes of a message's life and compares them with its end.
func TestUsageOf_AnyLife_CountsTheMessageOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		created := time.Date(2026, 3, 1, 12, 59, 59, 0, time.UTC)
		m := &domain.Message{
			ID: "m", SessionID: "s", UserID: "u", Direction: domain.Outbound, Type: domain.TypePoll, Status: domain.MessagePending, CreatedAt: created,
		}
		counts := make(map[domain.UsageOutcome]int)
		now := created
		change := func(before *domain.Message) {
			for _, e := range domain.MessageEvents(before, m, now) {
				for _, c := range domain.UsageOf(&e) {
					require.Equal(t, domain.UsageCount{
						UserID: "u", SessionID: "s", Hour: created.Truncate(time.Hour), Type: domain.TypePoll, Outcome: c.Outcome, Count: c.Count,
					}, c)
					counts[c.Outcome] += c.Count
				}
			}
		}
		change(nil)
		for range rapid.IntRange(0, 8).Draw(t, "changes") {
			now = now.Add(time.Minute)
			before := *m
			switch to := rapid.SampledFrom([]domain.MessageStatus{
				"", domain.MessageSent, domain.MessageDelivered, domain.MessageRead, domain.MessageFailed,
			}).Draw(t, "to"); to {
			case "":
				m.FailUnreported(now)
			default:
				m.TransitionTo(to, now, "refused")
			}
			change(&before)
		}
		is := func(yes bool) int {
			if yes {
				return 1
			}
			return 0
		}
		failed := m.Status == domain.MessageFailed
		require.Equal(t, is(!failed && m.Status != domain.MessagePending), counts[domain.UsageSent], "%+v", m)
		require.Equal(t, is(failed), counts[domain.UsageFailed], "%+v", m)
		require.Equal(t, is(!m.DeliveredAt.IsZero()), counts[domain.UsageDelivered])
		require.Equal(t, is(!m.ReadAt.IsZero()), counts[domain.UsageRead])
	})
}

func TestUsageOf_Inbound_IsReceived(t *testing.T) {
	m := &domain.Message{SessionID: "s", UserID: "u", Direction: domain.Inbound, Type: domain.TypeText, Status: domain.MessageRead, CreatedAt: noon}
	events := domain.MessageEvents(nil, m, noon)
	require.Len(t, events, 1)
	require.Equal(t, []domain.UsageCount{
		{UserID: "u", SessionID: "s", Hour: noon.UTC().Truncate(time.Hour), Type: domain.TypeText, Outcome: domain.UsageReceived, Count: 1},
	}, domain.UsageOf(&events[0]))
	require.Empty(t, domain.UsageOf(&domain.Event{Type: domain.EventSessionConnected}))
}
