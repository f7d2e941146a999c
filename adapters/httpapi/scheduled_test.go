package httpapi

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

type stubScheduled struct{ *stub }

// scheduledCall is a call of a stubScheduled. Edited is an image, as the call changes it.
type scheduledCall struct {
	Name, User, Session, ID string
	Schedule                *domain.Schedule
	Edited                  domain.Outgoing
}

func someQueued() *domain.QueuedMessage {
	return &domain.QueuedMessage{
		ID: "m7", SessionID: "support", UserID: "u1", SendAt: noon.Add(time.Hour), Deadline: noon.Add(2 * time.Hour), CreatedAt: noon, Attempts: 1, Size: 530,
		Message: domain.Outgoing{To: "6289999999999", Type: domain.TypeText, Text: "later"},
	}
}

func (s stubScheduled) List(_ context.Context, user, session string, after domain.Cursor, limit int) ([]*domain.QueuedMessage, domain.Cursor, error) {
	image := someQueued()
	image.ID, image.Message = "m8", domain.Outgoing{To: "120363@g.us", Type: domain.TypeImage, MediaURL: "https://example.com/a.png", Caption: "A"}
	return []*domain.QueuedMessage{someQueued(), image}, domain.Cursor{At: noon, ID: "m8"}, s.note([]any{user, session, after, limit})
}

func (s stubScheduled) Get(_ context.Context, user, session, id string) (*domain.QueuedMessage, error) {
	return someQueued(), s.note(scheduledCall{Name: "Get", User: user, Session: session, ID: id})
}

func (s stubScheduled) Update(_ context.Context, user, session, id string, c service.ScheduledChange) (*domain.QueuedMessage, error) {
	call := scheduledCall{Name: "Update", User: user, Session: session, ID: id, Schedule: c.Schedule}
	if c.Edit != nil {
		call.Edited = domain.Outgoing{Type: domain.TypeText, Text: "A"}
		if id == "m8" {
			call.Edited = domain.Outgoing{Type: domain.TypeImage, MediaURL: "https://example.com/a.png", Caption: "A"}
		}
		if err := c.Edit(&call.Edited); err != nil {
			return nil, err
		}
	}
	return someQueued(), s.note(call)
}

func (s stubScheduled) Cancel(_ context.Context, user, session, id string) error {
	return s.note(scheduledCall{Name: "Cancel", User: user, Session: session, ID: id})
}

func TestSend_SendAtOrQueue_IsAccepted(t *testing.T) {
	at := time.Date(2026, 3, 1, 18, 0, 0, 0, time.UTC)
	pending := someMessage()
	pending.Status, pending.WhatsAppID, pending.SentAt = domain.MessagePending, "", time.Time{}
	for members, want := range map[string]domain.Schedule{
		`"queue":true`:                                                         {},
		`"sendAt":"2026-03-01T18:00:00Z"`:                                      {SendAt: at},
		`"sendAt":"2026-03-01T19:00:00+01:00","queue":true`:                    {SendAt: at},
		`"queue":true,"deadline":"90m"`:                                        {Patience: 90 * time.Minute},
		`"queue":true,"deadline":"5400"`:                                       {Patience: 90 * time.Minute},
		`"sendAt":"2026-03-01T18:00:00Z","deadline":"2026-03-01T18:00:00.25Z"`: {SendAt: at, Deadline: at.Add(250 * time.Millisecond)},
	} {
		for path, body := range map[string]string{
			"/sendText":              `{"to":"6289999999999","message":"x",`,
			"/sendLocation":          `{"to":"6289999999999","latitude":1,"longitude":2,`,
			"/sendPoll":              `{"to":"6289999999999","poll":{"question":"Tea?","options":["yes","no"]},`,
			"/sessions/support/send": `{"to":"6289999999999","type":"text","message":"x",`,
		} {
			s := &stub{sent: pending}
			got := serve(t, New(config(s)), request("POST", "/api/v1"+path, keyText, body+members+"}"))
			require.Equal(t, 202, got.Code, "%s %s: %s", path, members, got.Body)
			assert.Equal(t, "PENDING", got.Data["status"])
			assert.Equal(t, pending.ID, got.Data["id"])
			schedule := s.last.(*domain.Outgoing).Schedule
			require.NotNil(t, schedule)
			assert.True(t, want.SendAt.Equal(schedule.SendAt), members)
			assert.True(t, want.Deadline.Equal(schedule.Deadline), members)
			assert.Equal(t, want.Patience, schedule.Patience, members)
		}
	}
	for _, members := range []string{"", `,"queue":false`} {
		got, s := ask(t, "POST", "/api/v1/sendText", keyText, `{"to":"6289999999999","message":"x"`+members+`}`)
		require.Equal(t, 200, got.Code)
		assert.Nil(t, s.last.(*domain.Outgoing).Schedule)
	}
}

