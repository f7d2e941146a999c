package apptest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
)

func newRestorableHook(t *testing.T) (*restorable, *hooked) {
	r := newRestorable(t, apptest.Options{})
	r.Workers("w1", 5)
	h := &hooked{Harness: r.Harness, t: t}
	h.session = r.Connected(r.User(domain.TierPro), "support")
	h.hook(hookURL, "message.sent")
	return r, h
}

func TestRestore_WebhookHasDeliveredSince_GoesOnWithNewEvents(t *testing.T) {
	r, h := newRestorableHook(t)
	h.send("a")
	r.Advance(time.Second)
	backup := r.backup()
	h.send("b")
	r.Advance(time.Second)
	r.restore(backup)
	r.Advance(time.Minute)
	h.send("c")
	r.Advance(time.Second)
	require.Equal(t, []string{"a", "b", "c"}, h.accepted(hookURL))
}

func TestRestore_DeliveryWasDueInTheBackup_IsRepeatedWithItsID(t *testing.T) {
	r, h := newRestorableHook(t)
	h.Receiver.Answer(fails)
	h.send("a")
	r.Advance(time.Second)
	backup := r.backup()
	h.Receiver.Answer(nil)
	r.Advance(time.Hour)
	require.Equal(t, []string{"a"}, h.accepted(hookURL))
	r.restore(backup)
	r.Advance(time.Hour)
	require.Equal(t, []string{"a", "a"}, h.accepted(hookURL))
	accepted := h.Receiver.Accepted()
	require.Equal(t, accepted[0].DeliveryID, accepted[1].DeliveryID)
}

// The worker knows the id of the message, and does not send it again.
func TestRestore_ScheduledMessageWasSentSince_IsNotRepeatedByAWorkerThatKnowsIt(t *testing.T) {
	r := newRestorable(t, apptest.Options{})
	r.Workers("w1", 5)
	q := &queueing{Harness: r.Harness, t: t}
	q.session = r.Connected(r.User(domain.TierPro), "support")
	m := q.queue("later", q.at(time.Minute))
	backup := r.backup()
	r.Advance(2 * time.Minute)
	require.NotEmpty(t, q.message(m.ID).WhatsAppID)
	r.restore(backup)
	require.Equal(t, domain.MessagePending, q.message(m.ID).Status)
	r.Advance(10 * time.Minute)
	require.NotEmpty(t, q.message(m.ID).WhatsAppID)
	entries, err := r.Worker("w1").State().Journal()
	require.NoError(t, err)
	sent := 0
	for _, e := range entries {
		if e.Event == simworker.SentOut && e.ClientMessageID == m.ID {
			sent++
		}
	}
	require.Equal(t, 1, sent)
	q.requireNothingWaits()
}
