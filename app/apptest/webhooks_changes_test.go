package apptest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/apptest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestWebhook_URLOrStateChanged_GoesOnAtOnce(t *testing.T) {
	for name, mend := range map[string]func(h *hooked, id string) string{
		"another URL": func(h *hooked, id string) string {
			url := hookURL + "/mended"
			_, err := h.Orchestrator.Webhooks.Update(t.Context(), h.session.UserID, h.session.ID, id, service.WebhookChange{URL: &url})
			require.NoError(t, err)
			return url
		},
		"off and on": func(h *hooked, id string) string {
			h.set(id, false)
			h.set(id, true)
			return hookURL
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHooked(t, apptest.Options{})
			hook := h.hook(hookURL, "message.sent")
			h.Receiver.Answer(fails)
			h.send("a", "b")
			h.Advance(25 * time.Minute) // the next attempt is in an hour
			h.Receiver.Answer(nil)
			h.Advance(time.Minute)
			require.Empty(t, h.Receiver.Accepted())
			url := mend(h, hook.ID)
			h.Advance(time.Second)
			require.Equal(t, []string{"a", "b"}, h.accepted(url))
		})
	}
}

func TestWebhook_ChangedDuringAnAttempt_ChangeCounts(t *testing.T) {
	off, url := false, hookURL+"/other"
	update := func(ctx context.Context, h *hooked, id string, c service.WebhookChange) error {
		return second(h.Orchestrator.Webhooks.Update(ctx, h.session.UserID, h.session.ID, id, c))
	}
	remove := func(ctx context.Context, h *hooked, id string) error {
		return h.Orchestrator.Webhooks.Delete(ctx, h.session.UserID, h.session.ID, id)
	}
	for name, c := range map[string]struct {
		change func(ctx context.Context, h *hooked, id string) error
		status int      // of the attempt
		want   []string // texts that are accepted at last
	}{
		"deleted, and accepted": {remove, 200, []string{"a"}},
		"deleted, and refused":  {remove, 500, nil},
		"session deleted": {func(ctx context.Context, h *hooked, _ string) error {
			return h.Orchestrator.Sessions.Delete(ctx, h.session.UserID, h.session.ID)
		}, 200, []string{"a"}},
		"switched off": {func(ctx context.Context, h *hooked, id string) error {
			return update(ctx, h, id, service.WebhookChange{Active: &off})
		}, 410, nil},
		"another URL": {func(ctx context.Context, h *hooked, id string) error {
			return update(ctx, h, id, service.WebhookChange{URL: &url})
		}, 500, []string{"a", "b"}},
		"secret rotated": {func(ctx context.Context, h *hooked, id string) error {
			return second(h.Orchestrator.Webhooks.RotateSecret(ctx, h.session.UserID, h.session.ID, id, time.Hour))
		}, 200, []string{"a", "b"}},
		"redelivered": {func(ctx context.Context, h *hooked, id string) error {
			first := h.deliveries(id, domain.DeliveryPending)[1]
			return second(h.Orchestrator.Webhooks.Redeliver(ctx, h.session.UserID, h.session.ID, id, first.ID))
		}, 200, []string{"a", "a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHooked(t, apptest.Options{})
			hook := h.hook(hookURL, "message.sent")
			h.Receiver.Answer(fails)
			h.send("a", "b")
			h.Advance(2 * time.Second)
			require.Len(t, h.Receiver.Attempts(), 1)
			isChanged := false
			h.Receiver.Answer(func(apptest.DeliveryAttempt) (int, error) {
				if isChanged {
					return 200, nil
				}
				isChanged = true
				require.NoError(t, c.change(t.Context(), h, hook.ID))
				return c.status, nil
			})
			h.Advance(time.Hour)
			var texts []string
			for _, a := range h.Receiver.Accepted() {
				texts = append(texts, a.Event.Message.Content)
			}
			require.True(t, isChanged)
			require.Equal(t, c.want, texts)
			if name == "switched off" {
				require.Empty(t, h.webhook(hook.ID).OffReason, "its owner did it")
			}
		})
	}
}

