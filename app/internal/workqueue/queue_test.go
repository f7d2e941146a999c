package workqueue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
)

// fixture is a queue whose tasks wait until the test runs them.
type fixture struct {
	*workqueue.Queue
	now     time.Time
	batch   workqueue.Batch
	spawned []func()
}

func newFixture(parallel int) *fixture {
	f := &fixture{now: time.Unix(1_000_000, 0), batch: workqueue.Batch{Context: context.Background()}}
	f.Queue = workqueue.New(parallel, func() time.Time { return f.now }, func(run func()) { f.spawned = append(f.spawned, run) })
	return f
}

// dispatch offers a task that succeeds.
func (f *fixture) dispatch(key, worker string, pool workqueue.Pool) bool {
	return f.Dispatch(&f.batch, workqueue.Task{Key: key, Worker: worker, Pool: pool}, func() error { return nil })
}

// run runs the oldest task that waits.
func (f *fixture) run() {
	next := f.spawned[0]
	f.spawned = f.spawned[1:]
	next()
}

func TestDispatch_KeyRuns_RefusesSecondTask(t *testing.T) {
	f := newFixture(10)
	require.True(t, f.dispatch("session/a", "w1", workqueue.Sessions))

	require.False(t, f.dispatch("session/a", "w2", workqueue.Probes))
	require.True(t, f.dispatch("session/b", "w1", workqueue.Sessions), "another key")

	f.run()
	require.True(t, f.dispatch("session/a", "w1", workqueue.Sessions), "the key is free again")
}

func TestDispatch_EightTasksForWorker_RefusesNinthUntilOneEnds(t *testing.T) {
	f := newFixture(100)
	for _, key := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
		require.True(t, f.dispatch(key, "hangs", workqueue.Sessions))
	}

	require.False(t, f.dispatch("9", "hangs", workqueue.Sessions))
	require.True(t, f.dispatch("9", "answers", workqueue.Sessions), "another worker is not delayed")
	require.True(t, f.dispatch("10", "", workqueue.Sessions), "nor is work without a worker")

	f.run()
	require.True(t, f.dispatch("11", "hangs", workqueue.Sessions))
}

func TestDispatch_NoWorkerNamed_BoundedByPoolAlone(t *testing.T) {
	f := newFixture(20)
	for i := range 20 {
		require.True(t, f.dispatch(string(rune('a'+i)), "", workqueue.Sessions))
	}
	require.False(t, f.dispatch("one more", "", workqueue.Sessions))
}

func TestDispatch_SessionPoolFull_ProbesStillRun(t *testing.T) {
	f := newFixture(2)
	require.True(t, f.dispatch("a", "w1", workqueue.Sessions))
	require.True(t, f.dispatch("b", "w2", workqueue.Sessions))

	require.False(t, f.dispatch("c", "w3", workqueue.Sessions))
	require.True(t, f.dispatch("probe", "", workqueue.Probes))

	f.run()
	require.True(t, f.dispatch("c", "w3", workqueue.Sessions))
}

func TestDispatch_TaskFailed_KeyPausesForOneSecond(t *testing.T) {
	f := newFixture(10)
	task := workqueue.Task{Key: "a", Pool: workqueue.Sessions}
	require.True(t, f.Dispatch(&f.batch, task, func() error { return errors.New("store away") }))
	f.run()

	f.now = f.now.Add(time.Second - 1)
	require.False(t, f.dispatch("a", "", workqueue.Sessions))
	require.True(t, f.dispatch("b", "", workqueue.Sessions), "other keys do not pause")

	f.now = f.now.Add(1)
	f.Housekeep(f.now)
	require.True(t, f.dispatch("a", "", workqueue.Sessions))
}

func TestHousekeep_PauseNotOver_KeyStaysPaused(t *testing.T) {
	f := newFixture(10)
	f.Dispatch(&f.batch, workqueue.Task{Key: "a"}, func() error { return errors.New("store away") })
	f.run()

	f.Housekeep(f.now.Add(time.Second / 2))
	require.False(t, f.dispatch("a", "", workqueue.Sessions))
}

func TestDispatch_TaskEnds_ThenRunsWithTheSlotFreeAndWakes(t *testing.T) {
	f := newFixture(1)
	followed := false
	f.Dispatch(&f.batch, workqueue.Task{Key: "a", Worker: "w1"}, func() error {
		require.True(t, f.IsBusy("w1"))
		return nil
	}, func() {
		require.False(t, f.IsBusy("w1"))
		followed = f.dispatch("b", "w1", workqueue.Sessions)
	})

	f.run()
	require.True(t, followed, "the follower got the only slot")
	require.Len(t, f.Woken(), 1)
}

func TestBatch_TasksOfChain_WaitCoversAll(t *testing.T) {
	f := newFixture(1)
	f.Dispatch(&f.batch, workqueue.Task{Key: "a"}, func() error { return nil }, func() { f.dispatch("b", "", workqueue.Sessions) })
	f.run()

	waited := make(chan struct{})
	go func() { f.batch.Wait(); close(waited) }()
	select {
	case <-waited:
		t.Fatal("the batch ended before its last task")
	default:
	}
	f.run()
	<-waited
}

func TestBacklog_SeveralKeys_EachIsHandedOutOnceInOrder(t *testing.T) {
	f := newFixture(1)
	f.SetBacklog(map[string][]string{"w1": {"a", "b"}, "w2": {"c"}})

	require.Equal(t, "a", f.NextInBacklog("w1"))
	require.Equal(t, "b", f.NextInBacklog("w1"))
	require.Empty(t, f.NextInBacklog("w1"))
	require.Empty(t, f.NextInBacklog("unknown"))

	f.SetBacklog(nil)
	require.Empty(t, f.NextInBacklog("w2"), "a new pass replaces the backlog")
}

func TestWake_ManyTimes_WakesOnce(t *testing.T) {
	f := newFixture(1)
	f.Wake()
	f.Wake()

	require.Len(t, f.Woken(), 1)
	<-f.Woken()
	require.Empty(t, f.Woken())
}
