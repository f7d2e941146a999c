package messaging_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// delivered reports that a message was delivered, by WhatsApp's id.
func delivered(whatsAppID string) domain.MessageReport {
	return domain.MessageReport{SessionID: "s1", WorkerID: "w1", WhatsAppID: whatsAppID, Status: domain.MessageDelivered}
}

func (r *replica) report(t *testing.T, m domain.MessageReport) bool {
	t.Helper()
	applied, err := r.messages.ReportMessage(context.Background(), m)
	require.NoError(t, err)
	return applied
}

func TestReportMessage_AfterTheSend_IsAppliedOnce(t *testing.T) {
	r := newFixture(t)
	m, err := r.send()
	require.NoError(t, err)
	require.True(t, r.report(t, delivered(m.WhatsAppID)))
	require.Equal(t, domain.MessageDelivered, r.stored(t).Status)
	require.False(t, r.report(t, delivered(m.WhatsAppID)), "nothing new")
}

func TestReportMessage_OvertakesTheAnswer_IsHeldAndApplied(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Answer(func(coretest.Call) error {
		id := r.stored(t).ID
		require.True(t, r.report(t, delivered("WA-"+id)))
		require.Equal(t, domain.MessagePending, r.stored(t).Status)
		return nil
	})
	_, err := r.send()
	require.NoError(t, err)
	require.Equal(t, domain.MessageDelivered, r.stored(t).Status)
}

func TestReportMessage_NamesOurIDDuringTheSend_IsAppliedAtOnce(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Answer(func(coretest.Call) error {
		report := delivered("WA-" + r.stored(t).ID)
		report.ID = r.stored(t).ID
		require.True(t, r.report(t, report))
		require.Equal(t, domain.MessageDelivered, r.stored(t).Status)
		return nil
	})
	_, err := r.send()
	require.NoError(t, err)
	require.Equal(t, domain.MessageDelivered, r.stored(t).Status, "the answer is older than the report")
}

func TestReportMessage_NoSendUnderWay_UnknownMessageIsRefused(t *testing.T) {
	r := newFixture(t)
	_, err := r.messages.ReportMessage(context.Background(), delivered("WA-unknown"))
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))
}

func TestReportMessage_TooManyHeld_TheRestIsRefused(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Answer(func(coretest.Call) error {
		for i := range 256 {
			require.True(t, r.report(t, delivered(fmt.Sprint("WA-", i))))
		}
		_, err := r.messages.ReportMessage(context.Background(), delivered("one more"))
		require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))
		return nil
	})
	_, err := r.send()
	require.NoError(t, err)
}

func TestReportMessage_SendIsAnotherReplicas_IsRetriedUntilItsAnswer(t *testing.T) {
	a, b := newPair(t)
	sleeps := 0
	b.Sleep = func(context.Context, time.Duration) error {
		sleeps++
		if sleeps == 2 { // the other replica gets its answer meanwhile
			a.Write(func(ctx context.Context, tx *txn.Tx) error {
				return tx.Messages.Put(ctx, &domain.Message{
					ID: "m1", SessionID: "s1", UserID: a.sender.UserID, WhatsAppID: "WA-m1", Direction: domain.Outbound,
					Type: domain.TypeText, Status: domain.MessageSent, CreatedAt: a.Now(),
				})
			})
		}
		return nil
	}
	applied, err := b.messages.ReportMessage(context.Background(), delivered("WA-m1"))
	require.NoError(t, err)
	require.True(t, applied)
	require.Equal(t, 2, sleeps)
	require.Equal(t, domain.MessageDelivered, a.stored(t).Status)
}

func TestReportMessage_UnknownEverywhere_IsRefusedAfterTwoSeconds(t *testing.T) {
	_, b := newPair(t)
	began := b.Now()
	_, err := b.messages.ReportMessage(context.Background(), delivered("WA-unknown"))
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))
	require.InDelta(t, 2*time.Second, b.Now().Sub(began), float64(200*time.Millisecond))
}

func TestReportMessage_FormerWorker_IsNotBelieved(t *testing.T) {
	r := newFixture(t)
	m, err := r.send()
	require.NoError(t, err)
	r.move()
	require.False(t, r.report(t, delivered(m.WhatsAppID)))
	anonymous := delivered(m.WhatsAppID)
	anonymous.WorkerID = ""
	require.True(t, r.report(t, anonymous), "legacy workers do not say who they are")
}

func TestReportMessage_SendWasNeverAnswered_MessageLearnsWhatsAppsID(t *testing.T) {
	r := newFixture(t)
	r.Gateway.Fail(ports.WorkerTimedOut)
	m, _ := r.send()
	report := delivered("WA-1")
	report.ID = m.ID
	require.True(t, r.report(t, report))
	require.Equal(t, "WA-1", r.stored(t).WhatsAppID)
	require.Equal(t, domain.MessageDelivered, r.stored(t).Status)
}

