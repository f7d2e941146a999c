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

func TestClock_Conformance(t *testing.T) {
	conformance.Clock(t, func(*testing.T) ports.Clock { return system.Clock{} })
}

func TestIDs_Conformance(t *testing.T) {
	conformance.IDs(t, func(*testing.T) ports.IDs { return new(system.IDs) })
}

func TestRandom_Conformance(t *testing.T) {
	conformance.Random(t, func(*testing.T) ports.Random { return system.Random{} })
}

// A time equals itself (==) after it was stored and read.
func TestClock_Now_HasPrecisionOfStores(t *testing.T) {
	before := time.Now()
	now := system.Clock{}.Now()
	require.WithinDuration(t, before, now, time.Second)
	require.True(t, now == time.UnixMicro(now.UnixMicro()).UTC())
}

func TestIDs_NewID_IsVersion7(t *testing.T) {
	var ids system.IDs
	id, err := uuid.Parse(ids.NewID())
	require.NoError(t, err)
	require.EqualValues(t, 7, id.Version())
	require.Equal(t, uuid.RFC4122, id.Variant())
	sec, nsec := id.Time().UnixTime()
	require.WithinDuration(t, time.Now(), time.Unix(sec, nsec), time.Second)
}

// The port demands order by the millisecond. These ids are strictly ordered.
func TestIDs_NewID_GrowsStrictly(t *testing.T) {
	var a, b system.IDs // both share the clock sequence of the process
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
