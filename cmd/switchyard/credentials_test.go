package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
)

// simulated is a simulated worker in a process of its own. Its directory outlives the process.
type simulated struct {
	*process
	s      *server
	id     string
	legacy string
	dir    string
	addr   string
}

// newSimulated starts a worker with its own directory. Its phones scan each QR at once.
func newSimulated(s *server, id, legacy string) *simulated {
	s.t.Helper()
	w := &simulated{s: s, id: id, legacy: legacy, dir: s.t.TempDir(), addr: address() + ":0"}
	w.start("10ms")
	return w
}

// start runs the worker at the address of its first process, and waits until it is online.
func (w *simulated) start(scanAfter string) {
	w.s.t.Helper()
	w.process = spawn(w.s.t, w.dir, nil, "worker", "--simulated", "--id", w.id, "--addr", w.addr, "--state", w.dir,
		"--control-plane", w.s.url, "--token", fleetToken, "--scan-after", scanAfter, "--legacy="+w.legacy)
	waitFor(w.s.t, "the worker listens", func() (bool, any) {
		url := listening.FindString(w.out.String())
		if url != "" {
			w.addr = url[len("http://"):]
		}
		return url != "", w.err.String()
	})
	w.await("ONLINE")
}

// sentTexts returns how often the worker has sent each text, by its journal.
func (w *simulated) sentTexts() map[string]int {
	w.s.t.Helper()
	entries, err := simworker.ReadJournal(filepath.Join(w.dir, "journal.jsonl"))
	require.NoError(w.s.t, err)
	times := make(map[string]int)
	for _, e := range entries {
		if e.Event == simworker.SentOut {
			times[e.Text]++
		}
	}
	return times
}

// killInTurn kills and restarts the server and the worker three times each, while clients count done up to
// all.
func (s *server) killInTurn(w *simulated, done *atomic.Int32, all int) {
	s.t.Helper()
	for round := range 6 {
		waitFor(s.t, "some messages are done", func() (bool, any) { return int(done.Load()) >= (round+1)*all/8, done.Load() })
		if round%2 == 0 {
			s.crash()
			s.startAgain()
			continue
		}
		w.kill()
		w.start("10ms")
	}
}

// await waits until the server gives the worker a status.
func (w *simulated) await(status string) {
	w.s.t.Helper()
	admin := w.s.admin()
	waitFor(w.s.t, w.id+" is "+status, func() (bool, any) {
		a := admin.do("GET", "/workers/"+w.id, nil)
		return a.str("data.status") == status, a
	})
}

// hasCredentials reports whether the worker's directory has credentials of a session.
func (w *simulated) hasCredentials(session string) bool {
	w.s.t.Helper()
	_, err := os.Stat(filepath.Join(w.dir, "phones", session))
	require.True(w.s.t, err == nil || os.IsNotExist(err), "%v", err)
	return err == nil
}

// createLine creates the session that both users want.
func (p *person) createLine() answer {
	p.s.t.Helper()
	return p.do("POST", "/sessions", obj{"name": "Line", "sessionId": "line"})
}

// line returns the session of a user that both users want.
func (p *person) line() *testSession { return &testSession{client: p.client, id: "line"} }

// linkLine creates the session, connects it and waits for the scan on a worker.
func (p *person) linkLine(w *simulated) {
	p.s.t.Helper()
	a := p.createLine()
	require.Equal(p.s.t, http.StatusCreated, a.status, a)
	p.post("/sessions/line/connect", nil)
	require.Equal(p.s.t, w.id, p.line().await("CONNECTED").str("data.workerId"))
	require.True(p.s.t, w.hasCredentials("line"))
}

