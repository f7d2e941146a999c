package messaging_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// eventsOf returns the types of the events of a message, in their order.
func (r *replica) eventsOf(t require.TestingT, messageID string) (types []domain.EventType) {
	require.NoError(t, r.Stored.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		types = nil
		events, err := tx.Outbox.After(ctx, ports.EventFilter{SessionID: "s1"}, 0, 1000)
		for _, e := range events {
			if e.Message != nil && e.Message.ID == messageID {
				types = append(types, e.Type)
			}
		}
		return err
	}))
	return types
}

// drawnReport is one report of the worker, to one of two replicas.
type drawnReport struct {
	status    domain.MessageStatus
	to        int // the replica
	namesOurs bool
	overtakes bool // it arrives before the answer to the send
}

// Whatever the order of the answer and the reports, on whichever replica, however often: the message ends in the latest
// status, and each event of its progress is recorded once.
func TestReportMessage_AnyOrderOfAnswerAndReports_EndsInTheSameState(t *testing.T) {
	stages := []domain.MessageStatus{domain.MessageSent, domain.MessageDelivered, domain.MessageRead}
	events := []domain.EventType{domain.EventMessageSent, domain.EventMessageDelivered, domain.EventMessageRead}
	rapid.Check(t, func(rt *rapid.T) {
		a, b := newPair(t)
		replicas := []*replica{a, b}
		isAnswered := rapid.Bool().Draw(rt, "answered")
		reports := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) drawnReport {
			return drawnReport{
				status: rapid.SampledFrom(stages).Draw(rt, "status"), to: rapid.IntRange(0, 1).Draw(rt, "replica"),
				// Only a worker that names our id can settle a message whose answer was lost.
				namesOurs: !isAnswered || rapid.Bool().Draw(rt, "names our id"), overtakes: rapid.Bool().Draw(rt, "overtakes"),
			}
		}), 1, 6).Draw(rt, "reports")
		sent := make(chan struct{})
		var overtaking sync.WaitGroup
		for _, r := range replicas {
			r.Sleep = func(context.Context, time.Duration) error { <-sent; return nil }
			r.Spawn = overtaking.Go // the send does not wait for reports that wait for it
		}
		var messageID string
		report := func(d drawnReport) {
			r := domain.MessageReport{SessionID: "s1", WorkerID: "w1", WhatsAppID: "WA-" + messageID, Status: d.status}
			if d.namesOurs {
				r.ID = messageID
			}
			_, err := replicas[d.to].messages.ReportMessage(context.Background(), r)
			if err != nil {
				rt.Errorf("report: %v", err)
			}
		}
		a.Gateway.Answer(func(coretest.Call) error {
			messageID = a.stored(t).ID
			for _, d := range reports {
				if d.overtakes {
					overtaking.Go(func() { report(d) })
				}
			}
			if !isAnswered {
				return &ports.WorkerError{Failure: ports.WorkerTimedOut}
			}
			return nil
		})

		_, err := a.send()
		close(sent)
		require.Equal(rt, isAnswered, err == nil)
		overtaking.Wait()
		for _, d := range reports {
			if !d.overtakes {
				report(d)
			}
		}

		latest := 0
		for _, d := range reports {
			latest = max(latest, slices.Index(stages, d.status))
		}
		final := a.stored(t)
		require.Equal(rt, stages[latest], final.Status)
		require.Equal(rt, "WA-"+messageID, final.WhatsAppID)
		require.False(rt, final.SentAt.IsZero())
		require.Equal(rt, events[:latest+1], a.eventsOf(rt, messageID))
	})
}
