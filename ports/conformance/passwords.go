package conformance

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/ports"
)

// Passwords tests a password hash. The suite hashes dozens of times, so open should return a cheap
// hash. Below 100 µs, however, its time drowns in noise.
func Passwords(t *testing.T, open func(t *testing.T) ports.Passwords) {
	hash := func(t *testing.T, p ports.Passwords, password string) string {
		t.Helper()
		h, err := p.Hash(t.Context(), password)
		require.NoError(t, err)
		return h
	}
	matches := func(t *testing.T, p ports.Passwords, hash, password string) bool {
		t.Helper()
		isMatch, err := p.Matches(t.Context(), hash, password)
		require.NoError(t, err)
		return isMatch
	}
	longest := strings.Repeat("a", 71) + "1" // the longest password that domain.CheckPassword accepts

	t.Run("the right password matches, others do not", func(t *testing.T) {
		p := open(t)
		for _, password := range []string{"correct horse 1", "пароль12", "a\x00b c\"d'e1", longest} {
			h := hash(t, p, password)
			require.True(t, matches(t, p, h, password))
			require.NotContains(t, h, password)
			for _, wrong := range []string{
				"", password[1:], password[:len(password)-1], strings.ToUpper(password), " " + password,
			} {
				require.False(t, matches(t, p, h, wrong), "%q for %q", wrong, password)
			}
		}
	})
	t.Run("every byte counts", func(t *testing.T) {
		p := open(t)
		h := hash(t, p, longest)
		require.False(t, matches(t, p, h, longest[:71]+"2"))
		require.False(t, matches(t, p, h, "b"+longest[1:]))
	})
	t.Run("each hash is different", func(t *testing.T) {
		p := open(t)
		a, b := hash(t, p, "correct horse 1"), hash(t, p, "correct horse 1")
		require.NotEqual(t, a, b)
		require.True(t, matches(t, p, a, "correct horse 1"))
		require.True(t, matches(t, p, b, "correct horse 1"))
	})
	t.Run("text that is no hash matches nothing", func(t *testing.T) {
		p := open(t)
		h := hash(t, p, "correct horse 1")
		for _, broken := range []string{"", " ", "correct horse 1", h[:len(h)/2], "$2a$10$", strings.Repeat("\xff", 60)} {
			require.False(t, matches(t, p, broken, "correct horse 1"), "%q", broken)
			require.False(t, matches(t, p, broken, ""), "%q", broken)
		}
	})
	t.Run("every comparison takes as long", func(t *testing.T) {
		p := open(t)
		h := hash(t, p, "correct horse 1")
		quickest := func(hash, password string) time.Duration {
			least := time.Hour
			for range 7 {
				start := time.Now()
				matches(t, p, hash, password)
				least = min(least, time.Since(start))
			}
			return least
		}
		right := quickest(h, "correct horse 1")
		for name, took := range map[string]time.Duration{
			"a wrong password":          quickest(h, "wrong horse 22"),
			"no hash":                   quickest("", "correct horse 1"),
			"no hash and no password":   quickest("", ""),
			"a hash, but no password":   quickest(h, ""),
			"a password much too long":  quickest(h, strings.Repeat("x", 200)),
			"no hash, and one too long": quickest("", strings.Repeat("x", 200)),
		} {
			// A short cut is quicker by orders of magnitude. A busy machine only makes answers slower.
			require.Greater(t, took, right/5, "%s takes %s, the right one %s", name, took, right)
		}
	})
	t.Run("concurrent comparisons are right", func(t *testing.T) {
		p := open(t)
		h := hash(t, p, "correct horse 1")
		results := make([]bool, racers)
		race(racers, func(i int) {
			right, err := p.Matches(t.Context(), h, "correct horse 1")
			wrong, wrongErr := p.Matches(t.Context(), h, "wrong horse 22")
			results[i] = err == nil && wrongErr == nil && right && !wrong
		})
		require.NotContains(t, results, false)
	})
	t.Run("an ended context returns its error", func(t *testing.T) {
		p := open(t)
		h := hash(t, p, "correct horse 1")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := p.Hash(ended, "correct horse 1")
		require.ErrorIs(t, err, context.Canceled)
		isMatch, err := p.Matches(ended, h, "correct horse 1")
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, isMatch)
	})
}
