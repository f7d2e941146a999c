// Package main_test drives the built program from outside: over HTTP, by its
// command line and by signals, with workers that are written from the protocol
// page alone (worker_test.go). Nothing of the program is imported here.
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

// patience bounds every wait for a condition. It is far above what is expected,
// for machines that are busy with other things.
const patience = 30 * time.Second

// Credentials of every server that is not about generated ones.
const (
	fleetToken    = "fleet-token-of-the-tests"
	adminEmail    = "admin@localhost"
	adminPassword = "admin-Password-1"
	password      = "correct-Horse-1" // of every user
)

// binary is where TestMain has built the program.
var binary string

func TestMain(m *testing.M) {
	// These tests wait for other processes far more than they compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
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
		// Except in bcrypt's inner loop, where nothing is shared and the
		// detector costs a second for each password.
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

// A transcript is what a process has written so far.
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

// A process is one run of the program.
type process struct {
	t        testing.TB
	cmd      *exec.Cmd
	out, err transcript
	ended    chan struct{}
}

// environment is ours without what would configure the program, and with more.
func environment(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "SWITCHYARD_") })
	return append(env, more...)
}

// spawn runs the program in a directory. It is killed when the test ends, if it
// has not ended by then.
func spawn(t testing.TB, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, environment(env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(func() {
		p.kill()
		p.inspect()
	})
	return p
}

// inspect looks for what must not happen in any run.
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

// kill is kill -9.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill() // it may end at this moment
		<-p.ended
	}
}

// signal sends a signal to the process, which must be running.
func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(sig))
}

// pause is SIGSTOP. The signal takes effect some time after it was sent: pause
// returns when nothing of the process runs any more.
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

// A result is what a command line came to.
type result struct {
	code     int
	out, err string
}

// run carries out a command line in a directory and waits for its end.
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

// waitFor polls until a condition holds. The condition says what it saw.
func waitFor(t testing.TB, what string, holds func() (ok bool, saw any)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, saw := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			require.FailNow(t, "waited in vain: "+what, "last seen: %v", saw)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A server is the program as `switchyard serve`, with its data in a directory
// that outlives the process.
type server struct {
	*process
	t     *testing.T
	dir   string
	url   string // of the present process
	flags []string
	web   *http.Client
}

// serve starts a server. Flags come after, so they override, those that make it
// fit for tests.
func serve(t *testing.T, flags ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), web: &http.Client{
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
	s.process = spawn(s.t, s.dir, nil, s.flags...)
	s.url = s.listens()
	s.awaitReady()
}

var listening = regexp.MustCompile(`https?://[0-9.]+:\d+`)

// listens waits until the server has said where it listens.
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

// crash is kill -9: nothing is handed over.
func (s *server) crash() {
	s.kill()
	s.web.CloseIdleConnections()
}

// again starts the server once more, where it was.
func (s *server) again() {
	s.t.Helper()
	s.flags = append(s.flags, "--addr", strings.TrimPrefix(s.url, "http://"))
	s.start()
}

// stop is SIGTERM; an orderly end is expected.
func (s *server) stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	assert.Zero(s.t, s.exit(), "exit code after SIGTERM: %s", s.err.String())
	s.web.CloseIdleConnections()
}

var secrets = regexp.MustCompile(`wg_[0-9A-Za-z]{20,}|eyJ[0-9A-Za-z_-]{10,}|wt_[0-9a-z-]+_[0-9a-f]{20,}|` +
	regexp.QuoteMeta(fleetToken) + `|` + regexp.QuoteMeta(adminPassword) + `|` + regexp.QuoteMeta(password))

// keepsSecrets looks whether the log gives anything away.
func (s *server) keepsSecrets() {
	assert.Empty(s.t, secrets.FindString(s.err.String()), "a secret in the log")
}

var addresses atomic.Int32

// address gives a loopback address that nobody else here uses, so that a port
// on it is still free when a process that was killed comes back. Systems with
// only one such address have to share it.
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
