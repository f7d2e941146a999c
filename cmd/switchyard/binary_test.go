// Package main_test tests the built program from outside: over HTTP, with its
// command line and with signals. Its workers are written from the protocol page
// alone (worker_test.go). The package imports nothing of the program.
package main_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience bounds every wait for a condition. It is far above the expected time,
// for busy machines.
const patience = 30 * time.Second

// Credentials of every server, except in tests of generated ones.
const (
	fleetToken    = "fleet-token-of-the-tests-01234567"
	adminEmail    = "admin@localhost"
	adminPassword = "admin-Password-1"
	password      = "correct-Horse-1" // password of every user
)

// binary is the path of the program that TestMain has built.
var binary string

func TestMain(m *testing.M) {
	// These tests mostly wait for other processes.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	if slices.Contains(os.Args, "-test.fuzzworker") {
		os.Exit(m.Run()) // the process that fuzzes runs no program
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "switchyard-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "switchyard")
	args := []string{"build", "-o", binary}
	if underRace() {
		// The detector skips bcrypt's inner loop, which shares nothing. It would cost a
		// second for each password.
		args = append(args, "-race", "-gcflags=golang.org/x/crypto/blowfish=-race=false")
	}
	build := exec.Command("go", append(args, ".")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n%s", strings.Join(build.Args, " "), err, out)
		return 1
	}
	return m.Run()
}

func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// transcript collects the output of a process.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// process is one run of the program.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	out, err transcript
	ended    chan struct{}
}

// environment returns the present environment, without variables that configure the
// program, and with more.
func environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "SWITCHYARD_") })
	return append(env, more...)
}

// spawn runs the program in a directory. The end of the test kills it.
func spawn(t testing.TB, dir string, env []string, args ...string) *process {
	t.Helper()
	return spawnCommand(t, exec.Command(binary, args...), dir, env)
}

// spawnCommand is spawn for a command that becomes the program. The output may go to a terminal.
func spawnCommand(t testing.TB, cmd *exec.Cmd, dir string, env []string, terminal ...*os.File) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, environment(env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if len(terminal) > 0 {
		p.cmd.Stdout, p.cmd.Stderr = terminal[0], terminal[0]
	}
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the result is in ProcessState
	}()
	t.Cleanup(func() {
		p.kill()
		p.inspect()
	})
	return p
}

// inspect fails the test for output that no run may produce.
func (p *process) inspect() {
	log := p.err.String()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		assert.NotContains(p.t, log, bad, "stderr of the program")
	}
	if p.t.Failed() {
		lines := strings.Split(log, "\n")
		p.t.Logf("the last lines of stderr of %v:\n%s", p.cmd.Args[1:], strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// kill kills the process.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill() // the process may end at this moment
		<-p.ended
	}
}

// signal sends a signal to the process, which must be running.
func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig))
}

// pause stops the process with SIGSTOP. It returns when every thread has stopped,
// which takes some time after the signal.
func (p *process) pause() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	var status syscall.WaitStatus
	_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
	require.NoError(p.t, err)
	require.True(p.t, status.Stopped(), "%v", status)
}

// exit waits for the end of the process and returns its exit code.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		require.FailNow(p.t, "the program does not end", p.err.String())
		return -1
	}
}

// result is the result of a command line.
type result struct {
	code     int
	out, err string
}

// run runs a command line in a directory and waits for its end.
func run(t testing.TB, dir string, env []string, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, environment(env...), strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) || ctx.Err() != nil {
		require.NoError(t, errors.Join(err, ctx.Err()), errOut.String())
	}
	assert.NotContains(t, errOut.String(), "DATA RACE")
	assert.NotContains(t, errOut.String(), "goroutine ")
	return result{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// waitFor polls until holds returns true. A failure shows what holds saw last.
func waitFor(t testing.TB, what string, holds func() (ok bool, saw any)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, saw := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			require.FailNow(t, "timed out waiting: "+what, "last seen: %v", saw)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// server runs the program as `switchyard serve`. Its data directory outlives the
// process.
type server struct {
	*process
	t     *testing.T
	dir   string
	url   string // URL of the present process
	flags []string
	wrap  []string // a command that runs the program, such as onDisk
	web   *http.Client
}

// serve starts a server with flags for tests. The given flags follow these and
// override them.
func serve(t *testing.T, flags ...string) *server {
	t.Helper()
	return serveWrapped(t, nil, flags...)
}

// serveWrapped is serve with a command that runs the program.
func serveWrapped(t *testing.T, wrap []string, flags ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), wrap: wrap, web: &http.Client{
		Timeout:   2 * patience,
		Transport: documented(t, &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}),
	}}
	s.flags = append([]string{
		"serve", "--addr", address() + ":0", "--store", "sqlite:switchyard.db", "--log-format", "json",
		"--worker-token", fleetToken, "--admin-password", adminPassword,
	}, flags...)
	s.start()
	t.Cleanup(func() {
		if s.running() {
			s.stop()
		}
		s.keepsSecrets()
	})
	return s
}

// start starts the process and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	command := append(append(slices.Clone(s.wrap), binary), s.flags...)
	s.process = spawnCommand(s.t, exec.Command(command[0], command[1:]...), s.dir, nil)
	url := s.listens()
	if s.url != url { // clients read the URL while the server starts again
		s.url = url
	}
	s.awaitReady()
}

var listening = regexp.MustCompile(`https?://[0-9.]+:\d+`)

// listens waits until the server logs its URL.
func (s *server) listens() (url string) {
	s.t.Helper()
	waitFor(s.t, "the server says where it listens", func() (bool, any) {
		if !s.running() {
			require.FailNow(s.t, "the server has ended", s.err.String())
		}
		url = listening.FindString(s.out.String())
		return url != "", s.out.String()
	})
	return url
}

func (s *server) awaitReady() {
	s.t.Helper()
	waitFor(s.t, "the server is ready", func() (bool, any) {
		resp, err := s.web.Get(s.url + "/readyz")
		if err != nil {
			return false, err
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
}

// crash kills the server.
func (s *server) crash() {
	s.kill()
	s.web.CloseIdleConnections()
}

// startAgain starts the server again at the same address.
func (s *server) startAgain() {
	s.t.Helper()
	s.flags = append(s.flags, "--addr", strings.TrimPrefix(s.url, "http://"))
	s.start()
}

// stop sends SIGTERM and expects a graceful end.
func (s *server) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	assert.Zero(s.t, s.exit(), "exit code after SIGTERM: %s", s.err.String())
	s.web.CloseIdleConnections()
}

var secrets = regexp.MustCompile(`wg_[0-9A-Za-z]{20,}|eyJ[0-9A-Za-z_-]{10,}|wt_[0-9a-z-]+_[0-9a-f]{20,}|` +
	regexp.QuoteMeta(fleetToken) + `|` + regexp.QuoteMeta(adminPassword) + `|` + regexp.QuoteMeta(password))

// keepsSecrets checks that the log contains no secrets.
func (s *server) keepsSecrets() {
	assert.Empty(s.t, secrets.FindString(s.err.String()), "a secret in the log")
}

var addresses atomic.Int32

// address returns a loopback address that no other test uses. A port on it is still
// free when a killed process restarts. Systems with only one loopback address share
// it.
func address() string {
	n := addresses.Add(1)
	ip := fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()%128, 1+n/250, 1+n%250)
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		return "127.0.0.1"
	}
	l.Close()
	return ip
}