// requireNewLine creates the session as soon as its id is free. The worker must show a QR
// for it, and must have no credentials of the former session.
func (p *person) requireNewLine(w *simulated) {
	p.s.t.Helper()
	waitFor(p.s.t, "the id is free", func() (bool, any) {
		a := p.createLine()
		if a.status == http.StatusCreated {
			assert.False(p.s.t, w.hasCredentials("line"), "the id is free only after the wipe")
			return true, a
		}
		require.Equal(p.s.t, "409 SESSION_ALREADY_EXISTS", outcome(a), a)
		return false, a
	})
	a := p.post("/sessions/line/connect?wait=10s", nil)
	assert.Equal(p.s.t, []string{"QR_REQUIRED", w.id}, []string{a.str("data.status"), a.str("data.workerId")}, a)
	assert.NotEmpty(p.s.t, a.str("data.qrString"))
	v := p.line().view()
	assert.Equal(p.s.t, "QR_REQUIRED", v.str("data.status"))
	assert.Empty(p.s.t, v.str("data.phoneNumber"), "the number of the former session")
	assert.False(p.s.t, w.hasCredentials("line"))
}

// eachKindOfWorker runs a test with workers of today and with legacy workers.
func eachKindOfWorker(t *testing.T, fn func(t *testing.T, legacy string)) {
	t.Parallel()
	for name, legacy := range map[string]string{"capable": "false", "legacy": "true"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fn(t, legacy)
		})
	}
}

// A session was linked on two workers, and is deleted while the former one is down. Nobody
// gets its id before that worker is back and wiped.
func TestCredentials_FormerWorkerIsDownAtDeletion_IDIsTakenUntilItIsWiped(t *testing.T) {
	eachKindOfWorker(t, func(t *testing.T, legacy string) {
		s := serve(t, "--heartbeat-interval", "1s", "--probe-interval", "200ms", "--failover-delay", "1s", "--lease", "3s")
		owner, other := s.register(), s.register()
		w1 := newSimulated(s, "node-1", legacy)
		owner.linkLine(w1)
		w2 := newSimulated(s, "node-2", legacy)
		s.admin().post("/admin/sessions/line/migrate?force=true", obj{"targetWorkerId": w2.id})
		waitFor(t, "the session is linked on w2", func() (bool, any) {
			v := owner.line().view()
			return v.str("data.status") == "CONNECTED" && v.str("data.workerId") == w2.id, v
		})
		require.True(t, w1.hasCredentials("line") && w2.hasCredentials("line"))

		w1.kill()
		w1.await("OFFLINE")
		owner.want(http.StatusOK, "DELETE", "/sessions/line", nil)
		waitFor(t, "w2 is wiped", func() (bool, any) { return !w2.hasCredentials("line"), nil })
		for _, p := range []*person{owner, other} {
			assert.Equal(t, "409 SESSION_ALREADY_EXISTS", outcome(p.createLine()), "w1 has credentials still")
		}
		require.True(t, w1.hasCredentials("line"))

		w1.start("never")
		s.admin().post("/workers/node-2/drain", nil)
		other.requireNewLine(w1)
	})
}

// A session is deleted after its only worker was restarted. A legacy worker has no session
// in memory then, and answers 404.
func TestCredentials_WorkerWasRestartedBeforeDeletion_IsWiped(t *testing.T) {
	eachKindOfWorker(t, func(t *testing.T, legacy string) {
		s := serve(t, "--heartbeat-interval", "1s", "--probe-interval", "200ms", "--failover-delay", "1s", "--lease", "3s")
		owner, other := s.register(), s.register()
		w := newSimulated(s, "node-1", legacy)
		owner.linkLine(w)
		owner.post("/sessions/line/disconnect", nil)
		w.kill()
		w.await("OFFLINE")
		w.start("never")
		require.True(t, w.hasCredentials("line"))
		owner.want(http.StatusOK, "DELETE", "/sessions/line", nil)
		other.requireNewLine(w)
	})
}

// outcome returns the status and the error code of a response.
func outcome(a answer) string { return fmt.Sprint(a.status, " ", a.str("error.code")) }
