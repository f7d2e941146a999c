package main_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeControlPlane is a control plane with one worker. It commands the stops that the test
// sets.
type fakeControlPlane struct {
	*httptest.Server
	mu         sync.Mutex
	registered []obj
	beats      []time.Time // times of accepted heartbeats
	tokens     []string    // tokens of these heartbeats
	statuses   []string    // reported statuses
	commands   []obj
}

const pauseLease = 4 * time.Second

func newFakeControlPlane(t *testing.T) *fakeControlPlane {
	p := &fakeControlPlane{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var body obj
		_ = json.NewDecoder(r.Body).Decode(&body)
		p.mu.Lock()
		defer p.mu.Unlock()
		commands := append([]obj{}, p.commands...)
		answer := obj{"commands": commands, "leaseMs": pauseLease.Milliseconds()}
		switch {
		case strings.HasSuffix(r.URL.Path, "/workers/register"):
			p.registered = append(p.registered, body)
			answer["heartbeatIntervalMs"], answer["workerToken"] = 100, fmt.Sprint("own-", len(p.registered))
		case strings.HasSuffix(r.URL.Path, "/heartbeat"):
			p.beats = append(p.beats, time.Now())
			p.tokens = append(p.tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		case strings.HasSuffix(r.URL.Path, "/session-status"):
			p.statuses = append(p.statuses, fmt.Sprint(body["status"]))
		}
		_ = json.NewEncoder(rw).Encode(obj{"success": true, "data": answer})
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *fakeControlPlane) get(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

// heard waits for more heartbeats.
func (p *fakeControlPlane) heard(t *testing.T, more int) {
	t.Helper()
	var have int
	p.get(func() { have = len(p.beats) })
	waitFor(t, "the worker is heard of", func() (ok bool, saw any) {
		p.get(func() { ok, saw = len(p.beats) >= have+more, len(p.beats) })
		return ok, saw
	})
}

// line is an entry of a worker's journal.
type line struct {
	Time, Effective time.Time
	Event, Reason   string
	Process         int64
	SessionID       string
	Generation      int64
	MessageID       string
}

func readJournal(t *testing.T, dir string) (lines []line) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "journal.jsonl"))
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var l line
		require.NoError(t, json.Unmarshal(s.Bytes(), &l))
		lines = append(lines, l)
	}
	return lines
}

// A worker is paused with SIGSTOP until its lease ends. When it resumes, it stops its
// session before anything else. It drops the requests that waited. It never starts a
// generation that it was told to stop, not even as another process.
func TestPause_BeyondLease_StopsSessionFirst(t *testing.T) {
	t.Parallel()
	p := newFakeControlPlane(t)
	dir, host := t.TempDir(), address()
	const endpoint = "http://worker.example.com:8101/behind/a/proxy"
	flags := []string{"worker", "--simulated", "--id", "Node_1", "--addr", host + ":0", "--endpoint", endpoint, "--control-plane", p.URL,
		"--token", fleetToken, "--state", dir, "--scan-after", "10ms"}
	var w *process
	var url string
	start := func() {
		w = spawn(t, dir, nil, flags...)
		waitFor(t, "the worker says where it listens", func() (bool, any) {
			url = listening.FindString(w.out.String())
			return url != "", w.out.String()
		})
		p.heard(t, 2)
	}
	ask := func(path string, body obj) (int, string) {
		t.Helper()
		text, err := json.Marshal(body)
		require.NoError(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+path, strings.NewReader(string(text)))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+fleetToken)
		resp, err := (&http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(answer)
	}
	order := func(generation int) obj {
		return obj{"sessionId": "one", "userId": "u", "sessionName": "One", "generation": generation}
	}
	message := func(id string) obj {
		return obj{"to": someone + "@s.whatsapp.net", "type": "text", "message": id, "clientMessageId": id, "humanSimulation": false}
	}
	start()
	p.get(func() {
		assert.Equal(t, endpoint, p.registered[0]["endpoint"])
		assert.Equal(t, "own-1", p.tokens[0], "it shows its own token")
	})
	status, answer := ask("/api/sessions/start", order(1))
	require.Equal(t, http.StatusCreated, status, answer)
	waitFor(t, "the session is connected", func() (ok bool, saw any) {
		p.get(func() { ok, saw = len(p.statuses) > 0 && p.statuses[len(p.statuses)-1] == "CONNECTED", p.statuses })
		return ok, saw
	})
	status, answer = ask("/behind/a/proxy/api/one/send", message("m1"))
	require.Equal(t, http.StatusOK, status, answer)
	sent := readJournal(t, dir)
	require.Equal(t, "send", sent[1].Event)

	w.pause()
	var stale []net.Conn
	for path, body := range map[string]obj{
		"/api/sessions/start": order(1), "/api/sessions/one/restart": {"generation": 1}, "/api/one/send": message("m2"),
	} {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: w\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			path, fleetToken, len(text), text)
		require.NoError(t, err)
		stale = append(stale, conn)
	}
	waitFor(t, "the lease is out", func() (ok bool, saw any) {
		p.get(func() { ok = time.Since(p.beats[len(p.beats)-1]) > pauseLease+500*time.Millisecond })
		return ok, nil
	})
	p.get(func() { p.commands = []obj{{"type": "STOP_SESSION", "sessionId": "one", "generation": 1}} })
	resumed := time.Now()
	w.signal(syscall.SIGCONT)
	p.heard(t, 3)
	for _, conn := range stale {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		answer, err := io.ReadAll(conn)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is closed, or refused if it is taken in only now")
		assert.NotContains(t, string(answer), `"success":true`)
	}
	entries := readJournal(t, dir)[len(sent):]
	require.Len(t, entries, 1, "nothing was started or sent: %+v", entries)
	assert.Equal(t, "stop", entries[0].Event)
	assert.Equal(t, "the lease ran out", entries[0].Reason)
	assert.False(t, entries[0].Time.Before(resumed), "it is written when it goes on")
	assert.True(t, entries[0].Effective.Before(resumed), "but was over when the lease was")

	refused := func() {
		t.Helper()
		status, answer := ask("/api/sessions/start", order(1))
		assert.Equal(t, http.StatusConflict, status, answer)
	}
	refused()
	w.kill()
	p.get(func() { p.commands = nil })
	start()
	refused()
	status, answer = ask("/api/one/send", message("m1"))
	assert.Equal(t, http.StatusOK, status, answer)
	assert.Contains(t, answer, sent[1].MessageID, "a repeat is known by the next process too")
	status, answer = ask("/api/sessions/start", order(2))
	assert.Equal(t, http.StatusCreated, status, answer)
	entries = readJournal(t, dir)[len(sent)+1:]
	require.Len(t, entries, 1, "%+v", entries)
	assert.Equal(t, "start", entries[0].Event)
	assert.Equal(t, int64(2), entries[0].Generation)
	assert.Equal(t, int64(2), entries[0].Process)
	assert.NotContains(t, w.err.String(), "own-")
	w.signal(syscall.SIGTERM)
	assert.Zero(t, w.exit())
}
