package bcrypt_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	xbcrypt "golang.org/x/crypto/bcrypt"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/domain"
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
		hash, err := p.Hash(t.Context(), pw)
		require.NoError(t, err)
		require.NotContains(t, hash, pw)
		require.True(t, matches(t, p, hash, pw))
		require.False(t, matches(t, p, hash, pw+"x"), "also what bcrypt would not look at counts")
		require.False(t, matches(t, p, hash, pw[1:]))
		require.False(t, matches(t, p, hash, ""))
		again, err := p.Hash(t.Context(), pw)
		require.NoError(t, err)
		require.NotEqual(t, hash, again, "salted")
	}
	for _, hash := range []string{"", "x", strings.Repeat("x", 60), "$2a$99$" + strings.Repeat("x", 53)} {
		require.False(t, matches(t, p, hash, "correct horse 1"))
		require.False(t, matches(t, p, hash, ""))
	}
	hash, err := p.Hash(t.Context(), "correct horse 1")
	require.NoError(t, err)
	require.False(t, matches(t, p, hash+"x", "correct horse 1"))
	_, err = p.Hash(t.Context(), longest+"1")
	require.ErrorIs(t, err, xbcrypt.ErrPasswordTooLong)
	require.NotContains(t, err.Error(), "aaa")
}

func TestNew_Cost_IsUsedAndChecked(t *testing.T) {
	p, err := bcrypt.New(bcrypt.Config{})
	require.NoError(t, err)
	hash, err := p.Hash(t.Context(), "correct horse 1")
	require.NoError(t, err)
	cost, err := xbcrypt.Cost([]byte(hash))
	require.NoError(t, err)
	require.Equal(t, bcrypt.DefaultCost, cost)

	require.True(t, matches(t, cheap(t), hash, "correct horse 1"), "hashes survive a change of cost")

	_, err = bcrypt.New(bcrypt.Config{Cost: 32, Parallel: -1, Waiting: -1})
	require.ErrorContains(t, err, "Cost must be 4 to 31, not 32")
	require.ErrorContains(t, err, "Parallel must not be negative")
	require.ErrorContains(t, err, "Waiting and MaxWait must not be negative")
	_, err = bcrypt.New(bcrypt.Config{Cost: 3})
	require.Error(t, err)
}

// matches reports whether the password matches, and fails the test on an error.
func matches(t testing.TB, p *bcrypt.Passwords, hash, password string) bool {
	t.Helper()
	isMatch, err := p.Matches(t.Context(), hash, password)
	require.NoError(t, err)
	return isMatch
}

// A caller that is admitted gets a result. The others are refused at once.
func TestMatches_Flood_EachCallIsAdmittedOrRefused(t *testing.T) {
	p, err := bcrypt.New(bcrypt.Config{Cost: xbcrypt.MinCost, Parallel: 1, Waiting: 4})
	require.NoError(t, err)
	hash, err := p.Hash(t.Context(), "correct horse 1")
	require.NoError(t, err)
	var wg sync.WaitGroup
	var admitted atomic.Int64
	for range 100 {
		wg.Go(func() {
			switch isMatch, err := p.Matches(t.Context(), hash, "correct horse 1"); {
			case err == nil && isMatch:
				admitted.Add(1)
			case domain.CodeOf(err) != domain.CodeOverloaded:
				t.Errorf("matches %v: %v", isMatch, err)
			}
		})
	}
	wg.Wait()
	require.GreaterOrEqual(t, admitted.Load(), int64(5))
	require.True(t, matches(t, p, hash, "correct horse 1"), "the flood has left nothing behind")
}

// However many strangers wait, a known caller waits for one of them at most.
func TestMatches_StrangersFlood_KnownCallersAreServed(t *testing.T) {
	p, err := bcrypt.New(bcrypt.Config{Cost: xbcrypt.MinCost, Parallel: 1, Waiting: 4})
	require.NoError(t, err)
	hash, err := p.Hash(t.Context(), "correct horse 1")
	require.NoError(t, err)
	stop, refused := make(chan struct{}), atomic.Int64{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := p.Matches(t.Context(), hash, "guess"); err != nil {
					refused.Add(1)
				}
			}
		})
	}
	known := ports.WithKnownCaller(t.Context(), "ann")
	for range 20 {
		isMatch, err := p.Matches(known, hash, "correct horse 1")
		require.NoError(t, err)
		require.True(t, isMatch)
	}
	close(stop)
	wg.Wait()
	require.Positive(t, refused.Load(), "the queue of strangers was full")
}

// A flood of known callers does not shut strangers out either.
func TestMatches_KnownCallersFlood_StrangersAreServed(t *testing.T) {
	p, err := bcrypt.New(bcrypt.Config{Cost: xbcrypt.MinCost, Parallel: 1, Waiting: 4})
	require.NoError(t, err)
	hash, err := p.Hash(t.Context(), "correct horse 1")
	require.NoError(t, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 20 {
		known := ports.WithKnownCaller(t.Context(), strconv.Itoa(i))
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = p.Matches(known, hash, "guess")
				}
			}
		})
	}
	for range 5 {
		require.True(t, matches(t, p, hash, "correct horse 1"))
	}
	close(stop)
	wg.Wait()
}

// However many sign-ins one account has under way, the other accounts are served.
func TestMatches_OneAccountFloods_OtherAccountsAreServed(t *testing.T) {
	p, err := bcrypt.New(bcrypt.Config{Cost: xbcrypt.MinCost, Parallel: 1, Waiting: 4})
	require.NoError(t, err)
	hash, err := p.Hash(t.Context(), "correct horse 1")
	require.NoError(t, err)
	stop, refused := make(chan struct{}), atomic.Int64{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := p.Matches(ports.WithKnownCaller(t.Context(), "mallory"), hash, "correct horse 1")
				switch {
				case err == nil:
				case domain.CodeOf(err) == domain.CodeOverloaded && domain.RetryAfterOf(err) > 0:
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		isMatch, err := p.Matches(ports.WithKnownCaller(t.Context(), "ann"), hash, "correct horse 1")
		require.NoError(t, err)
		require.True(t, isMatch)
	}
	close(stop)
	wg.Wait()
	require.Positive(t, refused.Load(), "the share of the account was full")
}

func BenchmarkMatches(b *testing.B) {
	p, err := bcrypt.New(bcrypt.Config{})
	require.NoError(b, err)
	hash, err := p.Hash(b.Context(), "correct horse 1")
	require.NoError(b, err)
	for b.Loop() {
		_, _ = p.Matches(b.Context(), hash, "correct horse 1")
	}
}
