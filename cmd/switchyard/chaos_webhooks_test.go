package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// hookedOneIn is the share of sessions that have a webhook.
const hookedOneIn = 3

// hookLoad is a receiver that fails at random, with the webhooks that post to it. A webhook belongs to the
// first card of an id, and ends with it.
type hookLoad struct {
	*httptest.Server
	mu       sync.Mutex
	random   *rand.Rand
	hooks    map[string]*chaosHook // by path
	problems []string
}

// chaosHook is one webhook and what arrived for it.
type chaosHook struct {
	line     *trackedSession
	card     *card
	id       string
	verifier *standardwebhooks.Webhook
	events   []string // types; empty: all
	since    int64    // position of the latest event before the webhook was made
	tried    []hookAttempt
}

// addHooks starts the receiver, and adds the webhooks.
func (c *workload) addHooks(seed uint64) {
	c.s.t.Helper()
	h := &hookLoad{random: rand.New(rand.NewPCG(seed, 3)), hooks: make(map[string]*chaosHook)}
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	c.s.t.Cleanup(h.Close)
	c.hooks = h
	filters := [][]string{{}, {"message.sent"}, {"message.sent", "message.failed", "session.connected", "session.disconnected"}}
	for i, l := range c.lines {
		if i%hookedOneIn != 0 {
			continue
		}
		x := &chaosHook{line: l, card: l.card, events: filters[i/hookedOneIn%len(filters)]}
		before, err := x.recorded()
		require.NoError(c.s.t, err)
		if len(before) > 0 {
			x.since = int64(number(before[len(before)-1], "position"))
		}
		path := "/" + l.id
		a, err := l.card.expect(http.StatusCreated, "POST", l.card.path("/webhooks"), obj{"url": h.URL + path, "events": x.events})
		require.NoError(c.s.t, err)
		x.id = a.str("data.id")
		x.verifier, err = standardwebhooks.NewWebhook(a.str("data.secret"))
		require.NoError(c.s.t, err)
		h.mu.Lock()
		h.hooks[path] = x
		h.mu.Unlock()
	}
}

// serve answers one attempt. A third of them fails: by a status, or by no answer in time.
func (h *hookLoad) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the replica was killed
	}
	h.mu.Lock()
	at, fate := h.record(req, body), h.random.IntN(60)
	h.mu.Unlock()
	switch {
	case fate == 0: // longer than an attempt may take
		select {
		case <-req.Context().Done():
		case <-time.After(2 * time.Second):
		}
		return
	case fate < 20:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if at != nil {
		at()
	}
}

// record verifies and records an attempt. It returns a function that records that it was accepted. The
// caller holds mu.
func (h *hookLoad) record(req *http.Request, body []byte) (accept func()) {
	x := h.hooks[req.URL.Path]
	if x == nil {
		h.problems = append(h.problems, "an attempt at "+req.URL.Path)
		return nil
	}
	if err := x.verifier.Verify(body, req.Header); err != nil {
		h.problems = append(h.problems, fmt.Sprintf("%s: %v: %s", x.line.id, err, body))
	}
	var event struct {
		Position        int64
		Type, SessionID string
		Data            struct{ Content string }
	}
	if err := json.Unmarshal(body, &event); err != nil || event.SessionID != x.line.id {
		h.problems = append(h.problems, fmt.Sprintf("%s: %v: %s", x.line.id, err, body))
	}
	n := len(x.tried)
	x.tried = append(x.tried, hookAttempt{id: req.Header.Get("webhook-id"), position: event.Position, kind: event.Type, text: event.Data.Content})
	return func() { x.tried[n].status = http.StatusOK }
}

// recorded returns the events of the session that the webhook's card sees.
func (x *chaosHook) recorded() (all []any, err error) {
	for after := int64(0); ; {
		a, err := x.card.expect(http.StatusOK, "GET", x.card.path(fmt.Sprintf("/events?limit=100&after=%d", after)), nil)
		if err != nil {
			return nil, err
		}
		page := a.list("data.events")
		if len(page) == 0 {
			return all, nil
		}
		all = append(all, page...)
		after = int64(number(page[len(page)-1], "position"))
	}
}

// wants reports whether the webhook delivers an event.
func (x *chaosHook) wants(e any) bool {
	kind := text(e, "type")
	if int64(number(e, "position")) <= x.since || !slices.Contains(hookTypes, kind) {
		return false
	}
	return len(x.events) == 0 || slices.Contains(x.events, kind)
}

// hookTypes holds the types of events that webhooks deliver.
var hookTypes = []string{
	"message.received", "message.sent", "message.delivered", "message.read", "message.failed",
	"session.connected", "session.disconnected", "session.qr_updated", "session.error", "session.migrated",
}

