package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The server is killed. Everything that it had acknowledged is still there. The
// worker only goes on with its heartbeats.
func TestCrash_Server_KeepsAcknowledgedState(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node_Stays_UP")
	user := s.registerTier("PRO")
	linked, scanning, idle := user.create("Linked"), user.create("Scanning"), user.create("Idle")
	linked.link(n)
	scanning.post(scanning.path("/connect?wait=10s"), nil)
	for i := range 5 {
		linked.say(fmt.Sprint("before ", i))
	}
	history := linked.history(2)
	require.Len(t, history, 5)
	read := n.messageStatus(linked.id, text(history[0], "messageId"), "READ")
	require.Equal(t, http.StatusOK, read.status, read)
	history = linked.history(100)
	before := linked.view()
	started := len(n.asked(linked.id))

	s.crash()
	n.scan(scanning.id) // its report reaches no server
	s.startAgain()

	assert.Equal(t, user.id, user.get("/auth/me").str("data.user.id"), "the access token is still good")
	assert.Equal(t, "PRO", user.get("/users/tier").str("data.tier"))
	assert.Len(t, user.get("/sessions").list("data.sessions"), 3)
	assert.Equal(t, history, linked.history(3))
	after := linked.view()
	for _, field := range []string{"status", "workerId", "generation", "phoneNumber", "displayName", "createdAt"} {
		assert.Equal(t, before.at("data."+field), after.at("data."+field), field)
	}
	assert.Equal(t, "DISCONNECTED", idle.status())
	idle.byKey().get("/session/status")
	waitFor(t, "a connected session sends after the worker's next heartbeat", func() (bool, any) {
		a, err := linked.byKey().call("POST", "/sendText", obj{"to": someone, "message": "after"})
		require.NoError(t, err)
		return a.status == http.StatusOK, a
	})
	assert.Equal(t, n.disk.phone(scanning.id), scanning.await("CONNECTED").str("data.phoneNumber"), "a heartbeat repairs what a lost report would have told")
	assert.Equal(t, 1, n.registers)
	assert.Len(t, n.asked(linked.id), started+1, "nothing but the message: %v", n.asked(linked.id))

	refreshed := s.anonymous().post("/auth/refresh", obj{"refreshToken": user.refresh})
	assert.Equal(t, user.id, refreshed.str("data.user.id"))
	s.login(user.email, password)
	again := n.register()
	assert.Equal(t, http.StatusOK, again.status, "a known worker: %s", again)
}

// The server is killed right after it acknowledged a connect and a delete. It
// carries both out after its restart.
func TestCrash_AfterAcceptedIntent_IsCarriedOut(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	user := s.registerTier("PRO")
	starting, leaving := user.create("Starting"), user.create("Leaving")
	leaving.link(n)
	n.loseReports(starting.id, true)
	starting.post(starting.path("/connect"), nil)
	leaving.want(http.StatusOK, "DELETE", leaving.path(""), nil)
	s.crash()
	n.loseReports(starting.id, false)
	s.startAgain()
	starting.await("QR_REQUIRED")
	user.refused(http.StatusNotFound, "SESSION_NOT_FOUND", "GET", leaving.path(""), nil)
	waitFor(t, "the deleted session is wiped on the worker", func() (bool, any) {
		return n.has(leaving.id) == "" && n.disk.phone(leaving.id) == "", n.asked(leaving.id)
	})
}

