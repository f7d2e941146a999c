package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// bulkResult is the result of one message.
type bulkResult struct {
	Index, StatusCode int
	Replayed          bool
	Message           map[string]any
	Error             failureView
	RetryAfter        int
}

func (r bulkResult) fields() []string {
	var names []string
	for _, d := range r.Error.Details {
		names = append(names, d.Field)
	}
	return names
}

// results returns the results of a bulk call.
func (r reply) results() []bulkResult {
	var answer struct {
		Data struct{ Results []bulkResult }
	}
	if json.Unmarshal(r.Body.Bytes(), &answer, json.MatchCaseInsensitiveNames(true)) != nil {
		return nil
	}
	return answer.Data.Results
}

const bulkPath = "/api/v1/sessions/support/messages/bulk"

// sendBulk makes a bulk call whose messages the document need not allow.
func sendBulk(t *testing.T, s *stub, messages string) reply {
	t.Helper()
	return serveUnchecked(t, New(config(s)), request("POST", bulkPath, keyText, `{"messages":[`+messages+`]}`))
}

func TestSendBulk_Messages_ReachTheServiceInTheirOrder(t *testing.T) {
	s := &stub{}
	body := `{"messages":[{"to":"6289999999999","type":"TEXT","message":"one","humanSimulation":true},` +
		`{"type":"location","to":"+62 899 9999 9999","location":{"latitude":1,"longitude":2},"unknown":[1]},` +
		`{"to":"6289999999999","type":"text","message":"three","idempotencyKey":"again-3"}]}`
	got := serve(t, New(config(s)), request("POST", bulkPath, userToken, body))
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	assert.Equal(t, []service.SendItem{
		{Message: &domain.Outgoing{To: "6289999999999", Type: domain.TypeText, Text: "one", HumanSimulation: true}},
		{Message: &domain.Outgoing{To: "+62 899 9999 9999", Type: domain.TypeLocation, Location: &domain.Location{Latitude: 1, Longitude: 2}}},
		{Message: &domain.Outgoing{To: "6289999999999", Type: domain.TypeText, Text: "three"}, Key: "again-3"},
	}, s.last)
	results := got.results()
	require.Len(t, results, 3)
	for i, r := range results {
		assert.Equal(t, i, r.Index)
		assert.Equal(t, http.StatusOK, r.StatusCode)
		assert.Equal(t, "m1", r.Message["id"])
		assert.Equal(t, i == 2, r.Replayed)
	}
	assert.EqualValues(t, 3, got.Data["succeeded"])
	assert.Empty(t, got.Header().Get("Idempotency-Replayed"), "not all of them were repeats")
}