// webhooks checks what the receiver got. Every recorded event that a webhook wants was delivered or is dead.
// Events arrived in order, and none of another card. Every signature was right.
func (v *verdict) webhooks() {
	attempts, delivered, dead := 0, 0, 0
	for _, x := range v.hooks.hooks {
		var log []any
		isPresent := x.line.card == x.card
		if isPresent {
			log = v.awaitDeliveries(x)
		}
		v.hooks.mu.Lock()
		tried := slices.Clone(x.tried)
		v.hooks.mu.Unlock()
		attempts += len(tried)
		v.checkAttempts(x, tried)
		if isPresent {
			d := v.checkDeliveries(x, log, tried)
			dead += d
			delivered += len(log) - d
		}
	}
	v.hooks.mu.Lock()
	defer v.hooks.mu.Unlock()
	for _, problem := range v.hooks.problems[:min(len(v.hooks.problems), shown)] {
		v.s.t.Errorf("webhooks: %s", problem)
	}
	if delivered == 0 {
		v.s.t.Error("no webhook has delivered anything")
	}
	v.s.t.Logf("%d webhooks: %d attempts; of present cards %d events delivered, %d dead", len(v.hooks.hooks), attempts, delivered, dead)
}

// awaitDeliveries waits until no delivery of a webhook is pending, and returns all of them, the earliest
// event first.
func (v *verdict) awaitDeliveries(x *chaosHook) []any {
	c := &testSession{client: x.card.client, id: x.line.id}
	for deadline := time.Now().Add(recovery); ; time.Sleep(100 * time.Millisecond) {
		a, err := c.expect(http.StatusOK, "GET", c.path("/webhooks/"+x.id+"/deliveries?status=pending"), nil)
		if err == nil && len(a.list("data.deliveries")) == 0 && v.isProjected(x) {
			break
		}
		if time.Now().After(deadline) {
			v.violation(x.line, "deliveries are pending %v after the last fault: %v %s", recovery, err, a)
			break
		}
	}
	var all []any
	for cursor := ""; ; {
		a, err := c.expect(http.StatusOK, "GET", c.path("/webhooks/"+x.id+"/deliveries?limit=100&cursor="+cursor), nil)
		if err != nil {
			v.s.t.Error(err)
			return all
		}
		all = append(all, a.list("data.deliveries")...)
		cursor = a.str("data.nextCursor")
		if cursor == "" {
			slices.Reverse(all)
			return all
		}
	}
}

// isProjected reports whether the latest event that a webhook wants has a delivery.
func (v *verdict) isProjected(x *chaosHook) bool {
	events, err := x.recorded()
	if err != nil {
		return false
	}
	for _, e := range slices.Backward(events) {
		if x.wants(e) {
			a, err := x.card.expect(http.StatusOK, "GET", x.card.path("/webhooks/"+x.id+"/deliveries?limit=1"), nil)
			return err == nil && len(a.list("data.deliveries")) == 1 && number(a.list("data.deliveries")[0], "position") == number(e, "position")
		}
	}
	return true
}

// checkAttempts checks the order of what arrived, and that it belongs to the card.
func (v *verdict) checkAttempts(x *chaosHook, tried []hookAttempt) {
	ids := make(map[int64]string)
	for i, a := range tried {
		if i > 0 && a.position < tried[i-1].position {
			v.violation(x.line, "the webhook was sent %s at %d after the event at %d", a.kind, a.position, tried[i-1].position)
			return
		}
		if ids[a.position] == "" {
			ids[a.position] = a.id
		}
		if ids[a.position] != a.id {
			v.violation(x.line, "attempts for the event at %d have the ids %s and %s", a.position, ids[a.position], a.id)
		}
		if strings.HasPrefix(a.kind, "message.") && !strings.HasPrefix(a.text, x.card.mark()) {
			v.violation(x.line, "the webhook of %s was sent an event of another card: %q", x.card, a.text)
		}
	}
}

// checkDeliveries compares the recorded events with the deliveries, and these with what the receiver has
// accepted. It returns how many deliveries are dead.
func (v *verdict) checkDeliveries(x *chaosHook, log []any, tried []hookAttempt) (dead int) {
	events, err := x.recorded()
	if err != nil {
		v.s.t.Error(err)
		return 0
	}
	var want, have []int64
	for _, e := range events {
		if x.wants(e) {
			want = append(want, int64(number(e, "position")))
		}
	}
	accepted := make(map[int64]string)
	for _, a := range tried {
		if a.status == http.StatusOK {
			accepted[a.position] = a.id
		}
	}
	for _, d := range log {
		position := int64(number(d, "position"))
		have = append(have, position)
		switch text(d, "status") {
		case "DEAD":
			dead++
		case "DELIVERED":
			if accepted[position] != text(d, "id") {
				v.violation(x.line, "the receiver has accepted %q for the delivery %v", accepted[position], d)
			}
		}
	}
	if !slices.Equal(want, have) {
		v.violation(x.line, "the webhook wants the events at %v and has deliveries of %v", want, have)
	}
	return dead
}
