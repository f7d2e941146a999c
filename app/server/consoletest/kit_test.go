package consoletest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/console/chromiumtest"
	"github.com/switchyard-wa/switchyard/adapters/simworker"
	"github.com/switchyard-wa/switchyard/app/server"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const password = "correct-horse-1"

// fleet is a server with an empty store.
type fleet struct {
	*server.Server
	t testing.TB
}

// newFleet runs a server until the test ends.
func newFleet(t testing.TB, change ...func(*server.Config)) *fleet {
	t.Helper()
	c := server.Config{
		Addr: "127.0.0.1:0", Store: "memory:", AdminEmail: "root@example.com", AdminPassword: password,
		WorkerToken: strings.Repeat("fleet-token-", 4), Log: slog.New(slog.DiscardHandler), Out: io.Discard,
		AllowPrivateWebhooks: true,
	}
	for _, f := range change {
		f(&c)
	}
	s, err := server.New(t.Context(), c)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	return &fleet{s, t}
}

// worker runs a simulated worker until the test ends.
func (f *fleet) worker(c simworker.Config) *simworker.Worker {
	f.t.Helper()
	listener, err := new(net.ListenConfig).Listen(f.t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(f.t, err)
	control := simworker.NewControl(f.URL(), f.WorkerToken())
	w := simworker.New(c, control)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- simworker.Serve(ctx, listener, w, simworker.ServeConfig{Token: f.WorkerToken(), Log: slog.New(slog.DiscardHandler)})
	}()
	f.t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, simworker.ErrCrashed) {
			assert.NoError(f.t, err)
		}
		control.Close()
	})
	require.Eventually(f.t, w.Registered, 20*time.Second, 5*time.Millisecond)
	return w
}

// user makes a user with the tests' password.
func (f *fleet) user(email string, tier domain.Tier) string {
	f.t.Helper()
	u, err := f.Accounts.CreateUser(f.t.Context(), "Ada Lovelace", email, password, tier, domain.RoleUser)
	require.NoError(f.t, err)
	return u.ID
}

// session makes a session of a user.
func (f *fleet) session(userID, id, name string) {
	f.t.Helper()
	_, err := f.Orchestrator.Sessions.Create(f.t.Context(), userID, service.CreateSessionParams{ID: id, Name: name})
	require.NoError(f.t, err)
}

// connect makes a session and waits until it is connected.
func (f *fleet) connect(userID, id, name string) {
	f.t.Helper()
	f.session(userID, id, name)
	_, err := f.Orchestrator.Sessions.Connect(f.t.Context(), userID, id, service.ConnectOptions{Wait: 10 * time.Second})
	require.NoError(f.t, err)
	require.Eventually(f.t, func() bool {
		s, err := f.Orchestrator.Sessions.Get(f.t.Context(), userID, id)
		return err == nil && s.Status == domain.Connected
	}, 20*time.Second, 5*time.Millisecond)
}

// send sends a text.
func (f *fleet) send(userID, session, to, text string) {
	f.t.Helper()
	_, err := f.Orchestrator.Messages.Send(f.t.Context(), service.Sender{UserID: userID, SessionID: session}, &domain.Outgoing{To: to, Type: domain.TypeText, Text: text})
	require.NoError(f.t, err)
}

// signIn opens the console and signs in.
func signIn(p *chromiumtest.Page, email string) {
	p.Go("/sign-in")
	p.Fill("Email", email)
	p.Fill("Password", password)
	p.Click("Sign in")
	p.SeeText("Sign")
	p.See(".shell")
}
