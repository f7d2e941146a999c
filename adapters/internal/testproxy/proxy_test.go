package testproxy_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/internal/testproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echoServer returns the address of a server that sends back every byte.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// client sends lines and reads the answers.
type client struct {
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, p *testproxy.Proxy) *client {
	t.Helper()
	c, err := net.Dial("tcp4", p.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return &client{c, bufio.NewReader(c)}
}

func (c *client) echo(line string, timeout time.Duration) (string, error) {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	_ = c.SetReadDeadline(time.Now().Add(timeout))
	return c.answers.ReadString('\n')
}

const (
	long  = 20 * time.Second
	short = 50 * time.Millisecond
)

func TestProxy_Cut_BreaksConnectionsAndRefusesNewOnes(t *testing.T) {
	p := testproxy.Start(t, echoServer(t))
	c := dial(t, p)
	answer, err := c.echo("one", long)
	require.NoError(t, err)
	require.Equal(t, "one\n", answer)

	p.Cut()
	_, err = c.echo("two", long)
	require.Error(t, err)
	_, err = net.Dial("tcp4", p.Addr())
	require.ErrorContains(t, err, "refused")

	p.Heal()
	answer, err = dial(t, p).echo("three", long)
	require.NoError(t, err)
	require.Equal(t, "three\n", answer)
	require.Equal(t, 2, p.Connections())
}

func TestProxy_Lose_DropsBytesUntilHeal(t *testing.T) {
	for name, lose := range map[string]func(*testproxy.Proxy){"all": (*testproxy.Proxy).Lose, "answers": (*testproxy.Proxy).LoseAnswers} {
		t.Run(name, func(t *testing.T) {
			p := testproxy.Start(t, echoServer(t))
			c := dial(t, p)
			_, err := c.echo("one", long)
			require.NoError(t, err)
			lose(p)
			_, err = c.echo("lost", short)
			require.ErrorContains(t, err, "timeout")
			p.Heal()
			answer, err := c.echo("two", long)
			if answer == "lost\n" { // a slow server has answered after Heal
				answer, err = c.answers.ReadString('\n')
			}
			require.NoError(t, err)
			require.Equal(t, "two\n", answer)
		})
	}
}
