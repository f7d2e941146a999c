//go:build unix

package redistest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (s *Server) send(line string) error { return send(s.Addr(), line) }

func TestServer_FlushAll_DeletesKeys(t *testing.T) {
	s := Start(t)
	require.NoError(t, s.send("SET a 1"))
	require.NoError(t, s.send("RENAME a b"))
	require.NoError(t, s.FlushAll())
	require.ErrorContains(t, s.send("RENAME b a"), "no such key")
}

func TestShared_CalledTwice_ReturnsOneServer(t *testing.T) {
	require.Same(t, Shared(t), Shared(t))
	require.NotEqual(t, Start(t).URL(), Shared(t).URL())
}

func TestServer_Ended_RestartsOnItsPort(t *testing.T) {
	s := Start(t)
	url := s.URL()
	for _, end := range []func(){s.Kill, s.Stop, func() { s.Pause(); s.Stop() }, func() { s.Pause(); s.Kill() }} {
		require.NoError(t, s.send("PING"))
		end()
		require.ErrorContains(t, s.send("PING"), "refused")
		end() // of a server that does not run does nothing
		require.NoError(t, s.Restart())
		require.Equal(t, url, s.URL())
	}
}

func TestServer_Paused_AnswersAfterResume(t *testing.T) {
	s := Start(t)
	s.Pause()
	answered := make(chan error, 1)
	go func() { answered <- s.send("PING") }()
	select {
	case err := <-answered:
		require.FailNow(t, "it answers while it is paused", "%v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.Resume()
	require.NoError(t, <-answered)
}

func TestServer_Removed_LeavesNothing(t *testing.T) {
	s, err := start(nil)
	require.NoError(t, err)
	s.Pause()
	s.process.Remove()
	require.ErrorContains(t, s.send("PING"), "refused")
	require.NoDirExists(t, s.process.Dir())
}

func TestStart_ProgramMissing_SaysHowToInstallIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := start(nil)
	require.ErrorContains(t, err, "make servers")
}

func TestStart_InvalidSetting_ReturnsTheServersOutput(t *testing.T) {
	_, err := start([]string{"--no-such-setting", "1"})
	require.ErrorContains(t, err, "no-such-setting")
}
