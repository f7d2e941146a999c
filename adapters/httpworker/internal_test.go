package httpworker

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestReadSession_Response_MapsToReport(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := New("", With(Config{Now: func() time.Time { return now }}))
	asked := session{SessionID: "one", Status: "initializing"}

	r, err := c.readSession([]byte(`{"success":true,"data":{"sessionId":"One_","status":"qr_ready","qrCode":"2@abc","generation":4}}`), asked, "w1")
	require.NoError(t, err)
	require.Equal(t, domain.Report{SessionID: "one", WorkerID: "w1", Generation: 4, Status: domain.QRRequired,
		QR: domain.QR{Code: "2@abc"}}, r, "the core knows how long it lives")

	timed := New("", With(Config{Now: func() time.Time { return now }, QRLife: 5 * time.Minute}))
	r, err = timed.readSession([]byte(`{"data":{"status":"qr_ready","qrCode":"2@abc"}}`), asked, "w1")
	require.NoError(t, err)
	require.Equal(t, now.Add(5*time.Minute), r.QR.ExpiresAt)

	r, err = c.readSession([]byte(`{"data":{"status":"connected","phoneNumber":"6281234567890:12@s.whatsapp.net"}}`), asked, "w1")
	require.NoError(t, err)
	require.Equal(t, "6281234567890", r.PhoneNumber)

	r, err = c.readSession([]byte("\xef\xbb\xbf"+`{"data":{"status":"connected","phoneNumber":6281234567890,"displayName":"Ada \ud83d","generation":"4","error":{}}}`), asked, "w1")
	require.NoError(t, err)
	require.Equal(t, domain.Report{SessionID: "one", WorkerID: "w1", Generation: 4, Status: domain.Connected,
		PhoneNumber: "6281234567890", DisplayName: "Ada \ufffd"}, r)

	for _, body := range []string{`{"success":true}`, `{"data":null}`, `{"data":{}}`, `{"data":{"sessionId":null,"status":null}}`,
		`{"data":{"status":"dancing"}}`, `{"data":{"status":{}}}`} {
		r, err = c.readSession([]byte(body), asked, "w1")
		require.NoError(t, err, body)
		require.Equal(t, domain.Report{SessionID: "one", WorkerID: "w1", Status: domain.Init}, r, body)
	}
	for _, body := range []string{``, `[]`, `<html>`, `{"data":7}`, `{"success":false,"data":{}}`} {
		_, err = c.readSession([]byte(body), asked, "w1")
		require.Error(t, err, body)
	}
	_, err = c.readSession([]byte(`{"data":{}}`), session{SessionID: "one"}, "w1")
	require.Error(t, err, "Status has no default")
	_, err = c.readSession([]byte(`{"data":{"status":"dancing"}}`), session{SessionID: "one"}, "w1")
	require.Error(t, err)

	list, err := c.readSessions([]byte(`{"data":[{"sessionId":"one","status":"connected"}]}`), "w1")
	require.NoError(t, err, "a bare list is accepted")
	require.Len(t, list, 1)
}

func TestReadSessions_OddItems_NeverFailTheList(t *testing.T) {
	c := New("")
	list, err := c.readSessions([]byte(`{"data":{"sessions":[null,7,"x",[],{},{"sessionId":"one","status":"dancing"},{"sessionId":"two"},
		{"sessionId":"three","status":"connecting"},{"sessionId":"four","status":"qr_expired"},{"sessionId":"five","status":7},
		{"sessionId":"six","status":"connected","phoneNumber":"6281234567890.0:12@s.whatsapp.net"}]}}`), "w1")
	require.NoError(t, err)
	got := map[string]domain.Status{}
	for _, r := range list {
		require.True(t, r.Snapshot)
		got[r.SessionID] = r.Status
	}
	require.Equal(t, map[string]domain.Status{
		"one": "", "two": "", "three": domain.Init, "four": domain.Disconnected, "five": "", "six": domain.Connected,
	}, got)
	require.Equal(t, "6281234567890", list[len(list)-1].PhoneNumber)
	for _, body := range []string{`{}`, `{"data":null}`, `{"data":{}}`, `{"data":[]}`, `{"data":{"sessions":null}}`} {
		list, err := c.readSessions([]byte(body), "w1")
		require.NoError(t, err, body)
		require.Empty(t, list)
	}
	for _, body := range []string{``, `[]`, `{"data":7}`, `{"data":{"sessions":7}}`, `{"success":false,"data":[]}`} {
		_, err := c.readSessions([]byte(body), "w1")
		require.Error(t, err, body)
	}
}

