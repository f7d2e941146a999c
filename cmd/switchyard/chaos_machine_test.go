package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// machine is a process of the program that crashes and restarts.
type machine struct {
	s            *scene
	name         string
	addr         string // listen address
	args         []string
	inboundLinks []*link // links to the process
	log          *os.File

	opMu         sync.Mutex // held during an operation on the process
	mu           sync.Mutex
	cmd          *exec.Cmd // nil: not running
	ended        chan struct{}
	exitExpected bool // the end of the process is expected
}

func (s *scene) machine(name string) *machine {
	s.t.Helper()
	l, err := net.Listen("tcp", address()+":0")
	require.NoError(s.t, err)
	m := &machine{s: s, name: name, addr: l.Addr().String()}
	l.Close() // no other test uses this loopback address
	m.log, err = os.Create(filepath.Join(s.dir, name+".log"))
	require.NoError(s.t, err)
	s.machines[name] = m
	s.t.Cleanup(func() {
		m.kill()
		m.log.Close()
	})
	return m
}

// longFaultWait bounds waits that another fault may delay.
const longFaultWait = longMost + patience

// start starts the process and waits until it listens. A replica ends early if its
// store is unreachable. start then starts it again, as a supervisor would.
func (m *machine) start() error {
	for deadline := time.Now().Add(longFaultWait); ; time.Sleep(200 * time.Millisecond) {
		if err := m.launch(); err != nil {
			return err
		}
		if m.awaitListening(deadline) {
			return m.setLinksUp(true)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not start: %s", m.name, m.lastWords())
		}
	}
}

func (m *machine) launch() error {
	fmt.Fprintf(m.log, "--- %s starts\n", time.Now().UTC().Format(time.RFC3339Nano))
	cmd := exec.Command(binary, m.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.s.dir, environment(), m.log, m.log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	m.mu.Lock()
	m.cmd, m.ended, m.exitExpected = cmd, ended, true
	m.mu.Unlock()
	go func() {
		_ = cmd.Wait() // the result is in ProcessState
		close(ended)
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.exitExpected {
			m.s.t.Errorf("%s has ended by itself: %v: %s", m.name, cmd.ProcessState, m.lastWords())
		}
	}()
	return nil
}

func (m *machine) awaitListening(deadline time.Time) bool {
	for time.Now().Before(deadline) {
		if c, err := net.Dial("tcp", m.addr); err == nil {
			c.Close()
			m.mu.Lock()
			m.exitExpected = false
			m.mu.Unlock()
			return true
		}
		if isOpen(m.ended) {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.kill()
	return false
}

func (m *machine) setLinksUp(up bool) error {
	var errs []error
	for _, l := range m.inboundLinks {
		errs = append(errs, l.setTargetUp(up))
	}
	return errors.Join(errs...)
}

// kill kills the process, which may have ended before. It returns bounds for the
// time of the end.
func (m *machine) kill() (from, to time.Time) {
	m.mu.Lock()
	cmd, ended := m.cmd, m.ended
	m.exitExpected = true
	m.mu.Unlock()
	from = time.Now()
	if cmd != nil {
		_ = cmd.Process.Kill() // the process may end at this moment
		<-ended
	}
	to = time.Now()
	if err := m.setLinksUp(false); err != nil {
		m.s.t.Error(err)
	}
	return from, to
}

// end sends SIGTERM and waits for the end.
func (m *machine) end() error {
	m.mu.Lock()
	cmd, ended := m.cmd, m.ended
	m.exitExpected = true
	m.mu.Unlock()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		m.signal(syscall.SIGQUIT) // the stack traces in the log show why it hangs
		select {
		case <-ended:
		case <-time.After(time.Second):
		}
		m.s.crash(m)
		return fmt.Errorf("%s has not ended %v after SIGTERM; what it was doing is in %s", m.name, patience, m.log.Name())
	}
	if err := m.setLinksUp(false); err != nil {
		return err
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %d after SIGTERM: %s", m.name, code, m.lastWords())
	}
	return nil
}

func (m *machine) signal(sig os.Signal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.cmd.Process.Signal(sig) // the process may have ended
}

// output returns the output of all runs of the process.
func (m *machine) output() []byte {
	b, err := os.ReadFile(m.log.Name())
	if err != nil {
		m.s.t.Error(err)
	}
	return b
}

func (m *machine) lastWords() string {
	lines := bytes.Split(bytes.TrimSpace(m.output()), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}