func TestSendBulk_SendAtOrQueue_IsAccepted(t *testing.T) {
	s := &stub{}
	got := sendBulk(t, s, `{"to":"6289999999999","type":"text","message":"x"},{"to":"6289999999999","type":"text","message":"x","queue":true},`+
		`{"to":"6289999999999","type":"text","message":"x","sendAt":"soon"},{"to":"6289999999999","type":"text","message":"x","deadline":"1h"}`)
	require.Equal(t, 200, got.Code, got.Body)
	items := s.last.([]service.SendItem)
	assert.Nil(t, items[0].Message.Schedule)
	assert.Equal(t, &domain.Schedule{}, items[1].Message.Schedule)
	results := got.results()
	assert.Equal(t, []int{200, 202, 400, 400}, []int{results[0].StatusCode, results[1].StatusCode, results[2].StatusCode, results[3].StatusCode})
	assert.Equal(t, []string{"sendAt"}, results[2].fields())
	assert.Equal(t, []string{"deadline"}, results[3].fields())
}

func TestSend_InvalidSchedule_IsReportedWithOtherProblems(t *testing.T) {
	for members, fields := range map[string][]string{
		`"sendAt":"tomorrow"`:                              {"message", "sendAt"},
		`"sendAt":"2026-03-01"`:                            {"message", "sendAt"},
		`"queue":true,"deadline":"soon"`:                   {"message", "deadline"},
		`"queue":true,"deadline":"-1h"`:                    {"message", "deadline"},
		`"queue":true,"deadline":"0s"`:                     {"message", "deadline"},
		`"queue":true,"deadline":"721h"`:                   {"message", "deadline"},
		`"deadline":"1h"`:                                  {"message", "deadline"},
		`"sendAt":7`:                                       {"message", "sendAt"},
		`"queue":"yes"`:                                    {"message", "queue"},
		`"sendAt":"soon","queue":true,"deadline":"whenso"`: {"message", "sendAt", "deadline"},
	} {
		got, s := ask(t, "POST", "/api/v1/sendText", keyText, `{"to":"6289999999999","message":"",`+members+`}`)
		require.Equal(t, 400, got.Code, "%s: %s", members, got.Body)
		assert.ElementsMatch(t, fields, got.fields(), members)
		assert.Zero(t, s.calls)
	}
}

func TestSend_LargeFileLater_IsRefused(t *testing.T) {
	large := strings.Repeat("x", domain.MaxQueuedUpload+1)
	for _, c := range []struct {
		queue string
		code  int
	}{{"true", 413}, {"false", 200}} {
		a, _ := newUploadAPI(t)
		got := postForm(t, a, "/api/v1/sendFile", closed(field("to", formTo), field("queue", c.queue), file("media", "a.txt", large)))
		require.Equal(t, c.code, got.Code, got.Body)
		if c.code == 413 {
			assert.Contains(t, got.Error.Message, "give its URL instead")
		}
	}
}

func TestScheduled_Calls_ReachTheService(t *testing.T) {
	image := func(change func(m *domain.Outgoing)) domain.Outgoing {
		m := domain.Outgoing{Type: domain.TypeImage, MediaURL: "https://example.com/a.png", Caption: "A"}
		change(&m)
		return m
	}
	for _, c := range []struct {
		method, path, body string
		want               any
	}{
		{"GET", "?limit=5", "", []any{"u1", "support", domain.Cursor{}, 5}},
		{"GET", "?cursor=" + domain.Cursor{At: noon, ID: "m8"}.String(), "", []any{"u1", "support", domain.Cursor{At: noon, ID: "m8"}, 20}},
		{"GET", "/m7", "", scheduledCall{Name: "Get", User: "u1", Session: "support", ID: "m7"}},
		{"DELETE", "/m7", "", scheduledCall{Name: "Cancel", User: "u1", Session: "support", ID: "m7"}},
		{"PUT", "/m7", `{}`, scheduledCall{Name: "Update", User: "u1", Session: "support", ID: "m7"}},
		{"PUT", "/m7", `{"deadline":"2h"}`, scheduledCall{Name: "Update", User: "u1", Session: "support", ID: "m7", Schedule: &domain.Schedule{Patience: 2 * time.Hour}}},
		{"PUT", "/m8", `{"to":"6281","caption":"B"}`, scheduledCall{
			Name: "Update", User: "u1", Session: "support", ID: "m8", Edited: image(func(m *domain.Outgoing) { m.To, m.Caption = "6281", "B" }),
		}},
		{"PUT", "/m8", `{"media":"aGVsbG8="}`, scheduledCall{
			Name: "Update", User: "u1", Session: "support", ID: "m8", Edited: image(func(m *domain.Outgoing) { m.MediaURL, m.Media = "", "aGVsbG8=" }),
		}},
	} {
		got, s := ask(t, c.method, "/api/v1/sessions/Support/scheduled"+c.path, userToken, c.body)
		require.Equal(t, 200, got.Code, got.Body)
		assert.Equal(t, c.want, s.last, "%s %s %s", c.method, c.path, c.body)
	}
}

func TestScheduled_InvalidChange_IsRefused(t *testing.T) {
	for body, fields := range map[string][]string{
		`{"sendAt":"soon","deadline":"whenso"}`: {"sendAt", "deadline"},
		`{"sendAt":7}`:                          {"sendAt"},
		`{"location":{"latitude":"north"}}`:     {"location.latitude", "location.longitude"},
	} {
		got, s := ask(t, "PUT", "/api/v1/sessions/support/scheduled/m7", userToken, body)
		require.Equal(t, 400, got.Code, got.Body)
		assert.ElementsMatch(t, fields, got.fields(), body)
		assert.Zero(t, s.calls)
	}
}
