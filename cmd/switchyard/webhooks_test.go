package main_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// 1,000 messages are sent while the server is killed twice, and the receiver fails the first two attempts of
// each event. Every recorded event arrives, in order. The events of a webhook wait until the one before is
// delivered or dead, and a webhook that hangs delays only itself.
func TestWebhooks_KillsAndFailures_EveryEventArrivesInOrder(t *testing.T) {
	t.Parallel()
	const lines, each, attempts = 10, 100, 7
	r := receiveHooks(t, 2)
	r.hold(t, "/hang", true)
	s := serve(t, "--rate-limits", "off", "--allow-private-webhooks", "--webhook-retry", "10ms,10ms,1s,1s,1s,1s", "--webhook-timeout", "2s")
	n := newNode(s, "Node")
	user := s.registerTier("MAX")
	cards, hooks := make([]*testSession, lines), make([]string, lines)
	for i := range cards {
		cards[i] = user.create(fmt.Sprint("Line ", i))
		cards[i].link(n)
		hooks[i] = cards[i].hook(r, fmt.Sprint("/", i), "message.sent")
	}
	hanging := cards[0].hook(r, "/hang", "message.sent")

	acknowledged := make([]map[string]bool, lines)
	send := func(from, to int) {
		var streams sync.WaitGroup
		for i, c := range cards {
			if acknowledged[i] == nil {
				acknowledged[i] = make(map[string]bool)
			}
			streams.Go(func() {
				for k := from; k < to; {
					message := fmt.Sprintf("line %d, message %d", i, k)
					a, err := c.byKey().call("POST", "/sendText", obj{"to": someone, "message": message})
					if err != nil {
						return // the server is down
					}
					if a.status == http.StatusOK {
						acknowledged[i][message] = true
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
		path, want := fmt.Sprint("/", i), c.recorded("message.sent")
		total += len(want)
		waitFor(t, "every event arrives", func() (bool, any) {
			got := r.at(path)
			return len(got) > 0 && got[len(got)-1].position == want[len(want)-1], fmt.Sprintf("%d of %d", len(got), len(want))
		})
		r.requireInOrder(t, path, want)
		failed := make(map[string]int)
		for _, a := range r.tried(path) {
			require.Equal(t, "message.sent", a.kind)
			if a.status == http.StatusServiceUnavailable {
				failed[a.id]++
			}
			if a.status == http.StatusOK {
				require.Equal(t, 2, failed[a.id], "it is delivered by the third attempt")
				delete(acknowledged[i], a.text)
			}
		}
		require.Empty(t, acknowledged[i], "every acknowledged message has an event")
		waitFor(t, "the log of deliveries is complete", func() (bool, any) {
			delivered := len(c.deliveries(hooks[i], "delivered"))
			return delivered == len(want), fmt.Sprintf("%d of %d", delivered, len(want))
		})
		require.Empty(t, c.deliveries(hooks[i], "dead"))
	}
	require.GreaterOrEqual(t, total, lines*each)
	requireHeldUp(t, cards[0], hanging, r.tried("/hang"), attempts)
	r.requireVerified(t)
}

// requireHeldUp requires that a webhook that hangs has delivered nothing, and that each of its events was
// tried once the one before was dead.
func requireHeldUp(t *testing.T, c *testSession, webhookID string, tried []hookAttempt, attempts int) {
	t.Helper()
	require.NotEmpty(t, tried)
	require.Empty(t, c.deliveries(webhookID, "delivered"))
	dead := make(map[int64]bool)
	for _, d := range c.deliveries(webhookID, "dead") {
		dead[int64(find(d, "position").(float64))] = true
		require.EqualValues(t, attempts, find(d, "attempts"))
	}
	count := make(map[int64]int)
	for i, a := range tried {
		require.Zero(t, a.status)
		count[a.position]++
		if i > 0 && tried[i-1].position != a.position {
			require.Greater(t, a.position, tried[i-1].position)
			require.GreaterOrEqual(t, count[tried[i-1].position], attempts, "%d was tried before %d was dead", a.position, tried[i-1].position)
			require.True(t, dead[tried[i-1].position])
		}
	}
	require.Equal(t, c.recorded("message.sent")[0], tried[0].position, "it begins with the first event")
}

func TestRace_WebhookCreations_RespectLimit(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := s.registerTier("PRO").create("Line")
	tally, _ := atOnce(t, 20, func(i int) (answer, error) {
		return c.call("POST", c.path("/webhooks"), obj{"url": fmt.Sprint("https://hooks.example.com/", i)})
	})
	require.Equal(t, map[string]int{"201 ": 5, "409 INVALID_STATE": 15}, tally)
	require.Len(t, c.get(c.path("/webhooks")).list("data.webhooks"), 5)
}

// More webhooks hang than there are attempts at once. They have failed before, so they share half of these.
func TestWebhooks_ManyHang_OthersAreNotDelayed(t *testing.T) {
	t.Parallel()
	r := receiveHooks(t, 0)
	s := serve(t, "--rate-limits", "off", "--allow-private-webhooks", "--webhook-parallel", "4", "--webhook-timeout", "1m", "--webhook-retry", "10ms,10ms")
	n := newNode(s, "Node")
	bad, good := s.registerTier("PRO").create("Bad"), s.registerTier("PRO").create("Good")
	bad.link(n)
	good.link(n)
	var gates []*hookGate
	for i := range 5 {
		path := fmt.Sprint("/hang", i)
		gates = append(gates, r.hold(t, path, true))
		bad.hook(r, path, "message.sent")
	}
	good.hook(r, "/good", "message.sent")
	bad.say("fails once")
	for i, gate := range gates {
		<-gate.entered
		next := r.hold(t, fmt.Sprint("/hang", i), true)
		gate.release(http.StatusInternalServerError)
		if i < 2 {
			<-next.entered // it hangs until the end of the test
		}
	}
	for i := range 20 {
		good.say(fmt.Sprint("message ", i))
	}
	waitFor(t, "every event arrives", func() (bool, any) { return len(r.at("/good")) == 20, len(r.at("/good")) })
}

// The server is killed while it mails that it has switched a webhook off. It mails again after its start.
func TestWebhooks_KilledWhileItMails_OwnerIsToldLater(t *testing.T) {
	t.Parallel()
	mailServer, err := net.Listen("tcp", address()+":0") // it accepts connections, and says nothing
	require.NoError(t, err)
	defer mailServer.Close()
	r := receiveHooks(t, 0)
	gate := r.hold(t, "/a", false)
	s := serve(t, "--allow-private-webhooks", "--smtp", "smtp://"+mailServer.Addr().String())
	c := s.registerTier("PRO").create("Line")
	c.link(newNode(s, "Node"))
	c.hook(r, "/a", "message.sent")
	c.say("hello")
	<-gate.entered
	gate.release(http.StatusGone)
	conn, err := mailServer.Accept()
	require.NoError(t, err)
	defer conn.Close()
	s.crash()

	s.flags = append(s.flags, "--smtp", "") // mails go to the log
	s.startAgain()
	waitFor(t, "the owner is told", func() (bool, any) {
		log := s.err.String()
		return strings.Contains(log, "A Switchyard webhook was switched off"), log
	})
	hook := c.get(c.path("/webhook"))
	require.Equal(t, false, hook.at("data.isActive"))
	require.Contains(t, hook.str("data.disabledReason"), "410")
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
	r.requireVerified(t)
}
