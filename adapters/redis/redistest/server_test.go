//go:build unix

package redistest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFlushAll(t *testing.T) {
	s := Start(t)
	require.NoError(t, s.do("SET a 1"))
	require.NoError(t, s.do("RENAME a b"))
	require.NoError(t, s.FlushAll())
	require.ErrorContains(t, s.do("RENAME b a"), "no such key")
	require.Same(t, Shared(t), Shared(t))
	require.NotEqual(t, s.URL(), Shared(t).URL())
}

func TestServerThroughItsLife(t *testing.T) {
	s := Start(t)
	url := s.URL()
	for _, end := range []func(){s.Kill, s.Stop, func() { s.Pause(); s.Stop() }, func() { s.Pause(); s.Kill() }} {
		require.NoError(t, s.do("PING"))
		end()
		require.ErrorContains(t, s.do("PING"), "refused")
		end() // of nothing does nothing
		require.NoError(t, s.Restart())
		require.Equal(t, url, s.URL())
	}
	s.Pause()
	answered := make(chan error, 1)
	go func() { answered <- s.do("PING") }()
	select {
	case err := <-answered:
		require.FailNow(t, "it does not stand still", "%v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.Resume()
	require.NoError(t, <-answered)
}

func TestServerIsRemoved(t *testing.T) {
	s, err := start(nil)
	require.NoError(t, err)
	s.Pause()
	_ = s.release.Close() // as when the process has ended
	require.NoError(t, s.guard.Wait())
	require.Eventually(t, s.ended, patience, time.Millisecond)
	require.NoDirExists(t, s.dir)
}

func TestServerMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := start(nil)
	require.ErrorContains(t, err, "make servers")
}

func TestServerDoesNotStart(t *testing.T) {
	_, err := start([]string{"--no-such-setting", "1"})
	require.ErrorContains(t, err, "no-such-setting", "it tells what the server said")
}
