package redis

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

func TestInvalidationBatch_MergesIDsUpToALimit(t *testing.T) {
	b := newInvalidationBatch()
	b.add(ports.Invalidation{})
	_, ok := b.drain()
	require.False(t, ok)
	for i := range maxBatchedIDs {
		b.add(ports.Invalidation{Sessions: []string{fmt.Sprint(i), fmt.Sprint(i)}})
	}
	invalidation, _ := b.drain()
	require.Len(t, invalidation.Sessions, maxBatchedIDs)
	require.False(t, invalidation.All)
	for i := range maxBatchedIDs + 1 {
		b.add(ports.Invalidation{Workers: []string{fmt.Sprint(i)}})
	}
	invalidation, _ = b.drain()
	require.Equal(t, ports.Invalidation{All: true}, invalidation)
	_, ok = b.drain()
	require.False(t, ok)
}
