package server

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/backend"
)

// lockedLog is a log that tests read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) count(event string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), event)
}

func TestServer_SecretsFileRemovedWhileItRuns_WarnsOnce(t *testing.T) {
	path := t.TempDir() + "/secrets"
	text := `{"jwt-secret":"` + one + `","worker-token":"` + other + `"}`
	write := func(text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	synctest.Test(t, func(t *testing.T) {
		log := new(lockedLog)
		s := &Server{cfg: Config{SecretsFile: path, Log: slog.New(slog.NewTextHandler(log, nil))}}
		write(text)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.watchSecrets(ctx) }()
		minute := func() { time.Sleep(time.Minute); synctest.Wait() }
		minute()
		require.Zero(t, log.count("secrets file"))
		require.NoError(t, os.Remove(path))
		minute()
		require.Equal(t, 1, log.count("secrets file missing"))
		write(text)
		minute()
		require.Equal(t, 1, log.count("secrets file back"))
		write("{}")
		minute()
		require.Equal(t, 2, log.count("secrets file missing"))
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestServer_SecretsFileRemovedWhileItRuns_HealthIsDegraded(t *testing.T) {
	h := newHost(t)
	start := func(c Config) *Server {
		c.Addr, c.Store, c.AdminPassword = "127.0.0.1:0", "sqlite:"+h.path, "correct-horse-1"
		c.Log, c.Out = slog.New(slog.DiscardHandler), io.Discard
		s, err := New(t.Context(), c)
		require.NoError(t, err)
		return s
	}
	failed := func(s *Server) (parts []backend.Part) {
		for _, p := range s.checkHealth(t.Context()) {
			if p.Err != nil {
				parts = append(parts, p)
			}
		}
		return parts
	}
	s := start(Config{})
	require.Empty(t, failed(s))
	require.NoError(t, os.Remove(h.path+".secrets"))
	parts := failed(s)
	require.Len(t, parts, 1)
	require.Equal(t, "secrets", parts[0].Name)
	require.True(t, parts[0].Optional, "the server is ready without it")
	require.Contains(t, reasonOf(parts[0]), "restore it before a restart")
	require.NoError(t, s.Close())

	s = start(Config{JWTSecret: one, WorkerToken: other})
	require.Empty(t, failed(s), "the secrets are given")
	require.NoError(t, s.Close())
}
