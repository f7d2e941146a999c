package httpworker_test

import (
	"testing"
	"time"

	"github.com/switchyard-wa/switchyard/adapters/httpworker"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestClient_Conformance(t *testing.T) {
	conformance.WorkerGateway(t, func(t *testing.T, caps ...domain.Capability) (ports.WorkerGateway, conformance.GatewayWorker) {
		w := conformance.NewHTTPWorker(t, "fleet-token", caps...)
		c := httpworker.New("fleet-token", httpworker.With(httpworker.Config{RetryWait: 5 * time.Millisecond}))
		t.Cleanup(func() { _ = c.Close() })
		return c, w.Worker()
	})
}
