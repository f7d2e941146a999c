package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
)

func TestSend_EveryRoute_ReachesTheService(t *testing.T) {
	const to = "6289999999999"
	for name, c := range map[string]struct {
		path, body string
		want       domain.Outgoing
	}{
		"text": {"/sendText", `{"to":"` + to + `","message":"hi \"you\" \u00fc","humanSimulation":true}`,
			domain.Outgoing{To: to, Type: domain.TypeText, Text: `hi "you" ü`, HumanSimulation: true}},
		"image by URL": {"/sendImage", `{"to":"` + to + `","imageUrl":"https://e.com/a","caption":"c"}`,
			domain.Outgoing{To: to, Type: domain.TypeImage, MediaURL: "https://e.com/a", Caption: "c"}},
		"image by content": {"/sendImage", `{"to":"` + to + `","media":"aGVsbG8="}`,
			domain.Outgoing{To: to, Type: domain.TypeImage, Media: "aGVsbG8="}},
		"file": {"/sendFile", `{"to":"` + to + `","fileUrl":"https://e.com/a","filename":"a.pdf","caption":"c"}`,
			domain.Outgoing{To: to, Type: domain.TypeDocument, MediaURL: "https://e.com/a", Filename: "a.pdf", Caption: "c"}},
		"voice": {"/sendVoice", `{"to":"` + to + `","audioUrl":"https://e.com/a","caption":"not here"}`,
			domain.Outgoing{To: to, Type: domain.TypeAudio, MediaURL: "https://e.com/a"}},
		"video": {"/sendVideo", `{"to":"` + to + `","videoUrl":"https://e.com/a","caption":"c"}`,
			domain.Outgoing{To: to, Type: domain.TypeVideo, MediaURL: "https://e.com/a", Caption: "c"}},
		"sticker": {"/sendSticker", `{"to":"` + to + `","stickerUrl":"https://e.com/a"}`,
			domain.Outgoing{To: to, Type: domain.TypeSticker, MediaURL: "https://e.com/a"}},
		"location": {"/sendLocation", `{"to":"` + to + `","latitude":-6.2,"longitude":0,"name":"n","address":"a"}`,
			domain.Outgoing{To: to, Type: domain.TypeLocation, Location: &domain.Location{Latitude: -6.2, Name: "n", Address: "a"}}},
		"contact": {"/sendContactVcard", `{"to":"` + to + `","contactName":"Bo","contactPhone":"+62 812 3456 7891","contactEmail":"b@e.com","contactOrganization":"O"}`,
			domain.Outgoing{To: to, Type: domain.TypeContact, Contact: &domain.Contact{Name: "Bo", Phone: "+62 812 3456 7891", Email: "b@e.com", Organization: "O"}}},
		"link": {"/sendLink", `{"to":"` + to + `","url":"https://e.com","title":"t","description":"d","thumbnail":"https://e.com/t"}`,
			domain.Outgoing{To: to, Type: domain.TypeLink, Link: &domain.Link{URL: "https://e.com", Title: "t", Description: "d", Thumbnail: "https://e.com/t"}}},
		"poll": {"/sendPoll", `{"to":"` + to + `","poll":{"question":"q","options":["a","b"],"multipleAnswers":true}}`,
			domain.Outgoing{To: to, Type: domain.TypePoll, Poll: &domain.Poll{Question: "q", Options: []string{"a", "b"}, MultipleAnswers: true}}},
		"generic text": {"/sessions/support/send", `{"type":"TEXT","to":"` + to + `","message":"hi"}`,
			domain.Outgoing{To: to, Type: domain.TypeText, Text: "hi"}},
		"generic document": {"/sessions/support/send", `{"type":"document","to":"` + to + `","mediaUrl":"https://e.com/a","filename":"a","caption":"c"}`,
			domain.Outgoing{To: to, Type: domain.TypeDocument, MediaURL: "https://e.com/a", Filename: "a", Caption: "c"}},
		"generic location": {"/sessions/support/send", `{"type":"location","to":"` + to + `","location":{"latitude":1,"longitude":2}}`,
			domain.Outgoing{To: to, Type: domain.TypeLocation, Location: &domain.Location{Latitude: 1, Longitude: 2}}},
		"generic contact": {"/sessions/support/send", `{"type":"contact","to":"` + to + `","contact":{"name":"Bo","phone":"6281234567891"}}`,
			domain.Outgoing{To: to, Type: domain.TypeContact, Contact: &domain.Contact{Name: "Bo", Phone: "6281234567891"}}},
		"generic contact, long names": {"/sessions/support/send", `{"type":"contact","to":"` + to + `","contact":{"contactName":"Bo","contactPhone":"6281234567891"}}`,
			domain.Outgoing{To: to, Type: domain.TypeContact, Contact: &domain.Contact{Name: "Bo", Phone: "6281234567891"}}},
		"generic link": {"/sessions/support/send", `{"type":"link","to":"` + to + `","link":{"url":"https://e.com"}}`,
			domain.Outgoing{To: to, Type: domain.TypeLink, Link: &domain.Link{URL: "https://e.com"}}},
		"generic poll": {"/sessions/support/send", `{"type":"poll","to":"` + to + `","poll":{"question":"q","options":["a","b"]}}`,
			domain.Outgoing{To: to, Type: domain.TypePoll, Poll: &domain.Poll{Question: "q", Options: []string{"a", "b"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, s := ask(t, "POST", "/api/v1"+c.path, keyText, c.body)
			require.Equal(t, http.StatusOK, got.Code, got.Body)
			assert.Equal(t, &c.want, s.last)
			assert.Equal(t, map[string]any{
				"id": "m1", "messageId": "3EB0", "sessionId": "support", "to": "6289999999999@s.whatsapp.net",
				"type": "text", "status": "SENT", "timestamp": "2026-03-01T12:00:00.123Z",
			}, got.Data)
		})
	}
}

// Every problem of a send is reported at once, by the names its route has.
func TestSend_WrongBodies_EveryProblemIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		path, body string
		fields     []string
	}{
		"nothing":           {"/sendText", "", []string{"to", "message"}},
		"wrong types":       {"/sendText", `{"to":6281234567890,"message":{}}`, []string{"to", "message"}},
		"type and rule":     {"/sendText", `{"message":7}`, []string{"message", "to"}},
		"flag":              {"/sendText", `{"to":"6289999999999","message":"x","humanSimulation":"yes"}`, []string{"humanSimulation"}},
		"media":             {"/sendImage", `{"to":"6289999999999"}`, []string{"imageUrl"}},
		"both media":        {"/sendVideo", `{"to":"6289999999999","videoUrl":"https://e.com","media":"aGVsbG8="}`, []string{"videoUrl"}},
		"no URL":            {"/sendFile", `{"to":"6289999999999","fileUrl":"ftp://e.com","filename":"a/b"}`, []string{"fileUrl", "filename"}},
		"no place":          {"/sendLocation", `{"to":"6289999999999"}`, []string{"latitude", "longitude"}},
		"half a place":      {"/sendLocation", `{"to":"6289999999999","latitude":"1"}`, []string{"latitude", "longitude"}},
		"beyond the place":  {"/sendLocation", `{"to":"6289999999999","latitude":1e999,"longitude":181}`, []string{"latitude", "longitude"}},
		"contact":           {"/sendContactVcard", `{"to":"6289999999999","contactEmail":"x"}`, []string{"contactName", "contactPhone", "contactEmail"}},
		"link":              {"/sendLink", `{"to":"6289999999999"}`, []string{"url"}},
		"no poll":           {"/sendPoll", `{"to":"6289999999999","poll":[]}`, []string{"poll"}},
		"poll":              {"/sendPoll", `{"to":"6289999999999","poll":{"options":["a","a"]}}`, []string{"poll.question", "poll.options"}},
		"option":            {"/sendPoll", `{"to":"6289999999999","poll":{"question":"q","options":["a",1,"b"]}}`, []string{"poll.options[1]"}},
		"generic":           {"/sessions/support/send", `{}`, []string{"to", "type"}},
		"generic place":     {"/sessions/support/send", `{"to":"6289999999999","type":"location","location":{"latitude":91}}`, []string{"location.longitude", "location.latitude"}},
		"generic place of":  {"/sessions/support/send", `{"to":"6289999999999","type":"location","location":{"latitude":91,"longitude":181}}`, []string{"location.latitude", "location.longitude"}},
		"generic contact":   {"/sessions/support/send", `{"to":"6289999999999","type":"contact","contact":{}}`, []string{"contact.name", "contact.phone"}},
		"generic no link":   {"/sessions/support/send", `{"to":"6289999999999","type":"link","link":"https://e.com"}`, []string{"link"}},
		"generic link":      {"/sessions/support/send", `{"to":"6289999999999","type":"link","link":{"url":1}}`, []string{"link.url"}},
		"generic media":     {"/sessions/support/send", `{"to":"6289999999999","type":"image"}`, []string{"mediaUrl"}},
		"seen":              {"/sendSeen", `{}`, []string{"to", "messageId"}},
		"typing":            {"/startTyping", `{"to":"12"}`, []string{"to"}},
		"edit":              {"/message/3EB0/edit", `{}`, []string{"phone", "newText"}},
		"reaction, none":    {"/message/3EB0/reaction", `{"phone":"6289999999999"}`, []string{"emoji"}},
		"reaction, several": {"/message/3EB0/reaction", `{"phone":"6289999999999","emoji":"👍👍"}`, []string{"emoji"}},
		"read":              {"/message/3EB0/read", `{"jid":"x","messageKey":{"fromMe":"no"}}`, []string{"messageKey.fromMe", "jid"}},
		"for everyone":      {"/message/3EB0/delete", `{"phone":"6289999999999","forEveryone":1}`, []string{"forEveryone"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, s := ask(t, "POST", "/api/v1"+c.path, keyText, c.body)
			assert.Equal(t, http.StatusBadRequest, got.Code)
			assert.Equal(t, c.fields, got.fields(), got.Body)
			assert.Zero(t, s.calls)
			assert.NotEmpty(t, got.Error.Message)
		})
	}
}

