package server

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
)

// wipeFleet is the API with workers that answer every call, and count the deletions.
type wipeFleet struct {
	t           *testing.T
	core        *orchestrator.Orchestrator
	api         *Handler
	admin, user string
	mu          sync.Mutex
	deletions   map[string]int // by worker
}

func newWipeFleet(t *testing.T) *wipeFleet {
	store, err := backend.Open(t.Context(), "memory:")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	f := &wipeFleet{t: t, deletions: make(map[string]int)}
	f.core, err = orchestrator.New(orchestrator.Config{Store: store, Workers: store.Workers(one), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	f.api, err = NewHandler(t.Context(), f.core, store, HandlerConfig{WorkerToken: one, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	_, _, err = f.api.Accounts.EnsureAdministrator(t.Context(), "root@example.com", "correct-horse-1")
	require.NoError(t, err)
	admin, err := f.api.Accounts.Login(t.Context(), "root@example.com", "correct-horse-1")
	require.NoError(t, err)
	user, err := f.api.Accounts.Register(t.Context(), "Ada", "ada@example.com", "correct-horse-1")
	require.NoError(t, err)
	f.admin, f.user = admin.Token, user.Token
	return f
}

// addWorker registers a worker of a state group, which is served until stop.
func (f *wipeFleet) addWorker(id, group string) (stop func()) {
	worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			f.mu.Lock()
			f.deletions[id]++
			f.mu.Unlock()
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"success":true,"data":{"sessionId":"line","status":"initializing"}}`)
	}))
	f.t.Cleanup(worker.Close)
	f.call("POST", "/workers/register", one,
		fmt.Sprintf(`{"workerId":%q,"endpoint":%q,"capabilities":["lease","generation"],"stateGroup":%q}`, id, worker.URL, group), http.StatusCreated)
	return func() {
		worker.Close()
		f.call("DELETE", "/workers/unregister", one, fmt.Sprintf(`{"workerId":%q,"endpoint":%q}`, id, worker.URL), http.StatusOK)
	}
}

// call makes a call that must end with a status, and returns the data and the error code.
func (f *wipeFleet) call(method, path, token, body string, want int) (data map[string]any, code string) {
	f.t.Helper()
	r := httptest.NewRequest(method, "/api/v1"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	f.api.ServeHTTP(w, r)
	require.Equal(f.t, want, w.Code, "%s %s: %s", method, path, w.Body)
	var answer struct {
		Data  map[string]any
		Error struct{ Code string }
	}
	require.NoError(f.t, json.Unmarshal(w.Body.Bytes(), &answer))
	return answer.Data, answer.Error.Code
}

// requireTaken tries to create the session.
func (f *wipeFleet) requireTaken() {
	f.t.Helper()
	_, code := f.call("POST", "/sessions", f.user, `{"name":"Line","sessionId":"line"}`, http.StatusConflict)
	require.Equal(f.t, "SESSION_ALREADY_EXISTS", code)
}

// foreign returns the foreign sessions that the API shows of a worker.
func (f *wipeFleet) foreign(worker string) []any {
	f.t.Helper()
	data, _ := f.call("GET", "/workers/"+worker, f.admin, "", http.StatusOK)
	return data["foreignSessions"].([]any)
}

// deletionsOn returns how many sessions were deleted from a worker.
func (f *wipeFleet) deletionsOn(worker string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deletions[worker]
}

// A worker runs a session of another server. Its id is taken, also when the worker lists the session
// no longer, until an administrator has had it wiped.
func TestCreateSession_WorkerRanAForeignSessionOfTheID_IsTakenUntilItIsWiped(t *testing.T) {
	f := newWipeFleet(t)
	f.addWorker("worker-1", "")
	heartbeat := func(sessions string) {
		f.call("PUT", "/workers/worker-1/heartbeat", one, `{"sessions":[`+sessions+`]}`, http.StatusOK)
	}
	heartbeat(`{"sessionId":"line","status":"connected","phoneNumber":"6281234567890"}`)
	f.requireTaken()
	shown := f.foreign("worker-1")
	require.Len(t, shown, 1)
	require.Equal(t, []any{"line", true, "CONNECTED"}, valuesOf(shown[0], "sessionId", "running", "status"))

	heartbeat("")
	f.requireTaken()
	shown = f.foreign("worker-1")
	require.Len(t, shown, 1, "it explains why the id is taken")
	require.Equal(t, []any{"line", false, nil, nil}, valuesOf(shown[0], "sessionId", "running", "status", "lastSeenAt"))
	require.NotNil(t, shown[0].(map[string]any)["firstSeenAt"])

	f.call("DELETE", "/workers/worker-1/foreign-sessions/line", f.admin, "", http.StatusOK)
	f.requireTaken()
	require.Zero(t, f.deletionsOn("worker-1"), "a stop keeps the credentials")
	f.call("DELETE", "/workers/worker-1/foreign-sessions/line?wipe=true", f.admin, "", http.StatusOK)
	require.Equal(t, 1, f.deletionsOn("worker-1"))
	require.Empty(t, f.foreign("worker-1"))
	f.call("POST", "/sessions", f.user, `{"name":"Line","sessionId":"line"}`, http.StatusCreated)
}

// A card without a link has the id of another server's session, which a worker runs. Deleting the card
// must not wipe the other server's credentials.
func TestDeleteSession_WorkerRunsAnotherServersSessionOfTheID_IsNotWiped(t *testing.T) {
	f := newWipeFleet(t)
	f.addWorker("worker-1", "")
	f.call("POST", "/sessions", f.user, `{"name":"Line","sessionId":"line"}`, http.StatusCreated)
	f.call("PUT", "/workers/worker-1/heartbeat", one, `{"sessions":[{"sessionId":"line","status":"connected","phoneNumber":"6281234567890"}]}`, http.StatusOK)
	require.Len(t, f.foreign("worker-1"), 1)
	_, code := f.call("POST", "/sessions/line/connect", f.user, "", http.StatusServiceUnavailable)
	require.Equal(t, "NO_AVAILABLE_WORKERS", code, "it would connect as the other server's number")
	f.call("DELETE", "/sessions/line", f.user, "", http.StatusOK)
	f.requireTaken()
	require.Zero(t, f.deletionsOn("worker-1"))
}

// The only worker that had the session is down, and an administrator states that its disk is gone. The
// disk is that of a state group: the other worker wipes it, which frees the id for the whole group.
func TestRemoveWorker_DestroyedAndTheGroupHasAnother_IDIsFreeOnceThatOneHasWiped(t *testing.T) {
	for group, wiped := range map[string]int{"nfs-7": 1, "": 0} {
		t.Run("group "+group, func(t *testing.T) {
			f := newWipeFleet(t)
			stop := f.addWorker("worker-1", group)
			f.call("POST", "/sessions", f.user, `{"name":"Line","sessionId":"line"}`, http.StatusCreated)
			f.call("POST", "/sessions/line/connect", f.user, "", http.StatusOK)
			f.call("POST", "/webhooks/session-status", one,
				`{"sessionId":"line","status":"connected","workerId":"worker-1","phoneNumber":"6281234567890"}`, http.StatusOK)
			f.call("POST", "/sessions/line/disconnect", f.user, "", http.StatusOK)
			stop()
			f.call("DELETE", "/sessions/line", f.user, "", http.StatusOK)
			f.requireTaken()
			f.addWorker("worker-2", group)
			f.call("DELETE", "/workers/worker-1?force=true&destroyed=true", f.admin, "", http.StatusOK)
			for end := time.Now().Add(10 * time.Second); f.deletionsOn("worker-2") < wiped && time.Now().Before(end); {
				_, err := f.core.RunOnce(t.Context())
				require.NoError(t, err)
			}
			require.Equal(t, wiped, f.deletionsOn("worker-2"))
			require.Eventually(t, func() bool {
				r := httptest.NewRequest("POST", "/api/v1/sessions", strings.NewReader(`{"name":"Line","sessionId":"line"}`))
				r.Header.Set("Authorization", "Bearer "+f.user)
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				f.api.ServeHTTP(w, r)
				return w.Code == http.StatusCreated
			}, 10*time.Second, 10*time.Millisecond)
		})
	}
}

// valuesOf returns members of an object.
func valuesOf(v any, names ...string) (values []any) {
	for _, name := range names {
		values = append(values, v.(map[string]any)[name])
	}
	return values
}

// Whoever registers a worker with the fleet token gets that worker's next token. An administrator can
// see it.
func TestRegister_FleetTokenTakesAWorkerOver_IsInTheAuditTrail(t *testing.T) {
	f := newWipeFleet(t)
	worker := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(worker.Close)
	body := fmt.Sprintf(`{"workerId":"worker-1","endpoint":%q,"capabilities":["ownToken"]}`, worker.URL)
	entries := func() []any {
		data, _ := f.call("GET", "/admin/audit?action=worker.taken-over", f.admin, "", http.StatusOK)
		return data["entries"].([]any)
	}
	registered, _ := f.call("POST", "/workers/register", one, body, http.StatusCreated)
	f.call("POST", "/workers/register", registered["workerToken"].(string), body, http.StatusOK)
	require.Empty(t, entries())
	f.call("POST", "/workers/register", one, body, http.StatusOK)
	require.Len(t, entries(), 1)
	require.Equal(t, []any{"worker:worker-1", "SUCCEEDED"}, valuesOf(entries()[0], "object", "outcome"))
	require.Equal(t, []any{worker.URL, "ONLINE"}, valuesOf(entries()[0].(map[string]any)["details"], "endpoint", "status"))
}
