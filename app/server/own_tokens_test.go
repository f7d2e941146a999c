package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// recorder is a proxy in front of a worker that records the credentials of all calls.
type recorder struct {
	*httptest.Server
	mu    sync.Mutex
	shown map[string]int // by path and credential
}

func newRecorder(t *testing.T, to string) *recorder {
	r := &recorder{shown: make(map[string]int)}
	target, err := url.Parse("http://" + to)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	r.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		kind, _, _ := strings.Cut(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "), "_")
		r.mu.Lock()
		r.shown[strings.TrimSpace(req.URL.Path+" "+kind)]++
		r.mu.Unlock()
		proxy.ServeHTTP(rw, req)
	}))
	t.Cleanup(r.Close)
	return r
}

// calls returns the calls so far, as "path credential".
func (r *recorder) calls() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for call := range r.shown {
		all = append(all, call)
	}
	return all
}

// startWorker runs a simulated worker at the recorder's endpoint, until stop.
func startWorker(t *testing.T, s *Server, id string, legacy bool) (seen *recorder, stop func()) {
	return startWorkerWith(t, s, simworker.Config{ID: id, Legacy: legacy, ScanAfter: time.Millisecond})
}

func startWorkerWith(t *testing.T, s *Server, c simworker.Config) (seen *recorder, stop func()) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	seen = newRecorder(t, listener.Addr().String())
	control := simworker.NewControl(s.URL(), s.WorkerToken())
	if c.Legacy {
		control = simworker.NewLegacyControl(s.URL(), s.WorkerToken())
	}
	c.Endpoint = seen.URL
	w := simworker.New(c, control)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- simworker.Serve(ctx, listener, w, simworker.ServeConfig{Token: s.WorkerToken(), Log: slog.New(slog.DiscardHandler)})
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			assert.NoError(t, <-ended)
			control.Close()
		})
	}
	t.Cleanup(stop)
	require.Eventually(t, w.Registered, 10*time.Second, time.Millisecond)
	return seen, stop
}

