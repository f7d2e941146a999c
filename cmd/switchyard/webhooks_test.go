package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// hookReceiver is the web server of a customer. It verifies every signature by the library of the Standard
// Webhooks project.
type hookReceiver struct {
	*httptest.Server
	failures int // of the first attempts for each event
	released chan struct{}

	mu       sync.Mutex
	secrets  map[string]string          // by path
	attempts map[string]int             // by webhook-id
	accepted map[string][]receivedEvent // by path
	problems []string
}

type receivedEvent struct {
	id       string
	position int64
	kind     string
	text     string
}

// receiveHooks starts a receiver. Requests for /hang are not answered until the test ends.
func receiveHooks(t *testing.T, failures int) *hookReceiver {
	r := &hookReceiver{
		failures: failures, released: make(chan struct{}), secrets: make(map[string]string), attempts: make(map[string]int),
		accepted: make(map[string][]receivedEvent),
	}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(func() { close(r.released); r.Close() })
	return r
}

func (r *hookReceiver) serve(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/hang" {
		select {
		case <-req.Context().Done():
		case <-r.released:
		}
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the server was killed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	verifier, err := standardwebhooks.NewWebhook(r.secrets[req.URL.Path])
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
	id := req.Header.Get("webhook-id")
	r.attempts[id]++
	if r.attempts[id] <= r.failures {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.accepted[req.URL.Path] = append(r.accepted[req.URL.Path], receivedEvent{id, event.Position, event.Type, event.Data.Content})
}

// at returns what was accepted at a path.
func (r *hookReceiver) at(path string) []receivedEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]receivedEvent(nil), r.accepted[path]...)
}