func TestSend_UnknownType_IsRefused(t *testing.T) {
	got, _ := ask(t, "POST", "/api/v1/sessions/support/send", keyText, `{"to":"6289999999999","type":"telegram"}`)
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.Equal(t, domain.CodeInvalidMessageType, got.Error.Code)
	assert.Equal(t, []string{"type"}, got.fields())
}

func TestActions_Bodies_ReachTheService(t *testing.T) {
	const phone = "6289999999999"
	for name, c := range map[string]struct {
		path, body string
		want       domain.Action
	}{
		"seen":    {"/sendSeen", `{"to":"` + phone + `","messageId":"3EB0"}`, domain.Action{Type: domain.ActionSeen, Phone: phone, MessageID: "3EB0"}},
		"typing":  {"/startTyping", `{"to":"` + phone + `"}`, domain.Action{Type: domain.ActionTypingStart, Phone: phone}},
		"no more": {"/stopTyping", `{"to":"` + phone + `"}`, domain.Action{Type: domain.ActionTypingStop, Phone: phone}},
		"delete":  {"/message/3EB0/delete", `{"phone":"` + phone + `","forEveryone":true}`, domain.Action{Type: domain.ActionDelete, MessageID: "3EB0", Phone: phone, ForEveryone: true}},
		"unsend":  {"/message/3EB0/unsend", `{"phone":"` + phone + `","messageId":"other"}`, domain.Action{Type: domain.ActionUnsend, MessageID: "3EB0", Phone: phone}},
		"edit":    {"/message/3EB0/edit", `{"phone":"` + phone + `","newText":"x"}`, domain.Action{Type: domain.ActionEdit, MessageID: "3EB0", Phone: phone, NewText: "x"}},
		"react":   {"/message/3EB0/reaction", `{"phone":"` + phone + `","emoji":"👍🏽"}`, domain.Action{Type: domain.ActionReaction, MessageID: "3EB0", Phone: phone, Emoji: "👍🏽"}},
		"unreact": {"/message/3EB0/reaction", `{"phone":"` + phone + `","emoji":""}`, domain.Action{Type: domain.ActionReaction, MessageID: "3EB0", Phone: phone}},
		"star":    {"/message/3EB0/star", `{"phone":"` + phone + `"}`, domain.Action{Type: domain.ActionStar, MessageID: "3EB0", Phone: phone}},
		"unstar":  {"/message/3EB0/unstar", `{"phone":"` + phone + `"}`, domain.Action{Type: domain.ActionUnstar, MessageID: "3EB0", Phone: phone}},
		"read key": {"/message/3EB0/read", `{"jid":"1-2@g.us","messageKey":{"remoteJid":"1-2@g.us","fromMe":true,"id":"3EB0","participant":"628999999999:3@s.whatsapp.net"}}`,
			domain.Action{Type: domain.ActionRead, MessageID: "3EB0", JID: "1-2@g.us",
				MessageKey: &domain.MessageKey{RemoteJID: "1-2@g.us", FromMe: true, ID: "3EB0", Participant: "628999999999:3@s.whatsapp.net"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, s := ask(t, "POST", "/api/v1"+c.path, keyText, c.body)
			require.Equal(t, http.StatusOK, got.Code, got.Body)
			assert.Equal(t, c.want, s.last)
			jid := "1-2@g.us"
			if c.want.Phone != "" {
				jid = phone + "@s.whatsapp.net"
			}
			assert.Equal(t, jid, got.Data["to"], "as in the answers to messages")
		})
	}
}

// An id that no message can have is refused, not made to fit another.
func TestActions_ImpossibleIDs_AreRefused(t *testing.T) {
	for _, id := range []string{strings.Repeat("x", 256), "a%00b", "%ff"} {
		got, s := ask(t, "POST", "/api/v1/message/"+id+"/star", keyText, `{"phone":"6289999999999"}`)
		assert.Equal(t, http.StatusBadRequest, got.Code, id)
		assert.Equal(t, []string{"messageId"}, got.fields(), id)
		assert.Zero(t, s.calls)
	}
}

// Whoever does not hear the outcome can look the message up.
func TestSend_OutcomeUnknown_AnswersTimeoutWithID(t *testing.T) {
	pending := someMessage()
	pending.Status = domain.MessagePending
	timeout := domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout, "No answer in time; the message stays PENDING")
	s := &stub{sent: pending, err: timeout}
	got := serve(t, New(config(s)), request("POST", "/api/v1/sendText", keyText, bodies["POST /sendText"]))
	assert.Equal(t, http.StatusGatewayTimeout, got.Code)
	assert.Equal(t, domain.CodeWorkerTimeout, got.Error.Code)
	assert.Equal(t, []domain.FieldError{{Field: "id", Message: "m1"}}, got.Error.Details)
	assert.Empty(t, timeout.Fields, "the service's error is not changed")
}

