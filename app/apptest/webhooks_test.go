package apptest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const hookURL = "https://example.com/in"

// hooked is a harness with a connected session and webhooks.
type hooked struct {
	*apptest.Harness
	t       *testing.T
	session *domain.Session
}

func newHooked(t *testing.T, o apptest.Options) *hooked {
	h := &hooked{Harness: apptest.With(t, o), t: t}
	h.Workers("w1", 50)
	h.session = h.Connected(h.User(domain.TierPro), "support")
	return h
}

// hook adds a webhook for types of events; none: all.
func (h *hooked) hook(url string, types ...string) *service.WebhookView {
	h.t.Helper()
	v, err := h.Orchestrator.Webhooks.Create(h.t.Context(), h.session.UserID, h.session.ID, service.WebhookChange{URL: &url, Events: &types})
	require.NoError(h.t, err)
	return v
}

// send sends texts, each of which is an event message.sent.
func (h *hooked) send(texts ...string) {
	h.t.Helper()
	for _, text := range texts {
		h.Send(h.session, "6289999999999", text)
	}
}

// accepted returns the texts of the events that the receiver has accepted at a URL.
func (h *hooked) accepted(url string) (texts []string) {
	for _, a := range h.Receiver.Accepted() {
		if a.URL == url && a.Event.Message != nil {
			texts = append(texts, a.Event.Message.Content)
		}
	}
	return texts
}

func (h *hooked) deliveries(id string, status domain.DeliveryStatus) []*domain.Delivery {
	h.t.Helper()
	list, _, err := h.Orchestrator.Webhooks.Deliveries(h.t.Context(), h.session.UserID, h.session.ID, id, service.DeliveryQuery{Status: status, Limit: 100})
	require.NoError(h.t, err)
	return list
}

func (h *hooked) webhook(id string) *service.WebhookView {
	h.t.Helper()
	v, err := h.Orchestrator.Webhooks.Get(h.t.Context(), h.session.UserID, h.session.ID, id)
	require.NoError(h.t, err)
	return v
}

// set switches a webhook on or off.
func (h *hooked) set(id string, isActive bool) {
	h.t.Helper()
	_, err := h.Orchestrator.Webhooks.Update(h.t.Context(), h.session.UserID, h.session.ID, id, service.WebhookChange{Active: &isActive})
	require.NoError(h.t, err)
}

// fails is an answer of a receiver that is away.
func fails(apptest.DeliveryAttempt) (int, error) { return 503, nil }

func TestWebhook_EventsRecorded_AreDeliveredInOrder(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	h.send("before the webhook was made")
	h.hook(hookURL, "message.sent")
	h.hook(hookURL+"/failed", "message.failed")
	h.send("a", "b", "c")
	h.Advance(time.Second)
	require.Equal(t, []string{"a", "b", "c"}, h.accepted(hookURL))
	require.Empty(t, h.accepted(hookURL+"/failed"))
	for _, a := range h.Receiver.Attempts() {
		require.Equal(t, domain.EventMessageSent, a.Event.Type)
		require.Positive(t, a.Event.Seq)
	}
}

func TestWebhook_ReceiverAway_FollowsTheScheduleThenDead(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	hook := h.hook(hookURL, "message.sent")
	h.Receiver.Answer(fails)
	h.send("a", "b")
	h.Advance(2 * time.Hour)

	attempts := h.Receiver.Attempts()
	require.GreaterOrEqual(t, len(attempts), 7)
	for i, wait := range domain.DefaultWebhookPolicy().Retry {
		require.Equal(t, attempts[0].DeliveryID, attempts[i+1].DeliveryID, "the id stays the same")
		require.InEpsilon(t, float64(wait), float64(attempts[i+1].At.Sub(attempts[i].At)), 0.25)
	}
	require.Equal(t, "b", attempts[6].Event.Message.Content, "later events wait until the one before is dead")
	require.Equal(t, attempts[5].At.Truncate(time.Second), attempts[6].At.Truncate(time.Second))
	dead := h.deliveries(hook.ID, domain.DeliveryDead)
	require.Len(t, dead, 1)
	require.Equal(t, 6, dead[0].Attempts)
	require.Equal(t, 503, dead[0].ResponseCode)

	h.Receiver.Answer(nil)
	_, err := h.Orchestrator.Webhooks.Redeliver(t.Context(), h.session.UserID, h.session.ID, "", dead[0].ID)
	require.NoError(t, err)
	h.Advance(2 * time.Hour)
	require.Equal(t, []string{"a", "b"}, h.accepted(hookURL))
	require.Equal(t, dead[0].ID, h.Receiver.Accepted()[0].DeliveryID)
}

