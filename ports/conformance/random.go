package conformance

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// Random tests a source of random bytes. It finds plain faults only and cannot prove that the bytes are
// unpredictable.
func Random(t *testing.T, open func(t *testing.T) ports.Random) {
	read := func(t *testing.T, r ports.Random, n int) []byte {
		t.Helper()
		p := make([]byte, n)
		got, err := r.Read(p)
		require.NoError(t, err)
		require.Equal(t, n, got)
		return p
	}

	t.Run("Read fills the slice and nothing else", func(t *testing.T) {
		r := open(t)
		for _, n := range []int{0, 1, 7, 8, 32, 1000, 1 << 16} {
			room := make([]byte, n+16)
			got, err := r.Read(room[8 : 8+n])
			require.NoError(t, err)
			require.Equal(t, n, got)
			require.Equal(t, make([]byte, 8), room[:8])
			require.Equal(t, make([]byte, 8), room[8+n:])
		}
		for range 20 {
			require.NotEqual(t, make([]byte, 16), read(t, r, 16)[:16])
			require.NotEqual(t, make([]byte, 16), read(t, r, 1000)[984:])
		}
	})
	t.Run("every read is different", func(t *testing.T) {
		r := open(t)
		var failed atomic.Value
		results := make([][]string, racers)
		race(racers, func(i int) {
			for range 100 {
				p := make([]byte, 16)
				if n, err := r.Read(p); err != nil || n != len(p) {
					failed.Store(fmt.Errorf("%d bytes, %w", n, err))
				}
				results[i] = append(results[i], string(p))
			}
		})
		require.Nil(t, failed.Load())
		seen := make(map[string]bool)
		for _, some := range results {
			for _, p := range some {
				require.False(t, seen[p])
				seen[p] = true
			}
		}
	})
	t.Run("bits and bytes are equally frequent", func(t *testing.T) {
		const n = 1 << 18
		ones, counts := 0, [256]int{}
		for _, b := range read(t, open(t), n) {
			ones += bits.OnesCount8(b)
			counts[b]++
		}
		// Six standard deviations: chance exceeds them once in some million runs.
		require.InDelta(t, n*8/2, ones, 6*724)
		for b, count := range counts {
			require.InDelta(t, n/256, count, 6*32, "byte %#x", b)
		}
	})
}
