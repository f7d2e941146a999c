package orchestrator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/golang/mock/gomock"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// sends lets the worker answer the next send.
func (w *fixture) sends(sent ports.Sent, err error) {
	w.workers.EXPECT().Send(gomock.Any(), gomock.Any(), gomock.Any()).Return(sent, err)
}

// message returns the stored message.
func (w *fixture) message(s *service.CreatedSession, id string) *domain.Message {
	w.t.Helper()
	m, err := w.Messages.Get(context.Background(), s.UserID, s.ID, id)
	require.NoError(w.t, err)
	return m
}

// reports reports the status of a message by our id, and WhatsApp's.
func (w *fixture) reports(m *domain.Message, status domain.MessageStatus) bool {
	w.t.Helper()
	applied, err := w.Protocol.ReportMessage(context.Background(), domain.MessageReport{SessionID: m.SessionID, ID: m.ID, WhatsAppID: "WA-late", Status: status})
	require.NoError(w.t, err)
	return applied
}

func TestSend_OutcomeUnknown_StaysPendingUntilReceipt(t *testing.T) {
	for name, failure := range map[string]*ports.WorkerError{
		"500":                {Failure: ports.WorkerFailed, Status: 500, Text: "Oops"},
		"502":                {Failure: ports.WorkerFailed, Status: 502},
		"520":                {Failure: ports.WorkerFailed, Status: 520},
		"page of a proxy":    {Failure: ports.WorkerFailed, Status: 403},
		"200 without an id":  {Failure: ports.WorkerFailed, Status: 200},
		"timed out":          {Failure: ports.WorkerTimedOut},
		"connection lost":    {Failure: ports.WorkerConnectionLost},
		"404 of a proxy":     {Failure: ports.WorkerRouteMissing, Status: 404},
		"not a worker error": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newConnectedFixture(t)
			if failure == nil {
				w.sends(ports.Sent{}, errors.New("odd"))
			} else {
				w.sends(ports.Sent{}, failure)
			}
			m, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
			require.Equal(t, domain.CodeWorkerTimeout, domain.CodeOf(err))
			require.ErrorContains(t, err, "not known whether the message was sent")
			require.Equal(t, domain.MessagePending, w.message(s, m.ID).Status)
			require.Empty(t, w.message(s, m.ID).Error)

			require.True(t, w.reports(m, domain.MessageDelivered))
			require.Equal(t, domain.MessageDelivered, w.message(s, "WA-late").Status)
		})
	}
}

func TestSend_OutcomeNeverReported_FailsAndReceiptWins(t *testing.T) {
	w, s := newConnectedFixture(t)
	w.sends(ports.Sent{}, &ports.WorkerError{Failure: ports.WorkerFailed, Status: 503})
	m, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
	require.Error(t, err)
	w.clock.advance(3 * time.Hour)
	require.Eventually(t, func() bool {
		_, err := w.RunOnce(t.Context())
		require.NoError(t, err)
		return w.message(s, m.ID).Status == domain.MessageFailed
	}, 5*time.Second, time.Millisecond)
	require.False(t, w.reports(m, domain.MessageSent), "only a receipt is evidence")
	require.True(t, w.reports(m, domain.MessageRead))
	stored := w.message(s, m.ID)
	require.Equal(t, domain.MessageRead, stored.Status)
	require.Empty(t, stored.Error)
}

func TestSend_CertainlyNotSent_FailedForGood(t *testing.T) {
	for name, failure := range map[string]*ports.WorkerError{
		"refused":         {Failure: ports.WorkerRejected, Status: 400, Text: "No"},
		"not sent":        {Failure: ports.WorkerFailed, Status: 503, Text: "No", NotSent: true},
		"session missing": {Failure: ports.WorkerSessionNotFound, Status: 404, Text: "No"},
		"route missing":   {Failure: ports.WorkerRouteMissing, Status: 404, Text: "No", NotSent: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newConnectedFixture(t)
			w.sends(ports.Sent{}, failure)
			m, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
			require.Error(t, err)
			require.NotEqual(t, domain.CodeWorkerTimeout, domain.CodeOf(err))
			stored := w.message(s, m.ID)
			require.Equal(t, domain.MessageFailed, stored.Status)
			require.Equal(t, "No", stored.Error)
			require.False(t, w.reports(m, domain.MessageDelivered), "a known refusal is final")
		})
	}
}

