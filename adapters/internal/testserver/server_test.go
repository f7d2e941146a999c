//go:build unix

package testserver

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// abandonServers, in the environment, makes the test binary a process that starts servers and never ends them.
const abandonServers = "SWITCHYARD_TESTSERVER_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(abandonServers) != "" {
		startAndAbandon()
	}
	goleak.VerifyTestMain(m)
}

// script is a server of two processes. It writes its process ids and shuts down when it receives SIGTERM.
const script = `
trap 'kill $child; exit 0' TERM
sleep 600 &
child=$!
echo $child >child
echo $$ >pid
while :; do wait; done
`

func scripted(source string) Config {
	return Config{
		Name: "testserver", PIDFile: "pid", StopSignal: syscall.SIGTERM, Timeout: 20 * time.Second, PollInterval: time.Millisecond,
		Command: func(s *Server) *exec.Cmd { return s.NewCommand("/bin/sh", "-c", source) },
		Ready: func(s *Server, pid int) error {
			if readPID(filepath.Join(s.Dir(), "pid")) != pid {
				return errors.New("no process id yet")
			}
			return nil
		},
	}
}

func readPID(path string) int {
	content, _ := os.ReadFile(path)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(content)))
	return pid
}

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Start(scripted(script))
	require.NoError(t, err)
	t.Cleanup(s.Remove)
	return s
}

func pids(s *Server) []int {
	return []int{readPID(filepath.Join(s.dir, "pid")), readPID(filepath.Join(s.dir, "child"))}
}

func requireEnded(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		require.Positive(t, pid)
		require.Eventually(t, func() bool { return !isRunning(pid) }, 20*time.Second, time.Millisecond)
	}
}

func TestServer_Ended_StartsAgainWithItsPortAndFolder(t *testing.T) {
	s := start(t)
	addr, dir := s.Addr(), s.Dir()
	for name, end := range map[string]func(){
		"Kill": s.Kill, "Stop": s.Stop,
		"Pause and Stop": func() { s.Pause(); s.Stop() }, "Pause and Kill": func() { s.Pause(); s.Kill() },
	} {
		before := pids(s)
		end()
		requireEnded(t, before)
		end() // of a server that does not run does nothing
		require.NoError(t, s.Restart(), name)
		require.Equal(t, []any{addr, dir}, []any{s.Addr(), s.Dir()}, name)
	}
}

func TestServer_Paused_StopsAllItsProcesses(t *testing.T) {
	s := start(t)
	states := func() (states []string) {
		for _, pid := range pids(s) {
			state, _ := processStatus(pid)
			states = append(states, state)
		}
		return states
	}
	s.Pause()
	require.Eventually(t, func() bool { return strings.Join(states(), "") == "TT" }, 20*time.Second, time.Millisecond)
	s.Resume()
	require.Eventually(t, func() bool { return !strings.Contains(strings.Join(states(), ""), "T") }, 20*time.Second, time.Millisecond)
}

func TestServer_PipeToGuardianClosed_IsRemoved(t *testing.T) {
	s, err := Start(scripted(script))
	require.NoError(t, err)
	running := pids(s)
	s.Pause()
	_ = s.release.Close() // as when the process has ended
	require.NoError(t, s.guard.Wait())
	require.Eventually(t, s.hasEnded, 20*time.Second, time.Millisecond)
	requireEnded(t, running)
	require.NoDirExists(t, s.dir)
}

func TestStart_ProgramEnds_ReturnsItsOutput(t *testing.T) {
	_, err := Start(scripted("echo cannot read the configuration; exit 1"))
	require.ErrorContains(t, err, "testserver: the server does not start: its process has ended\ncannot read the configuration")
}

func TestStart_InitFails_RemovesTheFolder(t *testing.T) {
	c, dir := scripted(script), ""
	c.Init = func(s *Server) error {
		dir = s.Dir()
		return errors.New("disk full")
	}
	_, err := Start(c)
	require.EqualError(t, err, "testserver: disk full")
	require.NoDirExists(t, dir)
}

func TestServer_ItsProcessKilled_IsRemoved(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), abandonServers+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var dirs []string
	for lines := bufio.NewScanner(out); len(dirs) < 2 && lines.Scan(); {
		dirs = append(dirs, lines.Text())
	}
	require.Len(t, dirs, 2)
	var running []int
	for _, dir := range dirs {
		running = append(running, pids(&Server{dir: dir})...)
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	requireEnded(t, running)
	for _, dir := range dirs {
		require.Eventually(t, func() bool {
			_, err := os.Stat(dir)
			return os.IsNotExist(err)
		}, 20*time.Second, time.Millisecond)
	}
}

// startAndAbandon starts a running and a paused server, prints their folders, and waits to be killed.
func startAndAbandon() {
	for _, prepare := range []func(*Server){func(*Server) {}, (*Server).Pause} {
		s, err := Start(scripted(script))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		prepare(s)
		_, _ = os.Stdout.WriteString(s.Dir() + "\n")
	}
	select {}
}