func runServer(t *testing.T, c Config) *Server {
	c.Addr, c.Log, c.Out = "127.0.0.1:0", slog.New(slog.DiscardHandler), io.Discard
	c.AdminPassword = "correct-horse-1"
	s, err := New(t.Context(), c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return s
}

// The fleet token reaches neither a worker with its own token nor an endpoint that is no
// worker's.
func TestServer_WorkerWithOwnToken_NeverSeesTheFleetToken(t *testing.T) {
	for name, c := range map[string]struct {
		legacy bool
		kind   string
	}{"own token": {false, "ct"}, "legacy": {true, one}} {
		t.Run(name, func(t *testing.T) {
			s := runServer(t, Config{Store: "memory:", WorkerToken: one})
			ctx := t.Context()
			seen, stop := startWorker(t, s, "worker-1", c.legacy)
			registering := "/health" // before the registration is accepted, a call has no token
			if c.legacy {
				registering += " " + one
			}
			require.Equal(t, []string{registering}, seen.calls())

			u, err := s.Accounts.CreateUser(ctx, "Ada", "ada@example.com", "correct-horse-1", domain.TierBasic, domain.RoleUser)
			require.NoError(t, err)
			_, err = s.Orchestrator.Sessions.Create(ctx, u.ID, service.CreateSessionParams{ID: "support", Name: "Support"})
			require.NoError(t, err)
			_, err = s.Orchestrator.Sessions.Connect(ctx, u.ID, "support", service.ConnectOptions{Wait: 10 * time.Second})
			require.NoError(t, err)
			_, err = s.Orchestrator.Workers.Test(ctx, "worker-1")
			require.NoError(t, err)
			require.Subset(t, []string{registering, "/health " + c.kind, "/api/sessions/start " + c.kind}, seen.calls())
			require.Contains(t, seen.calls(), "/api/sessions/start "+c.kind)

			tested := newRecorder(t, "127.0.0.1:1")
			_, err = s.Orchestrator.Workers.TestEndpoint(ctx, tested.URL)
			require.NoError(t, err)
			require.Equal(t, []string{"/health"}, tested.calls())
			stop()
		})
	}
}

// The token of one worker opens nothing of another, and ends when its worker is removed.
func TestServer_OwnToken_OpensItsWorkerAlone(t *testing.T) {
	s := runServer(t, Config{Store: "memory:", WorkerToken: one, Timing: domain.Timing{HeartbeatInterval: time.Second}})
	startWorker(t, s, "worker-1", false)
	startWorker(t, s, "worker-2", false)
	known, _, err := s.Orchestrator.Workers.Get(t.Context(), "worker-1")
	require.NoError(t, err)
	own := domain.NewWorkerTokens(one).Own("worker-1", known.TokenEpoch)
	status := func(method, path, token, body string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+"/api/v1"+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	require.Equal(t, http.StatusOK, status("PUT", "/workers/worker-1/heartbeat", own, "{}"))
	require.Equal(t, http.StatusForbidden, status("PUT", "/workers/worker-2/heartbeat", own, "{}"))
	require.Equal(t, http.StatusForbidden, status("POST", "/webhooks/worker-heartbeat", own, `{"workerId":"worker-2"}`))
	require.Equal(t, http.StatusForbidden, status("POST", "/workers/register", own, `{"workerId":"worker-2","endpoint":"http://127.0.0.1:1"}`))
	require.Equal(t, http.StatusForbidden, status("PUT", "/workers/worker-1/heartbeat", one, "{}"), "the fleet token no longer speaks for it")

	require.NoError(t, s.Orchestrator.Workers.Remove(t.Context(), "worker-1", service.RemoveOptions{Force: true}))
	require.Equal(t, http.StatusUnauthorized, status("PUT", "/workers/worker-1/heartbeat", own, "{}"))
	require.Eventually(t, func() bool { // it registers again, and with that the former token stays dead
		again, _, err := s.Orchestrator.Workers.Get(t.Context(), "worker-1")
		return err == nil && again.TokenEpoch != known.TokenEpoch
	}, 40*time.Second, 10*time.Millisecond)
	require.Equal(t, http.StatusUnauthorized, status("PUT", "/workers/worker-1/heartbeat", own, "{}"))
}

// Accounts that are made from one address and scan nothing do not fill the fleet.
func TestServer_UnscannedSessionsFromOneAddress_AreLimited(t *testing.T) {
	limits := domain.UnscannedLimits{PerNetwork: 1}
	s := runServer(t, Config{Store: "memory:", WorkerToken: one, Unscanned: &limits, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	startWorkerWith(t, s, simworker.Config{ID: "worker-1", ScanAfter: NeverScans})
	connect := func(name, address string) *http.Response {
		t.Helper()
		u, err := s.Accounts.Register(t.Context(), name, name+"@example.com", "correct-horse-1")
		require.NoError(t, err)
		_, err = s.Orchestrator.Sessions.Create(t.Context(), u.User.ID, service.CreateSessionParams{ID: name, Name: name})
		require.NoError(t, err)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/api/v1/sessions/"+name+"/connect", http.NoBody)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+u.Token)
		r.Header.Set("X-Forwarded-For", address)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp
	}
	require.Equal(t, http.StatusOK, connect("ada", "2001:db8::1").StatusCode)
	refused := connect("bob", "2001:db8::2")
	require.Equal(t, http.StatusTooManyRequests, refused.StatusCode)
	require.Equal(t, "60", refused.Header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, connect("eve", "2001:db8:0:1::1").StatusCode)
}

// The fleet token without a worker id speaks for legacy workers, and no longer for a worker that
// got a token of its own.
func TestReport_FleetTokenWithoutWorkerID_CountsForLegacyWorkersAlone(t *testing.T) {
	f := newDeployedFleet(t)
	f.send.Store(&reply{200, nil, `{"success":true,"data":{"messageId":"3EB0","status":"sent"}}`})
	hear := func(token, status, message, inbound string, want bool) {
		t.Helper()
		for path, c := range map[string]struct{ body, field string }{
			"session-status":   {`{"sessionId":"line","status":"` + status + `"}`, "applied"},
			"message-status":   {`{"sessionId":"line","messageId":"3EB0","status":"` + message + `"}`, "applied"},
			"message-received": {`{"sessionId":"line","messageId":"` + inbound + `","from":"6289999999999","content":"hi"}`, "stored"},
		} {
			got := f.call("POST", "/api/webhooks/"+path, token, c.body, http.StatusOK)
			require.Equal(t, want, got.Data[c.field], path)
		}
	}
	f.report(`{"sessionId":"line","status":"connected"}`)
	f.call("POST", "/api/v1/sendText", f.key, `{"to":"6289999999999","message":"hello"}`, http.StatusOK)
	hear(one, "CONNECTED", "DELIVERED", "IN-1", true)

	registered := f.call("POST", "/api/workers/register", one,
		`{"workerId":"worker-1","endpoint":"`+f.endpoint+`","capabilities":["ownToken"]}`, http.StatusOK)
	own := registered.Data["workerToken"].(string)
	before := f.call("GET", "/api/v1/sessions/line", f.jwt, "", http.StatusOK)
	hear(one, "DISCONNECTED", "READ", "IN-2", false)
	after := f.call("GET", "/api/v1/sessions/line", f.jwt, "", http.StatusOK)
	require.Equal(t, before.Data["status"], after.Data["status"])
	hear(own, "CONNECTED", "READ", "IN-2", true)
}
