package domain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

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
