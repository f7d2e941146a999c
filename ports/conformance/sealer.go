package conformance

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// Sealer tests a [ports.Sealer]. newSealer returns a sealer; two with the same key open each other's
// secrets.
func Sealer(t *testing.T, newSealer func(t *testing.T, key string) ports.Sealer) {
	const key, otherKey = "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdeF"
	secret := []byte("a secret of 32 bytes, or another")
	seal := func(t *testing.T, s ports.Sealer, bound string) []byte {
		t.Helper()
		sealed, err := s.Seal(secret, bound)
		require.NoError(t, err)
		return sealed
	}
	requireClosed := func(t *testing.T, s ports.Sealer, sealed []byte, bound string) {
		t.Helper()
		_, err := s.Open(sealed, bound)
		require.Error(t, err)
		require.NotContains(t, err.Error(), string(secret))
	}
	t.Run("a sealer with the same key opens what was sealed", func(t *testing.T) {
		sealed := seal(t, newSealer(t, key), "row-1")
		require.False(t, bytes.Contains(sealed, secret))
		got, err := newSealer(t, key).Open(sealed, "row-1")
		require.NoError(t, err)
		require.Equal(t, secret, got)
	})
	t.Run("equal secrets are sealed differently", func(t *testing.T) {
		s := newSealer(t, key)
		require.NotEqual(t, seal(t, s, "row-1"), seal(t, s, "row-1"))
	})
	t.Run("another row does not open it", func(t *testing.T) {
		s := newSealer(t, key)
		requireClosed(t, s, seal(t, s, "row-1"), "row-2")
		requireClosed(t, s, seal(t, s, "row-1"), "")
	})
	t.Run("another key does not open it", func(t *testing.T) {
		requireClosed(t, newSealer(t, otherKey), seal(t, newSealer(t, key), "row-1"), "row-1")
	})
	t.Run("a change of any byte is noticed", func(t *testing.T) {
		s := newSealer(t, key)
		sealed := seal(t, s, "row-1")
		for i := range sealed {
			changed := bytes.Clone(sealed)
			changed[i] ^= 1
			requireClosed(t, s, changed, "row-1")
		}
		for n := range sealed {
			requireClosed(t, s, sealed[:n], "row-1")
		}
		requireClosed(t, s, append(bytes.Clone(sealed), 0), "row-1")
	})
	t.Run("an empty secret is a secret", func(t *testing.T) {
		s := newSealer(t, key)
		sealed, err := s.Seal(nil, "row-1")
		require.NoError(t, err)
		got, err := s.Open(sealed, "row-1")
		require.NoError(t, err)
		require.Empty(t, got)
	})
}
