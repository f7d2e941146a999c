//go:build unix

package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Server is a PostgreSQL server. It keeps its port and its data directory when it is started again. Its methods may be
// called concurrently.
type Server struct {
	install  install
	dir      string // holds the data directory and the log
	port     int
	password string
	settings []string
	guard    *exec.Cmd
	release  *os.File // the guardian removes everything once it is closed
	names    atomic.Int64

	mu      sync.Mutex
	process *exec.Cmd // nil: the server does not run
	paused  bool
}

// Start starts a server that ends with the test. Each setting is a setting of PostgreSQL, such as "fsync=on". By default
// the server does not wait for the disk: a commit survives [Server.Kill], but not a crash of the machine.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := start(settings)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.remove)
	return s
}

var shared = sync.OnceValues(func() (*Server, error) { return start(nil) })

// Shared returns the server, without settings, that all tests of a process share. It starts with the first call and ends
// with the process. Each test uses its own [Server.NewDatabase], and leaves the server running.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	s, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// superuser is the name of the only role.
const superuser = "switchyard"

func start(settings []string) (*Server, error) {
	found, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{install: found, password: rand.Text(), settings: settings}
	if s.dir, err = s.install.folder(); err != nil {
		return nil, fmt.Errorf("postgrestest: %w", err)
	}
	if err := s.watch(); err != nil {
		return nil, errors.Join(fmt.Errorf("postgrestest: %w", err), os.RemoveAll(s.dir))
	}
	if err := s.initialise(); err != nil {
		s.remove()
		return nil, fmt.Errorf("postgrestest: %w", err)
	}
	for attempt := 1; ; attempt++ { // another process may take the port first
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

// guardian waits until its input ends: the process that started the server has closed it, or has ended. Then it kills the
// processes of the server, even if they are stopped, and removes its folder.
const guardian = `
trap '' HUP INT QUIT TERM
cat >/dev/null
if read -r master <"$1/data/postmaster.pid"; then
	kill -STOP "$master"
	for stat in /proc/[0-9]*/stat; do
		read -r pid _ _ parent _ <"$stat" && [ "$parent" = "$master" ] && kill -KILL "$pid"
	done
	kill -KILL "$master"
fi 2>/dev/null
rm -rf "$1"
`

// watch starts the guardian.
func (s *Server) watch() error {
	input, release, err := os.Pipe()
	if err != nil {
		return err
	}
	s.release = release
	s.guard = s.install.command("/bin/sh", "-c", guardian, "guardian", s.dir)
	s.guard.Stdin, s.guard.Dir = input, "/"
	return errors.Join(s.guard.Start(), input.Close())
}

// remove ends the server for good.
func (s *Server) remove() {
	s.Kill()
	_ = s.release.Close()
	_ = s.guard.Wait() // its exit status means nothing
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) pidFile() string { return filepath.Join(s.data(), "postmaster.pid") }

// initialise creates the data directory.
func (s *Server) initialise() error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(s.password+"\n"), 0o600); err != nil {
		return err
	}
	if err := s.install.chown(secret); err != nil {
		return err
	}
	// The password crosses the loopback in plain text. Hashing it for each connection would take longer than most tests.
	initdb := s.install.command(s.install.path("initdb"), "--pgdata", s.data(), "--username", superuser, "--pwfile", secret,
		"--auth", "password", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.Dir = s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.Remove(secret)
}

// startTimeout bounds how long the server takes to start, to stop or to answer.
const startTimeout = time.Minute

// Restart starts the server on the same port and data directory. It stops the server first if it runs.
func (s *Server) Restart() error {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("postgrestest: %w", err)
	}
	defer func() { _ = log.Close() }()
	p := s.install.command(s.install.path("postgres"), "-D", s.data())
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(s.port), "unix_socket_directories=",
		"fsync=off", "full_page_writes=off", "max_connections=300",
	}, s.settings...) {
		p.Args = append(p.Args, "-c", setting)
	}
	p.Dir, p.Stdout, p.Stderr = s.dir, log, log
	if err := p.Start(); err != nil {
		return fmt.Errorf("postgrestest: %w", err)
	}
	s.process, s.paused = p, false
	if err := s.awaitReady(); err != nil {
		s.kill()
		output, _ := os.ReadFile(log.Name())
		return fmt.Errorf("postgrestest: the server does not start: %w\n%s", err, output)
	}
	return nil
}

