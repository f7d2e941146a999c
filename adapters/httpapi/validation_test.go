package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// Names are compared exactly: a member in another case is another member.
func TestBodies_NamesInAnotherCase_CountAsUnknown(t *testing.T) {
	for _, c := range []struct {
		method, path, token, body string
		fields                    []string
	}{
		{"POST", "/auth/login", "", `{"Email":"ada@example.com","PASSWORD":"pw"}`, []string{"email", "password"}},
		{"POST", "/sendLocation", keyText, `{"to":"6289999999999","Latitude":1,"Longitude":2}`, []string{"latitude", "longitude"}},
		{"POST", "/sessions/support/send", keyText, `{"to":"6289999999999","type":"location","location":{"LATITUDE":1,"longitude":2}}`, []string{"location.latitude"}},
		{"POST", "/message/3EB0/reaction", keyText, `{"phone":"6289999999999","Emoji":"x"}`, []string{"emoji"}},
		{"POST", "/sessions/support/connect", userToken, `{"pairing":{"PhoneNumber":"6289999999999"}}`, []string{"pairing.phoneNumber"}},
		{"PUT", "/workers/worker-1", adminToken, `{"maxsessions":7}`, []string{"maxsessions"}},
		{"PUT", "/admin/users/u1", adminToken, `{"Tier":"max"}`, []string{"Tier"}},
	} {
		got, s := ask(t, c.method, "/api/v1"+c.path, c.token, c.body)
		assert.Equal(t, http.StatusBadRequest, got.Code, c.body)
		assert.Equal(t, c.fields, got.fields(), c.body)
		assert.Zero(t, s.calls)
	}
}

func TestBodies_UnknownMembers_AreRefusedWithTheKnownOnes(t *testing.T) {
	got, _ := ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, `{"endpoint":"http://w:1"}`)
	assert.Equal(t, "endpoint cannot be given here; use maxSessions, description, version, environment, labels or failover", got.Error.Message)
	got, _ = ask(t, "POST", "/api/v1/admin/sessions/bulk", adminToken, `{"action":"delete","filter":{"userid":"u1"}}`)
	assert.Equal(t, "filter.userid cannot be given here; use status, workerId, userId or search", got.Error.Message)
	got, _ = ask(t, "POST", "/api/v1/admin/rebalance", adminToken, `{"dryrun":true}`)
	assert.Equal(t, "dryrun cannot be given here; use dryRun or force", got.Error.Message)
}

// Of a message of any type only the content of its own type counts.
func TestSend_OtherContents_AreIgnored(t *testing.T) {
	for _, other := range []string{`"poll":{}`, `"link":{"url":""}`, `"location":{"latitude":91,"longitude":1e999}`, `"contact":{}`} {
		got, s := ask(t, "POST", "/api/v1/sessions/support/send", keyText, `{"to":"6289999999999","type":"text","message":"hi",`+other+`}`)
		assert.Equal(t, http.StatusOK, got.Code, "%s: %s", other, got.Body)
		assert.Equal(t, 1, s.calls)
	}
}

// Bodies with media are too long to be kept for the order of problems, but all
// problems are told.
func TestSend_LongMedia_ProblemsAreTold(t *testing.T) {
	media := `"media":"` + strings.Repeat("A", 2<<20) + `"`
	for body, fields := range map[string][]string{
		`{"to":"12",` + media + `,"caption":7}`:                       {"caption", "to"},
		`{` + media + `}`:                                             {"to"},
		`{"to":"6289999999999",` + media + `,"imageUrl":"https://x"}`: {"imageUrl"},
		`{"to":"6289999999999",` + media + `,`:                        {"body"},
		`{"to":"6289999999999",` + media + `,` + media + `}`:          {"media"},
	} {
		got, s := ask(t, "POST", "/api/v1/sendImage", keyText, body)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, fields, got.fields(), got.Body)
		assert.Zero(t, s.calls)
	}
}

// Numbers are whole however they are written.
func TestBodies_WholeNumbers_AnySpelling(t *testing.T) {
	for number, want := range map[string]int{"50": http.StatusOK, "50.0": http.StatusOK, "5e1": http.StatusOK, "50.5": http.StatusBadRequest, `"50"`: http.StatusBadRequest} {
		got, _ := ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, `{"maxSessions":`+number+`}`)
		assert.Equal(t, want, got.Code, number)
	}
}

