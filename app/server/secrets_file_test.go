package server

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/secretfile"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// host is a directory with the SQLite store of a server.
type host struct {
	t         *testing.T
	dir, path string
}

func newHost(t *testing.T) *host {
	dir := t.TempDir()
	return &host{t, dir, filepath.Join(dir, "gateway.db")}
}

// start starts a server, returns the secrets that it uses, and stops it.
func (h *host) start(c Config) (jwt, token string, err error) {
	h.t.Helper()
	c.Addr, c.Store, c.AdminPassword = "127.0.0.1:0", "sqlite:"+h.path, "correct-horse-1"
	c.Log, c.Out = cmp.Or(c.Log, slog.New(slog.DiscardHandler)), io.Discard
	s, err := New(h.t.Context(), c)
	if err != nil {
		return "", "", err
	}
	entries, err := secretfile.New(s.cfg.SecretsFile).Read()
	require.NoError(h.t, err)
	require.NoError(h.t, s.Close())
	return entries["jwt-secret"], s.WorkerToken(), nil
}

// change changes the settings of the store.
func (h *host) change(fn func(ctx context.Context, s ports.Settings) error) {
	h.t.Helper()
	b, err := backend.Open(h.t.Context(), "sqlite:"+h.path)
	require.NoError(h.t, err)
	require.NoError(h.t, b.Update(h.t.Context(), func(ctx context.Context, tx *ports.Tx) error { return fn(ctx, tx.Settings) }))
	require.NoError(h.t, b.Close())
}

// keepInTable stores secrets as earlier versions did.
func (h *host) keepInTable(jwt, token string) {
	h.t.Helper()
	h.change(func(ctx context.Context, s ports.Settings) error {
		if err := s.Put(ctx, ofJWT.former, jwt); err != nil {
			return err
		}
		return s.Put(ctx, ofWorkers.former, token)
	})
}

// requireNotInDatabase looks at every byte of the store's files.
func (h *host) requireNotInDatabase(secrets ...string) {
	h.t.Helper()
	files, err := filepath.Glob(h.path + "*")
	require.NoError(h.t, err)
	for _, file := range files {
		if strings.HasSuffix(file, ".secrets") {
			continue
		}
		text, err := os.ReadFile(file)
		require.NoError(h.t, err)
		for _, secret := range secrets {
			require.NotContains(h.t, string(text), secret, file)
		}
	}
}

func TestServer_FirstStart_SecretsAreInTheFileAlone(t *testing.T) {
	h := newHost(t)
	jwt, token, err := h.start(Config{})
	require.NoError(t, err)
	require.Len(t, jwt, 64)
	require.Len(t, token, 64)
	info, err := os.Stat(h.path + ".secrets")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	h.requireNotInDatabase(jwt, token)

	sameJWT, sameToken, err := h.start(Config{})
	require.NoError(t, err)
	require.Equal(t, []string{jwt, token}, []string{sameJWT, sameToken})
	printed, err := ShowWorkerToken(t.Context(), Config{Store: "sqlite:" + h.path})
	require.NoError(t, err)
	require.Equal(t, token, printed)
}

func TestServer_SecretsInTheTable_MoveToTheFile(t *testing.T) {
	h := newHost(t)
	h.keepInTable(one, other)
	printed, err := ShowWorkerToken(t.Context(), Config{Store: "sqlite:" + h.path})
	require.NoError(t, err)
	require.Equal(t, other, printed, "before the first start of this version")
	require.NoFileExists(t, h.path+".secrets")

	jwt, token, err := h.start(Config{})
	require.NoError(t, err)
	require.Equal(t, []string{one, other}, []string{jwt, token})
	h.requireNotInDatabase(one, other)
}

func (h *host) startLogged(c Config) (log string, err error) {
	h.t.Helper()
	var text strings.Builder
	c.Log = slog.New(slog.NewTextHandler(&text, nil))
	_, _, err = h.start(c)
	return text.String(), err
}

