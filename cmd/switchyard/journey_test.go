package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"image"
	"image/png"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/makiuchi-d/gozxing"
	qrreader "github.com/makiuchi-d/gozxing/qrcode"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// journey is one user's path from the registration to the deletion of everything.
type journey struct {
	*testing.T
	s    *server
	n    *node
	user *person
	card *testSession
}

// The journey runs with clients under one base path and the worker under the other,
// and the other way round. It runs with a legacy worker and with a modern one.
func TestJourney_BothBasePaths_EveryStepWorks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		clients, worker string
		options         []nodeOption
	}{
		"versioned":   {"/api/v1", "/api", nil},
		"unversioned": {"/api", "/api/v1", nil},
		"modern":      {"/api/v1", "/api/v1", []nodeOption{modern}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			j := &journey{T: t, s: s, n: newNode(s, "Worker_Node_ALPHA_01", append(c.options, calling(c.worker))...)}
			assert.Equal(t, "worker-node-alpha-01", j.n.canonical)
			j.signUp(c.clients)
			j.createCard()
			j.connect()
			j.qr()
			j.scan()
			j.sendEveryType()
			j.sendGeneric()
			j.manageMessages()
			j.refusedSends()
			j.readHistory()
			j.reports()
			j.inbound()
			j.restart()
			j.disconnectAndReturn()
			j.logout()
			j.unlinkedOnPhone()
			j.rotateKey()
			j.deleteCard()
		})
	}
}

func (j *journey) signUp(base string) {
	a := j.s.anonymous().under(base).want(http.StatusCreated, "POST", "/auth/register",
		obj{"name": "Ada Lovelace", "email": "  Ada@Example.COM ", "password": password})
	assert.Equal(j, "ada@example.com", a.str("data.user.email"))
	assert.Equal(j, "USER", a.str("data.user.role"))
	assert.Equal(j, "BASIC", a.str("data.user.tier"))
	assert.Equal(j, true, a.at("data.user.isActive"))
	assert.EqualValues(j, 3600, a.at("data.expiresIn"))
	assert.NotContains(j, string(a.raw), password)
	j.user = &person{j.s.with(a.str("data.token")).under(base), a.str("data.user.id"), "ada@example.com", a.str("data.refreshToken")}

	me := j.user.get("/auth/me")
	assert.Equal(j, j.user.id, me.str("data.user.id"))
	profile := j.user.get("/users/profile")
	assert.EqualValues(j, 0, profile.at("data.stats.totalSessions"))
	tier := j.user.get("/users/tier")
	assert.Equal(j, "BASIC", tier.str("data.tier"))
	assert.Equal(j, obj{"maxSessions": 1.0, "messagesPerHour": 100.0, "apiCallsPerHour": 1000.0}, tier.at("data.limits"))
}

func (j *journey) createCard() {
	a := j.user.want(http.StatusCreated, "POST", "/sessions",
		obj{"name": "Support line", "sessionId": "Support__Line_01", "description": "first floor"})
	j.card = &testSession{j.user.client, a.str("data.id"), a.str("data.apiKey")}
	assert.Equal(j, "support-line-01", j.card.id)
	assert.Regexp(j, `^wg_[0-9A-Za-z]{32,}$`, j.card.key)
	assert.Equal(j, "DISCONNECTED", a.str("data.status"))
	assert.Equal(j, "first floor", a.str("data.description"))
	assert.Nil(j, a.at("data.workerId"))
	assert.EqualValues(j, 0, a.at("data.generation"))
	assert.Empty(j, j.n.asked(j.card.id), "creating a card starts nothing")
	assert.NotContains(j, string(j.card.view().raw), j.card.key, "the key is shown once")

	over := j.user.refused(http.StatusConflict, "SESSION_LIMIT_EXCEEDED", "POST", "/sessions", obj{"name": "One more"})
	assert.Equal(j, "Session limit exceeded. BASIC tier allows 1 session(s). Currently: 1", over.str("error.message"))

	none := j.user.get(j.card.path("/qr"))
	for _, field := range []string{"qrCode", "qrString", "expiresAt"} {
		assert.Contains(j, none.at("data"), field)
		assert.Nil(j, none.at("data."+field))
	}
	assert.NotEmpty(j, none.str("message"))
	j.user.refused(http.StatusNotFound, "NOT_FOUND", "GET", j.card.path("/qr?format=png"), nil)
	j.card.byKey().refused(http.StatusConflict, "SESSION_NOT_CONNECTED", "POST", "/sendText",
		obj{"to": "6281234567890", "message": "too early"})
}

