package server

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/adapters/secretfile"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// sharedStore is a store that replicas share, in a synctest bubble.
type sharedStore struct {
	t     *testing.T
	store ports.Store
	file  *secretfile.File // of this host
}

func onSharedStore(t *testing.T, test func(p *sharedStore)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(&sharedStore{t, memory.NewStore(), secretfile.New(filepath.Join(t.TempDir(), "secrets"))})
	})
}

// resolve resolves a secret as a server with or without a shared Coordination does.
func (p *sharedStore) resolve(coordinated bool, s secret, given string) (string, error) {
	s.given = given
	passwords, err := bcrypt.New(bcrypt.Config{Cost: 4}) // the least
	require.NoError(p.t, err)
	k := &secrets{
		store: p.store, file: p.file, random: system.Random{}, passwords: passwords, shared: true, coordinated: coordinated,
		log: slog.New(slog.DiscardHandler),
	}
	return k.resolve(p.t.Context(), s)
}

// A reader that writes the secrets file before it returns, as another process does at the same time.
type raceReader struct{ write func() }

func (r raceReader) Read(p []byte) (int, error) {
	r.write()
	return system.Random{}.Read(p)
}

func TestSecrets_AnotherProcessGeneratesFirst_NothingCountsAsGenerated(t *testing.T) {
	for name, isFirst := range map[string]bool{"another is first": false, "alone": true} {
		t.Run(name, func(t *testing.T) {
			file := secretfile.New(filepath.Join(t.TempDir(), "secrets"))
			s := jwtSecret("")
			k := &secrets{store: memory.NewStore(), file: file, log: slog.New(slog.DiscardHandler), random: raceReader{func() {
				if !isFirst {
					_, err := file.Add(map[string]string{s.name: strings.Repeat("other-", 8)})
					require.NoError(t, err)
				}
			}}}
			value, err := k.resolve(t.Context(), s)
			require.NoError(t, err)
			require.Equal(t, !isFirst, value == strings.Repeat("other-", 8))
			require.Equal(t, isFirst, len(k.generated) == 1)
		})
	}
}

// heartbeat writes the row of another replica.
func (p *sharedStore) heartbeat() {
	require.NoError(p.t, p.store.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Replicas.Put(ctx, &domain.Replica{ID: "other", SeenAt: time.Now()})
	}))
}

// runReplica writes heartbeats of another replica until stop is called.
func (p *sharedStore) runReplica() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	p.heartbeat()
	go func() {
		for ctx.Err() == nil {
			select {
			case <-time.After(2 * time.Second):
				p.heartbeat()
			case <-ctx.Done():
			}
		}
	}()
	return func() { cancel(); synctest.Wait() }
}

func (p *sharedStore) setting(name string) string {
	var value string
	_ = p.store.View(p.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		value, err = tx.Settings.Get(ctx, name) // "" if there is none
		return err
	})
	return value
}

// kept returns the secrets in the file.
func (p *sharedStore) kept() map[string]string {
	entries, err := p.file.Read()
	require.NoError(p.t, err)
	return entries
}

var ofJWT, ofWorkers = jwtSecret(""), workerToken("")

const one, other = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

func TestSecrets_GivenToReplicas_MustBeTheSame(t *testing.T) {
	for name, s := range map[string]secret{"jwt": ofJWT, "worker token": ofWorkers} {
		t.Run(name, func(t *testing.T) {
			onSharedStore(t, func(p *sharedStore) {
				got, err := p.resolve(true, s, one)
				require.NoError(t, err)
				require.Equal(t, one, got)
				check := p.setting(s.check)
				require.NotEmpty(t, check)
				require.NotContains(t, check, one)
				require.Empty(t, p.setting(s.former), "a given secret is not kept")
				require.Empty(t, p.kept())

				stop := p.runReplica()
				began := time.Now()
				_, err = p.resolve(true, s, one)
				require.NoError(t, err)
				require.Equal(t, began, time.Now(), "a matching secret does not wait")
				_, err = p.resolve(true, s, other)
				require.ErrorContains(t, err, "another replica uses a different "+s.flag+"; give all of them the same")
				_, err = p.resolve(false, s, other)
				require.ErrorIs(t, err, errNotAlone)
				require.Equal(t, check, p.setting(s.check))

				stop()
				_, err = p.resolve(true, s, other)
				require.NoError(t, err, "no other replica is alive")
				_, err = p.resolve(true, s, other)
				require.NoError(t, err)
				defer p.runReplica()()
				_, err = p.resolve(true, s, one)
				require.ErrorContains(t, err, "different")
			})
		})
	}
}