// awaitReady waits until the server reports that it is ready.
func (s *Server) awaitReady() error {
	for end := time.Now().Add(startTimeout); ; time.Sleep(10 * time.Millisecond) {
		status, _ := os.ReadFile(s.pidFile())
		lines := strings.Split(string(status), "\n")
		if len(lines) > 7 && lines[0] == strconv.Itoa(s.process.Process.Pid) && strings.TrimSpace(lines[7]) == "ready" {
			return nil
		}
		if s.hasEnded() {
			return errors.New("its process has ended")
		}
		if time.Now().After(end) {
			return fmt.Errorf("not ready after %v", startTimeout)
		}
	}
}

// hasEnded reports whether the process of the server has ended, and then forgets the process.
func (s *Server) hasEnded() bool {
	pid, err := syscall.Wait4(s.process.Process.Pid, nil, syscall.WNOHANG, nil)
	if pid == 0 && err == nil {
		return false
	}
	s.process = nil
	return true
}

// DSN returns the URL of the server's first database.
func (s *Server) DSN() string { return s.dsn("") }

func (s *Server) dsn(schema string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, s.password),
		Host: "127.0.0.1:" + strconv.Itoa(s.port), Path: "postgres", RawQuery: "sslmode=disable" + schema,
	}
	return u.String()
}

// NewDatabase returns the URL of an empty database. The database is a new schema, which the URL selects. CREATE SCHEMA
// takes a hundredth of the time of CREATE DATABASE.
func (s *Server) NewDatabase(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test%d", s.names.Add(1))
	if err := s.run("CREATE SCHEMA " + name); err != nil {
		tb.Fatalf("postgrestest: %v", err)
	}
	return s.dsn("&search_path=" + name)
}

// run runs SQL over a connection of its own.
func (s *Server) run(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := pgconn.Connect(ctx, s.DSN())
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, sql).ReadAll()
	return errors.Join(err, c.Close(ctx))
}

// Stop stops the server as an administrator does: the server ends its connections and writes a checkpoint. Stop does
// nothing if the server does not run.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	s.resume()
	_ = syscall.Kill(s.process.Process.Pid, syscall.SIGINT)
	for end := time.Now().Add(startTimeout); !s.hasEnded(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.kill()
			return
		}
	}
}

// Kill ends all processes of the server at once, as kill -9 does. Committed data stays in the data directory.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

func (s *Server) kill() {
	if s.process == nil {
		return
	}
	others := s.signal(syscall.SIGKILL)
	_, _ = syscall.Wait4(s.process.Process.Pid, nil, 0, nil)
	s.process = nil
	for end := time.Now().Add(startTimeout); slices.ContainsFunc(others, alive) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_ = os.Remove(s.pidFile()) // another process may soon have its number
}

// Pause stops all processes of the server until [Server.Resume]. Connections stay open, and the system still accepts new
// ones.
func (s *Server) Pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.signal(syscall.SIGSTOP)
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
		s.signal(syscall.SIGCONT)
		s.paused = false
	}
}

// signal sends a signal to every process of the server, and returns all but the first. The first process is stopped
// before the others are looked for, so that it starts no new ones.
func (s *Server) signal(sig syscall.Signal) (others []int) {
	first := s.process.Process.Pid
	_ = syscall.Kill(first, syscall.SIGSTOP)
	others = children(first)
	for _, pid := range append(others, first) {
		_ = syscall.Kill(pid, sig)
	}
	return others
}
