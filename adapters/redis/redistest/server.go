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

	"github.com/switchyard-wa/switchyard/adapters/internal/testserver"
)

// Server is a Redis server. It keeps its port, but no data, when it is started again. Its methods may be called
// concurrently.
type Server struct{ process *testserver.Server }

// Start starts a server that ends with the test. The arguments go to redis-server before those of Start itself, such as
// "--requirepass", "secret".
func Start(tb testing.TB, args ...string) *Server {
	tb.Helper()
	s, err := start(args)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.process.Remove)
	return s
}

var shared = sync.OnceValues(func() (*Server, error) { return start(nil) })

// Shared returns the server that all tests of a process share. It starts with the first call and ends with the process.
// Each test uses its own prefix for keys and channels, and leaves the server running.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	s, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

const (
	// pidFile is the file, within the server's folder, that holds its process id.
	pidFile = "pid"
	// startTimeout bounds how long the server takes to start, to stop or to answer.
	startTimeout = 30 * time.Second
)

func start(args []string) (*Server, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redistest: the program redis-server is not on this machine; " +
			"`make servers` installs it, or put its folder into PATH")
	}
	process, err := testserver.Start(testserver.Config{
		Name: "redistest", PIDFile: pidFile, StopSignal: syscall.SIGTERM, Timeout: startTimeout, PollInterval: time.Millisecond,
		Command: func(p *testserver.Server) *exec.Cmd {
			c := p.NewCommand(program, args...)
			c.Args = append(c.Args, "--bind", "127.0.0.1", "--port", strconv.Itoa(p.Port()), "--dir", p.Dir(),
				"--pidfile", filepath.Join(p.Dir(), pidFile), "--save", "", "--appendonly", "no", "--daemonize", "no")
			return c
		},
		Ready: checkReady,
	})
	if err != nil {
		return nil, err
	}
	return &Server{process}, nil
}

// checkReady sends PING. The process id proves that the answer is the server's: another server may have taken its port.
func checkReady(p *testserver.Server, pid int) error {
	if content, _ := os.ReadFile(filepath.Join(p.Dir(), pidFile)); strings.TrimSpace(string(content)) != strconv.Itoa(pid) {
		return errors.New("the server has not written its process id")
	}
	err := send(p.Addr(), "PING")
	if err != nil && strings.HasPrefix(err.Error(), "NOAUTH") {
		return nil
	}
	return err
}

// send makes the server at an address execute a command. It returns the error that the server answers.
func send(addr, line string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(startTimeout))
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

// Addr returns the server's host and port.
func (s *Server) Addr() string { return s.process.Addr() }

// URL returns the URL of the server's first database.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }

// FlushAll makes the server delete all keys. Scripts stay.
func (s *Server) FlushAll() error {
	if err := send(s.Addr(), "FLUSHALL"); err != nil {
		return fmt.Errorf("redistest: %w", err)
	}
	return nil
}

// Restart starts the server, empty and on the same port. It stops the server first if it runs.
func (s *Server) Restart() error { return s.process.Restart() }

// Stop stops the server as an administrator does: the server closes its connections. Stop does nothing if the server does
// not run.
func (s *Server) Stop() { s.process.Stop() }

// Kill ends the server at once, as kill -9 does.
func (s *Server) Kill() { s.process.Kill() }

// Pause stops the server's process until [Server.Resume]. Connections stay open, and the system still accepts new ones.
func (s *Server) Pause() { s.process.Pause() }

// Resume ends a [Server.Pause].
func (s *Server) Resume() { s.process.Resume() }