func TestSend_Pending_IsAnswered(t *testing.T) {
	pending := someMessage()
	pending.WhatsAppID, pending.Status = "", domain.MessagePending
	pending.SentAt = pending.DeliveredAt
	got := serve(t, New(config(&stub{sent: pending})), request("POST", "/api/v1/sendText", keyText, bodies["POST /sendText"]))
	assert.Nil(t, got.Data["messageId"])
	assert.Equal(t, "PENDING", got.Data["status"])
	assert.Equal(t, "2026-03-01T12:00:00.123Z", got.Data["timestamp"])
}

func TestMessages_Content_IsShownByType(t *testing.T) {
	for content, want := range map[string]string{
		`{"latitude":1}`: `{"latitude":1}`, `[1]`: `"[1]"`, `{"half`: `"{\"half"`, "": "null", `"x"`: `"\"x\""`,
	} {
		assert.Equal(t, want, string(view.Content(&domain.Message{Type: domain.TypeLocation, Content: content})))
	}
	assert.Equal(t, `"{\"latitude\":1}"`, string(view.Content(&domain.Message{Type: domain.TypeText, Content: `{"latitude":1}`})))
}

func TestSend_Base64OfAnyForm_ReachesTheService(t *testing.T) {
	for _, media := range []string{"aGVsbG8=", "aGVsbG8", `aGVs\r\nbG8=\r\n`, "-_-_", "DATA:image/png;BASE64, aGVsbG8="} {
		got, s := ask(t, "POST", "/api/v1/sendImage", keyText, `{"to":"6289999999999","media":"`+media+`"}`)
		assert.Equal(t, http.StatusOK, got.Code, media)
		assert.Equal(t, 1, s.calls, media)
	}
	got, _ := ask(t, "POST", "/api/v1/sendImage", keyText, `{"to":"6289999999999","media":"aGVs*G8="}`)
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.Contains(t, got.Body.String(), `{"field":"media","message":"Media must be base64: character 5 is '*'"}`)
}

