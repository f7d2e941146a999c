//go:build unix

package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Server is a Redis server with a port that it keeps when it is started again. Its
// methods may be called concurrently.
type Server struct {
	program string
	dir     string // holds what it prints, and its process id
	port    int
	args    []string
	guard   *exec.Cmd
	release *os.File // has the guard end everything once it is closed

	mu      sync.Mutex
	process *exec.Cmd // nil: it does not run
	paused  bool
}

// Start starts a server that ends with the test. The arguments go to redis-server
// before those that Start has itself, such as "--requirepass", "secret".
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s, err := start(args)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.remove)
	return s
}

var shared = sync.OnceValues(func() (*Server, error) { return start(nil) })

// Shared gives the one server that all tests of a process share. It starts with the
// first use and ends with the process. Tests keep apart by the prefixes of their keys
// and channels, and leave it running and alone.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	s, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func start(args []string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redistest: the program redis-server is not on this machine; " +
			"`make servers` installs it, or put its folder into PATH")
	}
	s := &Server{program: program, args: args}
	if s.dir, err = os.MkdirTemp("", "redistest-"); err != nil {
		return nil, fmt.Errorf("redistest: %w", err)
	}
	if err := s.watch(); err != nil {
		return nil, errors.Join(fmt.Errorf("redistest: %w", err), os.RemoveAll(s.dir))
	}
	for attempt := 1; ; attempt++ { // somebody may take the port first
		if s.port, err = freePort(); err == nil {
			err = s.Restart()
		}
		if err == nil {
			return s, nil
		}
		if attempt == 3 {
			s.remove()
			return nil, err
		}
	}
}

func freePort() (int, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// guardian waits until its input ends, because the process that started the server
// has closed it or is gone. Then it kills the server and removes its folder.
const guardian = `
trap '' HUP INT QUIT TERM
cat >/dev/null
read -r pid <"$1/pid" && kill -KILL "$pid"
rm -rf "$1"
`

func (s *Server) watch() error {
	input, release, err := os.Pipe()
	if err != nil {
		return err
	}
	s.release = release
	s.guard = command("/bin/sh", "-c", guardian, "guardian", s.dir)
	s.guard.Stdin, s.guard.Dir = input, "/"
	return errors.Join(s.guard.Start(), input.Close())
}

// command is a command in a session of its own, so that signals of a terminal do not
// reach it.
func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...) //nolint:noctx // the guardian ends it
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return c
}

// remove ends the server for good.
func (s *Server) remove() {
	s.Kill()
	_ = s.release.Close()
	_ = s.guard.Wait() // it has no opinion
}

// Addr is the server's host and port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL is the URL of the server's first database.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// patience is how long the server may take to start or to stop.
const patience = 30 * time.Second

// Restart starts the server again, empty and on the same port, after it has stopped
// it if it runs.
func (s *Server) Restart() error {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return fmt.Errorf("redistest: %w", err)
	}
	defer func() { _ = log.Close() }()
	p := command(s.program, s.args...)
	p.Args = append(p.Args, "--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir, "--pidfile", s.pidFile(),
		"--save", "", "--appendonly", "no", "--daemonize", "no")
	p.Dir, p.Stdout, p.Stderr = s.dir, log, log
	if err := p.Start(); err != nil {
		return fmt.Errorf("redistest: %w", err)
	}
	s.process, s.paused = p, false
	if err := s.await(); err != nil {
		s.kill()
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("redistest: the server does not start: %w\n%s", err, said)
	}
	return nil
}

func (s *Server) pidFile() string { return filepath.Join(s.dir, "pid") }

// await waits until the server answers.
func (s *Server) await() error {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := s.do("PING")
		if err == nil || strings.HasPrefix(err.Error(), "NOAUTH") {
			break
		}
		if s.ended() {
			return errors.New("it has ended")
		}
		if time.Now().After(end) {
			return err
		}
	}
	// Whoever answers may be another server that took the port first.
	if pid, _ := os.ReadFile(s.pidFile()); strings.TrimSpace(string(pid)) != strconv.Itoa(s.process.Process.Pid) {
		return errors.New("another server has its port")
	}
	return nil
}

// do has the server carry out a command.
func (s *Server) do(line string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", s.Addr())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "%s\r\n", line); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if reason, failed := strings.CutPrefix(answer, "-"); failed {
		return errors.New(strings.TrimSpace(reason))
	}
	return nil
}

// ended takes note of a server that has ended by itself.
func (s *Server) ended() bool {
	pid, err := syscall.Wait4(s.process.Process.Pid, nil, syscall.WNOHANG, nil)
	if pid == 0 && err == nil {
		return false
	}
	s.process = nil
	return true
}

// FlushAll has the server forget everything but scripts.
func (s *Server) FlushAll() error {
	if err := s.do("FLUSHALL"); err != nil {
		return fmt.Errorf("redistest: %w", err)
	}
	return nil
}

// Stop stops the server as an administrator does: it closes its connections. It does
// nothing if the server does not run.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	s.resume()
	_ = syscall.Kill(s.process.Process.Pid, syscall.SIGTERM)
	for end := time.Now().Add(patience); !s.ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.kill()
			return
		}
	}
	_ = os.Remove(s.pidFile()) // its number may soon be somebody else's
}

// Kill ends the server at once, as kill -9 does.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

func (s *Server) kill() {
	if s.process == nil {
		return
	}
	_ = syscall.Kill(s.process.Process.Pid, syscall.SIGKILL)
	_, _ = syscall.Wait4(s.process.Process.Pid, nil, 0, nil)
	s.process = nil
	_ = os.Remove(s.pidFile())
}

// Pause has the server stand still until [Server.Resume]. Connections stay open, and
// the system still accepts new ones.
func (s *Server) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		_ = syscall.Kill(s.process.Process.Pid, syscall.SIGSTOP)
		s.paused = true
	}
}

// Resume ends a [Server.Pause].
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resume()
}

func (s *Server) resume() {
	if s.process != nil && s.paused {
		_ = syscall.Kill(s.process.Process.Pid, syscall.SIGCONT)
		s.paused = false
	}
}
