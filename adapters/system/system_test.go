package system_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestClock(t *testing.T) {
	conformance.Clock(t, func(*testing.T) ports.Clock { return system.Clock{} })
}

func TestIDs(t *testing.T) {
	conformance.IDs(t, func(*testing.T) ports.IDs { return new(system.IDs) })
}

func TestRandom(t *testing.T) {
	conformance.Random(t, func(*testing.T) ports.Random { return system.Random{} })
}

// A time that was stored equals itself when it comes back, with == too.
func TestClockTellsWhatRowsKeep(t *testing.T) {
	before := time.Now()
	now := system.Clock{}.Now()
	require.WithinDuration(t, before, now, time.Second)
	require.True(t, now == time.UnixMicro(now.UnixMicro()).UTC())
}

func TestIDsAreVersion7(t *testing.T) {
	var ids system.IDs
	id, err := uuid.Parse(ids.NewID())
	require.NoError(t, err)
	require.EqualValues(t, 7, id.Version())
	require.Equal(t, uuid.RFC4122, id.Variant())
	sec, nsec := id.Time().UnixTime()
	require.WithinDuration(t, time.Now(), time.Unix(sec, nsec), time.Second)
}

// The port asks for order to the millisecond; ours is strict.
func TestIDsGrow(t *testing.T) {
	var a, b system.IDs // two of them share the count
	last := a.NewID()
	for range 20_000 {
		for _, ids := range []*system.IDs{&a, &b} {
			id := ids.NewID()
			require.Greater(t, id, last)
			last = id
		}
	}
}

func BenchmarkNewID(b *testing.B) {
	var ids system.IDs
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ids.NewID()
		}
	})
}

func BenchmarkNow(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = system.Clock{}.Now()
	}
}
