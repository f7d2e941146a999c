package memory_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestInvalidator_Conformance(t *testing.T) {
	conformance.Invalidator(t, func(*testing.T) (a, b ports.Invalidator) {
		first := memory.NewInvalidator()
		return first, first.Join()
	})
}

func TestPublish_SeveralMembers_ReachesTheOthersBeforeItReturns(t *testing.T) {
	a := memory.NewInvalidator()
	b, c := a.Join(), a.Join().Join()
	var received []string
	for name, member := range map[string]*memory.Invalidator{"a": a, "b": b, "c": c} {
		t.Cleanup(member.Subscribe(func(h ports.Invalidation) { received = append(received, name+h.Sessions[0]) }))
	}
	b.Publish(ports.Invalidation{Sessions: []string{"1"}})
	require.ElementsMatch(t, []string{"a1", "c1"}, received)
	memory.NewInvalidator().Publish(ports.Invalidation{Sessions: []string{"2"}})
	require.Len(t, received, 2, "groups are separate")
}

func TestPublish_BySubscriber_IsDeliveredAfterItsCall(t *testing.T) {
	a := memory.NewInvalidator()
	b := a.Join()
	var received []string
	inside := false
	t.Cleanup(b.Subscribe(func(h ports.Invalidation) {
		require.False(t, inside)
		inside = true
		received = append(received, h.Users...)
		if len(received) < 5 {
			b.Publish(ports.Invalidation{Users: h.Users})
		}
		inside = false
	}))
	t.Cleanup(a.Subscribe(func(h ports.Invalidation) {
		a.Publish(ports.Invalidation{Users: []string{h.Users[0] + "!"}})
		a.Subscribe(func(ports.Invalidation) { t.Error("it subscribed after this invalidation") })()
	}))
	a.Publish(ports.Invalidation{Users: []string{"u"}})
	require.Equal(t, []string{"u", "u!", "u!!", "u!!!", "u!!!!"}, received)
}

func TestInvalidator_SubscriptionsCancelled_AreRemoved(t *testing.T) {
	a := memory.NewInvalidator()
	for range 10 {
		a.Join().Subscribe(func(ports.Invalidation) {})()
	}
	require.Zero(t, memory.Subscriptions(a))
}

func TestInvalidator_SubscriberCancelsAnother_TheOtherIsNotCalled(t *testing.T) {
	a := memory.NewInvalidator()
	calls, b := 0, a.Join()
	var cancels [2]func()
	for i := range cancels {
		cancels[i] = b.Subscribe(func(ports.Invalidation) {
			calls++
			cancels[1-i]()
		})
	}
	a.Publish(ports.Invalidation{All: true})
	require.Equal(t, 1, calls, "each cancels the other")
	require.Equal(t, 1, memory.Subscriptions(a))
}