func TestReadSent_Response_MapsToSent(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	for body, want := range map[string]ports.Sent{
		`{"success":true,"data":{"messageId":"A","status":"SENT","timestamp":"2026-01-02T03:04:05.678Z"}}`: {WhatsAppID: "A", Status: domain.MessageSent, At: at},
		`{"data":{"messageId":"A"},"message":"ok"}`:                                                        {WhatsAppID: "A", Status: domain.MessageSent},
		`{"data":{"messageId":"\u0041","status":" Sent ","timestamp":1767323045678}}`:                      {WhatsAppID: "A", Status: domain.MessageSent, At: at},
		`{"data":{"messageId":"A","timestamp":1767323045,"status":"pending","more":{}}}`:                   {WhatsAppID: "A", Status: domain.MessagePending, At: at.Truncate(time.Second)},
		`{"success":true,"messageId":"A","status":"DELIVERED"}`:                                            {WhatsAppID: "A", Status: domain.MessageDelivered},
		`{"data":{"messageId":"A","timestamp":"yesterday"}}`:                                               {WhatsAppID: "A", Status: domain.MessageSent},
		"\xef\xbb\xbf" + `{"data":{"messageId":"A","status":null}}`:                                        {WhatsAppID: "A", Status: domain.MessageSent},
		`{"status":"success","data":{"messageId":"A","status":"Read"}}`:                                    {WhatsAppID: "A", Status: domain.MessageRead},
	} {
		got, err := readSent([]byte(body))
		require.NoError(t, err, body)
		require.Equal(t, want, got, body)
	}
}

// The worker's word decides, in any case.
func TestReadSent_StatusWord_Decides(t *testing.T) {
	for word, want := range map[string]domain.MessageStatus{
		"pending": domain.MessagePending, "PENDING": domain.MessagePending, "queued": domain.MessagePending, "dancing": domain.MessagePending,
		"server_ack": domain.MessagePending, "failed": domain.MessageFailed, "Failed": domain.MessageFailed, "ERROR": domain.MessageFailed,
		" error ": domain.MessageFailed, "delivered": domain.MessageDelivered, "sent": domain.MessageSent, "": domain.MessageSent,
	} {
		for _, form := range []string{`{"success":true,"data":{"messageId":"A","status":%q}}`, `{"data":{"messageId":"A","status":%q,"x":1}}`} {
			got, err := readSent(fmt.Appendf(nil, form, word))
			require.NoError(t, err, word)
			require.Equal(t, ports.Sent{WhatsAppID: "A", Status: want}, got, word)
		}
	}
}

// A message that was not sent needs no id.
func TestReadSent_Failed_KeepsReason(t *testing.T) {
	for body, want := range map[string]ports.Sent{
		`{"success":true,"data":{"status":"failed"}}`:                                             {Status: domain.MessageFailed},
		`{"success":true,"message":"Message processed","data":{"status":"failed"}}`:               {Status: domain.MessageFailed},
		`{"success":true,"data":{"messageId":"A","status":"error","error":"not on WhatsApp"}}`:    {WhatsAppID: "A", Status: domain.MessageFailed, Error: "not on WhatsApp"},
		`{"success":true,"data":{"status":"failed","errorMessage":"at 10.0.0.7:6379 it failed"}}`: {Status: domain.MessageFailed, Error: "… it failed"},
		`{"success":false,"error":{"code":"X","message":"No"},"data":{"status":"failed"}}`:        {Status: domain.MessageFailed, Error: "No"},
	} {
		got, err := readSent([]byte(body))
		require.NoError(t, err, body)
		require.Equal(t, want, got, body)
	}
}

