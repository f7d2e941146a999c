package server

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/bcrypt"
	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/adapters/redis/redistest"
	"github.com/switchyard-wa/switchyard/adapters/system"
	"github.com/switchyard-wa/switchyard/app/backend"
	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// place is a store that replicas share, in a bubble of [synctest].
type place struct {
	t     *testing.T
	store ports.Store
}

func inPlace(t *testing.T, test func(p *place)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(&place{t, memory.NewStore()}) })
}

// settle settles a secret as a server does that has a fabric, or not.
func (p *place) settle(fabric bool, s secret, given string) (string, error) {
	s.given = given
	passwords, err := bcrypt.New(bcrypt.Config{Cost: 4}) // as quick as can be
	require.NoError(p.t, err)
	k := &secrets{store: p.store, random: system.Random{}, passwords: passwords, shared: true, coordinated: fabric}
	return k.resolve(p.t.Context(), s)
}

// sign has a replica write its row.
func (p *place) sign() {
	require.NoError(p.t, p.store.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Replicas.Put(ctx, &domain.Replica{ID: "other", SeenAt: time.Now()})
	}))
}

// lives has a replica give signs of life until it is stopped.
func (p *place) lives() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	p.sign()
	go func() {
		for ctx.Err() == nil {
			select {
			case <-time.After(2 * time.Second):
				p.sign()
			case <-ctx.Done():
			}
		}
	}()
	return func() { cancel(); synctest.Wait() }
}

func (p *place) setting(name string) string {
	var value string
	_ = p.store.View(p.t.Context(), func(ctx context.Context, tx *ports.Tx) (err error) {
		value, err = tx.Settings.Get(ctx, name) // "" if there is none
		return err
	})
	return value
}

var jwtSecret, workerToken = new(Server).jwtSecret(), new(Server).workerToken()

const one, other = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

func TestReplicasAgreeOnSecrets(t *testing.T) {
	for name, s := range map[string]secret{"jwt": jwtSecret, "worker token": workerToken} {
		t.Run(name, func(t *testing.T) {
			inPlace(t, func(p *place) {
				got, err := p.settle(true, s, one)
				require.NoError(t, err)
				require.Equal(t, one, got)
				check := p.setting(s.check)
				require.NotEmpty(t, check)
				require.NotContains(t, check, one)
				require.Empty(t, p.setting(s.name), "what was given is not kept")

				stop := p.lives()
				began := time.Now()
				_, err = p.settle(true, s, one)
				require.NoError(t, err)
				require.Equal(t, began, time.Now(), "who agrees does not wait")
				_, err = p.settle(true, s, other)
				require.ErrorContains(t, err, "another replica uses a different "+s.flag+"; give all of them the same")
				_, err = p.settle(false, s, other)
				require.ErrorIs(t, err, errNotAlone)
				require.Equal(t, check, p.setting(s.check))

				stop()
				_, err = p.settle(true, s, other)
				require.NoError(t, err, "the others are dead")
				_, err = p.settle(true, s, other)
				require.NoError(t, err)
				defer p.lives()()
				_, err = p.settle(true, s, one)
				require.ErrorContains(t, err, "different")
			})
		})
	}
}

// Another replica may be about to begin.
func TestASecretIsNotReplacedAtOnce(t *testing.T) {
	inPlace(t, func(p *place) {
		_, err := p.settle(true, jwtSecret, one)
		require.NoError(t, err)
		time.AfterFunc(time.Second, p.sign)
		_, err = p.settle(true, jwtSecret, other)
		require.ErrorContains(t, err, "different --jwt-secret")
	})
}

func TestOfTwoThatReplaceASecretOneStarts(t *testing.T) {
	inPlace(t, func(p *place) {
		_, err := p.settle(true, jwtSecret, one)
		require.NoError(t, err)
		errs := make(chan error, 2)
		for _, given := range []string{other, other + other} {
			go func() {
				_, err := p.settle(true, jwtSecret, given)
				if err == nil {
					p.sign()
				}
				errs <- err
			}()
		}
		require.NoError(t, <-errs)
		require.ErrorContains(t, <-errs, "different --jwt-secret")
	})
}

func TestSecretsAreMadeOnlyByWhoMayRun(t *testing.T) {
	inPlace(t, func(p *place) {
		_, err := p.settle(true, jwtSecret, "")
		require.ErrorContains(t, err, "--jwt-secret is required")
		for _, s := range []secret{jwtSecret, workerToken} {
			_, err = p.settle(true, s, one)
			require.NoError(t, err)
		}
		stop := p.lives()
		_, err = p.settle(false, jwtSecret, "")
		require.ErrorIs(t, err, errNotAlone)
		_, err = p.settle(true, workerToken, "")
		require.ErrorContains(t, err, "another replica uses a different --worker-token")
		for _, s := range []secret{jwtSecret, workerToken} {
			require.Empty(t, p.setting(s.name))
		}
		stop()
		made, err := p.settle(false, jwtSecret, "")
		require.NoError(t, err, "it is alone")
		require.Len(t, made, 64)
		require.Equal(t, made, p.setting(jwtSecret.name))
		got, err := p.settle(true, jwtSecret, "")
		require.NoError(t, err)
		require.Equal(t, made, got)
	})
}

func TestAFirstStartDoesNotWait(t *testing.T) {
	inPlace(t, func(p *place) {
		began := time.Now()
		for _, s := range []secret{jwtSecret, workerToken} {
			_, err := p.settle(false, s, "")
			require.NoError(t, err)
		}
		require.Equal(t, began, time.Now())
	})
}

// One that must not run, or has another secret, leaves nothing behind.
func TestReplicasWithOtherSecretsDoNotStart(t *testing.T) {
	dsn, fabric := postgrestest.Shared(t).NewDatabase(t), redistest.Start(t).URL()
	start := func(fabric, secret, token string) (*Server, error) {
		return New(t.Context(), Config{
			Addr: "127.0.0.1:0", Store: dsn, Coordination: fabric, JWTSecret: secret, WorkerToken: token, AdminPassword: "correct-horse-1",
			Log: slog.New(slog.DiscardHandler), Out: io.Discard,
		})
	}
	first, err := start(fabric, one, "fleet-token")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- first.Run(ctx) }()
	defer func() {
		stop()
		require.NoError(t, <-ended)
	}()
	living, err := orchestrator.ReplicasAlive(t.Context(), first.backend, time.Minute)
	require.NoError(t, err)
	require.True(t, living)
	for want, c := range map[string][3]string{
		"--fabric":                 {"", "", ""},
		"--jwt-secret is required": {fabric, "", "fleet-token"},
		"different --jwt-secret":   {fabric, other, "fleet-token"},
		"different --worker-token": {fabric, one, "another-token"},
	} {
		_, err := start(c[0], c[1], c[2])
		require.ErrorContains(t, err, want)
	}
	second, err := start(fabric, one, "fleet-token")
	require.NoError(t, err)
	require.NoError(t, second.Close())
	b, err := backend.Open(t.Context(), dsn)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	p := &place{t, b}
	require.Empty(t, p.setting(jwtSecret.name)+p.setting(workerToken.name))
	require.True(t, strings.HasPrefix(p.setting(jwtSecret.check), "$2"), "slow to compare with")
}