func TestMessages_SayWhatToDo(t *testing.T) {
	for body, want := range map[string]string{
		`{"maxSessions":0}`:                             "maxSessions must be a whole number from 1 to 1000",
		`{"maxSessions":"7"}`:                           "maxSessions must be a number",
		`{"labels":[]}`:                                 "labels must be an object",
		`{"labels":{"a.b[":1}}`:                         "labels.a.b[ is not as the description at /docs has it",
		`{"version":"` + strings.Repeat("x", 51) + `"}`: "version must be plain text of at most 50 characters",
		`{"description":true}`:                          "description must be a string",
	} {
		got, _ := ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, body)
		require.Equal(t, http.StatusBadRequest, got.Code, body)
		assert.Equal(t, want, got.Error.Message, body)
	}
	got, _ := ask(t, "GET", "/api/v1/sessions?limit=0", userToken, "")
	assert.Equal(t, "limit must be a whole number from 1 to 100", got.Error.Message)
	got, _ = ask(t, "DELETE", "/api/v1/workers/worker-1?force=maybe", adminToken, "")
	assert.Equal(t, "force must be true or false", got.Error.Message)
}

// The work on a body does not grow with what a client adds to it: members that no
// schema knows are skipped as they are.
func TestInspect_UnknownMembers_AreSkipped(t *testing.T) {
	long, list := strings.Repeat("k", 1000), strings.Repeat("1,", 1000)+"1"
	login, send := routeOf(t, "login"), routeOf(t, "send")
	for _, body := range []string{
		`{"email":"ada@example.com","password":"pw","` + long + `":[` + list + `]}`,
		`{"email":"ada@example.com","password":"pw","a":` + strings.Repeat(`{"a":`, 500) + `[` + list + `]` + strings.Repeat(`}`, 500) + `}`,
		`{"email":"ada@example.com","password":"pw","a":` + strings.Repeat(`[`, 500) + list + strings.Repeat(`]`, 500) + `}`,
	} {
		places, problems := inspect([]byte(body), login)
		assert.Len(t, places, 3, "the body, email and password")
		assert.Empty(t, problems)
	}

	v, err := decodeKnown([]byte(`{"to":"6289999999999","x":[{},{}],"poll":{"question":"q","options":["`+strings.Repeat(`a","`, 5000)+`a"]}}`), send.schema, send.registry)
	require.NoError(t, err)
	assert.NotContains(t, v, "x")
	options := v.(map[string]any)["poll"].(map[string]any)["options"]
	assert.Len(t, options, maxPlaces+1)
}

func TestDecodeKnown_Malformed_IsRefused(t *testing.T) {
	send := routeOf(t, "send")
	for _, body := range []string{``, `{`, `{"to":`, `{"to":"1"`, `{"to":"1"} x`, `{"x":[1,}`, `{"to":"1","to":"2"}`, "{\"to\":\"\xff\"}", `{"poll":{"options":[`} {
		_, err := decodeKnown([]byte(body), send.schema, send.registry)
		assert.Error(t, err, body)
	}
}

func routeOf(t *testing.T, id string) *route {
	t.Helper()
	for _, r := range theSurface().routes {
		if r.id == id {
			return r
		}
	}
	require.Fail(t, "there is no route "+id)
	return nil
}

// An escaped slash separates no segments; other escapes mean what they stand for.
func TestRouter_EscapedPaths_AreReadAsWritten(t *testing.T) {
	for path, status := range map[string]int{
		"/api/v1%2Fsessions":         http.StatusNotFound,
		"/api/v1%2fadmin%2Fusers":    http.StatusNotFound,
		"/api%2Fsessions":            http.StatusNotFound,
		"/api%2Fv1%2Fsessions":       http.StatusNotFound,
		"/%61pi/v1/sessions":         http.StatusOK,
		"/api/%73essions":            http.StatusOK,
		"/api/v1/sessions/%73upport": http.StatusOK,
		"/api/v1/sessions/a%2Fb":     http.StatusOK,
	} {
		s := &stub{}
		got := serveUnchecked(t, New(config(s)), request("GET", path, userToken, ""))
		assert.Equal(t, status, got.Code, path)
		if path == "/api/v1/sessions/a%2Fb" {
			assert.Equal(t, "a/b", s.last)
		}
	}
}

