package registry_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

func TestAdd_WithoutAnID_DerivesItFromTheEndpoint(t *testing.T) {
	f := newFixture(t)
	view, err := f.workers.Add(context.Background(), domain.Registration{Endpoint: "http://worker-1:1"})
	require.NoError(t, err)
	require.NotEmpty(t, view.ID)
	require.True(t, f.Worker(view.ID).Online)

	_, err = f.workers.Add(context.Background(), domain.Registration{WorkerID: view.ID, Endpoint: "http://worker-1:1"})
	require.Equal(t, domain.CodeWorkerConflict, domain.CodeOf(err))
}

func TestUpdate_SomeFields_LeaveTheOthers(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	capacity, text := 7, "spare"
	_, err := f.workers.Update(context.Background(), "worker-1", service.WorkerChange{Capacity: &capacity, Description: &text})
	require.NoError(t, err)
	w := f.Worker("worker-1")
	require.Equal(t, 7, w.Capacity)
	require.Equal(t, "spare", w.Description)
	require.Equal(t, "1.0.0", w.Version)

	capacity = 0
	_, err = f.workers.Update(context.Background(), "worker-1", service.WorkerChange{Capacity: &capacity})
	require.Error(t, err)
}

func TestDrain_SeveralSessions_OneBeginsAndTheOthersWaitForAdmission(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddSharingWorker("worker-2", 50)
	for i := range 3 {
		f.AddConnected(f.user, fmt.Sprint("s", i), "worker-1")
	}
	view, err := f.workers.Drain(context.Background(), "worker-1", service.DrainOptions{})
	require.NoError(t, err)
	require.True(t, view.Draining)
	due := 0
	for i := range 3 {
		if f.Session(fmt.Sprint("s", i)).DueAt.Equal(f.Now()) {
			due++
		}
	}
	require.Equal(t, 1, due)
	require.True(t, f.Cache.MigrationEnded.Take(), "the admission looks at once")

	again, err := f.workers.Drain(context.Background(), "worker-1", service.DrainOptions{})
	require.NoError(t, err)
	require.Equal(t, view.DrainID, again.DrainID)
}

func TestGet_WorkerDrains_TellsHowFarItIs(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddSharingWorker("worker-2", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	_, err := f.workers.Drain(context.Background(), "worker-1", service.DrainOptions{})
	require.NoError(t, err)
	view, assigned, err := f.workers.Get(context.Background(), "worker-1")
	require.NoError(t, err)
	require.Len(t, assigned, 1)
	require.Equal(t, 1, view.Drain.Remaining)
	require.Equal(t, 1, view.Drain.Total)
	require.Equal(t, view.DrainID, view.Drain.BatchID)
}

func TestActivate_WorkerAnswers_IsBackInPlacement(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.ChangeWorkerRow("worker-1", func(w *domain.Worker) {
		w.Suspect = "disconnects"
		w.Drain("d1", f.Now())
		w.MarkDown(domain.DownCrashed, f.Timing, f.Now())
	})
	f.Gateway.Fail(ports.WorkerConnectionRefused)
	_, err := f.workers.Activate(context.Background(), "worker-1")
	require.Equal(t, domain.CodeWorkerUnreachable, domain.CodeOf(err))

	f.Gateway.Succeed()
	_, err = f.workers.Activate(context.Background(), "worker-1")
	require.NoError(t, err)
	require.Equal(t, domain.WorkerOnline, f.Worker("worker-1").Status())
	require.True(t, f.Cache.HasRoom(domain.Request{}, f.Now()))
}

func TestRemove_RoomElsewhere_SessionsMoveAndTheWorkerIsGone(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	for i := range 6 { // more than the limits of migrations admit at once
		f.AddConnected(f.user, fmt.Sprint("s", i), "worker-1")
	}
	f.AddSharingWorker("worker-2", 50)
	require.NoError(t, f.workers.Remove(context.Background(), "Worker-1", service.RemoveOptions{}))
	require.Nil(t, f.Cache.Worker("worker-1"))
	for i := range 6 {
		require.Equal(t, "worker-2", f.Session(fmt.Sprint("s", i)).WorkerID)
	}
}

func TestRemove_NoRoomElsewhere_KeepsTheWorkerUnlessForced(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	f.AddSharingWorker("worker-2", 1)
	f.AddConnected(f.user, "s2", "worker-2")
	err := f.workers.Remove(context.Background(), "worker-1", service.RemoveOptions{})
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
	require.Equal(t, "worker-1", f.Session("s1").WorkerID)
	require.True(t, f.Worker("worker-1").Draining)

	require.NoError(t, f.workers.Remove(context.Background(), "worker-1", service.RemoveOptions{Force: true}))
	require.Empty(t, f.Session("s1").WorkerID)
	require.Equal(t, domain.Down, f.Session("s1").Intent)
}

func TestRemove_WorkerDoesNotAnswer_StaysThoughForced(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	f.Gateway.Fail(ports.WorkerTimedOut)
	err := f.workers.Remove(context.Background(), "worker-1", service.RemoveOptions{Force: true})
	require.Equal(t, domain.CodeInvalidState, domain.CodeOf(err))
	require.Equal(t, "worker-1", f.Session("s1").WorkerID, "it may run there")
}

func TestHousekeep_Loads_AreRecordedAndKeptForADay(t *testing.T) {
	f := newFixture(t)
	f.AddWorker("worker-1", 50)
	f.AddConnected(f.user, "s1", "worker-1")
	first := f.Now()
	samples := func() []domain.LoadSample {
		require.NoError(t, f.workers.Housekeep(context.Background(), f.Now()))
		list, err := f.workers.LoadSamples(context.Background(), "worker-1", first)
		require.NoError(t, err)
		return list
	}
	require.Equal(t, 1, samples()[0].Sessions)
	f.Clock.Advance(24 * time.Hour)
	require.Len(t, samples(), 2)
	f.Clock.Advance(time.Second)
	require.Len(t, samples(), 2, "the first is too old")
}

func TestStatistics_OfflineWorkers_OfferNothing(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-1", 50)
	f.AddSharingWorker("worker-2", 30)
	f.AddSharingWorker("worker-3", 10)
	f.AddConnected(f.user, "s1", "worker-1")
	f.down("worker-2", domain.DownCrashed)
	f.ChangeWorkerRow("worker-1", func(w *domain.Worker) { w.CPU = 40 })
	st, err := f.workers.Statistics(context.Background())
	require.NoError(t, err)
	require.Equal(t, []int{2, 1, 60, 1}, []int{st.Online, st.Offline, st.Capacity, st.Used})
	require.InDelta(t, 40, st.CPU, 0.1, "a worker that does not say is left out")
	require.Equal(t, 1, st.Sessions[domain.Connected])
}

func TestProbeAll_SeveralWorkers_ReportsByID(t *testing.T) {
	f := newFixture(t)
	f.AddSharingWorker("worker-2", 50)
	f.AddSharingWorker("worker-1", 50)
	reports, err := f.workers.ProbeAll(context.Background())
	require.NoError(t, err)
	require.Equal(t, "worker-1", reports[0].WorkerID)
	require.Equal(t, "worker-2", reports[1].WorkerID)
	require.True(t, reports[0].Reachable)
}
