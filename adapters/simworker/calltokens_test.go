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

func TestCallTokenHolder_AcceptCall_TokenOfTheLatestRegistration(t *testing.T) {
	ctx := t.Context()
	var h simworker.CallTokenHolder
	_, handedOut := h.AcceptCall(ctx, "Bearer anything", false)
	require.False(t, handedOut, "an older control plane hands out none")

	for _, token := range []string{"ct_1", "ct_2"} {
		h.BeginRegistration()(&token)
		for header, want := range map[string]bool{"Bearer " + token: true, "Bearer fleet-token": false, "Bearer ": false, "": false, token: false} {
			accepted, handedOut := h.AcceptCall(ctx, header, false)
			require.True(t, handedOut)
			require.Equal(t, want, accepted, header)
		}
	}
	refused := ""
	h.BeginRegistration()(&refused)
	accepted, _ := h.AcceptCall(ctx, "Bearer ct_2", false)
	require.True(t, accepted, "a registration that failed ends no token")
	accepted, _ = h.AcceptCall(ctx, "Bearer ct_1", false)
	require.False(t, accepted)
}

// The control plane may start a session before the worker has read its answer.
func TestCallTokenHolder_CallOvertakesTheAnswer_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h simworker.CallTokenHolder
		token, end := "ct_1", h.BeginRegistration()
		accepted := make(chan bool)
		go func() {
			ok, _ := h.AcceptCall(t.Context(), "Bearer ct_1", false)
			accepted <- ok
		}()
		synctest.Wait()
		ok, handedOut := h.AcceptCall(t.Context(), "Bearer ct_1", true)
		require.Equal(t, []bool{false, true}, []bool{ok, handedOut}, "the registration waits for a call that only reads")
		end(&token)
		require.True(t, <-accepted)

		h.BeginRegistration()
		limited, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ok, _ = h.AcceptCall(limited, "Bearer ct_2", false)
		require.False(t, ok)
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
	require.Equal(t, []any{"lease", "generation", "dedupe", "ownToken"}, p.last(t, "POST /api/v1/workers/register")["capabilities"])

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