// What is wrong with one part of a request does not hide the rest.
func TestQuery_NotWellFormed_IsToldWithTheOtherProblems(t *testing.T) {
	got, s := ask(t, "GET", "/api/v1/sessions?limit=1000&x=%zz&page=-1", userToken, "")
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.ElementsMatch(t, []string{"limit", "page", "query"}, got.fields())
	assert.Zero(t, s.calls)
	got, s = ask(t, "GET", "/api/v1/sessions?x=%zz", userToken, "")
	assert.Equal(t, []string{"query"}, got.fields())
	assert.Zero(t, s.calls)
	got, _ = ask(t, "POST", "/api/v1/sessions/support/connect?wait=99&z=%", userToken, `{"pairing":{"phoneNumber":7}}`)
	assert.ElementsMatch(t, []string{"pairing.phoneNumber", "wait", "query"}, got.fields())
}

func TestProblems_EmptyNames_AreShownInQuotes(t *testing.T) {
	for _, c := range []struct{ method, path, token, body, field string }{
		{"POST", "/api/v1/sessions", userToken, `{"":1,"":2}`, `""`},
		{"POST", "/api/v1/sessions", userToken, `{"name":"a","x":{"":1,"":2}}`, `x.""`},
		{"PUT", "/api/v1/workers/worker-1", adminToken, `{"":1}`, `""`},
		{"PUT", "/api/v1/workers/worker-1", adminToken, `{"labels":{"":"x"}}`, `labels.""`},
	} {
		got, _ := ask(t, c.method, c.path, c.token, c.body)
		assert.Equal(t, []string{c.field}, got.fields(), c.body)
		assert.True(t, strings.HasPrefix(got.Error.Message, c.field+" "), got.Error.Message)
	}
}

func TestNumbers_BeyondTheRange_AreOutsideTheirBounds(t *testing.T) {
	got, _ := ask(t, "POST", "/api/v1/workers", adminToken, `{"endpoint":"http://w:1","maxSessions":1e400,"heartbeatInterval":-1e400}`)
	assert.Equal(t, []domain.FieldError{
		{Field: "maxSessions", Message: "maxSessions must be a whole number from 1 to 1000"},
		{Field: "heartbeatInterval", Message: "heartbeatInterval must be a whole number from 1 to 3600000"},
	}, got.Error.Details)
}

func TestUpdateWorker_Labels_HaveTheBoundsOfTheDomain(t *testing.T) {
	long := strings.Repeat("x", 63)
	body := func(name, value string) string { return `{"labels":{"` + name + `":"` + value + `"}}` }
	for b, fields := range map[string][]string{
		body(long, long):                      nil,
		body(long+"x", "eu"):                  {"labels." + long + "x"},
		body("pool", long+"x"):                {"labels.pool"},
		body("pool", strings.Repeat("é", 32)): {"labels.pool"},
		body("pool", `eu\u0000`):              {"labels.pool"},
		body("pool", ""):                      nil,
	} {
		got, s := ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, b)
		assert.Equal(t, fields, got.fields(), b)
		assert.Equal(t, fields == nil, s.calls == 1, b)
	}
	many := make([]string, 33)
	for i := range many {
		many[i] = fmt.Sprintf(`"l%d":"x"`, i)
	}
	got, _ := ask(t, "PUT", "/api/v1/workers/worker-1", adminToken, `{"labels":{`+strings.Join(many, ",")+`}}`)
	assert.Equal(t, []string{"labels"}, got.fields())
	assert.Equal(t, "A worker may have at most 32 labels", got.Error.Message)
}

func TestSend_CoordinateOfWrongType_IsRefused(t *testing.T) {
	for _, bad := range []string{`"-6.2"`, `"x"`, `true`, `[]`, `{}`} {
		for path, c := range map[string]struct{ body, field string }{
			"/sendLocation":          {`{"to":"6289999999999","latitude":%s,"longitude":106.8}`, "latitude"},
			"/sessions/support/send": {`{"to":"6289999999999","type":"location","location":{"latitude":1,"longitude":%s}}`, "location.longitude"},
		} {
			got, s := ask(t, "POST", "/api/v1"+path, keyText, strings.Replace(c.body, "%s", bad, 1))
			assert.Equal(t, http.StatusBadRequest, got.Code, "%s %s", path, bad)
			assert.Equal(t, []string{c.field}, got.fields(), "%s %s", path, bad)
			assert.Zero(t, s.calls)
		}
	}
}