// The server is killed three times under streams of messages. Every acknowledged
// message is in the history, and none was sent twice.
func TestCrash_DuringSends_KeepsAcknowledgedMessages(t *testing.T) {
	t.Parallel()
	s := serve(t, "--rate-limits", "off")
	n := newNode(s, "Node")
	user := s.registerTier("MAX")
	cards := make([]*testSession, 4)
	for i := range cards {
		cards[i] = user.create(fmt.Sprint("Line ", i))
		cards[i].link(n)
	}
	type receipt struct{ id, messageID string }
	acknowledged := make([]map[string]receipt, len(cards)) // by text
	for i := range acknowledged {
		acknowledged[i] = make(map[string]receipt)
	}
	for round := range 3 {
		enough := make(chan struct{}) // each stream signals its start
		var streams sync.WaitGroup
		for i, c := range cards {
			streams.Go(func() {
				for k := 0; ; k++ {
					message := fmt.Sprintf("round %d, line %d, message %d", round, i, k)
					a, err := c.byKey().call("POST", "/sendText", obj{"to": someone, "message": message})
					if err != nil {
						if k < 20 {
							t.Errorf("the server went away too early: %v", err)
							enough <- struct{}{}
						}
						return // the server is down
					}
					if a.status == http.StatusOK {
						acknowledged[i][message] = receipt{a.str("data.id"), a.str("data.messageId")}
					} else {
						t.Errorf("%s", a)
					}
					if k == 20 {
						enough <- struct{}{}
					}
				}
			})
		}
		for range cards {
			<-enough
		}
		s.crash()
		streams.Wait()
		s.startAgain()
		for _, c := range cards {
			waitFor(t, "it sends again", func() (bool, any) {
				a, err := c.byKey().call("POST", "/sendText", obj{"to": someone, "message": "ready"})
				require.NoError(t, err)
				return a.status == http.StatusOK, a
			})
		}
	}
	for i, c := range cards {
		kept := make(map[string]receipt)
		byWhatsApp := make(map[string]int)
		for _, m := range c.history(100) {
			kept[text(m, "content")] = receipt{text(m, "id"), text(m, "messageId")}
			if id := text(m, "messageId"); id != "" {
				byWhatsApp[id]++
				assert.Equal(t, 1, byWhatsApp[id], "%s is there twice", id)
			}
		}
		assert.Greater(t, len(acknowledged[i]), 60)
		for message, r := range acknowledged[i] {
			if kept[message] != r {
				assert.Fail(t, "an acknowledged message is lost", "%q: acknowledged %v, kept %v", message, r, kept[message])
			}
		}
	}
	times := make(map[string]int)
	for _, m := range n.outbox() {
		if m.text != "ready" {
			times[m.text]++
		}
	}
	for message, k := range times {
		assert.Equal(t, 1, k, "%q went out %d times", message, k)
	}
	for i := range cards {
		for message := range acknowledged[i] {
			assert.Equal(t, 1, times[message], "%q was acknowledged and went out %d times", message, times[message])
		}
	}
}

// fast returns flags that detect a lost worker early.
func fast(delay time.Duration) []string {
	return []string{"--probe-interval", "300ms", "--failover-delay", delay.String()}
}

// twoNodes starts two nodes with shared credentials, and links a session on the one
// that is returned first. An administrator lets sessions move away from both at once,
// because deployed workers cannot say that they share credentials.
func twoNodes(s *server, options ...nodeOption) (owner, other *node, c *testSession) {
	s.t.Helper()
	options = append(options, sharing(newDisk(), "disk-1"))
	a, b := newNode(s, "Node_A", options...), newNode(s, "Node_B", options...)
	for _, n := range []*node{a, b} {
		if !n.modern {
			s.admin().want(http.StatusOK, http.MethodPut, "/workers/"+n.canonical, obj{"failover": "move"})
		}
	}
	c = s.register().create("Line")
	owner = c.link(a, b)
	if owner == a {
		return a, b, c
	}
	return b, a, c
}

