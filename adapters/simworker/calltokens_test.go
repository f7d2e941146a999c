package simworker_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestLatestCallToken_CheckCall_AcceptsTokenOfLatestRegistration(t *testing.T) {
	var l simworker.LatestCallToken
	require.Equal(t, simworker.CallUnjudged, l.CheckCall("Bearer anything"), "an older control plane hands out none")

	for _, token := range []string{"ct_1", "ct_2"} {
		l.BeginRegistration()(token)
		require.Equal(t, simworker.CallAccepted, l.CheckCall("Bearer "+token))
		for _, header := range []string{"Bearer fleet-token", "Bearer ", "", token} {
			require.Equal(t, simworker.CallRefused, l.CheckCall(header), header)
			require.Equal(t, simworker.CallRefused, l.AwaitCall(t.Context(), header), header)
		}
	}
	l.BeginRegistration()("")
	require.Equal(t, simworker.CallAccepted, l.CheckCall("Bearer ct_2"), "a registration that failed ends no token")
	require.Equal(t, simworker.CallRefused, l.CheckCall("Bearer ct_1"))
}

// The control plane may start a session before the worker has read its answer.
func TestLatestCallToken_CallOvertakesTheAnswer_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l simworker.LatestCallToken
		end := l.BeginRegistration()
		verdict := make(chan simworker.CallVerdict)
		go func() { verdict <- l.AwaitCall(t.Context(), "Bearer ct_1") }()
		synctest.Wait()
		require.Equal(t, simworker.CallRefused, l.CheckCall("Bearer ct_1"), "CheckCall does not wait")
		end("ct_1")
		require.Equal(t, simworker.CallAccepted, <-verdict)

		l.BeginRegistration()
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, simworker.CallRefused, l.AwaitCall(limited, "Bearer ct_2"), "the wait ends with the context")
	})
}

func TestServe_WorkerWithCallToken_RefusesTheFleetToken(t *testing.T) {
	p := newWebPlane(t)
	p.answers["POST /api/v1/workers/register"] = `{"workerId":"w1","leaseMs":45000,"heartbeatIntervalMs":10,"workerToken":"own-1","callToken":"ct_1"}`
	p.own = "own-1"
	c := simworker.NewControl(p.URL, "fleet-token")
	t.Cleanup(c.Close)
	w := simworker.New(simworker.Config{ID: "w1"}, c)
	require.Contains(t, w.Capabilities(), domain.CapOwnToken)
	serve(t, w, simworker.ServeConfig{Token: "fleet-token"})
	require.Eventually(t, func() bool { return p.shown("own-1") > 2 }, 5*time.Second, time.Millisecond)
	require.Equal(t, 1, p.shown("fleet-token"), "with its registration alone")
	require.Equal(t, []any{"lease", "generation", "dedupe", "media", "replies", "ownToken"}, p.last(t, "POST /api/v1/workers/register")["capabilities"])

	for token, want := range map[string]int{"ct_1": http.StatusOK, "fleet-token": http.StatusUnauthorized, "own-1": http.StatusUnauthorized} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.Endpoint()+"/api/sessions", nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode, token)
	}
	fleet := httpworker.New("fleet-token")
	defer fleet.Close()
	_, err := fleet.List(t.Context(), ports.WorkerRef{ID: "w1", Endpoint: w.Endpoint()})
	failed(t, err, ports.WorkerRejected)

	legacy := simworker.New(simworker.Config{ID: "w2", Legacy: true}, c)
	require.Empty(t, legacy.Capabilities())
}
