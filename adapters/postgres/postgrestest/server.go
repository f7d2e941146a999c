//go:build unix

package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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

	"github.com/switchyard-wa/switchyard/adapters/internal/testserver"
)

// Server is a PostgreSQL server. It keeps its port and its data directory when it is started again. Its methods may be
// called concurrently.
type Server struct {
	process  *testserver.Server
	password string
	names    atomic.Int64
}

// Start starts a server that ends with the test. Each setting is a setting of PostgreSQL, such as "fsync=on". By default
// the server does not wait for the disk: a commit survives [Server.Kill], but not a crash of the machine.
func Start(tb testing.TB, settings ...string) *Server {
	tb.Helper()
	s, err := start(settings)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.process.Remove)
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

const (
	// superuser is the name of the only role.
	superuser = "switchyard"
	// dataDir is the data directory within the server's folder.
	dataDir = "data"
	// startTimeout bounds how long the server takes to start, to stop or to answer.
	startTimeout = time.Minute
)

func start(settings []string) (*Server, error) {
	found, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{password: rand.Text()}
	s.process, err = testserver.Start(testserver.Config{
		Name: "postgrestest", RunAs: found.as, PIDFile: filepath.Join(dataDir, "postmaster.pid"), StopSignal: syscall.SIGINT,
		Timeout: startTimeout, PollInterval: 5 * time.Millisecond,
		Init:    func(p *testserver.Server) error { return s.initialise(p, found) },
		Command: func(p *testserver.Server) *exec.Cmd { return newCommand(p, found, settings) },
		Ready:   checkReady,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// initialise creates the data directory.
func (s *Server) initialise(p *testserver.Server, found install) error {
	secret := filepath.Join(p.Dir(), "password")
	if err := os.WriteFile(secret, []byte(s.password+"\n"), 0o600); err != nil {
		return err
	}
	if err := p.Chown(secret); err != nil {
		return err
	}
	// The password crosses the loopback in plain text. Hashing it for each connection would take longer than most tests.
	initdb := p.NewCommand(found.path("initdb"), "--pgdata", filepath.Join(p.Dir(), dataDir), "--username", superuser, "--pwfile", secret,
		"--auth", "password", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.Env = environment()
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.Remove(secret)
}

// newCommand returns the command that runs the server.
func newCommand(p *testserver.Server, found install, settings []string) *exec.Cmd {
	c := p.NewCommand(found.path("postgres"), "-D", filepath.Join(p.Dir(), dataDir))
	c.Env = environment()
	for _, setting := range append([]string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(p.Port()), "unix_socket_directories=",
		"fsync=off", "full_page_writes=off", "max_connections=300",
	}, settings...) {
		c.Args = append(c.Args, "-c", setting)
	}
	return c
}

func environment() []string { return append(os.Environ(), "LC_ALL=C", "TZ=UTC") }

// checkReady reads the file in which PostgreSQL reports its state.
func checkReady(p *testserver.Server, pid int) error {
	status, _ := os.ReadFile(filepath.Join(p.Dir(), dataDir, "postmaster.pid"))
	lines := strings.Split(string(status), "\n")
	if len(lines) > 7 && lines[0] == strconv.Itoa(pid) && slices.Contains([]string{"ready", "standby"}, strings.TrimSpace(lines[7])) {
		return nil
	}
	return errors.New("postmaster.pid says neither ready nor standby")
}

// DSN returns the URL of the server's first database.
func (s *Server) DSN() string { return s.dsn("") }

func (s *Server) dsn(schema string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, s.password),
		Host: s.process.Addr(), Path: "postgres", RawQuery: "sslmode=disable" + schema,
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

// Restart starts the server on the same port and data directory. It stops the server first if it runs.
func (s *Server) Restart() error { return s.process.Restart() }

// RestartAsStandby starts a stopped server again as a standby, in recovery. It stays one until [Server.Promote].
func (s *Server) RestartAsStandby() error {
	signal := filepath.Join(s.process.Dir(), dataDir, "standby.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		return err
	}
	if err := s.process.Chown(signal); err != nil {
		return err
	}
	return s.Restart()
}

// Promote ends the recovery of a standby.
func (s *Server) Promote() error { return s.run("SELECT pg_promote(true)") }

// Stop stops the server as an administrator does: the server ends its connections and writes a checkpoint. Stop does
// nothing if the server does not run.
func (s *Server) Stop() { s.process.Stop() }

// Kill ends all processes of the server at once, as kill -9 does. Committed data stays in the data directory.
func (s *Server) Kill() { s.process.Kill() }

// Pause stops all processes of the server until [Server.Resume]. Connections stay open, and the system still accepts new
// ones.
func (s *Server) Pause() { s.process.Pause() }

// Resume ends a [Server.Pause].
func (s *Server) Resume() { s.process.Resume() }
