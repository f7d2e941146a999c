package aesgcm_test

import (
	"crypto/rand"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/aesgcm"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

const key = "0123456789abcdef0123456789abcdef"

func TestSealer_Conformance(t *testing.T) {
	conformance.Sealer(t, func(t *testing.T, key string) ports.Sealer {
		s, err := aesgcm.New(key, "test", rand.Reader)
		require.NoError(t, err)
		return s
	})
}

func TestNew_ShortSecret_IsRefused(t *testing.T) {
	_, err := aesgcm.New(key[1:], "test", rand.Reader)
	require.Error(t, err)
}

func TestNew_OtherPurpose_IsAnotherKey(t *testing.T) {
	a, err := aesgcm.New(key, "a", rand.Reader)
	require.NoError(t, err)
	b, err := aesgcm.New(key, "b", rand.Reader)
	require.NoError(t, err)
	sealed, err := a.Seal([]byte("x"), "row")
	require.NoError(t, err)
	_, err = b.Open(sealed, "row")
	require.Error(t, err)
}

type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

func TestSeal_NoRandomness_SealsNothing(t *testing.T) {
	s, err := aesgcm.New(key, "test", noRandom{})
	require.NoError(t, err)
	_, err = s.Seal([]byte("x"), "row")
	require.ErrorContains(t, err, "no randomness")
}