func TestWebhook_OneReceiverAway_OthersAreNotDelayed(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	h.hook(hookURL+"/away", "message.sent")
	h.hook(hookURL, "message.sent")
	h.Receiver.Answer(func(a apptest.DeliveryAttempt) (int, error) {
		if a.URL != hookURL {
			return 0, &ports.WebhookError{Message: "Timed out"}
		}
		return 200, nil
	})
	h.send("a", "b", "c")
	h.Advance(time.Second)
	require.Equal(t, []string{"a", "b", "c"}, h.accepted(hookURL))
	require.Empty(t, h.accepted(hookURL+"/away"))
}

// mailbox keeps mails, unless the mail server is away.
type mailbox struct {
	away     bool
	attempts int
	mails    []ports.Mail
}

func (m *mailbox) Send(_ context.Context, mail ports.Mail) error {
	m.attempts++
	if m.away {
		return errors.New("the mail server is away")
	}
	m.mails = append(m.mails, mail)
	return nil
}

func TestWebhook_410_IsSwitchedOffAndGoesOnLater(t *testing.T) {
	var mails mailbox
	h := newHooked(t, apptest.Options{Mailer: &mails})
	hook := h.hook(hookURL, "message.sent")
	h.Receiver.Answer(func(apptest.DeliveryAttempt) (int, error) { return 410, nil })
	h.send("a", "b")
	h.Advance(24 * time.Hour)

	require.Len(t, h.Receiver.Attempts(), 1)
	off := h.webhook(hook.ID)
	require.False(t, off.Active)
	require.Contains(t, off.OffReason, "410")
	require.Len(t, mails.mails, 1)
	require.Equal(t, "user-1@example.com", mails.mails[0].To)
	require.Contains(t, mails.mails[0].Text, off.OffReason)
	require.Len(t, h.deliveries(hook.ID, domain.DeliveryPending), 2, "what waited stays")
	_, err := h.Orchestrator.Webhooks.Redeliver(t.Context(), h.session.UserID, h.session.ID, hook.ID, h.deliveries(hook.ID, "")[0].ID)
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))

	h.send("while it was off")
	h.Advance(time.Second)
	h.Receiver.Answer(nil)
	h.set(hook.ID, true)
	h.send("c")
	h.Advance(time.Minute)
	require.Equal(t, []string{"a", "b", "c"}, h.accepted(hookURL))
	audited, _, err := h.Orchestrator.Audit.List(t.Context(), ports.AuditFilter{Action: domain.AuditWebhookSwitchedOff, Limit: 10})
	require.NoError(t, err)
	require.Len(t, audited, 1)
}

func TestWebhook_MailServerAway_NoticeIsMailedOnceItIsBack(t *testing.T) {
	for name, replicas := range map[string]int{"one process": 0, "two replicas": 2} {
		t.Run(name, func(t *testing.T) {
			mails := mailbox{away: true}
			h := newHooked(t, apptest.Options{Mailer: &mails, Replicas: replicas})
			hook := h.hook(hookURL, "message.sent")
			h.Receiver.Answer(func(apptest.DeliveryAttempt) (int, error) { return 410, nil })
			h.send("a")
			h.Advance(10 * time.Minute)
			require.False(t, h.webhook(hook.ID).Active)
			require.Greater(t, mails.attempts, 2, "it is tried again")
			h.Restart() // what is due is in the store
			h.Advance(20 * time.Minute)
			mails.away = false
			h.Advance(time.Hour)
			require.Len(t, mails.mails, 1)
			h.Advance(24 * time.Hour)
			require.Len(t, mails.mails, 1, "the owner has been told")
		})
	}
}

func TestWebhook_SwitchedOnBeforeTheNotice_IsNotMailed(t *testing.T) {
	mails := mailbox{away: true}
	h := newHooked(t, apptest.Options{Mailer: &mails})
	hook := h.hook(hookURL, "message.sent")
	h.Receiver.Answer(func(apptest.DeliveryAttempt) (int, error) { return 410, nil })
	h.send("a")
	h.Advance(time.Second)
	h.Receiver.Answer(nil)
	h.set(hook.ID, true)
	mails.away = false
	h.Advance(24 * time.Hour)
	require.Empty(t, mails.mails)
	require.Equal(t, []string{"a"}, h.accepted(hookURL))
}

