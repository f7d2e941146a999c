package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestInvalidator(t *testing.T) {
	conformance.Invalidator(t, func(t *testing.T) (a, b ports.Invalidator) {
		dsn := postgrestest.Shared(t).NewDatabase(t)
		return open(t, dsn).Invalidator(), open(t, dsn).Invalidator()
	})
}

func TestInvalidator_NetworkIsCut_ReportsGaps(t *testing.T) {
	conformance.InvalidatorCut(t, func(t *testing.T) (a, b ports.Invalidator, cut func(of ports.Invalidator) (heal func())) {
		dsn := postgrestest.Shared(t).NewDatabase(t)
		proxyA, dsnA := through(t, dsn)
		proxyB, dsnB := through(t, dsn)
		a, b = open(t, dsnA).Invalidator(), open(t, dsnB).Invalidator()
		return a, b, func(of ports.Invalidator) (heal func()) {
			p := proxyA
			if of == b {
				p = proxyB
			}
			p.Cut()
			return p.Heal
		}
	})
}

// TestInvalidator_NetworkDropsPackets_Reconnects: such a network reports no error.
func TestInvalidator_NetworkDropsPackets_Reconnects(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	p, lossy := through(t, dsn)
	publisher := open(t, dsn).Invalidator()
	received := make(chan ports.Invalidation, 100)
	receive := func() ports.Invalidation {
		select {
		case invalidation := <-received:
			return invalidation
		case <-time.After(20 * time.Second):
			require.FailNow(t, "no invalidation")
		}
		return ports.Invalidation{}
	}
	cancel := openWith(t, lossy, postgres.Options{Timeout: shortTimeout}).Invalidator().Subscribe(func(h ports.Invalidation) { received <- h })
	defer cancel()
	require.True(t, receive().All, "the subscription begins")
	publisher.Publish(ports.Invalidation{Users: []string{"u1"}})
	require.Equal(t, ports.Invalidation{Users: []string{"u1"}}, receive())
	before := p.Connections()
	p.Lose()
	publisher.Publish(ports.Invalidation{Users: []string{"u2"}})
	require.Eventually(t, func() bool { return p.Connections() > before }, 20*time.Second, 10*time.Millisecond)
	p.Heal()
	require.True(t, receive().All)
}
