package conformance

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// IDs tests a source of identifiers.
func IDs(t *testing.T, open func(t *testing.T) ports.IDs) {
	t.Run("ids are short and printable", func(t *testing.T) {
		g := open(t)
		for range 1000 {
			require.Regexp(t, `^[!-~]{1,64}$`, g.NewID())
		}
	})
	t.Run("ids are unique", func(t *testing.T) {
		g := open(t)
		const each = 2000
		ids := make([][]string, racers)
		race(racers, func(i int) {
			for range each {
				ids[i] = append(ids[i], g.NewID())
			}
		})
		all := slices.Concat(ids...)
		slices.Sort(all)
		require.Len(t, slices.Compact(all), racers*each)
	})
	t.Run("ids sort by time of creation", func(t *testing.T) {
		g := open(t)
		last := g.NewID()
		for range 20 {
			time.Sleep(2 * time.Millisecond)
			id := g.NewID()
			require.Greater(t, id, last)
			last = id
		}
	})
}
