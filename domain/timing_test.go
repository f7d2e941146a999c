package domain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestTiming_Values_DefaultsProblemsAndBackoff(t *testing.T) {
	require.NoError(t, timing.Validate())
	require.Equal(t, timing, domain.Timing{}.WithDefaults())
	custom := domain.Timing{DisconnectDebounce: time.Second, ProbeFailures: 9}.WithDefaults()
	require.Equal(t, []any{time.Second, 9, timing.Lease, timing.StartAttempts}, []any{custom.DisconnectDebounce, custom.ProbeFailures, custom.Lease, custom.StartAttempts})

	err := domain.Timing{DisconnectDebounce: -1, MaxBackoff: -1, StartAttempts: -1}.Validate()
	for _, part := range []string{"DisconnectDebounce must not be negative", "MaxBackoff must not be negative", "StartAttempts", "Lease (0s) must be longer"} {
		require.ErrorContains(t, err, part, "every problem at once")
	}
	for attempt, want := range map[int]time.Duration{-1: 2, 0: 2, 1: 2, 2: 4, 5: 32, 6: 60, 1 << 30: 60} {
		require.Equal(t, want*time.Second, timing.Backoff(attempt))
	}
	require.Equal(t, time.Second, domain.Timing{RestartBackoff: time.Hour, MaxBackoff: time.Second}.Backoff(1))
}
