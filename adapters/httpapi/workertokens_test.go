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

func TestWorkerTokens_Own_AuthenticateTheirWorker(t *testing.T) {
	tokens := NewWorkerTokens(fleetToken)
	own := tokens.Of("worker-1")
	require.Equal(t, "wt_worker-1_f6cfa48e58ecf8b727bf509374a0f58a0ba6868104e6975679ae20235145b7ff", own, "all replicas agree, also with those of other versions")

	id, ok := tokens.Check(fleetToken)
	assert.True(t, ok)
	assert.Empty(t, id, "the fleet's speaks for all")
	id, ok = NewWorkerTokens(fleetToken).Check(own)
	assert.True(t, ok)
	assert.Equal(t, "worker-1", id)

	proof := strings.TrimPrefix(own, "wt_worker-1_")
	for _, wrong := range []string{
		"", "wt_", "wt__", "wt_worker-1", "wt_worker-1_", "wt_worker-1_" + proof[1:], "wt_worker-1_" + proof + "00", "wt_worker-1_" + proof[:64-1] + "g",
		"wt_worker-2_" + proof, "wt_Worker-1_" + proof, "wt_" + proof, "wt__" + proof, "WT_worker-1_" + proof, own + "_" + proof, proof,
		tokens.Of(""), tokens.Of("Worker_1"), // they would speak for all, and for one that goes by another name
		NewWorkerTokens("another").Of("worker-1"), "another", fleetToken + " ",
	} {
		id, ok = tokens.Check(wrong)
		assert.False(t, ok, wrong)
		assert.Empty(t, id)
	}
	_, ok = (*WorkerTokens)(nil).Check(fleetToken)
	assert.False(t, ok)
}

// With a token of its own a worker speaks for itself alone, on every route; the
// fleet's speaks for any.
func TestWorkerTokens_Own_SpeakForTheirWorkerAlone(t *testing.T) {
	own := NewWorkerTokens(fleetToken).Of("worker-1")
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
	own := NewWorkerTokens(fleetToken).Of("worker-1")
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
		assert.Equal(t, isOwn, s.last.(domain.Registration).ByWorkerToken)
	}
}
