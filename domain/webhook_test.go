package domain

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var hookTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestCheckWebhookURL_URL_AcceptedByItsForm(t *testing.T) {
	for _, good := range []string{"https://example.com", "http://example.com:8080/a?b=c", "https://[2606:4700::1111]/x", "https://bücher.example/ä"} {
		require.NoError(t, CheckWebhookURL(good), good)
	}
	for _, bad := range []string{
		"", "example.com", "ftp://example.com", "https://", "https://user@example.com", "https://user:secret@example.com", "javascript:alert(1)",
		"https://example.com/" + strings.Repeat("a", 2048), "https://example.com/\xff", "https://exa mple.com",
		"https://example.com:0", "https://example.com:65536", "https://example.com:99999/in", "https://example.com/a\r\nX-Injected: b",
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
	all := &Webhook{SessionID: "s1", UserID: "u1", Active: true, Since: 10}
	some := &Webhook{SessionID: "s1", UserID: "u1", Active: true, Since: 10, Events: []EventType{EventMessageRead, EventPing}}
	for _, c := range []struct {
		event     Event
		all, some bool
	}{
		{Event{Seq: 11, SessionID: "s1", UserID: "u1", Type: EventMessageSent}, true, false},
		{Event{Seq: 11, SessionID: "s1", UserID: "u1", Type: EventMessageRead}, true, true},
		{Event{Seq: 10, SessionID: "s1", UserID: "u1", Type: EventMessageRead}, false, false},
		{Event{Seq: 11, SessionID: "s2", UserID: "u1", Type: EventMessageRead}, false, false},
		{Event{Seq: 11, SessionID: "s1", UserID: "u1", Type: EventSessionPlaced}, false, false},
		{Event{Seq: 11, SessionID: "s1", UserID: "u1", Type: EventPing}, false, false},
		{Event{Seq: 11, SessionID: "s1", UserID: "u1", Type: EventSessionMigrated}, true, false},
		{Event{Seq: 11, SessionID: "s1", UserID: "former owner", Type: EventMessageRead}, false, false},
	} {
		require.Equal(t, c.all, all.Wants(&c.event), "%+v", c.event)
		require.Equal(t, c.some, some.Wants(&c.event), "%+v", c.event)
	}
	all.SwitchOff(hookTime)
	require.False(t, all.Wants(&Event{Seq: 11, SessionID: "s1", UserID: "u1", Type: EventMessageSent}))
}

func TestWebhookRecord_410_SwitchesOffAtOnce(t *testing.T) {
	w := &Webhook{Active: true, DueAt: hookTime}
	w.Record(Attempt{Code: 410}, DefaultWebhookPolicy(), hookTime)
	require.False(t, w.Active)
	require.Contains(t, w.OffReason, "410")
	require.Equal(t, hookTime, w.UntoldSince, "its owner is to be told")
	require.Equal(t, hookTime, w.DueAt)

	w.SwitchOn(hookTime)
	require.True(t, w.Active)
	require.Empty(t, w.OffReason)
	require.Zero(t, w.UntoldSince)
	require.Zero(t, w.Failures)
	require.Equal(t, hookTime, w.DueAt)
}

func TestWebhookRecord_100FailuresInARow_SwitchOff(t *testing.T) {
	w := &Webhook{Active: true}
	fail := func(n int) {
		for range n {
			w.Record(Attempt{Code: 500}, DefaultWebhookPolicy(), hookTime)
		}
	}
	fail(99)
	w.Record(Attempt{Code: 200}, DefaultWebhookPolicy(), hookTime)
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

func TestFreeWebhookSlot_SlotsTaken_LowestFree(t *testing.T) {
	var all []*Webhook
	for want := 1; want <= MaxWebhooks; want++ {
		require.Equal(t, want, FreeWebhookSlot(all))
		all = append(all, &Webhook{Slot: want})
	}
	require.Zero(t, FreeWebhookSlot(all))
	require.Equal(t, 2, FreeWebhookSlot(append(all[:1:1], all[2:]...)))
}

func TestSwitchOff_ByOwner_NoNoticeIsDue(t *testing.T) {
	w := &Webhook{Active: true}
	w.SwitchOff(hookTime)
	require.False(t, w.Active)
	require.Empty(t, w.OffReason)
	require.Zero(t, w.UntoldSince)
}

func TestRecordNotice_Failures_AreTriedAgainForThreeDays(t *testing.T) {
	w := &Webhook{Active: true}
	w.Record(Attempt{Code: 410}, DefaultWebhookPolicy(), hookTime)
	failure, now := errors.New("mail server away"), hookTime
	attempts := 0
	for !w.RecordNotice(failure, now) {
		attempts++
		require.False(t, w.UntoldSince.IsZero())
		wait := w.DueAt.Sub(now)
		require.True(t, wait >= time.Minute && wait <= time.Hour, wait)
		now = w.DueAt
	}
	require.Zero(t, w.UntoldSince)
	require.InDelta(t, 72+7, attempts, 3, "hourly, after a few earlier ones")

	w.Record(Attempt{Code: 410}, DefaultWebhookPolicy(), hookTime)
	require.False(t, w.RecordNotice(nil, hookTime))
	require.Zero(t, w.UntoldSince, "told")
}
