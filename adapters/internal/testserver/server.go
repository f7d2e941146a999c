//go:build unix

package testserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Config describes a server.
type Config struct {
	// Name names the calling package. Errors and the server's folder begin with it.
	Name string
	// RunAs is the user that runs the server. Nil means the user of this process.
	RunAs *syscall.Credential
	// PIDFile is the path, within the server's folder, of a file whose first line is the server's process id. The server
	// writes the file.
	PIDFile string
	// StopSignal asks the server to shut down in an orderly way.
	StopSignal syscall.Signal
	// Timeout bounds how long the server takes to start and to stop.
	Timeout time.Duration
	// PollInterval is the time between two checks whether the server has started or stopped.
	PollInterval time.Duration
	// Init prepares the server's folder before the first start. Nil means that an empty folder is enough.
	Init func(s *Server) error
	// Command returns the command that runs the server in the foreground.
	Command func(s *Server) *exec.Cmd
	// Ready returns an error until the server with the process id is ready. Start polls it.
	Ready func(s *Server, pid int) error
}

// Server is the process of a server, with a port and a folder that it keeps when it is started again. Its methods may be
// called concurrently.
type Server struct {
	config  Config
	dir     string // holds the server's files and its log
	port    int
	guard   *exec.Cmd
	release *os.File // the guardian removes everything once it is closed

	mu      sync.Mutex
	process *exec.Cmd // nil: the server does not run
	paused  bool
}

// startAttempts is how many ports Start tries. Another process may take a free port before the server does.
const startAttempts = 3

// Start starts a server on a free port. The caller ends it with [Server.Remove].
func Start(c Config) (*Server, error) {
	s := &Server{config: c}
	var err error
	s.dir, err = s.makeFolder()
	if err != nil {
		return nil, s.wrap(err)
	}
	if err := s.startGuardian(); err != nil {
		return nil, errors.Join(s.wrap(err), os.RemoveAll(s.dir))
	}
	if c.Init != nil {
		if err := c.Init(s); err != nil {
			s.Remove()
			return nil, s.wrap(err)
		}
	}
	for attempt := 1; ; attempt++ {
		err := s.startOnFreePort()
		if err == nil {
			return s, nil
		}
		if attempt == startAttempts {
			s.Remove()
			return nil, err
		}
	}
}

func (s *Server) startOnFreePort() error {
	var err error
	s.port, err = freePort()
	if err != nil {
		return s.wrap(err)
	}
	return s.Restart()
}

func freePort() (int, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func (s *Server) wrap(err error) error { return fmt.Errorf("%s: %w", s.config.Name, err) }

// guardian waits until its input ends: the process that started the server has closed it, or has ended. Then it kills the
// processes of the server, even if they are stopped, and removes its folder.
const guardian = `
trap '' HUP INT QUIT TERM
cat >/dev/null
if read -r master <"$2"; then
	kill -STOP "$master"
	for stat in /proc/[0-9]*/stat; do
		read -r pid _ _ parent _ <"$stat" && [ "$parent" = "$master" ] && kill -KILL "$pid"
	done
	kill -KILL "$master"
fi 2>/dev/null
rm -rf "$1"
`

func (s *Server) startGuardian() error {
	input, release, err := os.Pipe()
	if err != nil {
		return err
	}
	s.release = release
	s.guard = s.NewCommand("/bin/sh", "-c", guardian, "guardian", s.dir, s.pidFile())
	s.guard.Stdin, s.guard.Dir = input, "/"
	return errors.Join(s.guard.Start(), input.Close())
}

// NewCommand returns a command that the server's user runs in the server's folder. The command has a session of its own,
// so that signals of a terminal do not reach it.
func (s *Server) NewCommand(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...) //nolint:noctx // the guardian ends it
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.config.RunAs}
	c.Dir = s.dir
	return c
}

// Dir returns the server's folder.
func (s *Server) Dir() string { return s.dir }

// Port returns the server's port.
func (s *Server) Port() int { return s.port }

// Addr returns the server's host and port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

func (s *Server) pidFile() string { return filepath.Join(s.dir, s.config.PIDFile) }

// Remove ends the server and removes its folder.
func (s *Server) Remove() {
	s.Kill()
	_ = s.release.Close()
	_ = s.guard.Wait() // its exit status means nothing
}

// Restart starts the server on the same port and folder. It stops the server first if it runs.
func (s *Server) Restart() error {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return s.wrap(err)
	}
	defer func() { _ = log.Close() }()
	p := s.config.Command(s)
	p.Stdout, p.Stderr = log, log
	if err := p.Start(); err != nil {
		return s.wrap(err)
	}
	s.process, s.paused = p, false
	if err := s.awaitReady(); err != nil {
		s.kill()
		output, _ := os.ReadFile(log.Name())
		return s.wrap(fmt.Errorf("the server does not start: %w\n%s", err, output))
	}
	return nil
}

func (s *Server) awaitReady() error {
	for end := time.Now().Add(s.config.Timeout); ; time.Sleep(s.config.PollInterval) {
		err := s.config.Ready(s, s.process.Process.Pid)
		if err == nil {
			return nil
		}
		if s.hasEnded() {
			return errors.New("its process has ended")
		}
		if time.Now().After(end) {
			return fmt.Errorf("not ready after %v: %w", s.config.Timeout, err)
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

// Stop stops the server as an administrator does. It does nothing if the server does not run.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	s.resume()
	_ = syscall.Kill(s.process.Process.Pid, s.config.StopSignal)
	for end := time.Now().Add(s.config.Timeout); !s.hasEnded(); time.Sleep(s.config.PollInterval) {
		if time.Now().After(end) {
			s.kill()
			return
		}
	}
	s.removePIDFile()
}

// Kill ends all processes of the server at once, as kill -9 does. The server's folder stays.
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
	for end := time.Now().Add(s.config.Timeout); slices.ContainsFunc(others, isRunning) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	s.removePIDFile()
}

// removePIDFile removes the process id of a server that has ended: another process may soon have that id, and the
// guardian would kill it.
func (s *Server) removePIDFile() { _ = os.Remove(s.pidFile()) }

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

// signal sends a signal to every process of the server. It returns all processes but the first. It stops the first
// process before it looks for the others, so that the first process starts no more.
func (s *Server) signal(sig syscall.Signal) (others []int) {
	first := s.process.Process.Pid
	_ = syscall.Kill(first, syscall.SIGSTOP)
	others = children(first)
	for _, pid := range append(others, first) {
		_ = syscall.Kill(pid, sig)
	}
	return others
}
