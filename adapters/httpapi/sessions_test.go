package httpapi

import (
	"bytes"
	"encoding/base64"
	"fmt"
	stdimage "image"
	"image/color"
	"image/png"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/view"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestCreateSession_Bodies_ReachTheService(t *testing.T) {
	_, s := ask(t, "POST", "/api/v1/sessions", userToken, `{"name":" Support ","sessionId":"Support__Line","description":" d "}`)
	assert.Equal(t, service.CreateSessionParams{ID: "support-line", Name: "Support", Description: "d"}, s.last)
	_, s = ask(t, "POST", "/api/v1/sessions", userToken, `{"name":"Support","sessionId":null}`)
	assert.Equal(t, service.CreateSessionParams{Name: "Support"}, s.last)
	for body, fields := range map[string][]string{
		``: {"name"},
		`{"name":"","sessionId":"a b","description":"` + strings.Repeat("x", 256) + `"}`: {"name", "sessionId", "description"},
		`{"name":"` + strings.Repeat("x", 101) + `","sessionId":""}`:                     {"name", "sessionId"},
		`{"name":7,"sessionId":"ab"}`:                                                    {"name", "sessionId"},
	} {
		got, _ := ask(t, "POST", "/api/v1/sessions", userToken, body)
		assert.Equal(t, fields, got.fields(), body)
	}
}

func TestSessions_EveryAnswer_HasTheIDByBothNames(t *testing.T) {
	for call, token := range map[string]string{
		"GET /api/v1/sessions": userToken, "GET /api/v1/sessions/support": userToken, "POST /api/v1/sessions/support/disconnect": userToken,
		"GET /api/v1/users/sessions": userToken, "GET /api/v1/users/api-keys": userToken,
		"GET /api/v1/admin/sessions": adminToken, "GET /api/v1/workers/w-1": adminToken,
	} {
		method, path, _ := strings.Cut(call, " ")
		got, _ := ask(t, method, path, token, "")
		assert.Less(t, got.Code, 300, call)
		assert.Contains(t, got.Body.String(), `"id":"support","sessionId":"support"`, call)
	}
	got, _ := ask(t, "POST", "/api/v1/sessions", userToken, `{"name":"Support"}`)
	assert.Contains(t, got.Body.String(), `"id":"support-abc","sessionId":"support-abc"`)
}

func TestNames_HiddenCharacters_AreRefusedByCodePoint(t *testing.T) {
	for path, name := range map[string]string{
		"/api/v1/sessions":      "Support\u202eenil",
		"/api/v1/auth/register": "Ad\u200bmin",
	} {
		got, _ := ask(t, "POST", path, userToken, `{"name":"`+name+`","email":"a@b.com","password":"secret-42"}`)
		assert.Equal(t, http.StatusBadRequest, got.Code, path)
		assert.Equal(t, []string{"name"}, got.fields(), path)
		assert.Contains(t, got.Body.String(), "must not contain the invisible character U+20", path)
	}
}

func TestSessions_IDsInURLs_AreNormalized(t *testing.T) {
	_, s := ask(t, "GET", "/api/v1/sessions/Support__Line", userToken, "")
	assert.Equal(t, "support-line", s.last)
	_, s = ask(t, "GET", "/api/v1/sessions/no%20id", userToken, "")
	assert.Equal(t, "no id", s.last, "what cannot be an id is looked for as it is")
}

func TestSessions_Administrator_SeesEndpoints(t *testing.T) {
	got, _ := ask(t, "GET", "/api/v1/sessions/support", userToken, "")
	assert.NotContains(t, got.Body.String(), "endpoint")
	got, _ = ask(t, "GET", "/api/v1/sessions/support", adminToken, "")
	assert.Contains(t, got.Body.String(), `"endpoint":"http://10.0.0.5:8001"`)
}

