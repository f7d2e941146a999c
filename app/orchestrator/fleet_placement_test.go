package orchestrator_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// The worker has registered at another replica a moment after the cache was refreshed.
func TestPlacement_InvalidationLost_FindsNewWorker(t *testing.T) {
	c := newReplicaSet(t, 2)
	a, b := c.all[0], c.all[1]
	a.invalidator.cut.Store(true)
	s := c.createSession()
	_, err := a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.Equal(t, domain.CodeNoAvailableWorkers, domain.CodeOf(err))

	c.register(b, "worker-1", 10)

	_, err = a.Sessions.Connect(t.Context(), s.UserID, s.ID, service.ConnectOptions{})
	require.NoError(t, err, "the cache was refreshed a moment ago")
	require.Equal(t, "worker-1", c.session(s.ID).WorkerID)
}

// A worker that limits starts answers busy and says when to try again.
func TestPlacement_WorkerBusy_IsAvoidedUntilRetry(t *testing.T) {
	c := newReplicaSet(t, 1)
	a := c.all[0]
	c.register(a, "worker-1", 10)
	c.register(a, "worker-2", 10)
	c.workers.answerWith(func(made call) error {
		if made.kind == "start" && made.worker == "worker-1" {
			return &ports.WorkerError{Failure: ports.WorkerBusy, Status: 429, Message: "busy", Retry: 30 * time.Second}
		}
		return nil
	})
	refused := func() (n int) {
		for _, made := range c.workers.callsOf("start") {
			if made.worker == "worker-1" {
				n++
			}
		}
		return n
	}

	for range 4 {
		require.Equal(t, "worker-2", c.session(c.connectSession(a).ID).WorkerID)
	}
	require.Equal(t, 1, refused())

	c.advance(35*time.Second, c.heartbeatsOf(a, "worker-1", "worker-2"))
	c.connectSession(a)
	require.Equal(t, 2, refused(), "the worker is tried again")
}