func TestReadSent_NoUsableID_Error(t *testing.T) {
	for _, body := range []string{``, `null`, `{}`, `{"data":{}}`, `{"data":{"messageId":""}}`, `{"data":null}`, `{"data":{"messageId":7}}`,
		`{"success":false,"data":{"messageId":"A"}}`, `{"data":{"messageId":"A"}} x`, `{"data":{"messageId":"A"`, `{"data":{"messageId":"A\u0000"}}`,
		`{"data":{"messageId":"undefined","status":"SENT"}}`, `{"data":{"messageId":null,"status":"pending"}}`, `{"data":[]}`, `{"data":"A"}`,
		`{"status":"error","message":"no"}`, `{"data":{"messageId":"` + strings.Repeat("A", 256) + `"}}`, `<html>`} {
		_, err := readSent([]byte(body))
		require.Error(t, err, body)
	}
}

// FuzzScanSent checks that scanSent returns the values that encoding/json returns,
// or leaves the body to encoding/json.
func FuzzScanSent(f *testing.F) {
	f.Add([]byte(`{"success":true,"message":"m","data":{"messageId":"A","status":"SENT","timestamp":"t"}}`))
	f.Add([]byte(` { "data" : { "messageId" : "A" } , "timestamp" : "t" } `))
	f.Add([]byte(`{"data":{"messageId":"A","messageId":"B"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		id, status, at, ok := scanSent(body)
		if !ok {
			return
		}
		var a struct {
			Success *bool
			Data    struct{ MessageID, Status, Timestamp string }
		}
		require.NoError(t, json.Unmarshal(body, &a))
		require.True(t, a.Success == nil || *a.Success)
		require.Equal(t, a.Data.MessageID, string(id))
		require.Equal(t, a.Data.Status, string(status))
		require.Equal(t, a.Data.Timestamp, string(at))
	})
}

func FuzzAppendString(f *testing.F) {
	f.Add("plain")
	f.Add("\"\\\n\x00\x1f\x7fÜ🙂\xff\xc3")
	f.Fuzz(func(t *testing.T, s string) {
		doc := appendString(nil, s)
		require.True(t, utf8.Valid(doc))
		var back, viaJSON string
		require.NoError(t, json.Unmarshal(doc, &back), "%q", doc)
		std, _ := json.Marshal(s)
		require.NoError(t, json.Unmarshal(std, &viaJSON))
		require.Equal(t, viaJSON, back)
	})
}

func TestAppendSend_EachMessageType_WritesBody(t *testing.T) {
	webp := base64.StdEncoding.EncodeToString([]byte("RIFF\x00\x00\x00\x00WEBPVP8 "))
	ogg := base64.StdEncoding.EncodeToString([]byte("OggS\x00rest"))
	zip := base64.StdEncoding.EncodeToString([]byte("PK\x03\x04rest"))
	for _, c := range []struct {
		m      domain.Outgoing
		dedupe bool
		want   string
	}{
		{domain.Outgoing{Type: domain.TypeText, Text: `say "hi"`}, false, `"type":"text","message":"say \"hi\"","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeText, Text: "x", HumanSimulation: true}, true, `"type":"text","message":"x","humanSimulation":true,"clientMessageId":"m1"`},
		{domain.Outgoing{Type: domain.TypeImage, MediaURL: "https://e.com/a.png", Caption: "c"}, false,
			`"type":"image","mediaUrl":"https://e.com/a.png","caption":"c","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeSticker, Media: webp}, false, `"type":"sticker","mediaUrl":"data:image/webp;base64,` + webp + `","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeAudio, Media: ogg}, false, `"type":"audio","mediaUrl":"data:audio/ogg;base64,` + ogg + `","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeImage, Media: "data:image/png;base64,AAAA"}, false, `"type":"image","mediaUrl":"data:image/png;base64,AAAA","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeDocument, Media: zip}, false, `"type":"document","mediaUrl":"data:application/zip;base64,` + zip + `","filename":"document.zip","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeDocument, Media: " DATA:application/pdf;BASE64, JVBE\r\nRi0x"}, false,
			`"type":"document","mediaUrl":"data:application/pdf;base64,JVBERi0x","filename":"document.pdf","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeDocument, Media: "JVBERi0xLjc"}, false,
			`"type":"document","mediaUrl":"data:application/pdf;base64,JVBERi0xLjc=","filename":"document.pdf","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeAudio, Media: "data:audio/ogg; codecs=\"opus\";base64,_-8"}, false,
			`"type":"audio","mediaUrl":"data:audio/ogg; codecs=\"opus\";base64,/+8=","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeDocument, MediaURL: "https://e.com/a%2Fb%00%0d%0a%5Cfdp%E2%80%AE.exe%20"}, false,
			`"type":"document","mediaUrl":"https://e.com/a%2Fb%00%0d%0a%5Cfdp%E2%80%AE.exe%20","filename":"fdp.exe","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeLink, Link: &domain.Link{URL: "https://e.com", Thumbnail: "data:image/png;BASE64,_-8\n"}}, false,
			`"type":"link","link":{"url":"https://e.com","thumbnail":"data:image/png;base64,/+8="},"humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeLink, Link: &domain.Link{URL: "https://e.com", Thumbnail: "_-8"}}, false,
			`"type":"link","link":{"url":"https://e.com","thumbnail":"/+8="},"humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeDocument, MediaURL: "https://e.com/a%20b/r%C3%A9port.pdf?x=/y"}, false,
			`"type":"document","mediaUrl":"https://e.com/a%20b/r%C3%A9port.pdf?x=/y","filename":"réport.pdf","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeDocument, MediaURL: "https://e.com/"}, false, `"type":"document","mediaUrl":"https://e.com/","filename":"document","humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypeLocation, Location: &domain.Location{Latitude: 1.5, Longitude: -2}}, false,
			`"type":"location","location":{"latitude":1.5,"longitude":-2},"humanSimulation":false`},
		{domain.Outgoing{Type: domain.TypePoll, Poll: &domain.Poll{Question: "q", Options: []string{"a", "b"}}}, false,
			`"type":"poll","poll":{"question":"q","options":["a","b"]},"humanSimulation":false`},
	} {
		got, fileAt, err := appendSend(nil, &ports.Send{To: "1@s.whatsapp.net", ClientMessageID: "m1", Message: &c.m}, capsOf(c.dedupe))
		require.NoError(t, err)
		require.Equal(t, `{"to":"1@s.whatsapp.net",`+c.want+`}`, string(got))
		require.True(t, json.Valid(got))
		require.Zero(t, fileAt)
	}
}

