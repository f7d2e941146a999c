package memory_test

import (
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestRoutes_Conformance(t *testing.T) {
	conformance.Routes(t, func(*testing.T) ports.Routes { return memory.NewRoutes() })
	conformance.SharedRoutes(t, func(*testing.T) (a, b ports.Routes) {
		r := memory.NewRoutes()
		return r, r
	})
}