func (j *journey) connect() {
	a := j.user.post(j.card.path("/connect?wait=10s"), nil)
	assert.Equal(j, j.card.id, a.str("data.sessionId"))
	assert.Equal(j, "QR_REQUIRED", a.str("data.status"))
	assert.Equal(j, j.n.canonical, a.str("data.workerId"))
	assert.Equal(j, j.n.qr(j.card.id), a.str("data.qrString"))
	j.future(a, "data.expiresAt")
	assert.Equal(j, j.n.qr(j.card.id), j.readDataURL(a.str("data.qrCode")))
	assert.Equal(j, []string{"start"}, j.n.asked(j.card.id))
	j.user.refused(http.StatusConflict, "SESSION_CONNECTING", "POST", j.card.path("/connect"), nil)

	v := j.card.view()
	assert.EqualValues(j, 1, v.at("data.generation"))
	assert.Equal(j, obj{"id": j.n.canonical, "status": "ONLINE"}, v.at("data.worker"), "only administrators see endpoints")
	assert.NotContains(j, string(v.raw), "qr", "QR data has its own route")
}

func (j *journey) future(a answer, path string) {
	at, err := time.Parse(time.RFC3339, a.str(path))
	require.NoError(j, err, a)
	assert.WithinDuration(j, time.Now().Add(time.Minute), at, 45*time.Second)
}

// readDataURL reads the QR code in a PNG.
func (j *journey) readDataURL(url string) string {
	encoded, ok := strings.CutPrefix(url, "data:image/png;base64,")
	require.True(j, ok, url)
	picture, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(j, err)
	return j.readPNG(picture)
}

func (j *journey) readPNG(picture []byte) string {
	img, err := png.Decode(bytes.NewReader(picture))
	require.NoError(j, err)
	return j.readImage(img)
}

func (j *journey) readImage(img image.Image) string {
	bits, err := gozxing.NewBinaryBitmapFromImage(img)
	require.NoError(j, err)
	read, err := qrreader.NewQRCodeReader().Decode(bits, nil)
	require.NoError(j, err)
	return read.GetText()
}

func (j *journey) qr() {
	want := j.n.qr(j.card.id)
	a := j.user.get(j.card.path("/qr"))
	assert.Equal(j, want, a.str("data.qrString"))
	assert.Equal(j, want, j.readDataURL(a.str("data.qrCode")))
	j.future(a, "data.expiresAt")

	picture := j.user.get(j.card.path("/qr?format=png"))
	assert.Equal(j, "image/png", picture.header.Get("Content-Type"))
	assert.Equal(j, want, j.readPNG(picture.raw))

	drawing := j.user.get(j.card.path("/qr?format=svg"))
	assert.Equal(j, "image/svg+xml", drawing.header.Get("Content-Type"))
	var root struct{ XMLName xml.Name }
	require.NoError(j, xml.Unmarshal(drawing.raw, &root))
	assert.Equal(j, "svg", root.XMLName.Local)

	terminal := j.user.get(j.card.path("/qr?format=text"))
	assert.Contains(j, terminal.header.Get("Content-Type"), "text/plain")
	assert.Equal(j, want, j.readImage(fromTerminal(string(terminal.raw))), "\n%s", terminal.raw)

	bad := j.user.refused(http.StatusBadRequest, "VALIDATION_ERROR", "GET", j.card.path("/qr?format=gif"), nil)
	assert.Equal(j, []string{"format"}, bad.fields())
}

