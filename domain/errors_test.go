package domain_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
)

func TestRetryAfterOf_AnyError_FirstKnownTimeOfTheChain(t *testing.T) {
	busy := domain.Errorf(domain.Exceeded, domain.CodeRateLimit, "Too fast").WithRetryAfter(7 * time.Second)
	for name, c := range map[string]struct {
		err  error
		want time.Duration
	}{
		"nil":        {nil, 0},
		"foreign":    {errors.New("x"), 0},
		"not known":  {domain.Errorf(domain.Exceeded, domain.CodeRateLimit, "Too fast"), 0},
		"own":        {busy.WithCause(domain.Overloaded(time.Second, "Full")), 7 * time.Second},
		"wrapped":    {fmt.Errorf("call: %w", busy), 7 * time.Second},
		"of a cause": {domain.Errorf(domain.Timeout, domain.CodeWorkerTimeout, "x").WithCause(fmt.Errorf("call: %w", busy)), 7 * time.Second},
		"overloaded": {domain.Overloaded(time.Second, "Full"), time.Second},
	} {
		require.Equal(t, c.want, domain.RetryAfterOf(c.err), name)
	}
}

func TestWithUsage_UsedUp_WaitsForTheNextWindow(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	limit := domain.Errorf(domain.Exceeded, domain.CodeMessageLimit, "Limit exceeded")
	usage := domain.Usage{Limit: 100, Used: 100, ResetAt: now.Add(time.Hour)}
	refused := limit.WithUsage(usage, now)
	require.Equal(t, usage, refused.Usage)
	require.Equal(t, time.Hour, refused.RetryAfter)
	require.Equal(t, time.Second, limit.WithUsage(usage, now.Add(2*time.Hour)).RetryAfter, "by a clock that is ahead")
	require.Zero(t, limit.RetryAfter, "a copy")
}
