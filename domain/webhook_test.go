package domain

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var hookTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestParseWebhookSecret_Text_AcceptedByTheRules(t *testing.T) {
	secret := func(bytes int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, bytes)) }
	for _, good := range []string{secret(24), secret(25), secret(32), secret(64), NewWebhookSecret([]byte("0123456789abcdef01234567"))} {
		key, err := ParseWebhookSecret(good)
		require.NoError(t, err, good)
		require.Equal(t, good, NewWebhookSecret(key))
	}
	for _, bad := range []string{
		"", "whsec_", secret(23), secret(65), strings.TrimPrefix(secret(32), "whsec_"), "WHSEC_" + secret(32)[6:],
		strings.TrimRight(secret(32), "="), secret(32) + "\n", secret(24)[:12] + "\n" + secret(24)[12:], "whsec_" + strings.Repeat("_", 32),
	} {
		_, err := ParseWebhookSecret(bad)
		require.Equal(t, CodeValidation, CodeOf(err), "%q", bad)
	}
}

func TestWebhookSecretHint_Secret_ShowsItsEndAlone(t *testing.T) {
	require.Equal(t, "wxyz", WebhookSecretHint("whsec_abcdefghijklmnopqrstuvwxyz=="))
	require.Equal(t, "whsec_…wxyz", SealedSecret{Hint: "wxyz"}.Masked())
}

func TestCheckWebhookURL_URL_AcceptedByItsForm(t *testing.T) {
	for _, good := range []string{"https://example.com", "http://example.com:8080/a?b=c", "https://[2606:4700::1111]/x", "https://bücher.example/ä"} {
		require.NoError(t, CheckWebhookURL(good), good)
	}
	for _, bad := range []string{
		"", "example.com", "ftp://example.com", "https://", "https://user@example.com", "https://user:secret@example.com", "javascript:alert(1)",
		"https://example.com/" + strings.Repeat("a", 2048), "https://example.com/\xff", "https://exa mple.com",
	} {
		require.Equal(t, CodeValidation, CodeOf(CheckWebhookURL(bad)), "%q", bad)
	}
}

func TestParseWebhookEvents_Names_InAnyCaseAndOnce(t *testing.T) {
	for _, e := range WebhookEvents() {
		got, err := ParseWebhookEvents([]string{strings.ToUpper(string(e)), " " + string(e)})
		require.NoError(t, err)
		require.Equal(t, []EventType{e}, got)
	}
	all, err := ParseWebhookEvents(nil)
	require.NoError(t, err)
	require.Empty(t, all)
	_, err = ParseWebhookEvents([]string{"ping"})
	require.NoError(t, err)
	for _, bad := range []string{"", "message.*", "session.placed", "worker.online", "message"} {
		_, err := ParseWebhookEvents([]string{"message.sent", bad})
		require.ErrorContains(t, err, "message.received", "%q", bad)
	}
	require.Len(t, WebhookEvents(), 10)
}

func TestWants_Event_ByFilterPositionAndState(t *testing.T) {
	all := &Webhook{SessionID: "s1", Active: true, Since: 10}
	some := &Webhook{SessionID: "s1", Active: true, Since: 10, Events: []EventType{EventMessageRead, EventPing}}
	for _, c := range []struct {
		event     Event
		all, some bool
	}{
		{Event{Seq: 11, SessionID: "s1", Type: EventMessageSent}, true, false},
		{Event{Seq: 11, SessionID: "s1", Type: EventMessageRead}, true, true},
		{Event{Seq: 10, SessionID: "s1", Type: EventMessageRead}, false, false},
		{Event{Seq: 11, SessionID: "s2", Type: EventMessageRead}, false, false},
		{Event{Seq: 11, SessionID: "s1", Type: EventSessionPlaced}, false, false},
		{Event{Seq: 11, SessionID: "s1", Type: EventPing}, false, false},
		{Event{Seq: 11, SessionID: "s1", Type: EventSessionMigrated}, true, false},
	} {
		require.Equal(t, c.all, all.Wants(&c.event), "%+v", c.event)
		require.Equal(t, c.some, some.Wants(&c.event), "%+v", c.event)
	}
	all.SwitchOff("")
	require.False(t, all.Wants(&Event{Seq: 11, SessionID: "s1", Type: EventMessageSent}))
}

func TestRecord_Failures_FollowTheScheduleThenDead(t *testing.T) {
	p := DefaultWebhookPolicy()
	for _, c := range []struct {
		jitter float64
		factor float64
	}{{0, 0.8}, {0.5, 1}, {1, 1.2}} {
		d := &Delivery{Status: DeliveryPending}
		for i, wait := range p.Retry {
			d.Record(Attempt{Code: 500}, p, c.jitter, hookTime)
			require.Equal(t, DeliveryPending, d.Status)
			require.Equal(t, i+1, d.Attempts)
			require.InDelta(t, float64(wait)*c.factor, float64(d.NextAt.Sub(hookTime)), float64(time.Microsecond))
		}
		d.Record(Attempt{Reason: "away"}, p, c.jitter, hookTime)
		require.Equal(t, Delivery{Status: DeliveryDead, Attempts: 6, Reason: "away", EndedAt: hookTime}, *d)
	}
}