// Another replica has resolved its secrets and has not sent its first heartbeat yet.
func TestSecrets_AnotherReplicaIsStarting_AreNotReplaced(t *testing.T) {
	onSharedStore(t, func(p *sharedStore) {
		_, err := p.resolve(true, ofJWT, one)
		require.NoError(t, err)
		time.AfterFunc(time.Second, p.heartbeat)
		_, err = p.resolve(true, ofJWT, other)
		require.ErrorContains(t, err, "different --jwt-secret")
	})
}

func TestSecrets_TwoReplicasReplaceThem_OneStarts(t *testing.T) {
	onSharedStore(t, func(p *sharedStore) {
		_, err := p.resolve(true, ofJWT, one)
		require.NoError(t, err)
		errs, ended := make(chan error, 2), make(chan struct{})
		defer close(ended)
		for _, given := range []string{other, other + other} {
			go func() {
				_, err := p.resolve(true, ofJWT, given)
				if err == nil {
					defer p.runReplica()()
				}
				errs <- err
				<-ended
			}()
		}
		first, second := <-errs, <-errs
		if first != nil {
			first, second = second, first
		}
		require.NoError(t, first)
		require.ErrorContains(t, second, "different --jwt-secret")
	})
}

func TestSecrets_NotGiven_GeneratedByTheOnlyReplica(t *testing.T) {
	onSharedStore(t, func(p *sharedStore) {
		_, err := p.resolve(true, ofJWT, "")
		require.ErrorContains(t, err, "--jwt-secret is required")
		_, err = p.resolve(true, ofWorkers, "")
		require.ErrorContains(t, err, "--worker-token is required")
		for _, s := range []secret{ofJWT, ofWorkers} {
			_, err = p.resolve(true, s, one)
			require.NoError(t, err)
		}
		stop := p.runReplica()
		_, err = p.resolve(false, ofJWT, "")
		require.ErrorIs(t, err, errNotAlone)
		_, err = p.resolve(false, ofWorkers, "")
		require.ErrorIs(t, err, errNotAlone)
		require.Empty(t, p.kept())
		stop()
		made, err := p.resolve(false, ofJWT, "")
		require.NoError(t, err, "no other replica is alive")
		require.Len(t, made, 64)
		require.Equal(t, made, p.kept()[ofJWT.name])
		require.Empty(t, p.setting(ofJWT.former), "it is in no table")
		got, err := p.resolve(true, ofJWT, "")
		require.NoError(t, err)
		require.Equal(t, made, got)
	})
}

func TestSecrets_FirstStart_DoesNotWait(t *testing.T) {
	onSharedStore(t, func(p *sharedStore) {
		began := time.Now()
		for _, s := range []secret{ofJWT, ofWorkers} {
			_, err := p.resolve(false, s, "")
			require.NoError(t, err)
		}
		require.Equal(t, began, time.Now())
	})
}

// A server that may not run, or has another secret, writes nothing to the store.
func TestNew_AnotherReplicaHasOtherSecrets_ReturnsAnError(t *testing.T) {
	dsn, fabric := postgrestest.Shared(t).NewDatabase(t), redistest.Start(t).URL()
	start := func(fabric, secret, token string) (*Server, error) {
		return New(t.Context(), Config{
			Addr: "127.0.0.1:0", Store: dsn, Coordination: fabric, JWTSecret: secret, WorkerToken: token, AdminPassword: "correct-horse-1",
			Log: slog.New(slog.DiscardHandler), Out: io.Discard,
		})
	}
	first, err := start(fabric, one, one)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- first.Run(ctx) }()
	defer func() {
		stop()
		require.NoError(t, <-ended)
	}()
	alive, err := orchestrator.ReplicasAlive(t.Context(), first.backend, time.Minute)
	require.NoError(t, err)
	require.True(t, alive)
	for want, c := range map[string][3]string{
		"--fabric":                 {"", "", ""},
		"--jwt-secret is required": {fabric, "", one},
		"different --jwt-secret":   {fabric, other, one},
		"different --worker-token": {fabric, one, other},
	} {
		_, err := start(c[0], c[1], c[2])
		require.ErrorContains(t, err, want)
	}
	second, err := start(fabric, one, one)
	require.NoError(t, err)
	require.NoError(t, second.Close())
	b, err := backend.Open(t.Context(), dsn)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	p := &sharedStore{t: t, store: b}
	require.Empty(t, p.setting(ofJWT.former)+p.setting(ofWorkers.former))
	require.True(t, strings.HasPrefix(p.setting(ofJWT.check), "$2"), "a bcrypt hash")
}
