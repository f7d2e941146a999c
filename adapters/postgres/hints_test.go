package postgres_test

import (
	"testing"

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