func TestRecord_Answer_DecidedByItsCode(t *testing.T) {
	for code, delivered := range map[int]bool{200: true, 201: true, 204: true, 299: true, 199: false, 300: false, 301: false, 308: false, 400: false, 404: false, 429: false, 500: false, 0: false} {
		d := &Delivery{Status: DeliveryPending, Reason: "earlier"}
		d.Record(Attempt{Code: code, Reason: "no answer"}, DefaultWebhookPolicy(), 0, hookTime)
		require.Equal(t, delivered, d.Status == DeliveryDelivered, code)
		require.Equal(t, delivered, d.Reason == "", code)
		require.Equal(t, code, d.ResponseCode)
	}
}

func TestWebhookRecord_410_SwitchesOffAtOnce(t *testing.T) {
	w := &Webhook{Active: true, DueAt: hookTime}
	w.Record(Attempt{Code: 410}, DefaultWebhookPolicy())
	require.False(t, w.Active)
	require.Contains(t, w.OffReason, "410")
	require.True(t, w.DueAt.IsZero())

	w.SwitchOn(hookTime)
	require.True(t, w.Active)
	require.Empty(t, w.OffReason)
	require.Zero(t, w.Failures)
	require.Equal(t, hookTime, w.DueAt)
}

func TestWebhookRecord_100FailuresInARow_SwitchOff(t *testing.T) {
	w := &Webhook{Active: true}
	fail := func(n int) {
		for range n {
			w.Record(Attempt{Code: 500}, DefaultWebhookPolicy())
		}
	}
	fail(99)
	w.Record(Attempt{Code: 200}, DefaultWebhookPolicy())
	fail(99)
	require.True(t, w.Active)
	fail(1)
	require.False(t, w.Active)
	require.Contains(t, w.OffReason, "100 attempts in a row")
}

func TestRotate_Grace_BothSignWhileItLasts(t *testing.T) {
	first, second, third := SealedSecret{Hint: "1111"}, SealedSecret{Hint: "2222"}, SealedSecret{Hint: "3333"}
	w := &Webhook{Secret: first}
	w.Rotate(second, time.Hour, hookTime)
	require.Equal(t, []SealedSecret{second, first}, w.Signing(hookTime.Add(time.Hour-1)))
	require.Equal(t, []SealedSecret{second}, w.Signing(hookTime.Add(time.Hour)))
	w.Rotate(third, 0, hookTime)
	require.Equal(t, []SealedSecret{third}, w.Signing(hookTime))
	require.Zero(t, w.Former)
}

func TestRequeue_DeadDelivery_HasAllAttemptsAgain(t *testing.T) {
	p := WebhookPolicy{Retry: []time.Duration{}}.WithDefaults()
	d := NewDelivery("d1", &Webhook{ID: "h1"}, &Event{Seq: 7, Type: EventMessageSent}, hookTime)
	fresh := *d
	d.Record(Attempt{Code: 500}, p, 0, hookTime)
	require.Equal(t, DeliveryDead, d.Status, "an empty schedule has one attempt")
	d.Requeue(hookTime.Add(time.Hour))
	fresh.NextAt = hookTime.Add(time.Hour)
	require.Equal(t, fresh, *d)
}

func TestFreeWebhookSlot_SlotsTaken_LowestFree(t *testing.T) {
	var all []*Webhook
	for want := 1; want <= MaxWebhooks; want++ {
		require.Equal(t, want, FreeWebhookSlot(all))
		all = append(all, &Webhook{Slot: want})
	}
	require.Zero(t, FreeWebhookSlot(all))
	require.Equal(t, 2, FreeWebhookSlot(append(all[:1:1], all[2:]...)))
}

func TestParseDeliveryStatus_AnyCase_IsKnown(t *testing.T) {
	for _, s := range []DeliveryStatus{DeliveryPending, DeliveryDelivered, DeliveryDead} {
		got, err := ParseDeliveryStatus(" " + strings.ToLower(string(s)))
		require.NoError(t, err)
		require.Equal(t, s, got)
	}
	_, err := ParseDeliveryStatus("FAILED")
	require.Equal(t, CodeValidation, CodeOf(err))
}

func TestRecord_RandomAnswers_EndOnceAndWithinTheSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := DefaultWebhookPolicy()
		d, now := &Delivery{Status: DeliveryPending}, hookTime
		for d.Status == DeliveryPending {
			code := rapid.SampledFrom([]int{0, 200, 301, 404, 410, 500, 503}).Draw(t, "code")
			d.Record(Attempt{Code: code, Reason: fmt.Sprint(code)}, p, rapid.Float64Range(0, 1).Draw(t, "jitter"), now)
			if d.Status == DeliveryPending {
				wait := d.NextAt.Sub(now)
				if want := p.Retry[d.Attempts-1]; wait < want*8/10-1 || wait > want*12/10+1 {
					t.Fatalf("waits %v after attempt %d", wait, d.Attempts)
				}
				now = d.NextAt
			}
		}
		if d.Attempts > len(p.Retry)+1 || d.EndedAt != now || !d.NextAt.IsZero() || (d.Status == DeliveryDelivered) != (d.Reason == "") {
			t.Fatalf("%+v", d)
		}
	})
}