func TestLists_Pages_ReachTheService(t *testing.T) {
	for query, want := range map[string]ports.Page{
		"":                  {Offset: 0, Limit: 20},
		"page=3":            {Offset: 40, Limit: 20},
		"page=2&limit=5":    {Offset: 5, Limit: 5},
		"offset=7&limit=5":  {Offset: 7, Limit: 5},
		"page=1&offset=100": {Offset: 0, Limit: 20},
		"limit=100":         {Offset: 0, Limit: 100},
	} {
		_, s := ask(t, "GET", "/api/v1/users/sessions?"+query, userToken, "")
		assert.Equal(t, []any{ports.SessionFilter{}, want}, s.last, query)
	}
	_, s := ask(t, "GET", "/api/v1/sessions?status=qr_required&search=%20Ada%20", userToken, "")
	assert.Equal(t, ports.SessionFilter{Status: domain.QRRequired, Search: "Ada"}, s.last.([]any)[0])

	got, _ := ask(t, "GET", "/api/v1/sessions?offset=30&limit=10", userToken, "")
	assert.Equal(t, map[string]any{"total": 42.0, "page": 4.0, "limit": 10.0, "totalPages": 5.0, "hasNext": true, "hasPrev": true}, got.Data["pagination"])
	got, _ = ask(t, "GET", "/api/v1/sessions?page=5&limit=10", userToken, "")
	assert.Equal(t, false, got.Data["pagination"].(map[string]any)["hasNext"])

	for query, fields := range map[string][]string{
		"page=0&limit=0":               {"limit", "page"},
		"page=x&limit=101&status=gone": {"status", "limit", "page"},
		"offset=-1":                    {"offset"},
		"page=99999999999999999999":    {"page"},
		"search=%00":                   {"search"},
		"search=%ff":                   {"search"},
		"%zz":                          {"query"},
	} {
		got, s := ask(t, "GET", "/api/v1/sessions?"+query, userToken, "")
		assert.Equal(t, http.StatusBadRequest, got.Code, query)
		assert.Equal(t, fields, got.fields(), query)
		assert.Zero(t, s.calls)
	}
}

func TestLists_Filters_ReachTheService(t *testing.T) {
	_, s := ask(t, "GET", "/api/v1/workers?status=online&environment=PRODUCTION", adminToken, "")
	assert.Equal(t, ports.WorkerFilter{Status: domain.WorkerOnline, Environment: "PRODUCTION"}, s.last.([]any)[0])
	got, _ := ask(t, "GET", "/api/v1/workers?status=tired", adminToken, "")
	assert.Equal(t, []string{"status"}, got.fields())

	active := true
	_, s = ask(t, "GET", "/api/v1/admin/users?search=a&tier=pro&role=user&isActive=True&sort=NAME&order=asc", adminToken, "")
	assert.Equal(t, ports.UserFilter{Search: "a", Tier: domain.TierPro, Role: domain.RoleUser, Active: &active, Sort: "name", Asc: true}, s.last.([]any)[0])
	got, _ = ask(t, "GET", "/api/v1/admin/users?role=king&isActive=perhaps&sort=size&order=up", adminToken, "")
	assert.Equal(t, []string{"role", "isActive", "sort", "order"}, got.fields())

	tier, role, name := domain.Tier("MAX"), domain.RoleAdministrator, "Ada"
	_, s = ask(t, "PUT", "/api/v1/admin/users/u1", adminToken, `{"tier":"max","role":"administrator","isActive":true,"name":"Ada"}`)
	assert.Equal(t, service.UserChange{Name: &name, Tier: &tier, Role: &role, Active: &active}, s.last)
	got, s = ask(t, "PUT", "/api/v1/admin/users/u1", adminToken, `{"tier":"max","email":"ada@example.com"}`)
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.Equal(t, []string{"email"}, got.fields())
	assert.Zero(t, s.calls)
	got, _ = ask(t, "PUT", "/api/v1/admin/users/u1", adminToken, `{"tier":"","role":"king","isActive":"yes","name":"A"}`)
	assert.Equal(t, []string{"isActive", "name", "tier", "role"}, got.fields())
}

