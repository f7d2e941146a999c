package accounts

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAuthCache_ManyUsers_IsBounded(t *testing.T) {
	c := newAuthCache()
	now := time.Now()
	for i := range 3 * authCacheShards * authCacheRoom {
		id := fmt.Sprint(i)
		_, generation, ok := c.get(id, id, now)
		require.False(t, ok)
		c.put(id, id, authState{readAt: now}, generation)
		_, _, ok = c.get(id, id, now)
		require.True(t, ok)
	}
	total := 0
	for i := range c.shards {
		total += len(c.shards[i].entries)
	}
	require.LessOrEqual(t, total, authCacheShards*authCacheRoom)
}

func TestAuthCache_AfterASecond_Expires(t *testing.T) {
	c := newAuthCache()
	now := time.Now()
	c.put("u", "s", authState{readAt: now, active: true}, 0)
	for after, want := range map[time.Duration]bool{
		0: true, time.Second - 1: true, time.Second: false, time.Hour: false, -1: false,
	} {
		_, _, ok := c.get("u", "s", now.Add(after))
		require.Equal(t, want, ok, after)
	}
	c.put("u", "s", authState{readAt: now.Add(-time.Millisecond)}, 0)
	s, _, _ := c.get("u", "s", now)
	require.True(t, s.active, "what was read earlier does not replace what was read later")
}

func TestAuthCache_Forget_RemovesUser(t *testing.T) {
	c := newAuthCache()
	now := time.Now()
	for _, user := range []string{"u", "v"} {
		for _, signIn := range []string{"1", "2"} {
			_, generation, _ := c.get(user, signIn, now)
			c.put(user, signIn, authState{readAt: now}, generation)
		}
	}
	_, generation, _ := c.get("u", "3", now)
	c.forget("u")
	for _, signIn := range []string{"1", "2"} {
		_, _, ok := c.get("u", signIn, now)
		require.False(t, ok)
		_, _, ok = c.get("v", signIn, now)
		require.True(t, ok)
	}
	c.put("u", "3", authState{readAt: now}, generation)
	_, _, ok := c.get("u", "3", now)
	require.False(t, ok, "it was read before the change")
}

func TestInWords_Duration_IsReadable(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "1 second", 0: "1 second", time.Millisecond: "1 second", 1001 * time.Millisecond: "2 seconds",
		time.Minute: "60 seconds", 61 * time.Second: "2 minutes", 15 * time.Minute: "15 minutes",
	} {
		require.Equal(t, want, inWords(d), d)
	}
}

// zeros is a source of the worst randomness possible.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestGeneratePassword_AnyRandomness_IsAccepted(t *testing.T) {
	a := &Accounts{random: zeros{}}
	pw, err := a.generatePassword()
	require.NoError(t, err)
	require.Equal(t, "aaaaaaaaaaaaaaaaaaa2", pw)
}
