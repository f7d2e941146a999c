package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// With a token of its own a worker speaks for itself alone, on every route; the
// fleet's speaks for any.
func TestWorkerTokens_Own_SpeakForTheirWorkerAlone(t *testing.T) {
	own := ownToken
	for i := range apiRoutes {
		r := &apiRoutes[i]
		if r.credential != worker && r.credential != adminWorker {
			continue
		}
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			path := example(r)
			elsewhere := strings.Replace(path, "worker-1", "worker-2", 1)
			for _, c := range []struct {
				path, token string
				says        any // who it is, in the body; nil: nothing
				ok          bool
			}{
				{path, own, "worker-1", true},
				{path, own, " Worker_1", true},
				{path, own, nil, true},
				{path, own, "worker-2", strings.Contains(r.path, "{workerId}")}, // the path says who it is
				{elsewhere, own, "worker-1", elsewhere == path},
				{elsewhere, own, nil, elsewhere == path},
				{path, fleetToken, "worker-1", true},
				{elsewhere, fleetToken, "worker-2", true},
			} {
				if r.path == "/workers/register" && c.says == nil {
					continue // it has to say
				}
				got, s := ask(t, r.method, c.path, c.token, saying(t, bodies[r.method+" "+r.path], c.says))
				if c.ok {
					assert.Less(t, got.Code, 300, "%+v: %s", c, got.Body)
					assert.Equal(t, 1, s.calls)
					continue
				}
				assert.Equal(t, http.StatusForbidden, got.Code, "%+v: %s", c, got.Body)
				assert.Equal(t, domain.CodeInsufficientPermission, got.Error.Code)
				assert.Contains(t, got.Error.Message, "worker-1's own")
				assert.Zero(t, s.calls, "a service was called")
			}
		})
	}
}

// saying returns a body with a worker id, or without one.
func saying(t *testing.T, body string, workerID any) string {
	t.Helper()
	members := map[string]any{}
	if body != "" {
		require.NoError(t, json.Unmarshal([]byte(body), &members))
	}
	members["workerId"] = workerID
	if workerID == nil {
		delete(members, "workerId")
	}
	text, err := json.Marshal(members)
	require.NoError(t, err)
	return string(text)
}

// A worker that shows its own token need not say who it is.
func TestWorkerTokens_Reports_AreAttributed(t *testing.T) {
	own := ownToken
	report := `{"sessionId":"support","status":"DISCONNECTED"}`
	_, s := ask(t, "POST", "/api/webhooks/session-status", own, report)
	assert.Equal(t, "worker-1", s.last.(domain.Report).WorkerID)
	_, s = ask(t, "POST", "/api/webhooks/session-status", fleetToken, report)
	assert.Empty(t, s.last.(domain.Report).WorkerID)
	for path, by := range map[string]func(any) string{
		"/webhooks/message-status":   func(last any) string { return last.(domain.MessageReport).WorkerID },
		"/webhooks/message-received": func(last any) string { return last.(service.InboundMessage).WorkerID },
	} {
		body := bodies["POST "+path]
		_, s = ask(t, "POST", "/api"+path, own, body)
		assert.Equal(t, "worker-1", by(s.last))
		_, s = ask(t, "POST", "/api"+path, fleetToken, saying(t, body, "Worker_2"))
		assert.Equal(t, "worker-2", by(s.last))
		_, s = ask(t, "POST", "/api"+path, fleetToken, body)
		assert.Empty(t, by(s.last), "older workers do not say")
	}
	_, s = ask(t, "POST", "/api/webhooks/worker-heartbeat", own, `{"status":"ONLINE"}`)
	assert.Equal(t, "worker-1", s.last.(domain.Heartbeat).WorkerID)
	_, s = ask(t, "DELETE", "/api/workers/unregister", own, `{"endpoint":"http://10.0.0.9:8001"}`)
	assert.Equal(t, []string{"worker-1", "http://10.0.0.9:8001"}, s.last, "never the one that has the endpoint")
	for token, isOwn := range map[string]bool{own: true, fleetToken: false} {
		_, s = ask(t, "POST", "/api/workers/register", token, bodies["POST /workers/register"])
		assert.Equal(t, !isOwn, s.last.(domain.Registration).Holder.IsFleet())
	}
}

// The fleet token registers a worker that has its own, and does nothing else for it.
func TestWorkerTokens_Fleet_DoesNotSpeakForWorkersWithTheirOwn(t *testing.T) {
	for i := range apiRoutes {
		r := &apiRoutes[i]
		if r.credential != worker && r.credential != adminWorker {
			continue
		}
		t.Run(r.method+" "+r.path, func(t *testing.T) {
			for token, ok := range map[string]bool{fleetToken: r.path == "/workers/register", ownToken: true} {
				s := &stub{strict: true}
				got := serve(t, New(config(s)), request(r.method, example(r), token, saying(t, bodies[r.method+" "+r.path], "worker-1")))
				if ok {
					assert.Less(t, got.Code, 300, got.Body)
					continue
				}
				assert.Equal(t, http.StatusForbidden, got.Code, got.Body)
				assert.Equal(t, domain.CodeInsufficientPermission, got.Error.Code)
				assert.Zero(t, s.calls, "a service was called")
			}
		})
	}
}

// A token of a former epoch is refused before the body is read.
func TestWorkerTokens_FormerEpoch_IsRefused(t *testing.T) {
	former := domain.NewWorkerTokens(fleetToken).Own("worker-1", "f00d")
	for i := range apiRoutes {
		r := &apiRoutes[i]
		if r.credential != worker && r.credential != adminWorker {
			continue
		}
		got, s := ask(t, r.method, example(r), former, "not JSON")
		assert.Equal(t, http.StatusUnauthorized, got.Code, got.Body)
		assert.Equal(t, domain.CodeAuthTokenInvalid, got.Error.Code)
		assert.Contains(t, got.Error.Message, "register again")
		assert.Zero(t, s.calls)
	}
}

// Legacy workers log the answer to their registration: it has no credential.
func TestRegister_Answer_HasTokensForThoseWhoAnnounced(t *testing.T) {
	tokens := domain.NewWorkerTokens(fleetToken)
	for capabilities, want := range map[string][2]any{
		`null`:                 {nil, nil},
		`["telepathy"]`:        {nil, nil},
		`["lease"]`:            {ownToken, nil},
		`["lease","ownToken"]`: {ownToken, tokens.Call("worker-1", epochNow)},
	} {
		got, _ := ask(t, "POST", "/api/workers/register", fleetToken, `{"workerId":"worker-1","endpoint":"http://w:1","capabilities":`+capabilities+`}`)
		require.Equal(t, http.StatusCreated, got.Code, got.Body)
		assert.Equal(t, want, [2]any{got.Data["workerToken"], got.Data["callToken"]}, capabilities)
		assert.NotContains(t, got.Body.String(), fleetToken)
	}
}