func TestHistory_Filters_ReachTheService(t *testing.T) {
	cursor := domain.Cursor{At: noon.Truncate(time.Microsecond), ID: "m0"}
	_, s := ask(t, "GET", "/api/v1/sessions/support/messages?direction=inbound&type=Text&status=read&to=6281234567890&search=hi&since=2026-01-01&until=2026-01-02T03:04:05%2B01:00&limit=5&cursor="+cursor.String(), userToken, "")
	assert.Equal(t, domain.MessageFilter{
		Direction: domain.Inbound, Type: domain.TypeText, Status: domain.MessageRead, To: "6281234567890@s.whatsapp.net", Search: "hi",
		Since: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC), After: cursor, Limit: 5,
	}, s.last)
	got, _ := ask(t, "GET", "/api/v1/sessions/support/messages?direction=up&type=smell&status=eaten&to=0812&since=soon&until=-5&cursor=x&limit=1000", userToken, "")
	assert.Equal(t, []string{"direction", "type", "status", "to", "since", "until", "cursor", "limit"}, got.fields())
	for to, want := range map[string]string{
		"%2B62 812-3456-7890": "6281234567890@s.whatsapp.net", "+62 (812) 34567890": "6281234567890@s.whatsapp.net",
		"6281234567890@C.US": "6281234567890@s.whatsapp.net", "1-2@g": "1-2@g", "120363025246125486@g.us": "120363025246125486@g.us",
	} {
		_, s = ask(t, "GET", "/api/v1/sessions/support/messages?to="+strings.ReplaceAll(to, " ", "%20"), userToken, "")
		assert.Equal(t, want, s.last.(domain.MessageFilter).To, to)
	}
	_, s = ask(t, "GET", "/api/v1/sessions/support/messages?since=1772366400", userToken, "")
	assert.Equal(t, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), s.last.(domain.MessageFilter).Since)
}

func TestUsage_Parameters_ReachTheService(t *testing.T) {
	_, s := ask(t, "GET", "/api/v1/users/usage?period=30D&sessionId=Support_1", userToken, "")
	assert.Equal(t, []any{"support-1", time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), 24 * time.Hour}, s.last)
	got, _ := ask(t, "GET", "/api/v1/users/usage", userToken, "")
	assert.Len(t, got.Data["series"], 24)
	got, _ = ask(t, "GET", "/api/v1/users/usage?period=1y", userToken, "")
	assert.Equal(t, []string{"period"}, got.fields())
}

func TestProfile_Changes_ReachTheService(t *testing.T) {
	name, email := "Ada L", "ada@example.com"
	_, s := ask(t, "PUT", "/api/v1/users/profile", userToken, `{"name":" Ada L ","email":"ADA@example.com","currentPassword":"old","newPassword":"new pass 1"}`)
	assert.Equal(t, service.Profile{Name: &name, Email: &email, CurrentPassword: "old", NewPassword: "new pass 1"}, s.last)
	_, s = ask(t, "PUT", "/api/v1/users/profile", userToken, ``)
	assert.Equal(t, service.Profile{}, s.last)
	got, _ := ask(t, "PUT", "/api/v1/users/profile", userToken, `{"name":"","email":"x","newPassword":"short"}`)
	assert.Equal(t, []string{"name", "email", "newPassword", "currentPassword"}, got.fields())
}

func TestSignIn_Bodies_ReachTheService(t *testing.T) {
	_, s := ask(t, "POST", "/api/v1/auth/register", "", bodies["POST /auth/register"])
	assert.Equal(t, []string{"Ada", "ada@example.com", "correct horse 1"}, s.last)
	_, s = ask(t, "POST", "/api/v1/auth/login", "", goodLogin)
	assert.Equal(t, []string{"ada@example.com", "pw", "192.0.2.1"}, s.last)
}

func TestConnect_Options_ReachTheService(t *testing.T) {
	for query, want := range map[string]time.Duration{"": 0, "?wait=10s": 10 * time.Second, "?wait=30": 30 * time.Second, "?wait=1.5": 1500 * time.Millisecond, "?wait=0": 0} {
		_, s := ask(t, "POST", "/api/v1/sessions/support/connect"+query, userToken, "")
		assert.Equal(t, service.ConnectOptions{Wait: want}, s.last, query)
	}
	for _, query := range []string{"31s", "31", "-1", "-1s", "soon", "NaN", "1e300", "Inf"} {
		got, s := ask(t, "POST", "/api/v1/sessions/support/connect?wait="+query, userToken, "")
		assert.Equal(t, []string{"wait"}, got.fields(), query)
		assert.Zero(t, s.calls)
	}
	got, s := ask(t, "POST", "/api/v1/sessions/support/connect?wait=1s", userToken, `{"pairing":{"phoneNumber":"+62 812-3456-7890"}}`)
	assert.Equal(t, service.ConnectOptions{Wait: time.Second, PairingPhone: "6281234567890"}, s.last)
	assert.Contains(t, got.Data, "pairingCode")
	assert.Nil(t, got.Data["pairingCode"])
	for body, fields := range map[string][]string{
		`{"pairing":{}}`:                     {"pairing.phoneNumber", "wait"},
		`{"pairing":{"phoneNumber":"12"}}`:   {"pairing.phoneNumber", "wait"},
		`{"pairing":{"phoneNumber":628123}}`: {"pairing.phoneNumber", "wait"},
		`{"pairing":"6281234567890"}`:        {"pairing", "wait"},
	} {
		got, _ := ask(t, "POST", "/api/v1/sessions/support/connect?wait=x", userToken, body)
		assert.Equal(t, fields, got.fields(), body)
	}

	got = serve(t, New(config(&stub{code: "ABCD-1234"})), request("POST", "/api/v1/sessions/support/connect", userToken, `{"pairing":{"phoneNumber":"6281234567890"}}`))
	assert.Equal(t, "ABCD-1234", got.Data["pairingCode"])
	assert.Nil(t, got.Data["qrCode"])
}

