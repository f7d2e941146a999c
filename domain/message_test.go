package domain_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/domain"
)

var messageStatuses = []domain.MessageStatus{
	domain.MessagePending, domain.MessageSent, domain.MessageDelivered, domain.MessageRead, domain.MessageFailed,
}

func TestMessageStatusFollows_AnyPair_ForwardOnly(t *testing.T) {
	follows := map[domain.MessageStatus][]domain.MessageStatus{
		domain.MessagePending:   {domain.MessageSent, domain.MessageDelivered, domain.MessageRead, domain.MessageFailed},
		domain.MessageSent:      {domain.MessageDelivered, domain.MessageRead, domain.MessageFailed},
		domain.MessageDelivered: {domain.MessageRead},
	}
	for _, from := range append(slices.Clone(messageStatuses), "LOST") {
		for _, next := range append(slices.Clone(messageStatuses), "", "LOST") {
			want := slices.Contains(follows[from], next) || from == "LOST" && next != from && next != "" && next != domain.MessageFailed
			require.Equal(t, want, next.Follows(from), "%s to %s", from, next)
		}
	}
	for _, s := range messageStatuses {
		got, err := domain.ParseMessageStatus(" " + strings.ToLower(string(s)))
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	_, err := domain.ParseMessageStatus("ACK")
	requireRefused(t, err, "Status must be one of PENDING")
}

// Reports arrive in any order. The status only moves forward, at most three times, and never leaves
// READ or FAILED. Implied times are filled in. Known times stay.
func TestMessageTransitionTo_ReportsInAnyOrder_ForwardOnly(t *testing.T) {
	rank := map[domain.MessageStatus]int{
		domain.MessagePending: 0, domain.MessageSent: 1, domain.MessageDelivered: 2, domain.MessageRead: 3, domain.MessageFailed: 4,
	}
	rapid.Check(t, func(t *rapid.T) {
		m := &domain.Message{Status: domain.MessagePending, CreatedAt: noon}
		advances := 0
		for range rapid.IntRange(1, 12).Draw(t, "reports") {
			before := *m
			to := rapid.SampledFrom(messageStatuses).Draw(t, "status")
			at := noon.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "at")) * time.Second)
			if !m.TransitionTo(to, at, "no such number") {
				require.Equal(t, before, *m)
				require.True(t, rank[to] <= rank[before.Status] || rank[before.Status] > 1)
				continue
			}
			advances++
			require.Equal(t, to, m.Status)
			require.Greater(t, rank[to], rank[before.Status])
			require.Equal(t, to == domain.MessageFailed, m.Error != "")
			times := []struct {
				before, after time.Time
				implied       bool
			}{
				{before.SentAt, m.SentAt, rank[to] >= 1 && rank[to] <= 3},
				{before.DeliveredAt, m.DeliveredAt, rank[to] >= 2 && rank[to] <= 3},
				{before.ReadAt, m.ReadAt, rank[to] == 3},
			}
			for _, x := range times {
				switch {
				case !x.before.IsZero() || !x.implied:
					require.Equal(t, x.before, x.after)
				default:
					require.Equal(t, at, x.after)
				}
			}
		}
		require.LessOrEqual(t, advances, 3)
	})
}

func TestMessageTransitionTo_Failure_RecordedAndFinal(t *testing.T) {
	m := &domain.Message{Status: domain.MessageSent, SentAt: noon}
	require.True(t, m.TransitionTo(domain.MessageFailed, noon.Add(time.Second), "number not on WhatsApp"))
	require.Equal(t, domain.Message{Status: domain.MessageFailed, SentAt: noon, Error: "number not on WhatsApp"}, *m)
	require.False(t, m.TransitionTo(domain.MessageRead, noon, ""))
}

func TestMessageTransitionTo_ReceiptAfterUnreportedFailure_Settles(t *testing.T) {
	for _, receipt := range []domain.MessageStatus{domain.MessageDelivered, domain.MessageRead} {
		m := &domain.Message{Status: domain.MessagePending}
		require.True(t, m.FailUnreported(noon))
		require.Equal(t, domain.Message{Status: domain.MessageFailed, Unreported: true, Error: "its outcome was never reported"}, *m)
		before := *m
		for _, other := range []domain.MessageStatus{domain.MessagePending, domain.MessageSent, domain.MessageFailed} {
			require.False(t, m.TransitionTo(other, noon, ""), other)
			require.Equal(t, before, *m)
		}
		require.True(t, m.TransitionTo(receipt, noon.Add(time.Hour), ""))
		require.Equal(t, receipt, m.Status)
		require.False(t, m.Unreported)
		require.Empty(t, m.Error)
		require.Equal(t, noon.Add(time.Hour), m.SentAt)
		require.False(t, m.TransitionTo(domain.MessageFailed, noon, ""))
	}
}

func TestMessageFailUnreported_NotPending_Unchanged(t *testing.T) {
	for _, status := range messageStatuses[1:] {
		m := &domain.Message{Status: status, Error: "e"}
		before := *m
		require.False(t, m.FailUnreported(noon))
		require.Equal(t, before, *m)
	}
}