// The start goes on: new secrets reveal nothing and lose nothing.
func TestServer_SecretsMissingForStoreInUse_WarnsOnce(t *testing.T) {
	const event = "secrets of a store in use were missing"
	h := newHost(t)
	log, err := h.startLogged(Config{})
	require.NoError(t, err)
	require.NotContains(t, log, event, "a first start")
	require.NoError(t, os.Remove(h.path+".secrets"))
	log, err = h.startLogged(Config{})
	require.NoError(t, err)
	require.NotContains(t, log, event, "nobody has signed in, and no worker has registered")

	for name, use := range map[string]func(ctx context.Context, tx *ports.Tx) error{
		"worker": func(ctx context.Context, tx *ports.Tx) error {
			return tx.Workers.Put(ctx, &domain.Worker{ID: "w1", Endpoint: "http://192.0.2.1:8000", CreatedAt: time.Now()})
		},
		"sign-in": func(ctx context.Context, tx *ports.Tx) error {
			u, err := tx.Users.ByEmail(ctx, "admin@localhost")
			if err != nil {
				return err
			}
			u.LastLoginAt = time.Now()
			return tx.Users.Put(ctx, u)
		},
	} {
		h := newHost(t)
		_, err := h.startLogged(Config{})
		require.NoError(t, err)
		b, err := backend.Open(t.Context(), "sqlite:"+h.path)
		require.NoError(t, err)
		require.NoError(t, b.Update(t.Context(), use))
		require.NoError(t, b.Close())
		log, err := h.startLogged(Config{})
		require.NoError(t, err)
		require.NotContains(t, log, event, name)
		require.NoError(t, os.Remove(h.path+".secrets"))
		log, err = h.startLogged(Config{})
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(log, event), "%s: %s", name, log)
		require.Contains(t, log, "file="+h.path+".secrets")
		require.Contains(t, log, "generated=jwt-secret,worker-token")

		for text, generated := range map[string]string{"{}": "jwt-secret,worker-token", `{"jwt-secret":"` + one + `"}`: "worker-token"} {
			require.NoError(t, os.WriteFile(h.path+".secrets", []byte(text), 0o600))
			log, err = h.startLogged(Config{})
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(log, event), "%s: a file without secrets is like none: %s", text, log)
			require.Contains(t, log, "generated="+generated)
		}

		require.NoError(t, os.Remove(h.path+".secrets"))
		log, err = h.startLogged(Config{JWTSecret: one, WorkerToken: other})
		require.NoError(t, err)
		require.NotContains(t, log, event, "they are given")
	}
}

// An empty file is not filled again, because it may be a file that was truncated.
func TestServer_SecretsFileEmpty_IsRefused(t *testing.T) {
	h := newHost(t)
	_, _, err := h.start(Config{})
	require.NoError(t, err)
	for _, text := range []string{"", `{"jwt-secret":null}`} {
		require.NoError(t, os.WriteFile(h.path+".secrets", []byte(text), 0o600))
		_, _, err = h.start(Config{})
		require.ErrorContains(t, err, "--secrets-file: the secrets file "+h.path+".secrets is")
		require.ErrorContains(t, err, "restore it from a backup, or remove it")
		kept, err := os.ReadFile(h.path + ".secrets")
		require.NoError(t, err)
		require.Equal(t, text, string(kept))
	}
	require.NoError(t, os.Remove(h.path+".secrets"))
	_, _, err = h.start(Config{})
	require.NoError(t, err)
}

// The process died after the file was written, and before the table was.
func TestServer_MoveWasInterrupted_IsFinished(t *testing.T) {
	h := newHost(t)
	h.keepInTable(one, other)
	_, err := secretfile.New(h.path + ".secrets").Add(map[string]string{"jwt-secret": one})
	require.NoError(t, err)
	jwt, token, err := h.start(Config{})
	require.NoError(t, err)
	require.Equal(t, []string{one, other}, []string{jwt, token})
	h.requireNotInDatabase(one, other)
}

// A file that cannot be written keeps the secrets where they are. If the secrets are given,
// those in the table are of no use.
func TestServer_FileCannotBeWritten_StartsWithGivenSecretsOnly(t *testing.T) {
	h := newHost(t)
	h.keepInTable(one, other)
	elsewhere := filepath.Join(h.dir, "no such directory", "secrets")
	_, _, err := h.start(Config{SecretsFile: elsewhere})
	require.ErrorContains(t, err, "cannot be written")
	h.change(func(ctx context.Context, s ports.Settings) error {
		kept, err := s.Get(ctx, ofJWT.former)
		require.Equal(t, one, kept)
		return err
	})
	given := one + other
	_, token, err := h.start(Config{SecretsFile: elsewhere, JWTSecret: given, WorkerToken: given})
	require.NoError(t, err)
	require.Equal(t, given, token)
	h.requireNotInDatabase(one, other, given)
}

func TestConfig_WeakSecrets_AreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	require.NoError(t, os.WriteFile(file, []byte(`{"jwt-secret":"short","worker-token":"`+one+`"}`), 0o600))
	for value, problem := range map[string]string{
		one[1:]: "at least 32 bytes", strings.Repeat("x", 64): "one character repeated", one + "\n": "no line breaks", one + "\x00": "control characters",
	} {
		err := Config{Store: "memory:", JWTSecret: value, WorkerToken: value}.WithDefaults().Validate()
		require.ErrorContains(t, err, "--jwt-secret must", value)
		require.ErrorContains(t, err, "--worker-token must", value)
		require.ErrorContains(t, err, problem)
		require.NotContains(t, err.Error(), value)
	}
	err := Config{Store: "memory:", SecretsFile: file}.WithDefaults().Validate()
	require.ErrorContains(t, err, "--secrets-file: jwt-secret in "+file+" must have at least 32 bytes")
	require.NotContains(t, err.Error(), "worker-token")
	require.NoError(t, Config{Store: "memory:", JWTSecret: one, WorkerToken: other}.WithDefaults().Validate())
}