func TestAppendSend_Upload_LeavesRoomForItsContent(t *testing.T) {
	for _, c := range []struct{ kind, declared, filename, want string }{
		{"application/pdf", "text/html", "a.txt", "application/pdf"},
		{"text/plain", "", "a.csv", "text/csv"},
		{"", "image/png", "", "image/png"},
		{"", "", "", "application/octet-stream"},
	} {
		m := &domain.Outgoing{Type: domain.TypeDocument, Upload: &domain.Upload{Size: 3, Type: c.declared}, MediaType: c.kind, Filename: c.filename}
		got, fileAt, err := appendSend(nil, &ports.Send{To: "1@s.whatsapp.net", Message: m}, nil)
		require.NoError(t, err)
		require.True(t, json.Valid(got))
		require.Equal(t, `"mediaUrl":"data:`+c.want+`;base64,`, string(got[strings.Index(string(got), `"mediaUrl"`):fileAt]))
	}
}

func TestActionBody_EachAction_SelectsRouteAndBody(t *testing.T) {
	for _, c := range []struct {
		a      domain.Action
		bySend bool
		want   string
	}{
		{domain.Action{Type: domain.ActionSeen, Phone: "+62 812-3456-7890", MessageID: "X"}, true, `{"to":"6281234567890@s.whatsapp.net","type":"seen","messageId":"X"}`},
		{domain.Action{Type: domain.ActionTypingStart, Phone: "6281234567890"}, true, `{"to":"6281234567890@s.whatsapp.net","type":"typing_start"}`},
		{domain.Action{Type: domain.ActionReaction, Phone: "6281234567890@s.whatsapp.net", MessageID: "X"}, false,
			`{"action":"reaction","messageId":"X","phone":"6281234567890@s.whatsapp.net","emoji":""}`},
		{domain.Action{Type: domain.ActionEdit, Phone: "84912345678", MessageID: "X", NewText: "n"}, false,
			`{"action":"edit","messageId":"X","phone":"84912345678@s.whatsapp.net","newText":"n"}`},
		{domain.Action{Type: domain.ActionStar, Phone: "84912345678:3@s.whatsapp.net", JID: "84912345678", MessageID: "X"}, false,
			`{"action":"star","messageId":"X","phone":"84912345678@s.whatsapp.net","jid":"84912345678@s.whatsapp.net"}`},
		{domain.Action{Type: domain.ActionDelete, Phone: "120363025246125486@g.us", MessageID: "X", ForEveryone: true}, false,
			`{"action":"delete","messageId":"X","phone":"120363025246125486@g.us","forEveryone":true}`},
		{domain.Action{Type: domain.ActionRead, MessageID: "X", JID: "6281234567890@s.whatsapp.net",
			MessageKey: &domain.MessageKey{RemoteJID: "120363025246125486@g.us", ID: "i", Participant: "84 912345678"}}, false,
			`{"action":"read","messageId":"X","phone":"6281234567890@s.whatsapp.net","jid":"6281234567890@s.whatsapp.net",` +
				`"messageKey":{"remoteJid":"120363025246125486@g.us","fromMe":false,"id":"i","participant":"84912345678@s.whatsapp.net"}}`},
		{domain.Action{Type: domain.ActionRead, MessageID: "X", JID: "+62 812-3456-7890"}, false,
			`{"action":"read","messageId":"X","phone":"6281234567890@s.whatsapp.net","jid":"6281234567890@s.whatsapp.net"}`},
	} {
		a, err := c.a.NormalizeAddresses()
		require.NoError(t, err)
		body, bySend := actionBody(a)
		doc, err := json.Marshal(body)
		require.NoError(t, err)
		require.Equal(t, c.want, string(doc))
		require.Equal(t, c.bySend, bySend)
	}
}

