package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/internal/ratelimit"
)

var noon = time.Date(2024, 5, 17, 12, 0, 0, 0, time.UTC)

func TestWindows_ExpiredKeys_AreRemoved(t *testing.T) {
	var ws ratelimit.Windows
	for hour := range 50 {
		at := noon.Add(time.Duration(hour) * 2 * time.Hour)
		for i := range 2000 {
			require.True(t, ws.AllowN(fmt.Sprint("key ", hour, " ", i), at, time.Hour, 1, 1).Allowed)
			ws.AllowN(fmt.Sprint("queried ", hour, " ", i), at, time.Hour, 1, 0)
		}
	}
	require.Less(t, ws.Len(), 3*2000, "of 200 000 keys in all")
}

func TestWindows_RefusedUseAndRefund_StartNoWindow(t *testing.T) {
	var ws ratelimit.Windows
	require.False(t, ws.AllowN("key", noon, time.Hour, 3, 4).Allowed)
	require.True(t, ws.AllowN("key", noon, time.Hour, 3, -1).Allowed)
	require.Zero(t, ws.Len())
	require.Equal(t, noon.Add(90*time.Minute), ws.AllowN("key", noon.Add(30*time.Minute), time.Hour, 3, 1).ResetAt)
}

func TestWindows_Remove_ReturnsEachWindowOnce(t *testing.T) {
	var ws ratelimit.Windows
	for i := range 5 {
		ws.AllowN(fmt.Sprint(i), noon, time.Hour, 10, i+1)
	}
	ws.Backfill("0", noon.Add(-time.Minute), time.Hour, 2)
	used := map[string]int{}
	for _, want := range []int{3, 2, 0} {
		removed := ws.Remove(3)
		require.Len(t, removed, want)
		for key, w := range removed {
			require.Equal(t, time.Hour, w.Length)
			require.Equal(t, key == "0", w.Backfilled)
			used[key] += w.Used
		}
	}
	require.Equal(t, map[string]int{"0": 3, "1": 2, "2": 3, "3": 4, "4": 5}, used)
}
