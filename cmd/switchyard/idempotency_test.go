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

const (
	keyHeader      = "Idempotency-Key"
	replayedHeader = "Idempotency-Replayed"
)

// sayOnce sends a text with a key. It may run in any goroutine.
func (c *testSession) sayOnce(key, text string) (answer, error) {
	return c.byKey().sending(keyHeader, key).call("POST", "/sendText", obj{"to": someone, "message": text})
}

// mustSayOnce is sayOnce for a server that answers.
func (c *testSession) mustSayOnce(key, text string) answer {
	c.s.t.Helper()
	a, err := c.sayOnce(key, text)
	require.NoError(c.s.t, err)
	return a
}

// messageID returns our id in the answer to a send, whether it succeeded or its outcome is unknown.
func messageID(a answer) string {
	if a.status == http.StatusOK {
		return a.str("data.id")
	}
	return a.str("error.details.0.message")
}

func TestIdempotencyKey_TwentyAtOnce_WorkerSendsOnce(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node")
	line := s.registerTier("PRO").create("Line")
	line.link(n)
	answers := make([]answer, 20)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			a, err := line.sayOnce("order 17", "once")
			if err != nil {
				t.Error(err)
			}
			answers[i] = a
		})
	}
	wg.Wait()
	first := 0
	for _, a := range answers {
		require.Equal(t, http.StatusOK, a.status, a)
		require.Equal(t, answers[0].at("data"), a.at("data"))
		if a.header.Get(replayedHeader) == "" {
			first++
		}
	}
	assert.Equal(t, 1, first)
	assert.Len(t, n.outbox(), 1)
	assert.Len(t, line.history(100), 1)

	other := line.mustSayOnce("order 17", "something else")
	assert.Equal(t, "409 IDEMPOTENCY_CONFLICT", fmt.Sprint(other.status, " ", other.str("error.code")), other)
	assert.Len(t, n.outbox(), 1)
}

// The server is killed while the worker has sent the message and has not answered. The key's answer is the unknown outcome
// until a receipt arrives, and is the same after another kill.
func TestCrash_ServerBetweenForwardAndAnswer_KeyIsStillBound(t *testing.T) {
	t.Parallel()
	s := serve(t)
	n := newNode(s, "Node", modern)
	line := s.register().create("Line")
	line.link(n)
	release := n.hold()
	t.Cleanup(release)
	lost := make(chan error, 1)
	go func() {
		_, err := line.sayOnce("k", "went out")
		lost <- err
	}()
	waitFor(t, "the send is at the worker", func() (bool, any) { return n.entered.Load() == 1, nil })
	s.crash()
	require.Error(t, <-lost)
	release()
	s.startAgain()

	unknown := line.mustSayOnce("k", "went out")
	require.Equal(t, "504 WORKER_TIMEOUT", fmt.Sprint(unknown.status, " ", unknown.str("error.code")), unknown)
	require.Equal(t, "true", unknown.header.Get(replayedHeader))
	id := messageID(unknown)
	require.Equal(t, "PENDING", line.get(line.path("/messages/"+id)).str("data.status"))

	receipt := n.must("POST", "/webhooks/message-status",
		obj{"sessionId": line.id, "messageId": n.outbox()[0].messageID, "clientMessageId": id, "status": "DELIVERED"})
	require.Equal(t, http.StatusOK, receipt.status, receipt)
	for range 2 {
		settled := line.mustSayOnce("k", "went out")
		require.Equal(t, http.StatusOK, settled.status, settled)
		require.Equal(t, id, settled.str("data.id"))
		require.Equal(t, "DELIVERED", settled.str("data.status"))
		s.crash()
		s.startAgain()
	}
	assert.Len(t, n.outbox(), 1)
}

// The worker is killed before it answers. The first answer and its repeats are the same.
func TestCrash_WorkerBeforeItsAnswer_KeyAnswersTheSame(t *testing.T) {
	t.Parallel()
	s := serve(t, fast(time.Minute)...)
	n := newNode(s, "Node", modern)
	line := s.register().create("Line")
	line.link(n)
	release := n.hold()
	t.Cleanup(release)
	first := make(chan answer, 1)
	go func() {
		a, err := line.sayOnce("k", "went out")
		if err != nil {
			t.Error(err)
		}
		first <- a
	}()
	waitFor(t, "the send is at the worker", func() (bool, any) { return n.entered.Load() == 1, nil })
	n.crash()
	unknown := <-first
	require.Equal(t, http.StatusGatewayTimeout, unknown.status, unknown)
	release()
	for _, step := range []func(){func() {}, n.emerge, s.crash, s.startAgain} {
		step()
		if !s.running() {
			continue
		}
		again := line.mustSayOnce("k", "went out")
		require.Equal(t, http.StatusGatewayTimeout, again.status, again)
		require.Equal(t, messageID(unknown), messageID(again))
		require.Equal(t, unknown.str("error.message"), again.str("error.message"))
	}
	assert.Len(t, n.outbox(), 1)
}

// Processes of the server and of the worker are killed at random times while clients send with keys, and repeat every send
// that had no answer. The journal of the worker has no message twice, and each acknowledged one.
func TestCrash_ServerAndWorkerDuringKeyedSends_NothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	s := serve(t, append(fast(time.Minute), "--rate-limits", "off")...)
	w := newSimulated(s, "node-1", "false")
	user := s.registerTier("MAX")
	user.linkLine(w)
	line := user.line()
	line.key = user.post(line.path("/api-key/rotate"), nil).str("data.apiKey")

	const streams, each = 4, 40
	var sent atomic.Int32
	final := make(map[string]answer) // by text
	var mu sync.Mutex
	var wg sync.WaitGroup
	for stream := range streams {
		wg.Go(func() {
			for k := range each {
				text := fmt.Sprintf("stream %d, message %d", stream, k)
				a, ok := line.repeatUntilFinal(text, time.Now().Add(2*time.Minute))
				if !ok {
					t.Errorf("no final answer for %q: %v", text, a)
					return
				}
				mu.Lock()
				final[text] = a
				mu.Unlock()
				sent.Add(1)
			}
		})
	}
	s.killInTurn(w, &sent, streams*each)
	wg.Wait()

	times := w.sentTexts()
	require.Len(t, final, streams*each)
	acknowledged := 0
	for text, a := range final {
		again := line.mustSayOnce(text, text)
		require.Equal(t, "true", again.header.Get(replayedHeader))
		if a.status == http.StatusOK {
			acknowledged++
			assert.Equal(t, 1, times[text], "%q was acknowledged", text)
			assert.Equal(t, http.StatusOK, again.status, again)
		}
		assert.LessOrEqual(t, times[text], 1, text)
		if again.status != http.StatusOK { // a receipt may have settled an unknown outcome
			assert.Equal(t, a.status, again.status, again)
		}
		assert.Equal(t, messageID(a), messageID(again), text)
	}
	assert.Greater(t, acknowledged, streams*each/2)
}

// repeatUntilFinal sends a text with a key until the key is bound: a repeat would be answered the same. The text is the key.
func (c *testSession) repeatUntilFinal(text string, deadline time.Time) (a answer, ok bool) {
	for time.Now().Before(deadline) {
		var err error
		a, err = c.sayOnce(text, text)
		switch {
		case err != nil: // the server is down
		case a.status == http.StatusOK, a.status == http.StatusGatewayTimeout, a.header.Get(replayedHeader) != "":
			return a, true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return a, false
}