func TestSend_StatusWordOfWorker_Decides(t *testing.T) {
	for status, want := range map[domain.MessageStatus]domain.MessageStatus{
		"": domain.MessageSent, domain.MessageSent: domain.MessageSent, domain.MessageDelivered: domain.MessageDelivered, domain.MessageRead: domain.MessageRead,
		domain.MessagePending: domain.MessagePending, domain.MessageFailed: domain.MessageFailed,
	} {
		t.Run(string(status), func(t *testing.T) {
			w, s := newConnectedFixture(t)
			w.sends(ports.Sent{WhatsAppID: "WA1", Status: status, Error: "not on WhatsApp"}, nil)
			m, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
			require.Equal(t, want, m.Status)
			stored := w.message(s, "WA1")
			require.Equal(t, want, stored.Status)
			if want == domain.MessageFailed {
				require.Equal(t, domain.CodeMessageSendFailed, domain.CodeOf(err))
				require.ErrorContains(t, err, "not on WhatsApp")
				require.Equal(t, "not on WhatsApp", stored.Error)
				return
			}
			require.NoError(t, err)
			require.Empty(t, stored.Error)
			require.Equal(t, want == domain.MessagePending, stored.SentAt.IsZero())
		})
	}
}

// A report by our id may overtake the answer, and not know WhatsApp's.
func TestSend_ReportByOurIDOvertakesAnswer_KeepsBoth(t *testing.T) {
	w, s := newConnectedFixture(t)
	w.workers.EXPECT().Send(gomock.Any(), gomock.Any(), gomock.Any()).DoAndReturn(
		func(ctx context.Context, _ ports.WorkerRef, send ports.Send) (ports.Sent, error) {
			applied, err := w.Protocol.ReportMessage(ctx, domain.MessageReport{SessionID: s.ID, ID: send.ClientMessageID, Status: domain.MessageDelivered})
			require.NoError(t, err)
			require.True(t, applied)
			return ports.Sent{WhatsAppID: "WA1", Status: domain.MessageSent}, nil
		})
	m, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
	require.NoError(t, err)
	require.Equal(t, domain.MessageDelivered, m.Status)
	require.Equal(t, m, w.message(s, "WA1"))
}

func TestSend_RefusalOfWorker_InPlainWords(t *testing.T) {
	for name, c := range map[string]struct {
		failure ports.WorkerError
		code    domain.Code
		words   string
	}{
		"sticker":         {ports.WorkerError{Failure: ports.WorkerRejected, Status: 400, Text: "Stickers are not supported"}, domain.CodeValidation, "refuses this: Stickers are not supported"},
		"no reason":       {ports.WorkerError{Failure: ports.WorkerRejected, Status: 422}, domain.CodeValidation, "did not say why"},
		"no recipient":    {ports.WorkerError{Failure: ports.WorkerRejected, Status: 404, Text: "The number is not on WhatsApp"}, domain.CodeValidation, "not on WhatsApp"},
		"not connected":   {ports.WorkerError{Failure: ports.WorkerRejected, Status: 400, Text: "Session is not connected"}, domain.CodeSessionNotConnected, "not connected"},
		"its own state":   {ports.WorkerError{Failure: ports.WorkerRejected, Status: 409, Text: "Another device is pairing"}, domain.CodeInvalidState, "Another device is pairing"},
		"token":           {ports.WorkerError{Failure: ports.WorkerRejected, Status: 401}, domain.CodeWorkerCommunication, "token"},
		"session missing": {ports.WorkerError{Failure: ports.WorkerSessionNotFound, Status: 404}, domain.CodeSessionNotConnected, "being brought back"},
		"route missing":   {ports.WorkerError{Failure: ports.WorkerRouteMissing, Status: 404, NotSent: true}, domain.CodeMessageSendFailed, "too old"},
		"pool exhausted":  {ports.WorkerError{Failure: ports.WorkerBusy}, domain.CodeWorkerUnreachable, "too many calls"},
		"busy":            {ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Retry: 7 * time.Second}, domain.CodeRateLimit, "in 7 s"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newConnectedFixture(t)
			w.sends(ports.Sent{}, &c.failure)
			_, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
			require.Equal(t, c.code, domain.CodeOf(err))
			require.ErrorContains(t, err, c.words)
			var public *domain.Error
			require.True(t, errors.As(err, &public))
			if public.Kind == domain.Invalid {
				require.NotContains(t, public.Message, "try again")
			}
		})
	}
}

