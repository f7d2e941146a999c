package bcrypt_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	xbcrypt "golang.org/x/crypto/bcrypt"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestPasswords_Conformance(t *testing.T) {
	conformance.Passwords(t, func(t *testing.T) ports.Passwords { return cheap(t) })
}

func cheap(t testing.TB) *bcrypt.Passwords {
	t.Helper()
	p, err := bcrypt.New(bcrypt.Config{Cost: xbcrypt.MinCost})
	require.NoError(t, err)
	return p
}

func TestMatches_AnyHash_IsCompared(t *testing.T) {
	p := cheap(t)
	longest := strings.Repeat("a", 71) + "1"
	for _, pw := range []string{"correct horse 1", "пароль12", longest} {
		hash, err := p.Hash(pw)
		require.NoError(t, err)
		require.NotContains(t, hash, pw)
		require.True(t, p.Matches(hash, pw))
		require.False(t, p.Matches(hash, pw+"x"), "also what bcrypt would not look at counts")
		require.False(t, p.Matches(hash, pw[1:]))
		require.False(t, p.Matches(hash, ""))
		again, err := p.Hash(pw)
		require.NoError(t, err)
		require.NotEqual(t, hash, again, "salted")
	}
	for _, hash := range []string{"", "x", strings.Repeat("x", 60), "$2a$99$" + strings.Repeat("x", 53)} {
		require.False(t, p.Matches(hash, "correct horse 1"))
		require.False(t, p.Matches(hash, ""))
	}
	hash, err := p.Hash("correct horse 1")
	require.NoError(t, err)
	require.False(t, p.Matches(hash+"x", "correct horse 1"))
	_, err = p.Hash(longest + "1")
	require.ErrorIs(t, err, xbcrypt.ErrPasswordTooLong)
	require.NotContains(t, err.Error(), "aaa")
}

func TestNew_Cost_IsUsedAndChecked(t *testing.T) {
	p, err := bcrypt.New(bcrypt.Config{})
	require.NoError(t, err)
	hash, err := p.Hash("correct horse 1")
	require.NoError(t, err)
	cost, err := xbcrypt.Cost([]byte(hash))
	require.NoError(t, err)
	require.Equal(t, bcrypt.DefaultCost, cost)

	require.True(t, cheap(t).Matches(hash, "correct horse 1"), "hashes survive a change of cost")

	_, err = bcrypt.New(bcrypt.Config{Cost: 32, Parallel: -1})
	require.ErrorContains(t, err, "Cost must be 4 to 31, not 32")
	require.ErrorContains(t, err, "Parallel must not be negative")
	_, err = bcrypt.New(bcrypt.Config{Cost: 3})
	require.Error(t, err)
}

// A flood of comparisons takes its time, and every caller gets a result.
func TestMatches_Flood_EveryCallerGetsResult(t *testing.T) {
	p, err := bcrypt.New(bcrypt.Config{Cost: xbcrypt.MinCost, Parallel: 1})
	require.NoError(t, err)
	hash, err := p.Hash("correct horse 1")
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 8 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			if i%2 == 0 {
				if !p.Matches(hash, "correct horse 1") {
					t.Error("does not match")
				}
			} else if _, err := p.Hash("correct horse 1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkMatches(b *testing.B) {
	p, err := bcrypt.New(bcrypt.Config{})
	require.NoError(b, err)
	hash, err := p.Hash("correct horse 1")
	require.NoError(b, err)
	for b.Loop() {
		p.Matches(hash, "correct horse 1")
	}
}
