package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

// invented returns reports on sessions that nobody knows.
func invented(n int) []domain.Report {
	list := make([]domain.Report, n)
	for i := range list {
		list[i] = running(fmt.Sprintf("invented-%d", i))
	}
	return list
}

// addMany connects n sessions on a worker, and returns reports that they run.
func (f *fixture) addMany(n int, workerID string) (list []domain.Report) {
	user := ""
	for i := range n {
		if i%20 == 0 {
			user = f.AddUser(domain.TierMax)
		}
		id := fmt.Sprintf("many-%d", i)
		f.AddConnected(user, id, workerID)
		list = append(list, running(id))
	}
	return list
}

func TestHeartbeat_ManyUnexpectedSessions_AreLookedUpSomeAtATime(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50, domain.CapGeneration)
	f.AddSharingWorker("worker-2", 300)
	list := f.addMany(250, "worker-2")
	elsewhere := make(map[string]bool)
	for _, r := range list {
		elsewhere[r.SessionID] = true
	}
	list = append(list, invented(26_000)...)
	for range 5 {
		result := f.heartbeat(t, snapshot(slices.Clone(list)...))
		require.LessOrEqual(t, len(result.Commands), 100)
		require.Equal(t, 25_750, result.Skipped)
		require.Equal(t, 500, result.Processed)
		require.Contains(t, result.Warnings[0], "25750 were not looked at")
		for _, c := range result.Commands {
			delete(elsewhere, c.SessionID)
		}
		f.Clock.Advance(time.Second)
	}
	require.Empty(t, elsewhere, "every one had its turn")
}

func TestHeartbeat_ListIsCut_SessionsOfTheWorkerStayAndNoneIsMissing(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddAssigned(f.user, "s1", "worker-1")
	f.AddConnected(f.user, "s2", "worker-1")
	f.Clock.Advance(time.Minute)
	result := f.heartbeat(t, snapshot(append(invented(1000), running("s1"))...))
	require.Equal(t, 501, result.Skipped)
	require.Equal(t, domain.Connected, f.Session("s1").Status)
	require.Equal(t, domain.Connected, f.Session("s2").Status)

	f.heartbeat(t, snapshot(running("s1")))
	require.Equal(t, domain.Reconnecting, f.Session("s2").Status, "a list that is not cut is believed")
}

func TestHeartbeat_SessionIsListedTwice_CountsOnce(t *testing.T) {
	ended := domain.Report{SessionID: "S_1", Status: domain.Disconnected}
	for name, list := range map[string][]domain.Report{"ended first": {ended, running("s-1")}, "running first": {running("s-1"), ended}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.AddWorker("worker-1", 50)
			f.AddConnected(f.user, "s-1", "worker-1")
			f.AddConnected(f.user, "s-2", "worker-1")
			f.Clock.Advance(time.Minute)
			result := f.heartbeat(t, snapshot(slices.Clone(list)...))
			require.Equal(t, domain.Connected, f.Session("s-1").Status, "it runs")
			require.Equal(t, domain.Reconnecting, f.Session("s-2").Status, "it is missing")
			require.Equal(t, 1, result.Processed)
			require.Zero(t, result.Skipped)
			require.Equal(t, []string{"sessions repeats 1 items"}, result.Warnings)
		})
	}
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddAssigned(f.user, "s-1", "worker-1")
	stale, current := ended, running("s-1")
	stale.SessionID, stale.Generation, current.Generation = "s-1", 1, f.Session("s-1").Generation
	stale.Generation = current.Generation - 1
	f.heartbeat(t, snapshot(stale, current))
	require.Equal(t, domain.Connected, f.Session("s-1").Status, "the newest generation counts")
}

func TestHeartbeat_ManyChanges_AreStoredInSeveralTransactions(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 300)
	list := f.addMany(250, "worker-1")
	f.Clock.Advance(time.Minute)
	updates, _ := f.Stored.Count(func() { f.heartbeat(t, snapshot()) })
	require.Equal(t, 3, updates)
	for _, r := range list {
		require.Equal(t, domain.Reconnecting, f.Session(r.SessionID).Status)
	}
}

func TestHeartbeat_TooOften_StaysASignOfLife(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Clock.Advance(time.Minute)
	for range 60 {
		require.Empty(t, f.heartbeat(t, snapshot(running("s1"))).Warnings)
	}
	result := f.heartbeat(t, snapshot(running("s1")))
	require.Equal(t, 1, result.Skipped)
	require.Contains(t, result.Warnings[0], "too often")
	for range 139 {
		f.heartbeat(t, snapshot())
	}
	require.Equal(t, domain.Connected, f.Session("s1").Status, "no session is missing from a list that is not looked at")

	f.Clock.Advance(10 * time.Millisecond)
	updates, _ := f.Stored.Count(func() {
		result = f.heartbeat(t, snapshot())
		require.InDelta(t, f.Timing.Lease-10*time.Millisecond, result.Lease, float64(time.Millisecond), "the lease is that of the stored heartbeat")
		require.Equal(t, domain.WorkerOnline, result.Worker.Status())
	})
	require.Zero(t, updates)
	f.Clock.Advance(500 * time.Millisecond)
	updates, _ = f.Stored.Count(func() { f.heartbeat(t, snapshot()) })
	require.Equal(t, 1, updates)
	require.Equal(t, f.Now(), f.Worker("worker-1").LastHeartbeat)

	f.down("worker-1", domain.DownHeartbeatTimeout)
	require.NoError(t, f.Sync.RefreshWorker(context.Background(), "worker-1"))
	for range 100 {
		f.heartbeat(t, snapshot())
	}
	require.True(t, f.Worker("worker-1").Online, "how often it comes brings no worker down")

	f.Clock.Advance(time.Minute)
	f.heartbeat(t, snapshot())
	require.NotEqual(t, domain.Connected, f.Session("s1").Status, "by then its sessions are looked at again")
}

func TestHeartbeat_SessionsCannotBeStored_SignOfLifeIsStored(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddAssigned(f.user, "s1", "worker-1")
	f.Clock.Advance(30 * time.Second)
	f.Stored.FailCommits(errors.New("a text that the store does not take"))
	result := f.heartbeat(t, snapshot(running("s1")))
	require.Equal(t, []string{"The sessions could not be stored"}, result.Warnings)
	require.Zero(t, result.Synced)
	require.Equal(t, f.Now(), f.Worker("worker-1").LastHeartbeat)
	require.Equal(t, domain.Init, f.Session("s1").Status)
	f.heartbeat(t, snapshot(running("s1")))
	require.Equal(t, domain.Connected, f.Session("s1").Status, "the next heartbeat repeats it")
}

func TestHeartbeat_WorkerHangsUp_IsStoredNevertheless(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddAssigned(f.user, "s1", "worker-1")
	f.Clock.Advance(30 * time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	f.Stored.BeforeUpdate(cancel)
	_, err := f.protocol.Heartbeat(ctx, snapshot(running("s1")))
	require.NoError(t, err)
	require.Equal(t, f.Now(), f.Worker("worker-1").LastHeartbeat)
	require.Equal(t, domain.Connected, f.Session("s1").Status)
}
