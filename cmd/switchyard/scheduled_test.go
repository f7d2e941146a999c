package main_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// acceptUntilDone asks for a text to be sent later until the server has accepted it. The text is the key.
func (c *testSession) acceptUntilDone(text string, later obj, deadline time.Time) (id string, ok bool) {
	body := obj{"to": someone, "message": text}
	for name, value := range later {
		body[name] = value
	}
	for time.Now().Before(deadline) {
		a, err := c.byKey().sending(keyHeader, text).call("POST", "/sendText", body)
		if err == nil && a.status == http.StatusAccepted {
			return a.str("data.id"), true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", false
}

// Processes of the server and of the worker are killed at random times while messages wait and are forwarded. Each message that
// was accepted is in the journal of the worker exactly once if it was sent, and at most once if its outcome is not known. None
// is forgotten.
func TestCrash_ServerAndWorkerDuringScheduledSends_NothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	s := serve(t, append(fast(time.Minute), "--rate-limits", "off")...)
	w := newSimulated(s, "node-1", "false")
	user := s.registerTier("MAX")
	user.linkLine(w)
	line := user.line()
	line.key = user.post(line.path("/api-key/rotate"), nil).str("data.apiKey")

	const streams, each = 3, 30
	var accepted atomic.Int32
	ids := make(map[string]string) // by text
	var mu sync.Mutex
	var wg sync.WaitGroup
	for stream := range streams {
		wg.Go(func() {
			for k := range each {
				text := fmt.Sprintf("stream %d, message %d", stream, k)
				later := obj{"queue": true}
				if k%2 == 0 {
					later = obj{"sendAt": time.Now().Add(time.Duration(k%5) * time.Second).Format(time.RFC3339)}
				}
				id, ok := line.acceptUntilDone(text, later, time.Now().Add(2*time.Minute))
				if !ok {
					t.Errorf("%q was not accepted", text)
					return
				}
				mu.Lock()
				ids[text] = id
				mu.Unlock()
				accepted.Add(1)
			}
		})
	}
	s.killInTurn(w, &accepted, streams*each)
	wg.Wait()
	require.Len(t, ids, streams*each)
	waitFor(t, "nothing waits", func() (bool, any) {
		waiting := line.get(line.path("/scheduled?limit=100")).list("data.messages")
		return len(waiting) == 0, len(waiting)
	})

	times := w.sentTexts()
	known := 0
	for text, id := range ids {
		m := line.get(line.path("/messages/" + id))
		switch status := m.str("data.status"); status {
		case "SENT", "DELIVERED", "READ":
			known++
			assert.Equal(t, 1, times[text], "%q is %s", text, status)
		case "PENDING", "FAILED":
			assert.LessOrEqual(t, times[text], 1, "%q is %s", text, status)
			if status == "FAILED" {
				assert.Contains(t, m.str("data.errorMessage"), "outcome was never reported", text)
			}
		}
	}
	assert.Greater(t, known, streams*each*3/4)
	assert.Len(t, line.history(100), streams*each)
}

// The server is killed while the worker has sent a queued message and has not answered. The message is not sent again, and a
// receipt settles it. The one behind it is sent.
func TestCrash_ServerBetweenForwardAndAnswer_QueuedMessageIsNotSentAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node", modern)
	line := s.register().create("Line")
	line.link(n)
	release := n.hold()
	t.Cleanup(release)
	deadline := time.Now().Add(time.Minute)
	first, _ := line.acceptUntilDone("first", obj{"queue": true}, deadline)
	waitFor(t, "the send is at the worker", func() (bool, any) { return n.entered.Load() == 1, nil })
	second, _ := line.acceptUntilDone("second", obj{"queue": true}, deadline)
	s.crash()
	release()
	s.startAgain()
	waitFor(t, "the second is sent", func() (bool, any) {
		status := line.get(line.path("/messages/" + second)).str("data.status")
		return status != "PENDING", status
	})
	require.Equal(t, "PENDING", line.get(line.path("/messages/"+first)).str("data.status"))
	require.Len(t, n.outbox(), 2)
	receipt := n.must("POST", "/webhooks/message-status",
		obj{"sessionId": line.id, "messageId": n.outbox()[0].messageID, "clientMessageId": first, "status": "DELIVERED"})
	require.Equal(t, http.StatusOK, receipt.status, receipt)
	require.Equal(t, "DELIVERED", line.get(line.path("/messages/"+first)).str("data.status"))
	again, _ := line.acceptUntilDone("first", obj{"queue": true}, deadline)
	require.Equal(t, first, again, "its key stands for it")
	require.Len(t, n.outbox(), 2)
}