func TestWebhook_RedeliverSince_DeliversInOrderOnceMore(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	h.hook(hookURL, "message.sent")
	h.send("early")
	h.Advance(time.Hour)
	since := h.Now()
	h.send("a", "b", "c")
	h.Advance(time.Minute)
	r, err := h.Orchestrator.Webhooks.RedeliverSince(t.Context(), h.session.UserID, h.session.ID, "", since)
	require.NoError(t, err)
	require.Equal(t, service.Redelivery{Count: 3}, *r)
	h.send("d")
	h.Advance(time.Minute)
	require.Equal(t, []string{"early", "a", "b", "c", "a", "b", "c", "d"}, h.accepted(hookURL))
}

func TestWebhook_RedeliverSince_TakesTenThousandAtATime(t *testing.T) {
	const early, late = 9_000, 1_500
	h := newHooked(t, apptest.Options{})
	hook := h.hook(hookURL, "message.sent")
	h.Advance(time.Hour)
	first := h.Now()
	second := first.Add(time.Second)
	h.Advance(time.Minute)
	fill := func(from, n int, created time.Time) {
		require.NoError(t, h.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
			for i := from; i < from+n; i++ {
				err := tx.Deliveries.Put(ctx, &domain.Delivery{
					ID: fmt.Sprint("d", i), WebhookID: hook.ID, Position: int64(1_000_000 + i), Type: domain.EventMessageSent,
					Status: domain.DeliveryDead, CreatedAt: created, EndedAt: created,
				})
				if err != nil {
					return err
				}
			}
			return nil
		}))
	}
	redeliver := func(since time.Time) *service.Redelivery {
		r, err := h.Orchestrator.Webhooks.RedeliverSince(t.Context(), h.session.UserID, h.session.ID, hook.ID, since)
		require.NoError(t, err)
		return r
	}
	fill(0, early, first)
	fill(early, late, second)
	got := redeliver(first)
	require.Equal(t, early, got.Count, "what was created at one time is taken as a whole")
	require.Equal(t, second, got.Next)
	require.Equal(t, service.Redelivery{Count: late}, *redeliver(got.Next))
	require.Zero(t, *redeliver(first), "all of them are pending")

	fill(early+late, 12_000, second.Add(time.Second))
	require.Equal(t, service.Redelivery{Count: 12_000}, *redeliver(first), "a call always advances")
}