func TestRotateKey_Grace_ReachesTheService(t *testing.T) {
	for query, want := range map[string]time.Duration{"": 0, "?grace=24h": 24 * time.Hour, "?grace=600": 10 * time.Minute} {
		_, s := ask(t, "POST", "/api/v1/sessions/support/api-key/rotate"+query, userToken, "")
		assert.Equal(t, want, s.last)
	}
	got, _ := ask(t, "POST", "/api/v1/sessions/support/api-key/rotate?grace=25h", userToken, "")
	assert.Equal(t, []string{"grace"}, got.fields())
	assert.Contains(t, got.Error.Message, "at most 24h")
}

// paint draws a QR for the text as a worker would send it.
func paint(t testing.TB, text string) string {
	t.Helper()
	picture := drawPNG(domain.QR{Code: text})
	require.NotNil(t, picture)
	return "data:image/png;base64," + base64.StdEncoding.EncodeToString(picture)
}

const qrText = "2@Zx81kQ0Vqf6h7m5bQ2m1L3W9nq8RkVxT0sJm4uYbE7cA+/PzNf5gH6iK2lO3rS==,kP0aLsD9fGhJkLzXcVbNmQwErTyUiOp=,aSdFgHjKlZxCvBnM1234567890=,7"

func TestQR_Formats_AreDrawn(t *testing.T) {
	get := func(q domain.QR, format string) reply {
		return serve(t, New(config(&stub{qr: q})), request("GET", "/api/v1/sessions/support/qr?format="+format, userToken, ""))
	}
	good := domain.QR{Code: qrText, ExpiresAt: noon.Add(time.Second)}

	got := get(good, "png")
	assert.Equal(t, "image/png", got.Header().Get("Content-Type"))
	text, err := decodePNG(got.Body.Bytes())
	require.NoError(t, err)
	assert.Equal(t, qrText, text, "what is drawn can be read")

	got = get(good, "svg")
	assert.Equal(t, "image/svg+xml", got.Header().Get("Content-Type"))
	assert.Equal(t, qrText, readSVG(t, got.Body.String()))

	got = get(good, "text")
	assert.Equal(t, "text/plain; charset=utf-8", got.Header().Get("Content-Type"))
	lines := strings.Split(strings.TrimSuffix(got.Body.String(), "\n"), "\n")
	for _, line := range lines {
		assert.Equal(t, len([]rune(lines[0])), len([]rune(line)))
	}

	got = get(good, "json")
	assert.Equal(t, qrText, got.Data["qrString"])
	assert.True(t, strings.HasPrefix(got.Data["qrCode"].(string), "data:image/png;base64,"))
	assert.Equal(t, "2026-03-01T12:00:01.123Z", got.Data["expiresAt"])

	for name, none := range map[string]domain.QR{"none": {}, "expired": {Code: qrText, ExpiresAt: noon}} {
		got = get(none, "json")
		assert.Equal(t, http.StatusOK, got.Code, name)
		assert.Nil(t, got.Data["qrCode"])
		assert.Nil(t, got.Data["qrString"])
		assert.Nil(t, got.Data["expiresAt"])
		assert.NotEmpty(t, got.Message)
		for _, format := range []string{"png", "SVG", "text"} {
			got = get(none, format)
			assert.Equal(t, http.StatusNotFound, got.Code, name)
			assert.Equal(t, domain.CodeNotFound, got.Error.Code)
		}
	}
	assert.Equal(t, []string{"format"}, get(good, "gif").fields())

	// A picture that could not be read is passed on as it is.
	picture := domain.QR{Image: []byte("\x89PNG\r\n\x1a\nnot really"), ExpiresAt: noon.Add(time.Second)}
	assert.Equal(t, picture.Image, get(picture, "png").Body.Bytes())
	assert.Contains(t, get(picture, "svg").Body.String(), base64.StdEncoding.EncodeToString(picture.Image))
	assert.Equal(t, http.StatusNotFound, get(picture, "text").Code)
	assert.Nil(t, get(picture, "json").Data["qrString"])

	huge := domain.QR{Code: strings.Repeat("x", 4000), ExpiresAt: noon.Add(time.Second)}
	got = get(huge, "json")
	assert.NotNil(t, got.Data["qrString"])
	assert.Nil(t, got.Data["qrCode"], "no QR code holds that much")
}

