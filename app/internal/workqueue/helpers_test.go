package workqueue_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
)

func TestKeyedMutex_ManyGoroutines_OneHoldsTheKey(t *testing.T) {
	var m workqueue.KeyedMutex
	var all sync.WaitGroup
	held := 0 // the race detector watches it
	for range 50 {
		all.Go(func() {
			unlock, err := m.Lock(context.Background(), "s1")
			require.NoError(t, err)
			held++
			unlock()
		})
	}
	all.Wait()
	require.Equal(t, 50, held)
	require.False(t, m.IsLocked("s1"))
}

func TestKeyedMutex_KeyHeld_OtherKeysAreFree(t *testing.T) {
	var m workqueue.KeyedMutex
	unlock, err := m.Lock(context.Background(), "s1")
	require.NoError(t, err)
	defer unlock()

	other, err := m.Lock(context.Background(), "s2")
	require.NoError(t, err)
	other()
	require.True(t, m.IsLocked("s1"))
}

func TestKeyedMutex_ContextEnds_LockReturnsItsError(t *testing.T) {
	var m workqueue.KeyedMutex
	unlock, err := m.Lock(context.Background(), "s1")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	_, err = m.Lock(ctx, "s1")
	require.ErrorIs(t, err, context.Canceled)

	unlock()
	unlock, err = m.Lock(context.Background(), "s1")
	require.NoError(t, err, "the caller that gave up left nothing behind")
	unlock()
}

func TestCallsCancel_WorkerDown_EndsItsCallsAlone(t *testing.T) {
	var c workqueue.Calls
	first, endFirst := c.Begin(context.Background(), "w1", time.Hour)
	second, endSecond := c.Begin(context.Background(), "w1", time.Hour)
	other, endOther := c.Begin(context.Background(), "w2", time.Hour)
	defer endSecond()
	defer endOther()

	endFirst()
	c.Cancel("w1")

	require.ErrorIs(t, first.Err(), context.Canceled)
	require.ErrorIs(t, second.Err(), context.Canceled)
	require.NoError(t, other.Err())

	later, end := c.Begin(context.Background(), "w1", time.Hour)
	defer end()
	require.NoError(t, later.Err(), "a later call is not cancelled")
}

func TestCallsBegin_LimitOver_ContextEnds(t *testing.T) {
	var c workqueue.Calls
	call, end := c.Begin(context.Background(), "w1", time.Millisecond)
	defer end()
	<-call.Done()
	require.ErrorIs(t, call.Err(), context.DeadlineExceeded)
}

func TestNotifier_ChangeAfterChanged_WakesAllWaitersOfTheKey(t *testing.T) {
	var n workqueue.Notifier
	a, b, other := n.Changed("s1"), n.Changed("s1"), n.Changed("s2")

	n.Notify("s1")
	n.Notify("nobody waits")

	for _, c := range []<-chan struct{}{a, b} {
		select {
		case <-c:
		default:
			t.Fatal("a waiter was not woken")
		}
	}
	for _, c := range []<-chan struct{}{other, n.Changed("s1")} {
		select {
		case <-c:
			t.Fatal("woken without a change")
		default:
		}
	}
}

func TestForEach_ManyCalls_RunsAllWithinTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun, done atomic.Int64
		release := make(chan struct{})
		go workqueue.ForEach(10, 4, func(f func()) { go f() }, func(int) {
			begun.Add(1)
			<-release
			done.Add(1)
		})
		synctest.Wait()
		require.EqualValues(t, 4, begun.Load())

		release <- struct{}{}
		synctest.Wait()
		require.EqualValues(t, 5, begun.Load())

		close(release)
		synctest.Wait()
		require.EqualValues(t, 10, done.Load())
	})
}

func TestForEach_SpawnInPlace_DoesNotDeadlock(t *testing.T) {
	var seen []int
	workqueue.ForEach(3, 1, func(f func()) { f() }, func(i int) { seen = append(seen, i) })
	require.Equal(t, []int{0, 1, 2}, seen)
}
