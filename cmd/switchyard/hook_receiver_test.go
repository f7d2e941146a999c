package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hookReceiver is the web server of a customer. It verifies every signature by the library of the Standard
// Webhooks project, and records every attempt.
type hookReceiver struct {
	*httptest.Server
	failures int // of the first attempts for each event

	mu       sync.Mutex
	secrets  map[string]string // by path
	gates    map[string]*hookGate
	tries    map[string]int            // by webhook-id
	attempts map[string][]*hookAttempt // by path, in the order of arrival
	problems []string
}

// hookAttempt is one attempt to deliver an event.
type hookAttempt struct {
	id       string
	position int64
	kind     string
	text     string
	status   int // of the response; 0: none so far
}

// hookGate holds the next attempt at a path until it is opened.
type hookGate struct {
	keeps    bool // holds all attempts, not just the next
	entered  chan struct{}
	released chan int // the status of the response; closed: none
	open     sync.Once
}

// release lets the attempt have its response. The status 0 is none.
func (g *hookGate) release(status int) {
	g.open.Do(func() {
		if status != 0 {
			g.released <- status
		}
		close(g.released)
	})
}

// receiveHooks starts a receiver that fails the first attempts for each event.
func receiveHooks(t *testing.T, failures int) *hookReceiver {
	r := &hookReceiver{
		failures: failures, secrets: make(map[string]string), gates: make(map[string]*hookGate), tries: make(map[string]int),
		attempts: make(map[string][]*hookAttempt),
	}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

// hold returns a gate for the next attempt at a path, or for all of them.
func (r *hookReceiver) hold(t *testing.T, path string, all bool) *hookGate {
	g := &hookGate{keeps: all, entered: make(chan struct{}, 1), released: make(chan int, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gates[path] = g
	t.Cleanup(func() { g.release(0) })
	return g
}

func (r *hookReceiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the server was killed
	}
	a, gate := r.record(req, body)
	status := http.StatusOK
	if gate != nil {
		select {
		case gate.entered <- struct{}{}:
		default:
		}
		select {
		case <-req.Context().Done():
			return
		case released, isAnswered := <-gate.released:
			if !isAnswered {
				return
			}
			status = released
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries[a.id]++
	if r.tries[a.id] <= r.failures {
		status = http.StatusServiceUnavailable
	}
	a.status = status
	w.WriteHeader(status)
}

// record verifies and records an attempt. It returns the gate that holds it, or nil.
func (r *hookReceiver) record(req *http.Request, body []byte) (*hookAttempt, *hookGate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	path := req.URL.Path
	verifier, err := standardwebhooks.NewWebhook(r.secrets[path])
	if err == nil {
		err = verifier.Verify(body, req.Header)
	}
	if err != nil {
		r.problems = append(r.problems, err.Error())
	}
	var event struct {
		Position  int64
		Type      string
		SessionID string
		Data      struct{ Content string }
	}
	if err := json.Unmarshal(body, &event); err != nil {
		r.problems = append(r.problems, err.Error())
	}
	a := &hookAttempt{id: req.Header.Get("webhook-id"), position: event.Position, kind: event.Type, text: event.Data.Content}
	r.attempts[path] = append(r.attempts[path], a)
	gate := r.gates[path]
	if gate != nil && !gate.keeps {
		delete(r.gates, path)
	}
	return a, gate
}

// tried returns the attempts at a path.
func (r *hookReceiver) tried(path string) (all []hookAttempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.attempts[path] {
		all = append(all, *a)
	}
	return all
}

// at returns the attempts at a path that were accepted.
func (r *hookReceiver) at(path string) []hookAttempt {
	return slices.DeleteFunc(r.tried(path), func(a hookAttempt) bool { return a.status != http.StatusOK })
}

// requireInOrder requires that the events at a path were accepted in their order, each with one id. An event
// whose outcome was not recorded may be repeated, before the next one is tried.
func (r *hookReceiver) requireInOrder(t *testing.T, path string, want []int64) {
	t.Helper()
	var got []int64
	for _, a := range r.at(path) {
		if len(got) == 0 || got[len(got)-1] != a.position {
			got = append(got, a.position)
		}
	}
	require.Equal(t, want, got, path)
	ids := make(map[int64]string)
	all := r.tried(path)
	for i, a := range all {
		if ids[a.position] == "" {
			ids[a.position] = a.id
		}
		require.Equal(t, ids[a.position], a.id, "%s: every attempt for %d has one id", path, a.position)
		require.True(t, i == 0 || all[i-1].position <= a.position, "%s: %d was tried after %d", path, a.position, all[max(i-1, 0)].position)
		wasAccepted := slices.ContainsFunc(all[:i], func(b hookAttempt) bool { return b.position == all[max(i-1, 0)].position && b.status == http.StatusOK })
		if i > 0 && all[i-1].position < a.position {
			require.True(t, wasAccepted, "%s: %d was tried before %d was delivered", path, a.position, all[i-1].position)
		}
	}
}

// requireVerified requires that every signature was right.
func (r *hookReceiver) requireVerified(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	assert.Empty(t, r.problems, "every signature verifies")
}

// hook makes a webhook of the session at a path of the receiver.
func (c *testSession) hook(r *hookReceiver, path string, events ...string) (id string) {
	c.s.t.Helper()
	a := c.want(http.StatusCreated, "POST", c.path("/webhooks"), obj{"url": r.URL + path, "events": events})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[path] = a.str("data.secret")
	return a.str("data.id")
}

// recorded returns the positions of the session's events of a type.
func (c *testSession) recorded(kind string) (positions []int64) {
	for after := int64(0); ; {
		a := c.get(c.path(fmt.Sprintf("/events?limit=100&after=%d", after)))
		page := a.list("data.events")
		for _, e := range page {
			if text(e, "type") == kind {
				positions = append(positions, int64(find(e, "position").(float64)))
			}
		}
		if len(page) == 0 {
			return positions
		}
		after = int64(a.at("data.nextAfter").(float64))
	}
}

// deliveries returns the deliveries of a webhook with a status, the latest event first.
func (c *testSession) deliveries(webhookID, status string) (all []any) {
	c.s.t.Helper()
	for cursor := ""; ; {
		a := c.get(c.path(fmt.Sprintf("/webhooks/%s/deliveries?limit=100&status=%s&cursor=%s", webhookID, status, cursor)))
		all = append(all, a.list("data.deliveries")...)
		cursor = a.str("data.nextCursor")
		if cursor == "" {
			return all
		}
	}
}
