package memory_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestLimiter_Conformance(t *testing.T) {
	conformance.Limiter(t, func(*testing.T) ports.Limiter { return memory.NewLimiter() })
	conformance.SharedLimiter(t, func(*testing.T) (a, b ports.Limiter) {
		l := memory.NewLimiter()
		return l, l
	})
}

func TestLimiter_ExpiredKeys_AreRemoved(t *testing.T) {
	l := memory.NewLimiter()
	for hour := range 50 {
		for i := range 2000 {
			at := noon.Add(time.Duration(hour) * 2 * time.Hour)
			u, err := l.AllowN(t.Context(), fmt.Sprint("key ", hour, " ", i), at, time.Hour, 1, 1)
			require.NoError(t, err)
			require.True(t, u.Allowed)
			_, err = l.AllowN(t.Context(), fmt.Sprint("queried ", hour, " ", i), at, time.Hour, 1, 0)
			require.NoError(t, err)
		}
	}
	require.Less(t, memory.Windows(l), 3*2000, "of 200 000 keys in all")
}

func TestLimiter_RefusedUseAndRefund_StartNoWindow(t *testing.T) {
	l := memory.NewLimiter()
	allow := func(after time.Duration, n int) domain.Usage {
		u, err := l.AllowN(t.Context(), "key", noon.Add(after), time.Hour, 3, n)
		require.NoError(t, err)
		return u
	}
	require.False(t, allow(0, 4).Allowed)
	require.True(t, allow(0, -1).Allowed)
	require.Zero(t, memory.Windows(l))
	require.Equal(t, noon.Add(90*time.Minute), allow(30*time.Minute, 1).ResetAt)
}