func TestWebhook_DeletedWithManyDeliveries_NothingIsLeft(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	hook := h.hook(hookURL, "message.sent")
	const many = 2_500 // more than one transaction removes
	require.NoError(t, h.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		for i := range many {
			err := tx.Deliveries.Put(ctx, &domain.Delivery{
				ID: fmt.Sprint("d", i), WebhookID: hook.ID, Position: int64(1_000_000 + i), Type: domain.EventMessageSent,
				Status: domain.DeliveryPending, CreatedAt: h.Now(), NextAt: h.Now().Add(time.Hour),
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, h.Orchestrator.Webhooks.Delete(t.Context(), h.session.UserID, h.session.ID, hook.ID))
	_, err := h.Orchestrator.Webhooks.Get(t.Context(), h.session.UserID, h.session.ID, hook.ID)
	require.Equal(t, domain.CodeWebhookNotFound, domain.CodeOf(err))
	h.Advance(24 * time.Hour)
	require.Empty(t, h.Receiver.Attempts())
	audited, _, err := h.Orchestrator.Audit.List(t.Context(), ports.AuditFilter{Action: domain.AuditWebhookDeleted, Limit: 10})
	require.NoError(t, err)
	require.Len(t, audited, 1)
}

func TestWebhook_TenThousandOfManyUsers_AllAreDelivered(t *testing.T) {
	const users = 2_000
	h := apptest.With(t, apptest.Options{})
	events := make([]domain.Event, users)
	for i := range events {
		u := h.User(domain.TierPro)
		s := h.CreateSession(u, fmt.Sprint("line-", i))
		events[i] = domain.Event{Type: domain.EventSessionConnected, At: h.Now(), UserID: u.ID, SessionID: s.ID}
		for k := range domain.MaxWebhooks {
			url := fmt.Sprintf("%s/%d/%d", hookURL, i, k)
			_, err := h.Orchestrator.Webhooks.Create(t.Context(), u.ID, s.ID, service.WebhookChange{URL: &url})
			require.NoError(t, err)
		}
	}
	require.NoError(t, h.Store.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error { return tx.Outbox.Append(ctx, events...) }))
	h.Advance(10 * time.Second)
	reached := make(map[string]int)
	for _, a := range h.Receiver.Accepted() {
		reached[a.URL]++
	}
	require.Len(t, reached, users*domain.MaxWebhooks)
	require.Len(t, h.Receiver.Attempts(), users*domain.MaxWebhooks, "each is tried once")
}

func TestWebhook_Sixth_IsRefused(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	var second string
	for i := range domain.MaxWebhooks {
		v := h.hook(fmt.Sprint(hookURL, i))
		if i == 1 {
			second = v.ID
		}
	}
	url := hookURL
	_, err := h.Orchestrator.Webhooks.Create(t.Context(), h.session.UserID, h.session.ID, service.WebhookChange{URL: &url})
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
	require.NoError(t, h.Orchestrator.Webhooks.Delete(t.Context(), h.session.UserID, h.session.ID, second))
	h.hook(hookURL)
}

func TestWebhook_OfAnotherUser_IsNotFound(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	hook := h.hook(hookURL)
	stranger := h.User(domain.TierPro)
	other := h.CreateSession(stranger, "other")
	w := h.Orchestrator.Webhooks
	for name, c := range map[string]struct {
		user, session string
		want          domain.Code
	}{
		"another user":    {stranger.ID, h.session.ID, domain.CodeSessionNotFound},
		"another session": {stranger.ID, other.ID, domain.CodeWebhookNotFound},
	} {
		for call, err := range map[string]error{
			"Get":       second(w.Get(t.Context(), c.user, c.session, hook.ID)),
			"Update":    second(w.Update(t.Context(), c.user, c.session, hook.ID, service.WebhookChange{})),
			"Delete":    w.Delete(t.Context(), c.user, c.session, hook.ID),
			"Rotate":    second(w.RotateSecret(t.Context(), c.user, c.session, hook.ID, 0)),
			"Test":      second(w.Test(t.Context(), c.user, c.session, hook.ID)),
			"Redeliver": second(w.Redeliver(t.Context(), c.user, c.session, hook.ID, "d")),
			"Since":     second(w.RedeliverSince(t.Context(), c.user, c.session, hook.ID, h.Now())),
			"First":     second(w.Get(t.Context(), c.user, c.session, "")),
		} {
			require.Equal(t, c.want, domain.CodeOf(err), "%s: %s", name, call)
		}
	}
	_, err := w.Redeliver(t.Context(), h.session.UserID, h.session.ID, hook.ID, "none")
	require.Equal(t, domain.CodeNotFound, domain.CodeOf(err))
}

func second[T any](_ T, err error) error { return err }

func TestWebhook_SessionDeleted_NothingIsLeft(t *testing.T) {
	h := newHooked(t, apptest.Options{})
	hook := h.hook(hookURL, "message.sent")
	h.Receiver.Answer(fails)
	h.send("a")
	h.Advance(time.Second)
	require.NoError(t, h.Orchestrator.Sessions.Delete(t.Context(), h.session.UserID, h.session.ID))
	attempts := len(h.Receiver.Attempts())
	h.Advance(3 * time.Hour)
	require.Len(t, h.Receiver.Attempts(), attempts)
	require.NoError(t, h.Store.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Webhooks.Get(ctx, hook.ID)
		require.ErrorIs(t, err, ports.ErrNotFound)
		return nil
	}))
}