func TestSend_WorkerIsBusy_SaysWhenToTryAgain(t *testing.T) {
	for stated, want := range map[time.Duration]time.Duration{7 * time.Second: 7 * time.Second, 0: time.Minute} {
		w, s := newConnectedFixture(t)
		busy := &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Retry: stated}
		w.sends(ports.Sent{}, busy)
		m, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
		require.Equal(t, domain.MessageFailed, m.Status)
		require.Equal(t, want, domain.RetryAfterOf(err))
		require.ErrorIs(t, err, busy)

		w.workers.EXPECT().PerformAction(gomock.Any(), gomock.Any(), s.ID, gomock.Any()).Return(busy)
		err = w.Messages.PerformAction(t.Context(), senderOf(s), domain.Action{Type: domain.ActionStar, Phone: "6281234567890", MessageID: "WA9"})
		require.Equal(t, domain.CodeRateLimit, domain.CodeOf(err))
	}
}

func TestPerformAction_OurIDs_BecomeWhatsApps(t *testing.T) {
	w, s := newConnectedFixture(t)
	w.sends(ports.Sent{WhatsAppID: "WA1", Status: domain.MessageSent}, nil)
	m, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
	require.NoError(t, err)
	_, err = w.Protocol.ReceiveMessage(t.Context(), service.InboundMessage{SessionID: s.ID, WhatsAppID: "IN1", From: "6281234567890", Type: domain.TypeText, At: w.clock.Now()})
	require.NoError(t, err)
	received := w.message(s, "IN1")

	var asked domain.Action
	w.workers.EXPECT().PerformAction(gomock.Any(), gomock.Any(), s.ID, gomock.Any()).DoAndReturn(
		func(_ context.Context, _ ports.WorkerRef, _ string, a domain.Action) error { asked = a; return nil }).AnyTimes()
	for _, kind := range []domain.ActionType{domain.ActionDelete, domain.ActionUnsend, domain.ActionEdit, domain.ActionReaction,
		domain.ActionRead, domain.ActionStar, domain.ActionUnstar, domain.ActionSeen} {
		for id, want := range map[string]string{
			m.ID: "WA1", "WA1": "WA1", received.ID: "IN1", "IN1": "IN1", "3EB0-of-long-ago": "3EB0-of-long-ago",
		} {
			a := domain.Action{Type: kind, Phone: "6281234567890", MessageID: id, NewText: "n", MessageKey: &domain.MessageKey{
				RemoteJID: "120363025246125486@g.us", ID: id, Participant: "6281234567890@s.whatsapp.net",
			}}
			require.NoError(t, w.Messages.PerformAction(t.Context(), senderOf(s), a), "%s of %s", kind, id)
			require.Equal(t, want, asked.MessageID)
			require.Equal(t, domain.MessageKey{RemoteJID: "120363025246125486@g.us", ID: want, Participant: "6281234567890@s.whatsapp.net"}, *asked.MessageKey)
			require.Equal(t, id, a.MessageKey.ID, "the caller's key is unchanged")
		}
	}
	require.NoError(t, w.Messages.PerformAction(t.Context(), senderOf(s), domain.Action{Type: domain.ActionTypingStart, Phone: "6281234567890"}))
}