// A worker crashes, and its session moves. When the worker returns with the session,
// it is told to stop it. The test runs with legacy workers and with modern ones.
func TestFailover_WorkerCrash_MovesSession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options []nodeOption
		stopped string // how the returned worker stops the session
	}{
		"deployed": {nil, "disconnect"},
		"modern":   {[]nodeOption{modern}, "STOP_SESSION"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, fast(500*time.Millisecond)...)
			owner, other, line := twoNodes(s, c.options...)
			line.say("before")
			owner.crash()
			crashed := time.Now()
			waitFor(t, "the loss is noticed", func() (bool, any) {
				v := line.view()
				return v.str("data.status") == "RECONNECTING" || v.str("data.workerId") == other.canonical, v
			})
			assert.Less(t, time.Since(crashed), 10*time.Second)
			waitFor(t, "the session moves", func() (bool, any) {
				v := line.view()
				return v.str("data.workerId") == other.canonical && v.str("data.status") == "CONNECTED", v
			})
			assert.Equal(t, []string{"start"}, other.asked(line.id))
			assert.EqualValues(t, 2, line.view().at("data.generation"))
			waitFor(t, "it sends on the other worker", func() (bool, any) {
				a, err := line.byKey().call("POST", "/sendText", obj{"to": someone, "message": "after"})
				require.NoError(t, err)
				return a.status == http.StatusOK, a
			})

			require.Equal(t, "CONNECTED", owner.has(line.id), "the old worker does not know yet")
			owner.emerge()
			waitFor(t, "the old worker is told to stop", func() (bool, any) {
				asked := owner.asked(line.id)
				return owner.has(line.id) == "DISCONNECTED" && slices.Contains(asked, c.stopped), asked
			})
			// The reports of the stopping worker do not change the session.
			v := line.view()
			assert.Equal(t, "CONNECTED", v.str("data.status"), v)
			assert.Equal(t, other.canonical, v.str("data.workerId"))
			assert.EqualValues(t, 2, v.at("data.generation"))
			line.say("at the end")
			assert.Equal(t, []string{"start", "send", "send"}, other.asked(line.id))
			admin := s.admin()
			waitFor(t, "the old worker is back in the fleet", func() (bool, any) {
				w := admin.get("/workers/" + owner.canonical)
				return w.str("data.status") == "ONLINE" && w.at("data.sessionCount") == 0.0, w
			})
		})
	}
}

// A crashed worker restarts before its sessions move. It recovers those whose
// credentials it has.
func TestFailover_WorkerRestart_RecoversSessions(t *testing.T) {
	t.Parallel()
	s := serve(t, fast(time.Minute)...)
	n, spare := newNode(s, "Node_Comes_Back"), (*node)(nil)
	user := s.registerTier("PRO")
	good, bad := user.create("Good"), user.create("Bad")
	good.link(n)
	bad.link(n)
	spare = newNode(s, "Spare")
	generation := good.view().at("data.generation")
	n.crash()
	good.await("RECONNECTING")
	bad.await("RECONNECTING")
	unreachable := good.byKey().do("POST", "/sendText", obj{"to": someone, "message": "nobody is there"})
	assert.Equal(t, http.StatusServiceUnavailable, unreachable.status, unreachable)
	n.disk.keep(bad.id, "") // the credentials are lost

	a := n.reboot()
	require.Equal(t, http.StatusOK, a.status, a)
	assert.Equal(t, true, a.at("data.recoveryRequired"), a)
	assert.EqualValues(t, 2, a.at("data.assignedSessionCount"), a)
	assigned, outcome := n.resume()
	require.Equal(t, http.StatusOK, assigned.status, assigned)
	assert.Equal(t, assigned.at("data.sessions"), assigned.at("data.assignedSessions"))
	assert.EqualValues(t, 2, assigned.at("data.sessionCount"))
	var ids []string
	for _, v := range assigned.list("data.sessions") {
		ids = append(ids, text(v, "sessionId"))
		assert.Equal(t, user.id, text(v, "userId"))
		assert.Equal(t, user.email, text(v, "userEmail"))
		assert.Equal(t, "PRO", text(v, "userTier"))
	}
	assert.ElementsMatch(t, []string{good.id, bad.id}, ids)
	require.Equal(t, http.StatusOK, outcome.status, outcome)
	assert.EqualValues(t, 2, outcome.at("data.processedSessions"))
	assert.EqualValues(t, 1, outcome.at("data.successfulRecoveries"), "the counts are the server's own")
	assert.EqualValues(t, 1, outcome.at("data.failedRecoveries"))

	v := good.await("CONNECTED")
	assert.Equal(t, n.canonical, v.str("data.workerId"))
	assert.Equal(t, generation, v.at("data.generation"), "it was not placed anew")
	good.say("recovered")
	v = bad.await("ERROR")
	assert.Nil(t, v.at("data.workerId"), "the slot is free")
	assert.Empty(t, spare.asked(good.id), "nothing moved")

	foreign := spare.must("POST", "/workers/Spare/sessions/recovery-status", obj{
		"recoveryResults": []obj{{"sessionId": good.id, "status": "FAILED"}}, "totalSessions": 1,
	})
	assert.Equal(t, "IGNORED", foreign.str("data.processedResults.0.status"), foreign)
	assert.Equal(t, "CONNECTED", good.status())
}