func TestReadError_FormsOfWorkers_TextIsFound(t *testing.T) {
	for body, want := range map[string]errorAnswer{
		`{"success":false,"error":"Session is not connected"}`:                                           {text: "Session is not connected", inForm: true},
		`{"success":false,"error":"Session is not connected","details":{}}`:                              {text: "Session is not connected", inForm: true},
		`{"success":false,"errorMessage":"No","details":{}}`:                                             {text: "No", inForm: true},
		`{"success":false,"error":{"code":"X_Y","errorMessage":"No"},"details":{}}`:                      {text: "No", code: "X_Y", inForm: true},
		`{"success":false,"error":null,"message":"Plain"}`:                                               {text: "Plain", inForm: true},
		`{"success":false,"error":"Validation failed","details":["to must be a JID"]}`:                   {text: "Validation failed: to must be a JID", inForm: true},
		`{"success":false,"error":"Validation failed","details":[null,{"field":"to","message":"bad"}]}`:  {text: "Validation failed: bad", inForm: true},
		`{"success":false,"error":"Validation failed","details":{"field":"to","message":"bad"}}`:         {text: "Validation failed: bad", inForm: true},
		`{"success":false,"error":{"code":"X_Y","message":"No","details":[{"msg":"since it is late"}]}}`: {text: "No: since it is late", code: "X_Y", inForm: true},
		`{"success":false,"error":{"code":"X_Y"}}`:                                                       {text: "X_Y", code: "X_Y", inForm: true},
		`{"success":false,"error":{"message":"No","notSent":true}}`:                                      {text: "No", inForm: true, notSent: true},
		`{"success":false,"error":{"message":"No","notSent":"true"}}`:                                    {text: "No", inForm: true},
		`{"error":"No"}`:                         {text: "No", inForm: true},
		"\xef\xbb\xbf" + `{"error":"No"}`:        {text: "No", inForm: true},
		`{"success":true,"error":"No"}`:          {text: "No"},
		`{"message":"no Route matched"}`:         {text: "no Route matched"},
		`{"success":false}`:                      {},
		`{"success":false,"error":[],"code":[]}`: {},
		`<html>`:                                 {},
		`[]`:                                     {},
		`null`:                                   {},
		``:                                       {},
	} {
		require.Equal(t, want, readError([]byte(body)), body)
	}
}