func TestPerformAction_UnknownIDOfOurs_NotFound(t *testing.T) {
	w, s := newConnectedFixture(t)
	const unknown = "019a8f3e-1111-7abc-8def-0123456789ab"
	star := func(change func(*domain.Action)) error {
		a := domain.Action{Type: domain.ActionStar, Phone: "6281234567890", MessageID: "WA1"}
		change(&a)
		return w.Messages.PerformAction(t.Context(), senderOf(s), a)
	}
	err := star(func(a *domain.Action) { a.MessageID = unknown })
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))
	err = star(func(a *domain.Action) {
		a.MessageKey = &domain.MessageKey{RemoteJID: "6281234567890@s.whatsapp.net", ID: unknown}
	})
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))

	w.sends(ports.Sent{}, &ports.WorkerError{Failure: ports.WorkerTimedOut})
	m, err := w.Messages.Send(t.Context(), senderOf(s), &hello)
	require.Error(t, err)
	err = star(func(a *domain.Action) { a.MessageID = m.ID })
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err), "WhatsApp's id is not known")

	// Another application may have given its message such an id.
	_, err = w.Protocol.ReceiveMessage(t.Context(), service.InboundMessage{SessionID: s.ID, WhatsAppID: unknown, From: "6281234567890", Type: domain.TypeText, At: w.clock.Now()})
	require.NoError(t, err)
	w.workers.EXPECT().PerformAction(gomock.Any(), gomock.Any(), s.ID, gomock.Any()).Return(nil)
	require.NoError(t, star(func(a *domain.Action) { a.MessageID = unknown }))
}

func TestPerformAction_RefusalOfWorker_InPlainWords(t *testing.T) {
	for name, c := range map[string]struct {
		failure ports.WorkerError
		code    domain.Code
	}{
		"empty reaction":  {ports.WorkerError{Failure: ports.WorkerRejected, Status: 400, Text: "emoji is required"}, domain.CodeValidation},
		"no such message": {ports.WorkerError{Failure: ports.WorkerRejected, Status: 404, Text: "Message not found"}, domain.CodeMessageNotFound},
		"no such route":   {ports.WorkerError{Failure: ports.WorkerRouteMissing, Status: 404}, domain.CodeWorkerCommunication},
		"no session":      {ports.WorkerError{Failure: ports.WorkerSessionNotFound, Status: 404}, domain.CodeSessionNotConnected},
		"failed":          {ports.WorkerError{Failure: ports.WorkerFailed, Status: 500, Text: "Oops"}, domain.CodeWorkerCommunication},
		"timed out":       {ports.WorkerError{Failure: ports.WorkerTimedOut}, domain.CodeWorkerTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := newConnectedFixture(t)
			w.workers.EXPECT().PerformAction(gomock.Any(), gomock.Any(), s.ID, gomock.Any()).Return(&c.failure)
			err := w.Messages.PerformAction(t.Context(), senderOf(s), domain.Action{Type: domain.ActionReaction, Phone: "6281234567890", MessageID: "WA1"})
			require.Equal(t, c.code, domain.CodeOf(err))
			require.ErrorContains(t, err, c.failure.Text)
		})
	}
}

func TestReceiveMessage_AddressesOfWorkers_StoredInOneForm(t *testing.T) {
	w, s := newConnectedFixture(t)
	for i, c := range []struct{ raw, want string }{
		{"6281234567890:12@s.whatsapp.net", "6281234567890@s.whatsapp.net"},
		{"6281234567890.0:12@s.whatsapp.net", "6281234567890@s.whatsapp.net"},
		{"6281234567890@c.us", "6281234567890@s.whatsapp.net"},
		{"6281234567890", "6281234567890@s.whatsapp.net"},
		{"120363025246125486@g.us", "120363025246125486@g.us"},
		{"123456789012345:3@lid", "123456789012345@lid"},
	} {
		id := "IN" + string(rune('0'+i))
		stored, err := w.Protocol.ReceiveMessage(t.Context(), service.InboundMessage{
			SessionID: s.ID, WhatsAppID: id, From: c.raw, To: c.raw, Type: domain.TypeText, At: w.clock.Now(),
		})
		require.NoError(t, err)
		require.True(t, stored)
		m := w.message(s, id)
		require.Equal(t, []string{c.want, c.want}, []string{m.From, m.To}, c.raw)

		// What is handed out is taken back.
		w.sends(ports.Sent{WhatsAppID: "WA-" + id}, nil)
		reply := hello
		reply.To = m.From
		sent, err := w.Messages.Send(t.Context(), senderOf(s), &reply)
		require.NoError(t, err)
		require.Equal(t, c.want, sent.To)
	}
}