func TestWebhook_OffBeyondTheRetention_KeepsNoDelivery(t *testing.T) {
	for name, off := range map[string]func(h *hooked, id string){
		"by its owner": func(h *hooked, id string) { h.set(id, false) },
		"by a 410": func(h *hooked, _ string) {
			h.Receiver.Answer(func(apptest.DeliveryAttempt) (int, error) { return 410, nil })
			h.Advance(time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHooked(t, apptest.Options{})
			hook := h.hook(hookURL, "message.sent")
			h.Receiver.Answer(fails)
			for i := range 100 {
				h.send(fmt.Sprint(i))
			}
			h.Advance(time.Second)
			off(h, hook.ID)
			h.Skip(7*24*time.Hour - 2*time.Hour)
			h.Advance(time.Hour)
			require.Len(t, h.deliveries(hook.ID, domain.DeliveryPending), 100, "their events are kept")
			h.Advance(2 * time.Hour)
			require.Empty(t, h.deliveries(hook.ID, domain.DeliveryPending))
			require.Len(t, h.deliveries(hook.ID, domain.DeliveryDead), 100)
			h.Skip(8 * 24 * time.Hour)
			h.Advance(2 * time.Minute)
			require.Empty(t, h.deliveries(hook.ID, ""))
		})
	}
}

func TestWebhook_100FailuresInARow_SwitchOff(t *testing.T) {
	var mails mailbox
	h := newHooked(t, apptest.Options{Mailer: &mails})
	hook := h.hook(hookURL, "message.sent")
	h.Receiver.Answer(fails)
	for i := range 20 {
		h.send(fmt.Sprint(i))
	}
	h.Advance(48 * time.Hour)
	require.Len(t, h.Receiver.Attempts(), 100)
	require.Contains(t, h.webhook(hook.ID).OffReason, "100 attempts")
	require.Len(t, mails.mails, 1)
}

func TestWebhook_Restart_GoesOnWhereItWas(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	h.hook(hookURL, "message.sent")
	h.Receiver.Answer(fails)
	h.send("a", "b")
	h.Advance(time.Minute)
	h.Restart()
	h.Receiver.Answer(nil)
	h.Advance(5 * time.Minute)
	require.Equal(t, []string{"a", "b"}, h.accepted(hookURL))
}

func TestWebhook_EventNoLongerKept_DeliveryIsDead(t *testing.T) {
	h := newHooked(t, apptest.Options{Webhooks: domain.WebhookPolicy{Retry: []time.Duration{10 * 24 * time.Hour}}})
	hook := h.hook(hookURL, "message.sent")
	h.Receiver.Answer(fails)
	h.send("a")
	h.Advance(time.Second)
	h.Receiver.Answer(nil)
	h.Skip(8 * 24 * time.Hour) // retention is a week
	h.Advance(2 * time.Minute)
	h.Skip(5 * 24 * time.Hour)
	h.Advance(time.Minute)
	dead := h.deliveries(hook.ID, domain.DeliveryDead)
	require.Len(t, dead, 1)
	require.Contains(t, dead[0].Reason, "no longer kept")
	require.Len(t, h.Receiver.Attempts(), 1)
}

func TestWebhook_Housekeeping_DeletesOldDeliveries(t *testing.T) {
	h := newHooked(t, apptest.Options{Webhooks: domain.WebhookPolicy{Retry: []time.Duration{time.Second}}})
	hook := h.hook(hookURL, "message.sent")
	h.send("delivered")
	h.Advance(time.Second)
	h.Receiver.Answer(fails)
	h.send("dead")
	h.Advance(time.Minute)
	h.Skip(7*24*time.Hour - 4*time.Minute)
	h.Advance(2 * time.Minute)
	require.Len(t, h.deliveries(hook.ID, ""), 2)
	h.Advance(5 * time.Minute)
	require.Empty(t, h.deliveries(hook.ID, ""), "they are kept as long as events")
}

