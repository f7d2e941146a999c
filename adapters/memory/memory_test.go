package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	conformance.Store(t, func(*testing.T) ports.Store { return memory.NewStore() })
}
