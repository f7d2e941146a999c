package conformance

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// Clock tests a clock, real or virtual. Nobody may set the clock during the test.
func Clock(t *testing.T, open func(t *testing.T) ports.Clock) {
	t.Run("Now returns a time", func(t *testing.T) {
		require.False(t, open(t).Now().IsZero())
	})
	t.Run("the clock does not run backwards", func(t *testing.T) {
		c := open(t)
		var backwards atomic.Bool
		race(racers, func(int) {
			last := c.Now()
			for range 1000 {
				now := c.Now()
				if now.Before(last) {
					backwards.Store(true)
				}
				last = now
			}
		})
		require.False(t, backwards.Load())
	})
}