// sendWithKeys asks for a text with headers.
func sendWithKeys(t *testing.T, s *stub, body string, keys ...string) reply {
	t.Helper()
	r := request("POST", "/api/v1/sendText", keyText, body)
	r.Header["Idempotency-Key"] = keys
	return serveUnchecked(t, New(config(s)), r) // the document does not allow all of them
}

func TestIdempotencyKey_FirstAndRepeat_AreToldApart(t *testing.T) {
	r := request("POST", "/api/v1/sendText", keyText, bodies["POST /sendText"])
	r.Header.Set("Idempotency-Key", "order 17")
	first := serve(t, New(config(&stub{})), r)
	require.Equal(t, http.StatusOK, first.Code, first.Body)
	assert.Empty(t, first.Header().Get("Idempotency-Replayed"))
	again := sendWithKeys(t, &stub{}, bodies["POST /sendText"], "again")
	require.Equal(t, http.StatusOK, again.Code, again.Body)
	assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
}

func TestIdempotencyKey_RepeatFails_IsMarkedToo(t *testing.T) {
	failed := &stub{err: domain.Errorf(domain.BadGateway, domain.CodeMessageSendFailed, "It failed")}
	got := sendWithKeys(t, failed, bodies["POST /sendText"], "again")
	assert.Equal(t, http.StatusBadGateway, got.Code)
	assert.Equal(t, "true", got.Header().Get("Idempotency-Replayed"))
}

