package conformance

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// healthClauses concern stores that are a [ports.HealthChecker]. Other stores pass.
var healthClauses = []clause{
	{"a store that serves is healthy", healthyStore},
	{"an ended context ends the check", endedHealthCheck},
	{"a closed store is not healthy", closedStore},
}

// ifChecker calls fn if the store is a [ports.HealthChecker].
func (d *db) ifChecker(fn func(h ports.HealthChecker)) {
	if h, ok := d.store.(ports.HealthChecker); ok {
		fn(h)
	}
}

func healthyStore(d *db) {
	d.ifChecker(func(h ports.HealthChecker) {
		for range 3 {
			require.NoError(d.T, h.CheckHealth(d.ctx))
			require.NoError(d.T, h.CheckPresence())
		}
	})
}

func endedHealthCheck(d *db) {
	d.ifChecker(func(h ports.HealthChecker) {
		ctx, cancel := context.WithCancel(d.ctx)
		cancel()
		require.ErrorIs(d.T, h.CheckHealth(ctx), context.Canceled)
		require.NoError(d.T, h.CheckHealth(d.ctx))
	})
}

func closedStore(d *db) {
	d.ifChecker(func(h ports.HealthChecker) {
		require.NoError(d.T, d.store.Close())
		require.ErrorIs(d.T, h.CheckHealth(d.ctx), ports.ErrClosed)
	})
}