// readSVG rasters the modules of a drawing and reads it like a phone.
func readSVG(t *testing.T, svg string) string {
	t.Helper()
	var side int
	_, after, _ := strings.Cut(svg, `viewBox="0 0 `)
	_, err := fmt.Sscan(after, &side)
	require.NoError(t, err)
	const scale = 4
	img := stdimage.NewGray(stdimage.Rect(0, 0, side*scale, side*scale))
	for i := range img.Pix {
		img.Pix[i] = 255
	}
	_, path, _ := strings.Cut(svg, `/><path d="`)
	path, _, _ = strings.Cut(path, `"`)
	for move := range strings.SplitSeq(strings.TrimSuffix(path, "z"), "z") {
		var x, y, w int
		_, err := fmt.Sscanf(move, "M%d %dh%dv1", &x, &y, &w)
		require.NoError(t, err, move)
		for px := x * scale; px < (x+w)*scale; px++ {
			for py := y * scale; py < (y+1)*scale; py++ {
				img.SetGray(px, py, color.Gray{})
			}
		}
	}
	text, err := decodePixels(img)
	require.NoError(t, err)
	return text
}

func TestReports_PictureOfQR_IsDecoded(t *testing.T) {
	got, s := ask(t, "POST", "/api/webhooks/session-status", fleetToken, `{"sessionId":"support","status":"QR_REQUIRED","qrCode":"`+paint(t, qrText)+`"}`)
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, domain.QR{Code: qrText, ExpiresAt: noon.Add(time.Minute)}, s.last.(domain.Report).QR, "the string is kept, not the picture")

	var blank bytes.Buffer
	require.NoError(t, png.Encode(&blank, stdimage.NewGray(stdimage.Rect(0, 0, 64, 64))))
	var vast bytes.Buffer
	require.NoError(t, png.Encode(&vast, stdimage.NewPaletted(stdimage.Rect(0, 0, 5000, 5000), color.Palette{color.White})))
	for _, picture := range [][]byte{blank.Bytes(), vast.Bytes(), []byte("\x89PNG\r\n\x1a\nbroken")} {
		_, s := ask(t, "POST", "/api/webhooks/session-status", fleetToken,
			`{"sessionId":"support","status":"QR_REQUIRED","qrCode":"data:image/png;base64,`+base64.StdEncoding.EncodeToString(picture)+`"}`)
		assert.Equal(t, domain.QR{Image: picture, ExpiresAt: noon.Add(time.Minute)}, s.last.(domain.Report).QR)
	}
}

func TestQR_EveryStatus_SaysWhatIsNext(t *testing.T) {
	code := view.String("ABCD-1234")
	for want, v := range map[string]qrView{
		"Session is connected":                                       {Status: domain.Connected},
		"Type the pairing code into the phone":                       {Status: domain.QRRequired, QRView: view.QRView{PairingCode: &code}},
		"Scan the QR code with the phone":                            {Status: domain.QRRequired, QRView: view.QRView{QRString: "2@"}},
		"Session is starting; its QR code will be there in a moment": {Status: domain.Init},
		"Session is reconnecting; there is nothing to scan":          {Status: domain.Reconnecting},
		"There is no QR code; connect the session to get one":        {Status: domain.Disconnected},
	} {
		assert.Equal(t, want, whatNext(v, false))
	}
	assert.Equal(t, "The code has expired and was not renewed; connect the session again to get a new one", whatNext(qrView{Status: domain.QRRequired}, true))
}