// fromTerminal returns an image of the QR code in a terminal: light on dark, with two
// rows of modules in a line.
func fromTerminal(drawing string) image.Image {
	const module = 4
	lines := strings.Split(strings.TrimRight(drawing, "\n"), "\n")
	img := image.NewGray(image.Rect(0, 0, module*len([]rune(lines[0])), 2*module*len(lines)))
	light := func(x, y int) {
		for i := range module * module {
			img.Pix[img.PixOffset(x*module+i%module, y*module+i/module)] = 0xff
		}
	}
	for y, line := range lines {
		for x, r := range []rune(line) {
			if r == '█' || r == '▀' {
				light(x, 2*y)
			}
			if r == '█' || r == '▄' {
				light(x, 2*y+1)
			}
		}
	}
	return img
}

func (j *journey) scan() {
	j.n.scan(j.card.id)
	v := j.card.view()
	assert.Equal(j, "CONNECTED", v.str("data.status"), "a report counts from its answer on")
	phone := j.n.disk.phone(j.card.id)
	assert.Equal(j, phone, v.str("data.phoneNumber"))
	assert.Equal(j, "Pretend Phone", v.str("data.displayName"))
	assert.NotEmpty(j, v.str("data.lastSeenAt"))
	assert.Nil(j, j.user.get(j.card.path("/qr")).at("data.qrCode"), "it vanishes on CONNECTED")
	j.user.refused(http.StatusConflict, "SESSION_ALREADY_CONNECTED", "POST", j.card.path("/connect"), nil)

	for _, path := range []string{
		"/sessions", "/users/sessions", "/sessions?status=connected", "/sessions?search=support", "/sessions?search=" + phone,
	} {
		a := j.user.get(path)
		assert.Equal(j, j.card.id, a.str("data.sessions.0.id"), path)
		assert.Equal(j, obj{"total": 1.0, "page": 1.0, "limit": 20.0, "totalPages": 1.0, "hasNext": false, "hasPrev": false}, a.at("data.pagination"))
	}
	assert.Empty(j, j.user.get("/sessions?status=ERROR").list("data.sessions"))
	for _, a := range []answer{
		j.user.get(j.card.path("/status")), j.card.byKey().get(j.card.path("/status")), j.card.byKey().get("/session/status"),
	} {
		assert.Equal(j, "CONNECTED", a.str("data.status"), a)
		assert.Equal(j, "ONLINE", a.str("data.workerStatus"), a)
		assert.Equal(j, j.n.canonical, a.str("data.workerId"), a)
		assert.Equal(j, phone, a.str("data.phoneNumber"), a)
	}
	keys := j.user.get("/users/api-keys")
	require.Len(j, keys.list("data"), 1, keys)
	assert.Equal(j, j.card.key[:7], keys.str("data.0.prefix"))
	assert.Equal(j, j.card.id, keys.str("data.0.session.id"))
	assert.NotContains(j, string(keys.raw), j.card.key)
}

const (
	someone    = "6281234567890"
	someoneJID = "6281234567890@s.whatsapp.net"
	mediaURL   = "https://files.example.com/a/report%20May.pdf"
)

// accepted compares the response to a send with the call that reached the worker.
// expect holds members of the worker's body, besides to and humanSimulation.
func (j *journey) accepted(a answer, kind string, expect obj) {
	j.Helper()
	out := j.n.outbox()
	require.NotEmpty(j, out)
	last := out[len(out)-1]
	assert.Equal(j, last.messageID, a.str("data.messageId"), a)
	assert.NotEmpty(j, a.str("data.id"), a)
	assert.Equal(j, j.card.id, a.str("data.sessionId"))
	assert.Equal(j, someoneJID, a.str("data.to"))
	assert.Equal(j, kind, a.str("data.type"))
	assert.Equal(j, "SENT", a.str("data.status"))
	_, err := time.Parse(time.RFC3339, a.str("data.timestamp"))
	assert.NoError(j, err)
	want := obj{"to": someoneJID, "type": kind, "humanSimulation": false}
	maps.Copy(want, expect)
	assert.Subset(j, last.body, want)
	assert.Equal(j, j.card.id, last.session)
}

