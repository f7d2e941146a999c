package fleet_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/domain"
)

// canaryFleet returns a cache in which w1 has just joined with four sessions, and w2 has
// been there for long with as many.
func canaryFleet() *fleet.Cache {
	c := cacheOf("w2")
	canary := worker("w1", 1, 50)
	canary.CanarySince = noon
	c.PutWorker(canary, noon)
	for i := range 4 {
		c.PutSession(connected(fmt.Sprint("w1-", i), "w1", 1))
		c.PutSession(connected(fmt.Sprint("w2-", i), "w2", 1))
	}
	return c
}

// disconnect lets sessions of a worker disconnect by themselves.
func disconnect(c *fleet.Cache, workerID string, n int, change func(*domain.Session)) {
	for i := range n {
		s := connected(fmt.Sprint(workerID, "-", i), workerID, 2)
		s.Status, s.StatusAt = domain.Disconnected, noon
		change(s)
		c.PutSession(s)
	}
}

func unwanted(*domain.Session) {}

func TestCanaryFailures_UnusualForAHeartbeatInterval_WorkerFails(t *testing.T) {
	c := canaryFleet()
	disconnect(c, "w1", 3, unwanted)
	require.True(t, c.Disconnected.Take())

	failures, next := c.CanaryFailures(timing, noon)
	require.Empty(t, failures, "the others may still report theirs")
	require.Equal(t, noon.Add(timing.HeartbeatInterval), next)

	failures, _ = c.CanaryFailures(timing, next)
	require.Equal(t, []fleet.CanaryFailure{{WorkerID: "w1", Disconnects: domain.Disconnects{Count: 3, Sessions: 4}}}, failures)
}

func TestCanaryFailures_OthersSufferToo_WorkerIsNotToBlame(t *testing.T) {
	c := canaryFleet()
	disconnect(c, "w1", 3, unwanted)
	_, next := c.CanaryFailures(timing, noon)

	disconnect(c, "w2", 3, unwanted)
	failures, again := c.CanaryFailures(timing, next)
	require.Empty(t, failures)
	require.Zero(t, again)
}

func TestCanaryFailures_DisconnectsWithAReason_DoNotCount(t *testing.T) {
	for name, change := range map[string]func(*domain.Session){
		"user wanted it": func(s *domain.Session) { s.Intent = domain.Down },
		"commanded":      func(s *domain.Session) { s.Command = domain.CommandMove },
		"new generation": func(s *domain.Session) { s.Generation++ },
	} {
		t.Run(name, func(t *testing.T) {
			c := canaryFleet()
			disconnect(c, "w1", 4, change)
			require.False(t, c.Disconnected.Take())
			_, next := c.CanaryFailures(timing, noon)
			require.Zero(t, next)
		})
	}
}

func TestCanaryFailures_WorkerWentDown_ItsDisconnectsAreForgotten(t *testing.T) {
	c := canaryFleet()
	disconnect(c, "w1", 3, unwanted)
	down := worker("w1", 2, 50)
	down.CanarySince, down.Online = noon, false
	c.PutWorker(down, noon)
	up := worker("w1", 3, 50)
	up.CanarySince = noon
	c.PutWorker(up, noon)

	_, next := c.CanaryFailures(timing, noon)
	require.Zero(t, next)
}

func TestCanaryFailures_PeriodOver_WorkerIsNotWatched(t *testing.T) {
	c := canaryFleet()
	disconnect(c, "w1", 4, func(s *domain.Session) { s.StatusAt = noon.Add(timing.CanaryPeriod) })
	_, next := c.CanaryFailures(timing, noon.Add(timing.CanaryPeriod))
	require.Zero(t, next)
}

func TestCanaryFailures_DisconnectsBeforeThePeriod_DoNotCount(t *testing.T) {
	c := canaryFleet()
	disconnect(c, "w1", 3, func(s *domain.Session) { s.StatusAt = noon.Add(-2 * time.Minute) })
	_, next := c.CanaryFailures(timing, noon)
	require.Zero(t, next)
}