// hook makes a webhook of the session at a path of the receiver.
func (c *testSession) hook(r *hookReceiver, path string, events ...string) (id string) {
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

// 1,000 messages are sent while the server is killed twice, and the receiver fails the first two attempts of
// each event. Every recorded event arrives, in order, and a webhook that hangs delays only itself.
func TestWebhooks_KillsAndFailures_EveryEventArrivesInOrder(t *testing.T) {
	t.Parallel()
	const lines, each = 10, 100
	r := receiveHooks(t, 2)
	s := serve(t, "--rate-limits", "off", "--allow-private-webhooks", "--webhook-retry", "10ms,10ms,1s,1s,1s,1s", "--webhook-timeout", "2s")
	n := newNode(s, "Node")
	user := s.registerTier("MAX")
	cards := make([]*testSession, lines)
	for i := range cards {
		cards[i] = user.create(fmt.Sprint("Line ", i))
		cards[i].link(n)
		cards[i].hook(r, fmt.Sprint("/", i), "message.sent")
	}
	cards[0].hook(r, "/hang", "message.sent")

	send := func(from, to int) {
		var streams sync.WaitGroup
		for i, c := range cards {
			streams.Go(func() {
				for k := from; k < to; {
					a, err := c.byKey().call("POST", "/sendText", obj{"to": someone, "message": fmt.Sprintf("line %d, message %d", i, k)})
					if err != nil {
						return // the server is down
					}
					if a.status == http.StatusOK {
						k++
					}
				}
			})
		}
		streams.Wait()
	}
	send(0, each/2)
	s.crash()
	s.startAgain()
	for _, c := range cards {
		c.await("CONNECTED")
	}
	var killing sync.WaitGroup
	killing.Go(func() {
		waitFor(t, "deliveries go on", func() (bool, any) { return len(r.at("/1")) > each/4, len(r.at("/1")) })
		s.crash()
	})
	send(each/2, each*3/4)
	killing.Wait()
	s.startAgain()
	for _, c := range cards {
		c.await("CONNECTED")
	}
	send(each*3/4, each+each/4) // what the second kill has cut off, too

	total := 0
	for i, c := range cards {
		want := c.recorded("message.sent")
		total += len(want)
		waitFor(t, "every event arrives", func() (bool, any) {
			got := r.at(fmt.Sprint("/", i))
			return len(got) > 0 && got[len(got)-1].position == want[len(want)-1], fmt.Sprintf("%d of %d", len(got), len(want))
		})
		var got []int64
		for _, e := range r.at(fmt.Sprint("/", i)) {
			require.Equal(t, "message.sent", e.kind)
			if len(got) == 0 || got[len(got)-1] != e.position { // an event that was accepted right before a kill is repeated
				got = append(got, e.position)
			}
		}
		require.Equal(t, want, got, "line %d", i)
	}
	require.GreaterOrEqual(t, total, lines*each)
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Empty(t, r.problems, "every signature verifies")
}

func TestWebhooks_PrivateAddress_IsRefused(t *testing.T) {
	t.Parallel()
	r := receiveHooks(t, 0)
	s := serve(t)
	c := s.registerTier("PRO").create("Line")
	a := c.refused(http.StatusBadRequest, "VALIDATION_ERROR", "POST", c.path("/webhooks"), obj{"url": r.URL})
	require.Equal(t, []string{"url"}, a.fields())

	// The name does not resolve when the URL is saved, so only the dial can judge it.
	c.want(http.StatusOK, "PUT", c.path("/webhook"), obj{"url": "http://hooks.invalid/in"})
	tested := c.post(c.path("/webhook/test"), nil)
	require.Equal(t, false, tested.at("data.delivered"))
	require.Contains(t, tested.str("data.error"), "not found")
}

func TestWebhooks_Journey_OverHTTP(t *testing.T) {
	t.Parallel()
	r := receiveHooks(t, 0)
	s := serve(t, "--allow-private-webhooks")
	n := newNode(s, "Node")
	c := s.registerTier("PRO").create("Line")
	c.link(n)
	id := c.hook(r, "/a")
	masked := c.get(c.path("/webhook"))
	require.Equal(t, id, masked.str("data.id"))
	require.Len(t, masked.list("data.events"), 10)
	require.True(t, strings.HasPrefix(masked.str("data.secret"), "whsec_…"), masked)

	ping := c.post(c.path("/webhooks/"+id+"/test"), nil)
	require.Equal(t, true, ping.at("data.delivered"), ping)
	require.EqualValues(t, 200, ping.at("data.responseCode"))
	require.Equal(t, "ping", r.at("/a")[0].kind)

	c.say("hello")
	waitFor(t, "the event arrives", func() (bool, any) {
		all := r.at("/a")
		return len(all) > 1 && all[1].kind == "message.sent" && all[1].text == "hello", all
	})
	var first string
	waitFor(t, "the delivery is recorded", func() (bool, any) {
		a := c.get(c.path("/webhook/deliveries?status=delivered&limit=100"))
		list := a.list("data.deliveries")
		if len(list) == 0 {
			return false, a
		}
		first = text(list[len(list)-1], "id")
		return text(list[len(list)-1], "event") == "message.sent", a
	})
	c.post(c.path("/webhook/deliveries/"+first+"/redeliver"), nil)
	waitFor(t, "it arrives again, with its id", func() (bool, any) {
		count := 0
		for _, e := range r.at("/a") {
			if e.id == first {
				count++
			}
		}
		return count == 2, r.at("/a")
	})

	rotated := c.post(c.path("/webhook/rotate-secret?grace=1h"), nil)
	r.mu.Lock()
	former := r.secrets["/a"]
	require.NotEqual(t, former, rotated.str("data.secret"))
	r.mu.Unlock()
	c.post(c.path("/webhook/test"), nil) // verified by the former secret
	r.mu.Lock()
	r.secrets["/a"] = rotated.str("data.secret")
	r.mu.Unlock()
	s.crash() // the key is in the secrets file
	s.startAgain()
	require.Equal(t, true, c.post(c.path("/webhook/test"), nil).at("data.delivered"))

	c.want(http.StatusOK, "DELETE", c.path("/webhook"), nil)
	c.refused(http.StatusNotFound, "WEBHOOK_NOT_FOUND", "GET", c.path("/webhook"), nil)
	c.refused(http.StatusNotFound, "WEBHOOK_NOT_FOUND", "POST", c.path("/webhooks/"+id+"/test"), nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Empty(t, r.problems)
}
