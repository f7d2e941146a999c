package simworker_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// gatewayWorker adapts a simulated worker to the conformance suite.
func gatewayWorker(w *simworker.Worker) conformance.GatewayWorker {
	return conformance.GatewayWorker{
		Ref: w.Ref(),
		Delivered: func(sessionID string) (texts []string) {
			entries, err := w.State().Journal()
			if err != nil {
				return []string{err.Error()}
			}
			for _, e := range entries {
				if e.Event == simworker.SentOut && e.Session == sessionID {
					texts = append(texts, e.Text)
				}
			}
			return texts
		},
		Connect: func(t *testing.T, sessionID string) { require.NoError(t, w.Scan(sessionID)) },
		Media: func(*testing.T, string) (string, []byte) {
			id := simworker.MediaID(domain.TypeImage, 5000, "1")
			content := make([]byte, 5000)
			_, _ = simworker.MediaContent(id).ReadAt(content, 0)
			return id, content
		},
		Crash: w.Crash,
		Hang:  func() { w.Hang() },
	}
}

func TestFleet_Conformance(t *testing.T) {
	conformance.WorkerGateway(t, func(_ *testing.T, caps ...domain.Capability) (ports.WorkerGateway, conformance.GatewayWorker) {
		w := simworker.New(simworker.Config{ID: "w1", Endpoint: "http://w1.sim:1", Legacy: len(caps) == 0, ScanAfter: simworker.Never}, nil)
		f := new(simworker.Fleet)
		f.Add(w)
		return f, gatewayWorker(w)
	})
}

// The client and the simulated worker must agree on the protocol over HTTP.
func TestServe_Conformance(t *testing.T) {
	conformance.WorkerGateway(t, func(t *testing.T, caps ...domain.Capability) (ports.WorkerGateway, conformance.GatewayWorker) {
		state, err := simworker.OpenState(t.TempDir())
		require.NoError(t, err)
		w := simworker.New(simworker.Config{ID: "w1", Legacy: len(caps) == 0, ScanAfter: simworker.Never, State: state}, nil)
		stop := serve(t, w, simworker.ServeConfig{Token: "fleet-token"})
		c := httpworker.New("fleet-token", httpworker.With(httpworker.Config{RetryWait: time.Millisecond}))
		t.Cleanup(func() {
			_ = c.Close()
			stop()
			_ = state.Close()
		})
		g := gatewayWorker(w)
		g.Crash = stop
		return c, g
	})
}

// serve serves a worker until stop is called or the test ends.
func serve(t *testing.T, w *simworker.Worker, cfg simworker.ServeConfig) (stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	endpoint := simworker.EndpointOf(ln.Addr())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- simworker.Serve(ctx, ln, w, cfg) }()
	require.Eventually(t, func() bool { return w.Endpoint() == endpoint }, 5*time.Second, time.Millisecond)
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(stop)
	return stop
}

func TestFleet_TwoWorkers_RoutesByEndpoint(t *testing.T) {
	state := simworker.NewState()
	now := began
	clock := func() time.Time { return now }
	p := &plane{lease: 45 * time.Second}
	a := simworker.New(simworker.Config{ID: "a", Endpoint: "http://a.sim:1", State: state, Now: clock}, p)
	b := simworker.New(simworker.Config{ID: "b", Endpoint: "http://b.sim:1", State: state, Now: clock, Legacy: true}, p)
	f := new(simworker.Fleet)
	f.Add(b, a)
	require.Equal(t, []*simworker.Worker{a, b}, f.Workers())
	require.Equal(t, began.Add(30*time.Second), f.Tick(t.Context(), now))
	require.Equal(t, []string{"register a", "register b"}, p.calls())

	ref := a.Ref()
	require.Equal(t, "a", ref.ID)
	ref.Capabilities = nil
	r, err := f.Start(t.Context(), ref, ports.Start{SessionID: "one", Generation: 4})
	require.NoError(t, err)
	require.Equal(t, int64(4), r.Generation, "the answer is to this start")
	require.NoError(t, a.Scan("one"))
	for range 2 {
		_, err = f.Send(t.Context(), ref, ports.Send{SessionID: "one", ClientMessageID: "m", Message: &domain.Outgoing{Type: domain.TypeText}})
		require.NoError(t, err)
	}
	entries, err := state.Journal()
	require.NoError(t, err)
	require.Equal(t, int64(0), entries[0].Generation, "extensions go only to workers that announced them")
	require.Empty(t, entries[1].ClientMessageID)

	require.NoError(t, f.Health(t.Context(), ports.WorkerRef{Endpoint: "HTTP://A.sim:1/"}))
	f.Remove(a.Endpoint())
	failed(t, f.Health(t.Context(), a.Ref()), ports.WorkerConnectionRefused)
}
