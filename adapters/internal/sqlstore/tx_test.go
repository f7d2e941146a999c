package sqlstore

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNextRev_NeverRepeats(t *testing.T) {
	seen := map[int64]bool{}
	for last := int64(0); len(seen) < 1000; {
		fresh := nextRev(0)
		require.Greater(t, fresh, last)
		require.False(t, seen[fresh])
		seen[fresh], last = true, fresh
	}
	ahead := nextRev(0) + 1_000_000
	require.Equal(t, ahead+1, nextRev(ahead), "the row comes from a host whose clock is ahead")
	require.Less(t, nextRev(math.MaxInt64), ahead)
}