func TestIdempotencyKey_Unusable_IsRefusedWithReason(t *testing.T) {
	for name, c := range map[string]struct {
		keys []string
		want string
	}{
		"empty":        {[]string{""}, "Idempotency-Key must not be empty"},
		"long":         {[]string{strings.Repeat("x", 256)}, "Idempotency-Key must have at most 255 characters"},
		"unprintable":  {[]string{"a\tb"}, "Idempotency-Key must have printable ASCII characters only: character 2 is none"},
		"beyond ASCII": {[]string{"schlüssel"}, "Idempotency-Key must have printable ASCII characters only: character 5 is none"},
		"two":          {[]string{"a", "b"}, "Give one Idempotency-Key, not several"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &stub{}
			got := sendWithKeys(t, s, bodies["POST /sendText"], c.keys...)
			assert.Equal(t, http.StatusBadRequest, got.Code)
			assert.Equal(t, domain.CodeValidation, got.Error.Code)
			assert.Equal(t, []domain.FieldError{{Field: "Idempotency-Key", Message: c.want}}, got.Error.Details)
			assert.Zero(t, s.calls)
		})
	}
}

func TestSend_ReplyAndMentions_ReachTheServiceOnEveryRoute(t *testing.T) {
	for name, body := range bodies {
		path, isSend := strings.CutPrefix(name, "POST /send")
		if !isSend || path == "Seen" {
			continue
		}
		body = strings.TrimSuffix(strings.TrimSpace(body), "}") + `,"quotedMessageId":"3EB0","mentions":["6285555555555"],"to":"120363025246125486@g.us"}`
		body = strings.Replace(body, `"to":"6289999999999",`, "", 1)
		got, s := ask(t, "POST", "/api/v1/send"+path, keyText, body)
		require.Equal(t, http.StatusOK, got.Code, "%s: %s", body, got.Body)
		m := s.last.(*domain.Outgoing)
		assert.Equal(t, "3EB0", m.QuotedMessageID, path)
		assert.Equal(t, []string{"6285555555555"}, m.Mentions, path)
	}
}

func TestSend_WrongMentions_AreTold(t *testing.T) {
	for members, fields := range map[string][]string{
		`"to":"6289999999999","mentions":["6285555555555"]`:         {"mentions"},
		`"to":"120363025246125486@g.us","mentions":["Bo"]`:          {"mentions[0]"},
		`"to":"120363025246125486@g.us","mentions":"6285555555555"`: {"mentions"},
		`"to":"120363025246125486@g.us","mentions":[null]`:          {"mentions[0]"},
		`"to":"6289999999999","quotedMessageId":7`:                  {"quotedMessageId"},
	} {
		got, s := ask(t, "POST", "/api/v1/sendText", keyText, `{"message":"x",`+members+`}`)
		assert.Equal(t, http.StatusBadRequest, got.Code, members)
		assert.Equal(t, fields, got.fields(), got.Body)
		assert.Zero(t, s.calls)
	}
}
