package messaging_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/coretest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const group = "120363025246125486@g.us"

// canReply makes the workers take replies and mentions.
func (r *replica) canReply(workers ...string) *replica {
	for _, w := range workers {
		r.ChangeWorkerRow(w, func(w *domain.Worker) { w.Capabilities = []domain.Capability{domain.CapReplies} })
	}
	return r
}

func (r *replica) reply(quoted string, mentions ...string) (*domain.Message, error) {
	return r.messages.Send(context.Background(), r.sender, &domain.Outgoing{
		To: group, Type: domain.TypeText, Text: "yes", QuotedMessageID: quoted, Mentions: mentions,
	})
}

func TestSend_Reply_NamesTheMessageByWhatsAppsID(t *testing.T) {
	r := newFixture(t).canReply("w1", "w2")
	first, err := r.send()
	require.NoError(t, err)
	for _, quoted := range []string{first.ID, first.WhatsAppID, "3EB0-of-before"} {
		want := quoted
		if quoted == first.ID {
			want = first.WhatsAppID
		}
		var forwarded ports.Send
		r.Gateway.AnswerSends(func(s ports.Send) ports.Sent { forwarded = s; return ports.Sent{WhatsAppID: "WA-" + s.ClientMessageID} })
		m, err := r.reply(quoted, "6281333333333", "6281333333333@c.us")
		require.NoError(t, err)
		relations := domain.Relations{QuotedID: want, Mentions: []string{"6281333333333@s.whatsapp.net"}}
		require.Equal(t, relations, m.Relations)
		require.Equal(t, want, forwarded.Message.QuotedMessageID)
		stored, err := r.messages.Get(context.Background(), r.sender.UserID, "s1", m.ID)
		require.NoError(t, err)
		require.Equal(t, relations, stored.Relations)
	}
}

func TestSend_ReplyToNothing_IsRefusedBeforeTheRecord(t *testing.T) {
	r := newFixture(t).canReply("w1", "w2")
	_, err := r.reply("0190163d-8694-739b-aea5-966c26f8ad91") // an id of ours that nothing has
	require.Equal(t, domain.CodeMessageNotFound, domain.CodeOf(err))

	r.Gateway.Fail(ports.WorkerTimedOut)
	pending, _ := r.send()
	r.Gateway.Succeed()
	_, err = r.reply(pending.ID)
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err), "nobody knows by which id WhatsApp knows it")
	require.Equal(t, pending.ID, r.stored(t).ID, "nothing else is recorded")
	require.Equal(t, 1, r.used(t))
}

func TestSend_WorkerCannotReply_IsRefusedBeforeTheRecord(t *testing.T) {
	r := newFixture(t)
	for name, send := range map[string]func() error{
		"reply":   func() error { _, err := r.reply("3EB0"); return err },
		"mention": func() error { _, err := r.reply("", "6281333333333"); return err },
	} {
		updates, _ := r.Stored.Count(func() { require.Equal(t, domain.CodeInvalidState, domain.CodeOf(send()), name) })
		require.Zero(t, updates)
	}
	require.Empty(t, r.Gateway.Calls("send"))
}

// A reply does not become a plain message because the session has moved.
func TestSend_SessionMovedToAWorkerThatCannotReply_Fails(t *testing.T) {
	a, b := newPair(t)
	a.canReply("w1")
	require.NoError(t, b.Sync.RefreshWorkersByID(context.Background(), "w1"))
	_, err := b.reply("3EB0")
	require.NoError(t, err)
	a.move()
	a.Gateway.Forget()
	a.Gateway.Answer(func(c coretest.Call) error {
		if c.Worker == "w1" {
			return &ports.WorkerError{Failure: ports.WorkerSessionNotFound, Message: "unknown"}
		}
		return nil
	})
	_, err = b.reply("3EB0")
	require.Error(t, err)
	require.Equal(t, []string{"send w1 s1"}, b.Gateway.Calls())
	require.Equal(t, domain.MessageFailed, b.stored(t).Status)
}