// FuzzReadAnswers checks that no response of a worker can make a decoder panic,
// return text that is not valid, or return a message without an id.
func FuzzReadAnswers(f *testing.F) {
	for _, body := range []string{
		`{"success":true,"data":{"messageId":"A","status":"SENT","timestamp":1}}`, `{"success":false,"error":{"code":"X","message":"M","notSent":true},"details":{}}`,
		`{"data":{"sessions":[null,{"sessionId":"one","status":"connected","phoneNumber":628,"generation":"9"}]}}`, "\xef\xbb\xbf{}", `{"error":"\ud83d"}`,
		`{"data":{"sessionId":"one","status":"qr_ready","qrCode":"data:image/png;base64,AAAA"}}`, `<html>`, `{"messageId":"A","status":[]}`, `{"data":[{}]}`,
	} {
		f.Add([]byte(body))
	}
	c := New("")
	f.Fuzz(func(t *testing.T, body []byte) {
		if s, err := readSent(body); err == nil {
			require.True(t, isUsableID(s.WhatsAppID) || s.WhatsAppID == "" && s.Status == domain.MessageFailed)
			_, err := domain.ParseMessageStatus(string(s.Status))
			require.NoError(t, err)
			require.True(t, utf8.ValidString(s.Error))
		}
		for _, text := range []string{readError(body).text, domain.PublicText(readError(body).text), domain.PublicText(string(body))} {
			require.True(t, utf8.ValidString(text))
		}
		require.LessOrEqual(t, len(domain.PublicText(string(body))), domain.MaxPublicText+len("…"))
		check := func(r domain.Report) {
			require.True(t, utf8.ValidString(r.PhoneNumber+r.DisplayName+r.Error+r.PairingCode))
			require.Equal(t, r.PhoneNumber, domain.AccountPhone(r.PhoneNumber))
			require.GreaterOrEqual(t, r.Generation, int64(0))
		}
		if r, err := c.readSession(body, session{SessionID: "one", Status: "initializing"}, "w1"); err == nil {
			require.NotEmpty(t, r.Status)
			check(r)
		}
		if list, err := c.readSessions(body, "w1"); err == nil {
			for _, r := range list {
				require.NotEmpty(t, r.SessionID)
				check(r)
			}
		}
	})
}