// A worker unregisters. Its session moves, and stays on the other worker when the
// first one returns.
func TestFailover_WorkerUnregisters_MovesSession(t *testing.T) {
	t.Parallel()
	s := serve(t, fast(500*time.Millisecond)...)
	owner, other, line := twoNodes(s)
	for range 2 { // the second call returns 200 too
		a := owner.must("DELETE", "/workers/unregister", obj{"workerId": owner.id, "endpoint": owner.endpoint()})
		require.Equal(t, http.StatusOK, a.status, a)
	}
	owner.crash()
	waitFor(t, "the session moves", func() (bool, any) {
		v := line.view()
		return v.str("data.workerId") == other.canonical && v.str("data.status") == "CONNECTED", v
	})
	line.say("from the other one")
	a := owner.reboot()
	require.Equal(t, http.StatusOK, a.status, a)
	assert.Equal(t, false, a.at("data.recoveryRequired"), a)
	assigned, _ := owner.resume()
	require.Equal(t, http.StatusOK, assigned.status, assigned)
	assert.Equal(t, []any{}, assigned.at("data.sessions"), assigned)
	assert.EqualValues(t, 0, assigned.at("data.sessionCount"))
	assert.Equal(t, other.canonical, line.view().str("data.workerId"))
}

// The worker cleans up when it returns.
func TestDelete_WorkerDown_IsCleanedUpLater(t *testing.T) {
	t.Parallel()
	s := serve(t, fast(time.Minute)...)
	n := newNode(s, "Node")
	line := s.register().create("Line")
	line.link(n)
	n.crash()
	line.await("RECONNECTING")
	line.want(http.StatusOK, "DELETE", line.path(""), nil)
	line.refused(http.StatusNotFound, "SESSION_NOT_FOUND", "GET", line.path(""), nil)
	n.emerge()
	waitFor(t, "the session is wiped on the worker", func() (bool, any) {
		return n.has(line.id) == "" && n.disk.phone(line.id) == "", n.asked(line.id)
	})
	assert.Contains(t, n.asked(line.id), "delete")
}

// The worker is lost between a send and its response. The caller learns that the
// outcome is unknown, and the message is not sent again.
func TestSend_WorkerLostMeanwhile_OutcomeUnknown(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	line := s.register().create("Line")
	line.link(n)
	release := n.hold()
	t.Cleanup(release)
	answers := make(chan answer, 1)
	go func() {
		a, err := line.byKey().call("POST", "/sendText", obj{"to": someone, "message": "went out"})
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}()
	waitFor(t, "the send is at the worker", func() (bool, any) { return n.entered.Load() == 1, nil })
	n.crash()
	a := <-answers
	assert.Equal(t, "504 WORKER_TIMEOUT", fmt.Sprint(a.status, " ", a.str("error.code")), a)
	pending := line.get(line.path("/messages"))
	require.Len(t, pending.list("data.messages"), 1)
	assert.Equal(t, "PENDING", pending.str("data.messages.0.status"))
	release()
	n.emerge()
	waitFor(t, "it sends again", func() (bool, any) {
		a, err := line.byKey().call("POST", "/sendText", obj{"to": someone, "message": "next"})
		require.NoError(t, err)
		return a.status == http.StatusOK, a
	})
	times := 0
	for _, m := range n.outbox() {
		if m.text == "went out" {
			times++
		}
	}
	assert.Equal(t, 1, times)
}
