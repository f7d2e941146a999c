package httpworker_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// A wipe is confirmed only by a worker that keeps no credentials of sessions that it does not know.
func TestWipe_NotFound_ConfirmsOnlyInTheFormOfAWorkerWithCapabilities(t *testing.T) {
	inForm := `{"success":false,"error":{"code":"SESSION_NOT_FOUND","message":"Not here"}}`
	for name, c := range map[string]struct {
		body string
		caps []domain.Capability
		want ports.WorkerFailure // 0: confirmed
	}{
		"capable worker": {inForm, []domain.Capability{domain.CapLease}, 0},
		"its proxy":      {"404 page not found", []domain.Capability{domain.CapLease}, ports.WorkerRouteMissing},
		"legacy worker":  {inForm, nil, ports.WorkerSessionNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, c.body)
			}))
			defer server.Close()
			client, w := quick(t, httpworker.Config{}), ports.WorkerRef{Endpoint: server.URL, Capabilities: c.caps}
			for _, wipe := range []func(context.Context, ports.WorkerRef, string, int64) error{client.Logout, client.Delete} {
				err := wipe(t.Context(), w, "one", 0)
				if c.want == 0 {
					require.NoError(t, err)
				} else {
					failed(t, err, c.want)
				}
			}
		})
	}
}

// A legacy worker has a budget for calls about a session.
func TestWipe_LegacyWorkerAnswers500_IsCalledOnce(t *testing.T) {
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	c, w := quick(t, httpworker.Config{}), ports.WorkerRef{Endpoint: server.URL}
	failed(t, c.Logout(t.Context(), w, "one", 0), ports.WorkerFailed)
	require.EqualValues(t, 1, calls.Load())
}

// A proxy may answer in place of a worker, and a worker may fail in spite of a 2xx.
func TestCommand_Success_IsBelievedOnlyIfTheBodyDoesNotSayOtherwise(t *testing.T) {
	for body, isConfirmed := range map[string]bool{
		"": true, " \n": true, `{}`: true, `{"success":true}`: true, `{"success":true,"data":{"sessionId":"one"}}`: true, `"OK"`: true, `null`: true,
		`{"success":false,"error":{"code":"INTERNAL_ERROR","message":"disk"}}`: false, `{ "success" : false }`: false,
		`{"success":true`:                       false,
		"<html><body>Maintenance</body></html>": false, "OK": false,
	} {
		t.Run(body, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, body)
			}))
			defer server.Close()
			client := quick(t, httpworker.Config{})
			for name, caps := range map[string][]domain.Capability{"capable": {domain.CapLease}, "legacy": nil} {
				w := ports.WorkerRef{Endpoint: server.URL, Capabilities: caps}
				for call, command := range map[string]func(context.Context, ports.WorkerRef, string, int64) error{
					"logout": client.Logout, "delete": client.Delete, "disconnect": client.Disconnect, "restart": client.Restart,
				} {
					err := command(t.Context(), w, "one", 0)
					if isConfirmed {
						require.NoError(t, err, name, call)
					} else {
						failed(t, err, ports.WorkerFailed)
					}
				}
			}
		})
	}
}
