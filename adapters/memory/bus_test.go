package memory_test

import (
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestBus_Conformance(t *testing.T) {
	conformance.Bus(t, func(*testing.T) ports.Bus { return memory.NewBus() })
	conformance.SharedBus(t, func(*testing.T) (a, b ports.Bus) {
		bus := memory.NewBus()
		return bus, bus
	})
}