func (j *journey) sendEveryType() {
	poll := obj{"question": "Lunch?", "options": []any{"yes", "no"}, "multipleAnswers": true}
	for _, c := range []struct {
		route, kind  string
		body, expect obj
	}{
		{"/sendText", "text", obj{"to": someone, "message": "héllo \"world\"\n✓"}, obj{"message": "héllo \"world\"\n✓"}},
		{"/sendText", "text", obj{"to": "+62 812-3456-7890", "message": "spaced"}, obj{"message": "spaced"}},
		{"/sendText", "text", obj{"to": someoneJID, "message": "slow", "humanSimulation": true}, obj{"message": "slow", "humanSimulation": true}},
		{"/sendImage", "image", obj{"to": someone, "imageUrl": "https://files.example.com/a.png", "caption": "look"}, obj{"mediaUrl": "https://files.example.com/a.png", "caption": "look"}},
		{"/sendFile", "document", obj{"to": someone, "fileUrl": mediaURL}, obj{"mediaUrl": mediaURL, "filename": "report May.pdf"}},
		{"/sendFile", "document", obj{"to": someone, "fileUrl": mediaURL, "filename": "other.pdf"}, obj{"filename": "other.pdf"}},
		{"/sendVoice", "audio", obj{"to": someone, "audioUrl": "https://files.example.com/a.ogg"}, obj{"mediaUrl": "https://files.example.com/a.ogg"}},
		{"/sendVideo", "video", obj{"to": someone, "videoUrl": "https://files.example.com/a.mp4", "caption": "see"}, obj{"mediaUrl": "https://files.example.com/a.mp4", "caption": "see"}},
		{"/sendSticker", "sticker", obj{"to": someone, "stickerUrl": "https://files.example.com/a.webp"}, obj{"mediaUrl": "https://files.example.com/a.webp"}},
		{"/sendLocation", "location", obj{"to": someone, "latitude": -6.2, "longitude": 106.8, "name": "Monas"}, nil},
		{"/sendContactVcard", "contact", obj{"to": someone, "contactName": "Grace", "contactPhone": "6281111111111"}, nil},
		{"/sendLink", "link", obj{"to": someone, "url": "https://example.com", "title": "Example"}, nil},
		{"/sendPoll", "poll", obj{"to": someone, "poll": poll}, obj{"poll": poll}},
	} {
		j.accepted(j.card.byKey().post(c.route, c.body), c.kind, c.expect)
	}
	uploaded := j.card.byKey().post("/sendImage", obj{"to": someone, "media": base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\n"))})
	j.accepted(uploaded, "image", nil)

	for route, kind := range map[string]string{"/startTyping": "typing_start", "/stopTyping": "typing_stop"} {
		j.card.byKey().post(route, obj{"to": someone})
		assert.Subset(j, j.n.last().body, obj{"to": someoneJID, "type": kind})
	}
	j.card.byKey().post("/sendSeen", obj{"to": someone, "messageId": "3EB0C0FFEE"})
	assert.Subset(j, j.n.last().body, obj{"type": "seen", "messageId": "3EB0C0FFEE"})
	usage := j.user.get("/users/tier")
	assert.EqualValues(j, len(j.n.outbox()), usage.at("data.usage.messagesThisHour"), usage)
}

// sendGeneric sends over the generic route, with the key and with the access token.
func (j *journey) sendGeneric() {
	for _, c := range []struct {
		body   obj
		expect obj
	}{
		{obj{"type": "text", "message": "generic"}, obj{"message": "generic"}},
		{obj{"type": "image", "mediaUrl": "https://files.example.com/b.png"}, obj{"mediaUrl": "https://files.example.com/b.png"}},
		{obj{"type": "document", "mediaUrl": "https://files.example.com/b.pdf"}, obj{"filename": "b.pdf"}},
		{obj{"type": "audio", "mediaUrl": "https://files.example.com/b.ogg"}, nil},
		{obj{"type": "video", "mediaUrl": "https://files.example.com/b.mp4"}, nil},
		{obj{"type": "sticker", "mediaUrl": "https://files.example.com/b.webp"}, nil},
		{obj{"type": "location", "location": obj{"latitude": 1, "longitude": 2}}, nil},
		{obj{"type": "contact", "contact": obj{"name": "Alan", "phone": "6281111111112"}}, nil},
		{obj{"type": "link", "link": obj{"url": "https://example.org"}}, nil},
		{obj{"type": "poll", "poll": obj{"question": "?", "options": []string{"a", "b"}}}, nil},
	} {
		c.body["to"] = someone
		for _, who := range []client{j.user.client, j.card.byKey()} {
			j.accepted(who.post(j.card.path("/send"), c.body), c.body["type"].(string), c.expect)
		}
	}
}

func (j *journey) manageMessages() {
	out := j.n.outbox()
	id := out[0].messageID
	key := obj{"remoteJid": someoneJID, "fromMe": false, "id": "3EB0AA"}
	for _, c := range []struct {
		action       string
		body, expect obj
	}{
		{"edit", obj{"phone": someone, "newText": "better"}, obj{"newText": "better"}},
		{"reaction", obj{"phone": someone, "emoji": "👍🏽"}, obj{"emoji": "👍🏽"}},
		{"reaction", obj{"phone": someone, "emoji": ""}, obj{"emoji": ""}},
		{"star", obj{"phone": someone}, nil},
		{"unstar", obj{"phone": someone}, nil},
		{"read", obj{"jid": someoneJID, "messageKey": key}, obj{"messageKey": key}},
		{"unsend", obj{"phone": someone}, nil},
		{"delete", obj{"phone": someone, "forEveryone": true}, obj{"forEveryone": true}},
	} {
		j.card.byKey().post("/message/"+id+"/"+c.action, c.body)
		last := j.n.last()
		assert.Equal(j, "manage", last.what)
		assert.Equal(j, j.card.id, last.id)
		want := obj{"action": c.action, "messageId": id}
		maps.Copy(want, c.expect)
		assert.Subset(j, last.body, want)
	}
	j.card.byKey().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/message/"+id+"/reaction", obj{"phone": someone, "emoji": "two👍👍"})
	assert.Len(j, j.n.outbox(), len(out), "managing sends no message")
}

// refusedSends makes invalid sends. None may reach the worker, except those that
// only WhatsApp can refuse.
func (j *journey) refusedSends() {
	before := len(j.n.asked(j.card.id))
	bad := func(fields []string, route string, body obj) {
		j.Helper()
		a := j.card.byKey().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", route, body)
		assert.ElementsMatch(j, fields, a.fields(), a)
	}
	bad([]string{"to", "message"}, "/sendText", obj{"to": "12", "message": ""})
	bad([]string{"to", "imageUrl"}, "/sendImage", obj{"to": "nobody", "caption": "x"})
	bad([]string{"latitude", "longitude"}, "/sendLocation", obj{"to": someone, "latitude": 91, "longitude": -181})
	bad([]string{"message"}, "/sendText", obj{"to": someone, "message": strings.Repeat("x", 4097)})
	bad([]string{"poll.options"}, "/sendPoll", obj{"to": someone, "poll": obj{"question": "?", "options": []string{"same", "same"}}})
	a := j.card.byKey().do("POST", "/sendText", obj{"to": "081234", "message": "x"})
	assert.Equal(j, "Phone number must be in international format (e.g., 6281234567890)", text(a.at("error.details.0"), "message"), a)
	odd := j.card.byKey().do("POST", j.card.path("/send"), obj{"to": someone, "type": "hologram"})
	assert.Equal(j, http.StatusBadRequest, odd.status, odd)
	assert.Equal(j, before, len(j.n.asked(j.card.id)), "the worker was bothered with nonsense")

	for range 2 { // the worker's error has one form, and then the other
		a := j.card.byKey().refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", "/sendText",
			obj{"to": unreachable, "message": "to nobody"})
		assert.Contains(j, a.str("error.message"), "not on WhatsApp")
	}
	failed := j.user.get(j.card.path("/messages?status=failed"))
	require.Len(j, failed.list("data.messages"), 2, failed)
	assert.Contains(j, failed.str("data.messages.0.errorMessage"), "not on WhatsApp")
}

func (j *journey) readHistory() {
	out := j.n.outbox()
	all := j.card.history(7)
	require.Len(j, all, len(out)+2, "and two that failed")
	at := func(m any) string { return text(m, "createdAt") }
	assert.True(j, slices.IsSortedFunc(all, func(a, b any) int { return strings.Compare(at(b), at(a)) }), "newest first")
	sentIDs := make(map[string]bool)
	for _, m := range out {
		sentIDs[m.messageID] = true
	}
	for _, m := range all {
		if id := text(m, "messageId"); id != "" {
			assert.True(j, sentIDs[id], "%v", m)
			delete(sentIDs, id)
		}
		assert.Equal(j, "OUTBOUND", text(m, "direction"))
	}
	assert.Empty(j, sentIDs, "sent and not in the history")

	first := all[len(all)-1]
	for _, id := range []string{text(first, "id"), text(first, "messageId")} {
		a := j.user.get(j.card.path("/messages/" + id))
		assert.Equal(j, first, a.at("data"))
		assert.Equal(j, "héllo \"world\"\n✓", a.str("data.content"))
		assert.NotEmpty(j, a.str("data.sentAt"))
		assert.Nil(j, a.at("data.readAt"))
	}
	count := func(query string) int {
		return len(j.user.get(j.card.path("/messages?" + query)).list("data.messages"))
	}
	assert.Equal(j, 3, count("type=poll"))
	assert.Equal(j, 3, count("type=text&search=generic")+count("search=spaced"))
	assert.Equal(j, 2, count("to="+unreachable))
	assert.Zero(j, count("direction=inbound"))
	assert.Zero(j, count("until=2001-01-01T00:00:00Z"))
	assert.NotZero(j, count("since=2001-01-01T00:00:00Z"))
	bad := j.user.refused(http.StatusBadRequest, "VALIDATION_ERROR", "GET", j.card.path("/messages?limit=101&cursor=nonsense&type=smoke"), nil)
	assert.ElementsMatch(j, []string{"limit", "cursor", "type"}, bad.fields())
	j.user.refused(http.StatusNotFound, "MESSAGE_NOT_FOUND", "GET", j.card.path("/messages/nothing"), nil)
}

// reports advances the status of a message, and tries to move it back.
func (j *journey) reports() {
	sent := j.card.say("watch me")
	id := sent.str("data.messageId")
	message := func() answer { return j.user.get(j.card.path("/messages/" + id)) }
	for _, step := range []struct{ report, want string }{
		{"DELIVERED", "DELIVERED"}, {"SENT", "DELIVERED"}, {"READ", "READ"},
		{"DELIVERED", "READ"}, {"FAILED", "READ"}, {"READ", "READ"}, {"PENDING", "READ"},
	} {
		a := j.n.messageStatus(j.card.id, id, step.report)
		require.Equal(j, http.StatusOK, a.status, a)
		assert.Equal(j, step.want, message().str("data.status"), "after %s", step.report)
	}
	assert.NotEmpty(j, message().str("data.deliveredAt"))
	assert.NotEmpty(j, message().str("data.readAt"))
	unknown := j.n.messageStatus(j.card.id, "3EB0NEVER", "READ")
	assert.Equal(j, "404 MESSAGE_NOT_FOUND", fmt.Sprint(unknown.status, " ", unknown.str("error.code")))
}

func (j *journey) inbound() {
	for range 2 {
		a := j.n.must("POST", "/webhooks/message-received", obj{
			"sessionId": j.card.id, "messageId": "3EB0INBOUND", "from": someoneJID, "type": "text", "content": "hi back", "timestamp": now(),
		})
		require.Equal(j, http.StatusOK, a.status, a)
	}
	a := j.user.get(j.card.path("/messages?direction=INBOUND"))
	require.Len(j, a.list("data.messages"), 1, "a repeated id is stored once")
	assert.Equal(j, "hi back", a.str("data.messages.0.content"))
}

// restart covers the worker's two reports in both orders. The session stays on its
// worker.
func (j *journey) restart() {
	for range 2 {
		generation := j.card.view().at("data.generation")
		j.user.post(j.card.path("/restart"), nil)
		v := j.card.await("CONNECTED")
		assert.Equal(j, j.n.canonical, v.str("data.workerId"))
		assert.Equal(j, generation, v.at("data.generation"), "it was not placed anew")
		asked := j.n.asked(j.card.id)
		assert.Equal(j, "restart", asked[len(asked)-1])
		j.card.say("after the restart")
	}
}

func (j *journey) disconnectAndReturn() {
	phone := j.n.disk.phone(j.card.id)
	j.user.post(j.card.path("/disconnect"), nil)
	v := j.card.await("DISCONNECTED")
	assert.Equal(j, phone, v.str("data.phoneNumber"), "disconnecting keeps what is known")
	assert.Nil(j, v.at("data.workerId"), "and holds no slot")
	assert.Equal(j, phone, j.n.disk.phone(j.card.id), "and credentials")
	j.card.byKey().refused(http.StatusConflict, "SESSION_NOT_CONNECTED", "POST", "/sendText", obj{"to": someone, "message": "x"})
	j.user.post(j.card.path("/disconnect"), nil)

	a := j.user.post(j.card.path("/connect?wait=10s"), nil)
	assert.Equal(j, "CONNECTED", a.str("data.status"), "no QR was needed")
	assert.EqualValues(j, 2, j.card.view().at("data.generation"))
	j.card.say("back again")
}

func (j *journey) logout() {
	j.user.post(j.card.path("/logout"), nil)
	v := j.card.await("DISCONNECTED")
	assert.Nil(j, v.at("data.phoneNumber"))
	assert.Nil(j, v.at("data.displayName"))
	assert.Empty(j, j.n.disk.phone(j.card.id))
	a := j.user.post(j.card.path("/connect?wait=10s"), nil)
	assert.Equal(j, "QR_REQUIRED", a.str("data.status"), "the next connect needs a QR")
	j.n.scan(j.card.id)
	j.card.await("CONNECTED")
}

// unlinkedOnPhone covers a logout by the owner of the phone.
func (j *journey) unlinkedOnPhone() {
	j.n.unlink(j.card.id)
	v := j.card.await("DISCONNECTED")
	assert.Nil(j, v.at("data.phoneNumber"))
	waitFor(j, "the slot is free", func() (bool, any) {
		v := j.card.view()
		return v.at("data.workerId") == nil, v
	})
	j.card.link(j.n)
}

func (j *journey) rotateKey() {
	old := j.card.byKey()
	a := j.user.post(j.card.path("/api-key/rotate"), nil)
	j.card.key = a.str("data.apiKey")
	assert.Regexp(j, `^wg_[0-9A-Za-z]{32,}$`, j.card.key)
	assert.NotEqual(j, old.bearer, j.card.key)
	old.refused(http.StatusUnauthorized, "API_KEY_INVALID", "GET", "/session/status", nil)
	j.card.say("by the new key")

	graced := j.card.byKey()
	j.card.key = j.user.post(j.card.path("/api-key/rotate?grace=1h"), nil).str("data.apiKey")
	graced.get("/session/status")
	j.card.byKey().get("/session/status")
}

func (j *journey) deleteCard() {
	a := j.user.want(http.StatusOK, "DELETE", j.card.path(""), nil)
	assert.Equal(j, obj{"sessionId": j.card.id, "deleted": true}, a.at("data"))
	for _, path := range []string{"", "/status", "/qr", "/messages"} {
		j.user.refused(http.StatusNotFound, "SESSION_NOT_FOUND", "GET", j.card.path(path), nil)
	}
	j.card.byKey().refused(http.StatusUnauthorized, "API_KEY_INVALID", "GET", "/session/status", nil)
	assert.Empty(j, j.user.get("/users/api-keys").list("data"))
	waitFor(j, "it is gone on the worker", func() (bool, any) {
		status := j.n.has(j.card.id)
		return status == "" && j.n.disk.phone(j.card.id) == "", status
	})
	assert.NotEqual(j, j.card.id, j.user.create("Support line").id, "there is room for another one")
}