func TestRetryAfter_SecondsOrDate_IsBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-3": 0, "99999999999": time.Hour, "soon": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Thu, 01 Jan 2026 03:05:05 GMT": 0,
	} {
		require.Equal(t, want, retryAfter(s, now), s)
	}
}

// TestClient_NewPeerAfterSweepInterval_RemovesUnusedPeers checks that the map of
// peers does not grow with endpoints that are no longer called.
func TestClient_NewPeerAfterSweepInterval_RemovesUnusedPeers(t *testing.T) {
	c := New("")
	for i := range 1000 {
		_, failure := c.peer(fmt.Sprintf("http://w%d.example:8001", i))
		require.Nil(t, failure)
	}
	for _, p := range c.peers {
		p.lastUsed.Store(time.Now().Add(-2 * idleEntryLife).Unix())
	}
	_, _ = c.peer("http://w7.example:8001") // still in use
	c.sweptAt = time.Now().Add(-2 * sweepEvery)
	_, failure := c.peer("http://new.example:8001")
	require.Nil(t, failure)
	require.Len(t, c.peers, 2)

	for _, bad := range []string{"", "w1", "ftp://w1", "http://u@w1", "http://w1/?x", "sim://w1"} {
		_, failure = c.peer(bad)
		require.NotNil(t, failure, bad)
		require.True(t, failure.IsNotExecuted())
	}
}

// TestRequestWire_AnySize_HeadStandsBeforeBody checks the bytes of a request for
// bodies of many sizes.
func TestRequestWire_AnySize_HeadStandsBeforeBody(t *testing.T) {
	c := New("tok\r\nen: x")
	p, failure := c.peer("http://w1.example:8001/below/here")
	require.Nil(t, failure)
	for _, size := range []int{0, 1, 9, 10, 99, 2000, 100_000} {
		r := newRequest(p, c.headFor(p, ports.WorkerRef{ID: "w1"}), "POST", "/api/one/send")
		*r.buf = append(*r.buf, bytes.Repeat([]byte("x"), size)...)
		kind := "Content-Type: application/json\r\n"
		if size == 0 {
			kind = ""
		}
		require.Equal(t, fmt.Sprintf("POST /below/here/api/one/send HTTP/1.1\r\nHost: w1.example:8001\r\nUser-Agent: switchyard\r\n"+
			"Accept: application/json\r\nAuthorization: Bearer token: x\r\n%sContent-Length: %d\r\n\r\n%s", kind, size, strings.Repeat("x", size)), string(r.wire()))
		r.release()
	}
	r := newRequest(p, p.head, "GET", "/health")
	require.NotContains(t, string(r.wire()), "Content-Length")
}

// capsOf returns the capabilities of a worker with or without dedupe.
func capsOf(dedupe bool) []domain.Capability {
	if !dedupe {
		return nil
	}
	return []domain.Capability{domain.CapDedupe}
}

// Deployed workers refuse members that they do not know.
func TestAppendSend_Relations_GoToWorkersThatTakeThem(t *testing.T) {
	send := &ports.Send{To: "120363025246125486@g.us", Message: &domain.Outgoing{
		Type: domain.TypeText, Text: "yes", QuotedMessageID: "3EB0", Mentions: []string{"+62 811 1111 1111", "6281111111112@c.us"},
	}}
	const plain = `{"to":"120363025246125486@g.us","type":"text","message":"yes","humanSimulation":false`
	for _, c := range []struct {
		caps []domain.Capability
		want string
	}{
		{nil, plain + `}`},
		{[]domain.Capability{domain.CapDedupe}, plain + `}`},
		{[]domain.Capability{domain.CapReplies}, plain + `,"quotedMessageId":"3EB0","mentions":["6281111111111@s.whatsapp.net","6281111111112@s.whatsapp.net"]}`},
	} {
		got, _, err := appendSend(nil, send, c.caps)
		require.NoError(t, err)
		require.Equal(t, c.want, string(got))
	}
}
