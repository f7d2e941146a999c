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

func TestInvalidatorOverANetwork(t *testing.T) {
	conformance.InvalidatorCut(t, func(t *testing.T) (a, b ports.Invalidator, cut func(h ports.Invalidator) (heal func())) {
		dsn := postgrestest.Shared(t).NewDatabase(t)
		ofA, dsnA := through(t, dsn)
		ofB, dsnB := through(t, dsn)
		a, b = open(t, dsnA).Invalidator(), open(t, dsnB).Invalidator()
		return a, b, func(h ports.Invalidator) (heal func()) {
			p := ofA
			if h == b {
				p = ofB
			}
			p.cut()
			return p.heal
		}
	})
}

// TestSilence: a network that loses everything says nothing of it.
func TestSilence(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	p, lossy := through(t, dsn)
	teller := open(t, dsn).Invalidator()
	heard := make(chan ports.Invalidation, 100)
	hear := func() ports.Invalidation {
		select {
		case invalidation := <-heard:
			return invalidation
		case <-time.After(20 * time.Second):
			require.FailNow(t, "nothing is heard")
		}
		return ports.Invalidation{}
	}
	cancel := openWith(t, lossy, postgres.Options{Timeout: soon}).Invalidator().Subscribe(func(h ports.Invalidation) { heard <- h })
	defer cancel()
	require.True(t, hear().All, "it listens")
	teller.Publish(ports.Invalidation{Users: []string{"u1"}})
	require.Equal(t, ports.Invalidation{Users: []string{"u1"}}, hear())
	before := p.connections()
	p.lose()
	teller.Publish(ports.Invalidation{Users: []string{"u2"}})
	require.Eventually(t, func() bool { return p.connections() > before }, 20*time.Second, 10*time.Millisecond)
	p.heal()
	require.True(t, hear().All)
}
