package fanout_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/internal/fanout"
	"github.com/switchyard-wa/switchyard/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func deliver(f *fanout.Fanout, seq int64) { f.Deliver([]domain.Event{{Seq: seq}}) }

func TestFanout_SubscriptionsCancelled_AreRemoved(t *testing.T) {
	var f fanout.Fanout
	for range 10 {
		f.Subscribe(func(domain.Event) {})()
	}
	require.Zero(t, f.Len())
}

func TestFanout_CancelTwice_DoesNothing(t *testing.T) {
	var f fanout.Fanout
	cancel := f.Subscribe(func(domain.Event) {})
	other := f.Subscribe(func(domain.Event) {})
	defer other()
	cancel()
	cancel()
	require.Equal(t, 1, f.Len())
}

func TestFanout_SlowSubscriber_LosesTheOldestEvents(t *testing.T) {
	// Given a subscriber that is busy with the first event.
	var f fanout.Fanout
	entered, release, got := make(chan struct{}, 1), make(chan struct{}), make(chan int64, 1<<16)
	cancel := f.Subscribe(func(e domain.Event) {
		if e.Seq == 0 {
			entered <- struct{}{}
			<-release
		}
		got <- e.Seq
	})
	defer cancel()
	deliver(&f, 0)
	<-entered

	// When more events arrive than its queue holds.
	const last = 10_000
	for seq := int64(1); seq <= last; seq++ {
		deliver(&f, seq)
	}
	close(release)

	// Then it receives the newest ones, in order.
	require.Zero(t, <-got)
	first := <-got
	require.EqualValues(t, last-fanout.Capacity+1, first)
	for seq := first + 1; seq <= last; seq++ {
		require.Equal(t, seq, <-got)
	}
}

func TestFanout_FnCancelsItself_ReceivesNoMore(t *testing.T) {
	var f fanout.Fanout
	var calls int
	var cancel func()
	subscribed, called := make(chan struct{}), make(chan struct{})
	cancel = f.Subscribe(func(domain.Event) {
		<-subscribed
		calls++
		cancel()
		close(called)
	})
	close(subscribed)
	f.Deliver(make([]domain.Event, 3))
	<-called
	f.Close()
	require.Equal(t, 1, calls)
}

func TestFanout_Close_WaitsForCallsThatHaveBegun(t *testing.T) {
	var f fanout.Fanout
	entered, release, ended := make(chan struct{}), make(chan struct{}), false
	f.Subscribe(func(domain.Event) {
		close(entered)
		<-release
		ended = true
	})
	deliver(&f, 1)
	<-entered
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f.Close()
	}()
	require.Eventually(t, func() bool { return f.Len() == 0 }, 10*time.Second, time.Millisecond, "Close ends the subscription")
	select {
	case <-closed:
		require.FailNow(t, "Close returned before the call")
	default:
	}
	close(release)
	<-closed
	require.True(t, ended)
	f.Subscribe(func(domain.Event) { t.Error("a subscriber of a closed fan-out was called") })()
	deliver(&f, 2)
}