func TestSendBulk_InvalidList_IsRefusedAsAWhole(t *testing.T) {
	one := `{"to":"6289999999999","type":"text","message":"x"}`
	list := func(n int) string { return `{"messages":[` + strings.Repeat(one+",", n-1) + one + `]}` }
	for name, body := range map[string]string{
		"nothing": "", "no list": `{}`, "empty": `{"messages":[]}`, "null": `{"messages":null}`, "an object": `{"messages":` + one + `}`,
		"another case": `{"Messages":[` + one + `]}`, "101": list(101), "a body of 15 MiB": `{"messages":[` + strings.Repeat("0,", 7<<20) + `0]}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, s := ask(t, "POST", bulkPath, keyText, body)
			assert.Equal(t, http.StatusBadRequest, got.Code)
			assert.Equal(t, domain.CodeValidation, got.Error.Code)
			assert.Equal(t, []string{"messages"}, got.fields())
			assert.Zero(t, s.calls)
		})
	}
	got, s := ask(t, "POST", bulkPath, keyText, list(100))
	assert.Equal(t, http.StatusOK, got.Code)
	assert.Equal(t, 100, s.calls)
	got, _ = ask(t, "POST", bulkPath, keyText, `{"messages":["`+strings.Repeat("x", maxMedia)+`"]}`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, got.Code)
	got, _ = ask(t, "POST", bulkPath, keyText, `{"messages":[`+one+`,{"to":]}`)
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.Equal(t, []string{"body"}, got.fields())
}

// What is wrong with a message is told as POST /sessions/{id}/send tells it. The others are sent.
func TestSendBulk_InvalidMessages_DoNotStopOthers(t *testing.T) {
	for wrong, fields := range map[string][]string{
		`null`: {"body"}, `"text"`: {"body"}, `[{}]`: {"body"}, `7`: {"body"},
		`{}`: {"to", "type"},
		`{"to":"6289999999999","type":"text","message":7}`:                                          {"message"},
		`{"TO":"6289999999999","type":"text","message":"x"}`:                                        {"to"},
		`{"to":"12","type":"text"}`:                                                                 {"to", "message"},
		`{"to":"6289999999999","type":"location","location":{"latitude":91}}`:                       {"location.longitude", "location.latitude"},
		`{"to":"6289999999999","type":"text","message":"x","idempotencyKey":""}`:                    {"idempotencyKey"},
		`{"to":"6289999999999","type":"text","message":"x","idempotencyKey":"ü"}`:                   {"idempotencyKey"},
		`{"to":"6289999999999","type":"text","message":"x","idempotencyKey":7}`:                     {"idempotencyKey"},
		`{"to":"6289999999999","type":"image","media":"` + strings.Repeat("aGVs", 1<<19) + `*"}`:    {"media"},
		`{"to":"6289999999999","type":"poll","poll":{"question":"q","options":["a",null]}}`:         {"poll.options[1]"},
		`{"to":"6289999999999","type":"text","message":"x","mentions":["6285555555555"],"type2":1}`: {"mentions"},
	} {
		s := &stub{}
		good := `{"to":"6289999999999","type":"text","message":"x"}`
		got := sendBulk(t, s, good+","+wrong+","+good)
		require.Equal(t, http.StatusOK, got.Code, got.Body)
		results := got.results()
		require.Len(t, results, 3)
		name := wrong[:min(len(wrong), 100)]
		assert.Equal(t, http.StatusOK, results[0].StatusCode, name)
		assert.Equal(t, http.StatusBadRequest, results[1].StatusCode, name)
		assert.Equal(t, fields, results[1].fields(), name)
		assert.Nil(t, results[1].Message, name)
		assert.Equal(t, http.StatusOK, results[2].StatusCode, name)
		assert.Equal(t, 2, s.calls, name)
	}
}

func TestSendBulk_InvalidMessage_HasTheErrorOfASend(t *testing.T) {
	for _, message := range []string{`{}`, `{"type":7,"to":"12","poll":[]}`, `{"to":"6289999999999","type":"telegram"}`, `{"to":"6289999999999","type":"contact","contact":{}}`} {
		alone, _ := ask(t, "POST", "/api/v1/sessions/support/send", keyText, message)
		require.Equal(t, http.StatusBadRequest, alone.Code)
		among := sendBulk(t, &stub{}, message).results()[0]
		assert.Equal(t, alone.Error.Code, among.Error.Code, message)
		assert.Equal(t, alone.Error.Message, among.Error.Message, message)
		assert.Equal(t, alone.Error.Details, among.Error.Details, message)
	}
}

func TestSendBulk_Failures_HaveTheStatusOfASend(t *testing.T) {
	pending := someMessage()
	pending.Status = domain.MessagePending
	s := bulkStub{stubMessages: stubMessages{&stub{}}, results: []service.SendResult{
		{Message: pending, Err: domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout, "No answer in time")},
		{Err: domain.Errorf(domain.Exceeded, domain.CodeMessageLimit, "Message limit exceeded").WithRetryAfter(90 * time.Second)},
		{Err: domain.Overloaded(time.Second, "Not sent")},
		{Err: fmt.Errorf("secret cause")},
		{Message: pending},
	}}
	cfg := config(s.stub)
	cfg.Messages = s
	item := bodies["POST /sessions/{id}/send"]
	got := serve(t, New(cfg), request("POST", bulkPath, keyText, `{"messages":[`+strings.Repeat(item+",", 4)+item+`]}`))
	require.Equal(t, http.StatusOK, got.Code, got.Body)
	r := got.results()
	assert.Equal(t, []int{504, 429, 503, 500, 200}, []int{r[0].StatusCode, r[1].StatusCode, r[2].StatusCode, r[3].StatusCode, r[4].StatusCode})
	assert.Equal(t, []domain.FieldError{{Field: "id", Message: "m1"}}, r[0].Error.Details)
	assert.Equal(t, []int{0, 90, 1, 0, 0}, []int{r[0].RetryAfter, r[1].RetryAfter, r[2].RetryAfter, r[3].RetryAfter, r[4].RetryAfter})
	assert.Equal(t, internalMessage, r[3].Error.Message)
	assert.NotContains(t, got.Body.String(), "secret")
	assert.Equal(t, "PENDING", r[4].Message["status"])
	assert.EqualValues(t, 4, got.Data["failed"])
}

func TestSendBulk_KeyOfTheCall_ReachesTheService(t *testing.T) {
	ask := func(keys ...string) (reply, *stub) {
		s := &stub{}
		r := request("POST", bulkPath, keyText, bodies["POST /sessions/{id}/messages/bulk"])
		r.Header["Idempotency-Key"] = keys
		return serveUnchecked(t, New(config(s)), r), s
	}
	got, _ := ask("again")
	assert.Equal(t, "true", got.Header().Get("Idempotency-Replayed"), got.Body)
	got, _ = ask("first")
	assert.Empty(t, got.Header().Get("Idempotency-Replayed"), got.Body)
	for _, keys := range [][]string{{""}, {strings.Repeat("x", 256)}, {"a", "b"}} {
		got, s := ask(keys...)
		assert.Equal(t, http.StatusBadRequest, got.Code)
		assert.Equal(t, []string{"Idempotency-Key"}, got.fields())
		assert.Zero(t, s.calls)
	}
}

// bulkStub answers bulk calls with results that a test states.
type bulkStub struct {
	stubMessages
	results []service.SendResult
}

func (s bulkStub) SendAll(context.Context, service.Sender, string, []service.SendItem) ([]service.SendResult, error) {
	return s.results, nil
}
