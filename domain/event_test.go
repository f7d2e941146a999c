package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// typesOf returns the types of events.
func typesOf(events []domain.Event) (types []domain.EventType) {
	for _, e := range events {
		types = append(types, e.Type)
	}
	return types
}

func TestMessageEvents_EachTransition_HasTheEventsOfTheStagesPassed(t *testing.T) {
	const sent, delivered, read, failed = domain.EventMessageSent, domain.EventMessageDelivered, domain.EventMessageRead, domain.EventMessageFailed
	pending, toSent, toDelivered, toRead, toFailed := domain.MessagePending, domain.MessageSent, domain.MessageDelivered, domain.MessageRead, domain.MessageFailed
	for _, c := range []struct {
		from []domain.MessageStatus
		to   domain.MessageStatus
		want []domain.EventType
	}{
		{nil, toSent, []domain.EventType{sent}},
		{nil, toDelivered, []domain.EventType{sent, delivered}},
		{nil, toRead, []domain.EventType{sent, delivered, read}},
		{nil, toFailed, []domain.EventType{failed}},
		{nil, pending, nil},
		{[]domain.MessageStatus{toSent}, toRead, []domain.EventType{delivered, read}},
		{[]domain.MessageStatus{toSent}, toFailed, []domain.EventType{failed}},
		{[]domain.MessageStatus{toRead}, toDelivered, nil},
	} {
		m := &domain.Message{ID: "m1", SessionID: "s1", UserID: "u1", Direction: domain.Outbound, Status: pending, Rev: 7}
		for _, s := range c.from {
			m.TransitionTo(s, noon, "")
		}
		before := *m
		m.TransitionTo(c.to, noon.Add(time.Second), "refused")
		events := domain.MessageEvents(&before, m, noon)
		require.Equal(t, c.want, typesOf(events), "%v to %s", c.from, c.to)
		for _, e := range events {
			require.Equal(t, []any{"u1", "s1", noon, m.Status, int64(0)}, []any{e.UserID, e.SessionID, e.At, e.Message.Status, e.Message.Rev})
			require.NotSame(t, m, e.Message)
		}
	}
}

func TestMessageEvents_ReceiptAfterAnAssumedFailure_IsSentAndDelivered(t *testing.T) {
	m := &domain.Message{Direction: domain.Outbound, Status: domain.MessagePending}
	m.FailUnreported(noon)
	before := *m
	m.TransitionTo(domain.MessageDelivered, noon, "")
	require.Equal(t, []domain.EventType{domain.EventMessageSent, domain.EventMessageDelivered}, typesOf(domain.MessageEvents(&before, m, noon)))
}

func TestMessageEvents_InboundMessage_IsReceivedOnce(t *testing.T) {
	m := &domain.Message{Direction: domain.Inbound, Status: domain.MessageDelivered, SentAt: noon, DeliveredAt: noon}
	require.Equal(t, []domain.EventType{domain.EventMessageReceived}, typesOf(domain.MessageEvents(nil, m, noon)))
	require.Empty(t, domain.MessageEvents(m, m, noon))
}
