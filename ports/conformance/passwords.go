package conformance

import (
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
		h, err := p.Hash(password)
		require.NoError(t, err)
		return h
	}
	longest := strings.Repeat("a", 71) + "1" // the longest password that domain.CheckPassword accepts

	t.Run("the right password matches, others do not", func(t *testing.T) {
		p := open(t)
		for _, password := range []string{"correct horse 1", "пароль12", "a\x00b c\"d'e1", longest} {
			h := hash(t, p, password)
			require.True(t, p.Matches(h, password))
			require.NotContains(t, h, password)
			for _, wrong := range []string{
				"", password[1:], password[:len(password)-1], strings.ToUpper(password), " " + password,
			} {
				require.False(t, p.Matches(h, wrong), "%q for %q", wrong, password)
			}
		}
	})
	t.Run("every byte counts", func(t *testing.T) {
		p := open(t)
		h := hash(t, p, longest)
		require.False(t, p.Matches(h, longest[:71]+"2"))
		require.False(t, p.Matches(h, "b"+longest[1:]))
	})
	t.Run("each hash is different", func(t *testing.T) {
		p := open(t)
		a, b := hash(t, p, "correct horse 1"), hash(t, p, "correct horse 1")
		require.NotEqual(t, a, b)
		require.True(t, p.Matches(a, "correct horse 1"))
		require.True(t, p.Matches(b, "correct horse 1"))
	})
	t.Run("text that is no hash matches nothing", func(t *testing.T) {
		p := open(t)
		h := hash(t, p, "correct horse 1")
		for _, broken := range []string{"", " ", "correct horse 1", h[:len(h)/2], "$2a$10$", strings.Repeat("\xff", 60)} {
			require.False(t, p.Matches(broken, "correct horse 1"), "%q", broken)
			require.False(t, p.Matches(broken, ""), "%q", broken)
		}
	})
	t.Run("every comparison takes as long", func(t *testing.T) {
		p := open(t)
		h := hash(t, p, "correct horse 1")
		quickest := func(hash, password string) time.Duration {
			least := time.Hour
			for range 7 {
				start := time.Now()
				p.Matches(hash, password)
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
			results[i] = p.Matches(h, "correct horse 1") && !p.Matches(h, "wrong horse 22")
		})
		require.NotContains(t, results, false)
	})
}
