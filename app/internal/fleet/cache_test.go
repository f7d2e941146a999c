package fleet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/domain"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func newCache() *fleet.Cache {
	return fleet.NewCache(domain.MultiFactor{Weights: domain.DefaultWeights()})
}

// worker returns the row of a worker that is online.
func worker(id string, rev int64, capacity int) *domain.Worker {
	return &domain.Worker{
		ID: id, Rev: rev, Online: true, Capacity: capacity, CPU: -1, Memory: -1, RegisteredAt: noon, LastHeartbeat: noon,
	}
}

// connected returns the row of a session that runs on a worker.
func connected(id, workerID string, rev int64) *domain.Session {
	return &domain.Session{
		ID: id, UserID: "user-" + id, WorkerID: workerID, Rev: rev, Generation: 1, Intent: domain.Up,
		Status: domain.Connected, Confirmed: true, AssignedAt: noon, LastReportAppliedAt: noon,
	}
}

// cacheOf returns a cache of workers with room for 50.
func cacheOf(workers ...string) *fleet.Cache {
	c := newCache()
	for _, id := range workers {
		c.PutWorker(worker(id, 1, 50), noon)
	}
	return c
}

func TestPutWorker_OlderRow_IsIgnored(t *testing.T) {
	c := newCache()
	c.PutWorker(worker("w1", 5, 50), noon)
	c.PutWorker(worker("w1", 4, 10), noon)
	require.Equal(t, 50, c.Worker("w1").Capacity)
}

func TestPutWorker_CallerChangesItsRow_CacheKeepsItsOwn(t *testing.T) {
	c := newCache()
	row := worker("w1", 1, 50)
	c.PutWorker(row, noon)
	row.Capacity = 1
	require.Equal(t, 50, c.Worker("w1").Capacity)
}

func TestRemoveWorker_OlderNewsArrives_StaysAway(t *testing.T) {
	c := cacheOf("w1")
	c.RemoveWorker("w1", 3)
	require.Nil(t, c.Worker("w1"))

	c.PutWorker(worker("w1", 3, 50), noon)
	require.Nil(t, c.Worker("w1"))

	c.PutWorker(worker("w1", 4, 50), noon)
	require.NotNil(t, c.Worker("w1"), "it has registered again")
}

func TestRemoveWorker_WorkerCameBackSince_Stays(t *testing.T) {
	c := newCache()
	c.PutWorker(worker("w1", 9, 50), noon)
	c.RemoveWorker("w1", 8)
	require.NotNil(t, c.Worker("w1"))
}

func TestPutSession_OlderRow_IsIgnored(t *testing.T) {
	c := cacheOf("w1", "w2")
	c.PutSession(connected("s1", "w2", 5))
	c.PutSession(connected("s1", "w1", 4))
	require.Equal(t, "w2", c.WorkerOf("s1"))
	require.Zero(t, c.Breakdown("w1").Total)
	require.Equal(t, domain.Breakdown{Total: 1, Connected: 1}, c.Breakdown("w2"))
}

func TestPutSession_SessionLeftTheCache_OlderNewsDoesNotBringItBack(t *testing.T) {
	for name, leave := range map[string]func(*fleet.Cache){
		"deleted":            func(c *fleet.Cache) { c.RemoveSession("s1", 7) },
		"unassigned":         func(c *fleet.Cache) { c.PutSession(&domain.Session{ID: "s1", Rev: 7}) },
		"no longer in store": func(c *fleet.Cache) { c.PutSession(connected("s1", "w1", 7)); c.DropSession("s1") },
	} {
		t.Run(name, func(t *testing.T) {
			c := cacheOf("w1")
			c.PutSession(connected("s1", "w1", 6))
			leave(c)
			require.Empty(t, c.WorkerOf("s1"))
			require.Zero(t, c.Breakdown("w1").Total)

			c.PutSession(connected("s1", "w1", 7))
			require.Empty(t, c.WorkerOf("s1"))

			c.PutSession(connected("s1", "w1", 8))
			require.Equal(t, "w1", c.WorkerOf("s1"))
		})
	}
}

func TestSignals_ChangeThatMayUnblockWork_IsTakenOnce(t *testing.T) {
	c := cacheOf("w1", "w2")
	migrating := connected("s1", "w1", 1)
	migrating.MigrationID = "m1"
	c.PutSession(migrating)
	require.True(t, c.CapacityFreed.Take(), "workers are new")
	require.False(t, c.CapacityFreed.Take())
	require.False(t, c.MigrationEnded.Take())

	c.PutSession(connected("s1", "w2", 2))
	require.True(t, c.CapacityFreed.Take(), "it left w1")
	require.True(t, c.MigrationEnded.Take())

	c.PutSession(connected("s1", "w2", 3))
	require.False(t, c.CapacityFreed.Take(), "nothing was freed")

	c.RemoveSession("s1", 4)
	require.True(t, c.CapacityFreed.Take())

	larger := worker("w1", 2, 51)
	c.PutWorker(larger, noon)
	require.True(t, c.CapacityFreed.Take())
	smaller := worker("w1", 3, 10)
	c.PutWorker(smaller, noon)
	require.False(t, c.CapacityFreed.Take())
}

// observer records the workers that it is told of.
type observer struct{ cached, dropped []string }

func (o *observer) WorkerCached(before, after *domain.Worker, _ time.Time) {
	if before == nil {
		o.cached = append(o.cached, "new "+after.ID)
	} else {
		o.cached = append(o.cached, after.ID)
	}
}
func (o *observer) WorkerDropped(id string) { o.dropped = append(o.dropped, id) }

func TestObserver_WorkerRows_LearnsOfThoseThatEnterAndLeave(t *testing.T) {
	c, o := newCache(), &observer{}
	c.Observe(o)

	c.PutWorker(worker("w1", 2, 50), noon)
	c.PutWorker(worker("w1", 3, 50), noon)
	c.PutWorker(worker("w1", 1, 50), noon) // old
	c.RemoveWorker("w1", 2)                // old
	c.RemoveWorker("w1", 3)

	require.Equal(t, []string{"new w1", "w1"}, o.cached)
	require.Equal(t, []string{"w1"}, o.dropped)
}

func TestWaitingForRoom_SessionFoundNone_WaitsUntilItIsPlaced(t *testing.T) {
	c := cacheOf("w1")
	c.PutSession(&domain.Session{ID: "s1", Rev: 1, Intent: domain.Up, Attempts: 1})
	c.PutSession(&domain.Session{ID: "s2", Rev: 1, Intent: domain.Up})
	require.Equal(t, []string{"s1"}, c.WaitingForRoom())

	c.PutSession(connected("s1", "w1", 2))
	require.Empty(t, c.WaitingForRoom())
}

func TestWaitingToMove_DrainOrMigration_ListsMovableSessions(t *testing.T) {
	c := cacheOf("w1")
	draining := worker("w2", 1, 50)
	draining.Draining, draining.DrainID = true, "drain-1"
	c.PutWorker(draining, noon)
	migrating, starting := connected("migrates", "w1", 1), connected("starts", "w2", 1)
	migrating.MigrationID = "m1"
	starting.Command = domain.CommandStart
	for _, s := range []*domain.Session{connected("stays", "w1", 1), migrating, connected("drains", "w2", 1), starting} {
		c.PutSession(s)
	}

	var ids []string
	for _, a := range c.WaitingToMove() {
		ids = append(ids, a.SessionID)
	}
	require.ElementsMatch(t, []string{"migrates", "drains"}, ids)
	require.Equal(t, "w2", c.DrainingWorker("drain-1"))
	require.Empty(t, c.DrainingWorker("drain-2"))
}
