package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with the program in front of it.
type terminal struct {
	*process
	keys   *os.File // its other end
	screen transcript
}

// onTerminal runs a command line on a terminal.
func onTerminal(t *testing.T, dir string, args ...string) *terminal {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { keys.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(keys.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(keys.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	end, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	defer end.Close()

	c := &terminal{keys: keys}
	cmd := exec.Command(binary, args...)
	cmd.Stdin = end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	c.process = spawnCommand(t, cmd, dir, nil, end)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := keys.Read(b)
			if err != nil {
				return
			}
			_, _ = c.screen.Write(b[:n])
		}
	}()
	return c
}

// answers waits for a question and types the answer.
func (c *terminal) answers(question, text string) {
	c.t.Helper()
	waitFor(c.t, question, func() (bool, any) { return strings.HasSuffix(c.screen.String(), question), c.screen.String() })
	_, err := c.keys.WriteString(text)
	require.NoError(c.t, err)
}

// On a terminal the password is asked for, twice, and not shown.
func TestUser_OnTerminal_AsksForPasswordWithoutEcho(t *testing.T) {
	t.Parallel()
	s := serve(t)
	user := s.register()
	const fresh = "another-Horse-2"
	c := onTerminal(t, s.dir, "user", "set-password", "--email", user.email)
	c.answers("Password: ", fresh+"\n")
	c.answers("Again: ", "mistyped\n")
	c.answers("They differ; once more.\r\nPassword: ", fresh+"\n")
	c.answers("Again: ", fresh+"\n")
	assert.Zero(t, c.exit(), c.screen.String())
	assert.NotContains(t, c.screen.String(), fresh)
	assert.NotContains(t, c.screen.String(), "mistyped")
	s.login(user.email, fresh)
}

// Whoever interrupts the question has a terminal that echoes again.
func TestUser_QuestionInterrupted_TerminalEchoesAgain(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := onTerminal(t, s.dir, "user", "set-password", "--email", adminEmail)
	echoes := func() bool {
		state, err := unix.IoctlGetTermios(int(c.keys.Fd()), unix.TCGETS)
		require.NoError(t, err)
		return state.Lflag&unix.ECHO != 0
	}
	c.answers("Password: ", "")
	waitFor(t, "the terminal does not echo", func() (bool, any) { return !echoes(), nil })
	c.signal(os.Interrupt)
	assert.Equal(t, 1, c.exit(), c.screen.String())
	assert.True(t, echoes())
}
