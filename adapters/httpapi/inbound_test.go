package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// received returns the message that the service gets for a report with these members.
func received(t *testing.T, members string) service.InboundMessage {
	t.Helper()
	got, s := ask(t, "POST", "/api/v1/webhooks/message-received", fleetToken, `{"sessionId":"support","messageId":"3EB1","from":"1",`+members+`}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	m := s.last.(service.InboundMessage)
	assert.Equal(t, [3]string{"support", "3EB1", "1"}, [3]string{m.SessionID, m.WhatsAppID, m.From})
	m.SessionID, m.WhatsAppID, m.From = "", "", ""
	return m
}

func TestInbound_EachKind_IsRead(t *testing.T) {
	type message = service.InboundMessage
	target := domain.Relations{TargetID: "3EB0"}
	for members, want := range map[string]message{
		`"type":"text","content":"hi"`:                                            {Type: domain.TypeText, Content: "hi"},
		`"content":"hi"`:                                                          {Type: domain.TypeText, Content: "hi"},
		`"type":"image","caption":"look"`:                                         {Type: domain.TypeImage, Caption: "look"},
		`"type":"document","filename":"a.b"`:                                      {Type: domain.TypeDocument, Filename: "a.b"},
		`"type":"location","location":{"latitude":1,"longitude":2}`:               {Type: domain.TypeLocation, Content: `{"latitude":1,"longitude":2}`},
		`"location":{"latitude":1,"longitude":2}`:                                 {Type: domain.TypeLocation, Content: `{"latitude":1,"longitude":2}`},
		`"type":"locationMessage","content":{"latitude":1}`:                       {Type: domain.TypeLocation, Content: `{"latitude":1}`},
		`"type":"contact","contact":{"name":"Bo","phone":"1"}`:                    {Type: domain.TypeContact, Content: `{"name":"Bo","phone":"1"}`},
		`"type":"poll","poll":{"question":"Tea?","options":["a","b"]}`:            {Type: domain.TypePoll, Content: `{"question":"Tea?","options":["a","b"]}`},
		`"pollVote":{"messageId":"3EB0","options":["a"]}`:                         {Type: domain.TypePollVote, Content: `{"messageId":"3EB0","options":["a"]}`, Relations: target},
		`"pollVote":{"pollCreationMessageKey":{"id":"3EB0"},"options":["a"]}`:     {Type: domain.TypePollVote, Content: `{"pollCreationMessageKey":{"id":"3EB0"},"options":["a"]}`, Relations: target},
		`"type":"reaction","reaction":{"emoji":"👍","messageId":"3EB0"}`:           {Type: domain.TypeReaction, Content: "👍", Relations: target},
		`"reaction":{"text":"👍","key":{"id":"3EB0","fromMe":true}}`:               {Type: domain.TypeReaction, Content: "👍", Relations: target},
		`"reaction":{"text":"","key":{"id":"3EB0"}}`:                              {Type: domain.TypeReaction, Relations: target},
		`"type":"reactionMessage","content":{"text":"👍","key":"3EB0"}`:            {Type: domain.TypeReaction, Content: "👍", Relations: target},
		`"type":"reaction","reaction":"👍"`:                                        {Type: domain.TypeReaction, Content: "👍"},
		`"type":"edit","editedId":"3EB0","content":"new"`:                         {Type: domain.TypeEdit, Content: "new", Relations: target},
		`"type":"protocolMessage","editedId":"3EB0","content":"new"`:              {Type: domain.TypeEdit, Content: "new", Relations: target},
		`"type":"text","deletedId":"3EB0","content":"gone"`:                       {Type: domain.TypeDeletion, Relations: target},
		`"type":"text","content":"yes","quotedMessageId":"3EB0"`:                  {Type: domain.TypeText, Content: "yes", Relations: domain.Relations{QuotedID: "3EB0"}},
		`"content":"@a","participant":"6281:3@s.whatsapp.net","mentions":["1",2]`: {Type: domain.TypeText, Content: "@a", Relations: domain.Relations{Author: "6281:3@s.whatsapp.net", Mentions: []string{"1", "2"}}},
		`"content":"x","mentions":[null,{},"1","1"]`:                              {Type: domain.TypeText, Content: "x", Relations: domain.Relations{Mentions: []string{"1"}}},
		`"content":"x","mentions":"1","reaction":null,"location":null,"poll":[]`:  {Type: domain.TypeText, Content: "x"},
		`"content":"x","location":{"latitude":1}`:                                 {Type: domain.TypeText, Content: "x"},
		`"content":"x","quotedMessageId":"` + strings.Repeat("x", 256) + `"`:      {Type: domain.TypeText, Content: "x"},
	} {
		t.Run(members, func(t *testing.T) { assert.Equal(t, want, received(t, members)) })
	}
}

func TestInbound_TooManyMentions_AreCut(t *testing.T) {
	var list []string
	for i := range 300 {
		list = append(list, fmt.Sprintf(`"%d"`, i))
	}
	got := received(t, `"content":"x","mentions":[`+strings.Join(list, ",")+`]`)
	assert.Len(t, got.Relations.Mentions, 256)
	assert.Equal(t, "255", got.Relations.Mentions[255])
}

func TestMessages_Relations_AreShown(t *testing.T) {
	m := someMessage()
	v := view.Message(m)
	assert.Equal(t, []string{}, v.Mentions)
	assert.Empty(t, string(v.Participant+v.QuotedMessageID+v.TargetMessageID))
	m.Relations = domain.Relations{Author: "a@s.whatsapp.net", QuotedID: "3EB0", TargetID: "3EB1", Mentions: []string{"b@s.whatsapp.net"}}
	v = view.Message(m)
	assert.Equal(t, view.String("a@s.whatsapp.net"), v.Participant)
	assert.Equal(t, view.String("3EB0"), v.QuotedMessageID)
	assert.Equal(t, view.String("3EB1"), v.TargetMessageID)
	assert.Equal(t, []string{"b@s.whatsapp.net"}, v.Mentions)
	assert.Equal(t, `{"options":["a"]}`, string(view.Content(&domain.Message{Type: domain.TypePollVote, Content: `{"options":["a"]}`})))
	assert.Equal(t, `"👍"`, string(view.Content(&domain.Message{Type: domain.TypeReaction, Content: "👍"})))
}

func TestHistory_ReceivedTypes_CanBeFiltered(t *testing.T) {
	for _, kind := range []domain.MessageType{domain.TypePollVote, domain.TypeReaction, domain.TypeEdit, domain.TypeDeletion} {
		got, s := ask(t, "GET", "/api/v1/sessions/support/messages?type="+strings.ToUpper(string(kind)), userToken, "")
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		assert.Equal(t, kind, s.last.(domain.MessageFilter).Type)
		got, _ = ask(t, "POST", "/api/v1/sessions/support/send", keyText, `{"to":"6289999999999","type":"`+string(kind)+`"}`)
		assert.Equal(t, domain.CodeInvalidMessageType, got.Error.Code, "it cannot be sent")
	}
}
