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

func TestHints(t *testing.T) {
	conformance.Hints(t, func(t *testing.T) (a, b ports.Hints) {
		dsn := postgrestest.Shared(t).NewDatabase(t)
		return open(t, dsn).Hints(), open(t, dsn).Hints()
	})
}

func TestHintsOverANetwork(t *testing.T) {
	conformance.HintsCut(t, func(t *testing.T) (a, b ports.Hints, cut func(h ports.Hints) (heal func())) {
		dsn := postgrestest.Shared(t).NewDatabase(t)
		ofA, dsnA := through(t, dsn)
		ofB, dsnB := through(t, dsn)
		a, b = open(t, dsnA).Hints(), open(t, dsnB).Hints()
		return a, b, func(h ports.Hints) (heal func()) {
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
	teller := open(t, dsn).Hints()
	heard := make(chan ports.Hint, 100)
	hear := func() ports.Hint {
		select {
		case hint := <-heard:
			return hint
		case <-time.After(20 * time.Second):
			require.FailNow(t, "nothing is heard")
		}
		return ports.Hint{}
	}
	cancel := openWith(t, lossy, postgres.Options{Timeout: soon}).Hints().Listen(func(h ports.Hint) { heard <- h })
	defer cancel()
	require.True(t, hear().All, "it listens")
	teller.Tell(ports.Hint{Users: []string{"u1"}})
	require.Equal(t, ports.Hint{Users: []string{"u1"}}, hear())
	before := p.connections()
	p.lose()
	teller.Tell(ports.Hint{Users: []string{"u2"}})
	require.Eventually(t, func() bool { return p.connections() > before }, 20*time.Second, 10*time.Millisecond)
	p.heal()
	require.True(t, hear().All)
}