func TestReportMessage_ReadWithItsTimes_FillsBoth(t *testing.T) {
	r := newFixture(t)
	m, err := r.send()
	require.NoError(t, err)
	report := delivered(m.WhatsAppID)
	report.Status = domain.MessageRead
	report.DeliveredAt, report.ReadAt = r.Now().Add(time.Second), r.Now().Add(2*time.Second)
	require.True(t, r.report(t, report))
	require.Equal(t, report.DeliveredAt, r.stored(t).DeliveredAt)
	require.Equal(t, report.ReadAt, r.stored(t).ReadAt)
}

func TestReceiveMessage_Twice_IsStoredOnce(t *testing.T) {
	r := newFixture(t)
	in := service.InboundMessage{SessionID: "s1", WorkerID: "w1", WhatsAppID: "WA-in", From: "x", Type: domain.TypeText, Content: "hi"}
	for i, want := range []bool{true, false} {
		stored, err := r.messages.ReceiveMessage(context.Background(), in)
		require.NoError(t, err)
		require.Equal(t, want, stored, "delivery %d", i)
	}
	require.Equal(t, "6281234567890@s.whatsapp.net", r.stored(t).To)

	in.WhatsAppID, in.WorkerID = "WA-2", "w2"
	stored, err := r.messages.ReceiveMessage(context.Background(), in)
	require.NoError(t, err)
	require.False(t, stored, "w2 does not have the session")
}

func TestReceiveMessage_FormerOwnerIsBeingWiped_NamelessMessagesAreNotStored(t *testing.T) {
	r := newFixture(t)
	r.AddWorker("former", 10)
	r.Write(func(ctx context.Context, tx *txn.Tx) error {
		return tx.ScheduleCleanup(ctx, "former", "s1", domain.CommandLogout, 1)
	})
	in := service.InboundMessage{SessionID: "s1", WhatsAppID: "WA-in", From: "x", Type: domain.TypeText, Content: "hi"}
	for worker, want := range map[string]bool{"": false, "w1": true} {
		in.WorkerID = worker
		stored, err := r.messages.ReceiveMessage(context.Background(), in)
		require.NoError(t, err)
		require.Equal(t, want, stored, worker)
	}
}

// A message of a group refers to others by addresses and ids, which are stored in one form and told in its event.
func TestReceiveMessage_Relations_AreNormalisedStoredAndTold(t *testing.T) {
	r := newFixture(t)
	in := service.InboundMessage{
		SessionID: "s1", WorkerID: "w1", WhatsAppID: "WA-in", From: "1203630@g.us", Type: domain.TypeReaction, Content: "👍",
		Relations: domain.Relations{
			Author: "6281222222222:12@s.whatsapp.net", TargetID: "WA-other", QuotedID: "WA-quoted",
			Mentions: []string{"6281333333333", "6281333333333@c.us", "6281444444444:1@s.whatsapp.net"},
		},
	}
	for _, isNew := range []bool{true, false} {
		stored, err := r.messages.ReceiveMessage(context.Background(), in)
		require.NoError(t, err)
		require.Equal(t, isNew, stored)
	}
	want := domain.Relations{
		Author: "6281222222222@s.whatsapp.net", TargetID: "WA-other", QuotedID: "WA-quoted",
		Mentions: []string{"6281333333333@s.whatsapp.net", "6281444444444@s.whatsapp.net"},
	}
	m := r.stored(t)
	require.Equal(t, want, m.Relations)
	require.Equal(t, "1203630@g.us", m.From)
	require.NoError(t, r.Stored.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		events, err := tx.Outbox.After(ctx, ports.EventFilter{SessionID: "s1"}, 0, 10)
		require.NoError(t, err)
		last := events[len(events)-1]
		require.Equal(t, domain.EventMessageReceived, last.Type)
		require.Equal(t, want, last.Message.Relations)
		return nil
	}))
	page, _, err := r.messages.History(context.Background(), r.sender.UserID, "s1", domain.MessageFilter{Type: domain.TypeReaction})
	require.NoError(t, err)
	require.Len(t, page, 1)
}

// An edit or a deletion is a message of its own. The message that it refers to stays as it was.
func TestReceiveMessage_EditAndDeletion_LeaveTheTargetAlone(t *testing.T) {
	r := newFixture(t)
	receive := func(id string, kind domain.MessageType, target string) {
		_, err := r.messages.ReceiveMessage(context.Background(), service.InboundMessage{
			SessionID: "s1", WorkerID: "w1", WhatsAppID: id, From: "6281222222222@s.whatsapp.net", Type: kind, Content: id,
			Relations: domain.Relations{TargetID: target},
		})
		require.NoError(t, err)
		r.Clock.Advance(time.Second)
	}
	receive("first", domain.TypeText, "")
	before, err := r.messages.Get(context.Background(), r.sender.UserID, "s1", "first")
	require.NoError(t, err)
	receive("second", domain.TypeEdit, "first")
	receive("third", domain.TypeDeletion, "first")
	after, err := r.messages.Get(context.Background(), r.sender.UserID, "s1", "first")
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, domain.TypeDeletion, r.stored(t).Type)
	require.Equal(t, "first", r.stored(t).Relations.TargetID)
}