func TestWebhook_RotatedWithGrace_BothSecretsSign(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	hook := h.hook(hookURL, "message.sent")
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=$`, hook.ShownSecret)
	require.NotContains(t, h.webhook(hook.ID).ShownSecret, hook.ShownSecret[6:20])
	require.Regexp(t, `^whsec_….{4}$`, h.webhook(hook.ID).ShownSecret)
	rotated, err := h.Orchestrator.Webhooks.RotateSecret(t.Context(), h.session.UserID, h.session.ID, hook.ID, time.Hour)
	require.NoError(t, err)
	require.NotEqual(t, hook.ShownSecret, rotated.ShownSecret)
	keys := func() int {
		h.send("x")
		h.Advance(time.Second)
		all := h.Receiver.Attempts()
		return all[len(all)-1].Keys
	}
	require.Equal(t, 2, keys())
	h.Advance(time.Hour)
	require.Equal(t, 1, keys())
	for _, grace := range []time.Duration{-1, 24*time.Hour + 1} {
		_, err = h.Orchestrator.Webhooks.RotateSecret(t.Context(), h.session.UserID, h.session.ID, hook.ID, grace)
		require.Equal(t, domain.CodeValidation, domain.CodeOf(err))
	}
}

func TestWebhook_Test_SendsAPingNow(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	hook := h.hook(hookURL, "message.sent")
	off := false
	_, err := h.Orchestrator.Webhooks.Update(t.Context(), h.session.UserID, h.session.ID, hook.ID, service.WebhookChange{Active: &off})
	require.NoError(t, err)
	for _, c := range []struct {
		code   int
		err    error
		reason string
	}{{204, nil, ""}, {500, nil, "answered 500"}, {302, nil, "redirects are not followed"}, {0, &ports.WebhookError{Message: "Connection refused"}, "Connection refused"}} {
		h.Receiver.Answer(func(apptest.DeliveryAttempt) (int, error) { return c.code, c.err })
		got, err := h.Orchestrator.Webhooks.Test(t.Context(), h.session.UserID, h.session.ID, "")
		require.NoError(t, err)
		require.Equal(t, c.code, got.Code)
		require.Contains(t, got.Reason, c.reason)
		require.Equal(t, c.reason == "", got.Reason == "")
		all := h.Receiver.Attempts()
		require.Equal(t, domain.EventPing, all[len(all)-1].Event.Type)
		require.Equal(t, got.DeliveryID, all[len(all)-1].DeliveryID)
	}
	require.Empty(t, h.deliveries(hook.ID, ""))
	require.Zero(t, h.webhook(hook.ID).Failures)
}

// The owner changes the webhook while an attempt is under way.
func TestWebhook_TwoReplicas_DeliverOnceEach(t *testing.T) {
	h := newHooked(t, apptest.Options{Replicas: 2})
	for i := range 5 {
		h.hook(fmt.Sprint(hookURL, i), "message.sent")
	}
	h.send("a", "b", "c")
	h.Advance(10 * time.Second)
	for i := range 5 {
		require.Equal(t, []string{"a", "b", "c"}, h.accepted(fmt.Sprint(hookURL, i)))
	}
	require.Len(t, h.Receiver.Attempts(), 15)
}

// Two owners, crashes, pauses and failures: the events of each webhook are accepted in order. An event that
// was accepted may be repeated only at its place, before the next one.
func TestWebhook_RandomFaults_KeepOrderAndLoseNothing(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		h := newHooked(outer, apptest.Options{
			Replicas: 2, Seed: rapid.Uint64().Draw(t, "seed"),
			Webhooks: domain.WebhookPolicy{Retry: []time.Duration{time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second, time.Second}, MaxFailures: 1 << 30},
		})
		h.hook(hookURL, "message.sent")
		h.hook(hookURL+"/other", "message.sent")
		h.Receiver.Answer(func(a apptest.DeliveryAttempt) (int, error) {
			if a.Number <= 5 && rapid.IntRange(0, 2).Draw(t, "answer") == 0 {
				return 500, nil
			}
			return 200, nil
		})
		sent := 0
		down := -1
		for range rapid.IntRange(5, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1:
				h.send(fmt.Sprint(sent))
				sent++
			case 2:
				if down < 0 {
					down = rapid.IntRange(0, 1).Draw(t, "killed")
					h.Kill(down)
				} else {
					h.Start(down)
					down = -1
				}
			case 3:
				if down < 0 {
					down = rapid.IntRange(0, 1).Draw(t, "paused")
					h.Pause(down)
				} else if h.Replica(down) != nil {
					h.Resume(down)
					down = -1
				}
			default:
				h.Advance(time.Duration(rapid.IntRange(1, 15_000).Draw(t, "ms")) * time.Millisecond)
			}
		}
		if down >= 0 && h.Replica(down) != nil {
			h.Resume(down)
		} else if down >= 0 {
			h.Start(down)
		}
		h.Advance(3 * time.Minute)
		for _, url := range []string{hookURL, hookURL + "/other"} {
			next := 0
			for _, text := range h.accepted(url) {
				switch text {
				case fmt.Sprint(next):
					next++
				case fmt.Sprint(next - 1): // repeated
				default:
					t.Fatalf("%s: %s accepted when %d was next", url, text, next)
				}
			}
			if next != sent {
				t.Fatalf("%s: %d of %d events accepted", url, next, sent)
			}
		}
	})
}
