package redis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/testproxy"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/ports"
)

func TestClose_PendingInvalidation_IsPublished(t *testing.T) {
	a, b := pair(t)
	received := make(chan ports.Invalidation, 100)
	t.Cleanup(b.Invalidator().Subscribe(func(h ports.Invalidation) { received <- h }))
	for connected := false; !connected; {
		a.Invalidator().Publish(ports.Invalidation{Sessions: []string{"probe"}})
		select {
		case h := <-received:
			connected = len(h.Sessions) > 0
		case <-time.After(20 * time.Millisecond):
		}
	}
	a.Invalidator().Publish(ports.Invalidation{Users: []string{"u1"}})
	require.NoError(t, a.Close())
	limit := time.After(timeout)
	for {
		select {
		case h := <-received:
			if len(h.Users) == 1 {
				return
			}
		case <-limit:
			require.FailNow(t, "it did not arrive")
		}
	}
}

func TestInvalidator_RedisWasUnavailable_PublishesAll(t *testing.T) {
	server := redistest.Shared(t)
	prefix := prefix()
	p := testproxy.Start(t, server.Addr())
	a, b := open(t, urlOf(p), prefix), open(t, server.URL(), prefix)
	received := make(chan ports.Invalidation, 100)
	t.Cleanup(b.Invalidator().Subscribe(func(h ports.Invalidation) { received <- h }))
	publishUntil := func(invalidation ports.Invalidation, arrived func(h ports.Invalidation) bool) {
		t.Helper()
		for limit := time.After(timeout); ; {
			a.Invalidator().Publish(invalidation)
			select {
			case h := <-received:
				if arrived(h) {
					return
				}
			case <-time.After(20 * time.Millisecond):
			case <-limit:
				require.FailNow(t, "it did not arrive")
			}
		}
	}
	publishUntil(ports.Invalidation{Sessions: []string{"probe"}}, func(h ports.Invalidation) bool { return len(h.Sessions) > 0 })
	p.Cut()
	a.Invalidator().Publish(ports.Invalidation{Users: []string{"u1"}})
	time.Sleep(time.Second) // long enough for a failing attempt
	p.Heal()
	publishUntil(ports.Invalidation{}, func(h ports.Invalidation) bool { return h.All })
}
