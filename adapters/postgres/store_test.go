package postgres_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	conformance.Store(t, func(t *testing.T) ports.Store { return open(t, postgrestest.Shared(t).NewDatabase(t)) })
}

func TestOpen_SchemaIsOutdated_MigratesOnlyOnRequest(t *testing.T) {
	ctx, dsn := t.Context(), postgrestest.Shared(t).NewDatabase(t)
	version, latest, err := postgres.Status(ctx, dsn)
	require.NoError(t, err)
	require.Zero(t, version)
	require.Positive(t, latest)

	_, err = postgres.Open(ctx, dsn, postgres.Options{})
	require.ErrorIs(t, err, postgres.ErrOutdated)
	require.ErrorContains(t, err, "switchyard migrate up")
	for range 2 {
		s, err := postgres.Open(ctx, dsn, postgres.Options{Migrate: true})
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
	openWith(t, dsn, postgres.Options{})
	version, _, err = postgres.Status(ctx, dsn)
	require.NoError(t, err)
	require.Equal(t, latest, version)
}

func TestOpen_ReplicasMigrateTogether_AllSucceed(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	const replicas = 8
	stores := make([]*postgres.Store, replicas)
	errs := make([]error, replicas)
	var wg sync.WaitGroup
	for i := range replicas {
		wg.Go(func() { stores[i], errs[i] = postgres.Open(t.Context(), dsn, postgres.Options{Migrate: true}) })
	}
	wg.Wait()
	for i, s := range stores {
		require.NoError(t, errs[i])
		require.NoError(t, set(s, "name", "value"))
		require.NoError(t, s.Close())
	}
}

func TestOpen_MigrationFails_LeavesNothing(t *testing.T) {
	ctx, dsn := t.Context(), postgrestest.Shared(t).NewDatabase(t)
	run(t, dsn, "CREATE TABLE settings (mine int)")
	_, err := postgres.Open(ctx, dsn, postgres.Options{Migrate: true})
	require.ErrorContains(t, err, "0001_first")
	require.ErrorContains(t, err, `"settings" already exists`)
	version, _, err := postgres.Status(ctx, dsn)
	require.NoError(t, err)
	require.Zero(t, version)
	run(t, dsn, "DROP TABLE settings")
	require.NoError(t, set(open(t, dsn), "name", "value"))
}

func TestOpen_Fails_ErrorHidesThePassword(t *testing.T) {
	server := postgrestest.Shared(t)
	_, host, _ := strings.Cut(server.DSN(), "@")
	host, _, _ = strings.Cut(host, "/")
	for _, dsn := range []string{
		"postgres://switchyard:s3cr3t@" + host + "/postgres?sslmode=disable",
		"postgres://switchyard:s3cr3t@127.0.0.1:1/postgres",
		"postgres://switchyard:s3cr3t@" + host + "/postgres?sslmode=s3cr3t",
		"postgres://switchyard:s3cr3t/x@" + host + "/postgres",
		"postgres://switchyard:s3cr3t%zz@" + host + "/postgres",
		"postgres://switchyard:s3cr3t-%25/x@[::1/postgres",
		"host=127.0.0.1 port=1 user=x password=s3cr3t",
		"host=127.0.0.1 port=x user=x password=s3cr3t",
		"user=x password='s3cr3t",
		"s3cr3t",
	} {
		_, err := postgres.Open(t.Context(), dsn, postgres.Options{Timeout: 100 * time.Millisecond})
		require.Error(t, err, dsn)
		require.NotContains(t, err.Error(), "s3cr3t")
		if err := postgres.Check(dsn); err != nil {
			require.NotContains(t, err.Error(), "s3cr3t")
		}
	}
	require.NoError(t, postgres.Check(server.DSN()))
}

// TestUpdate_ConstraintViolated_GoesOn: a violated constraint ends a transaction of PostgreSQL, but not an Update.
func TestUpdate_ConstraintViolated_GoesOn(t *testing.T) {
	s := open(t, postgrestest.Shared(t).NewDatabase(t))
	refused := func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Settings.Put(ctx, "before", "1"); err != nil {
			return err
		}
		if err := tx.Sessions.Put(ctx, domain.NewSession("s1", "nobody", "s1", "", time.Now())); !errors.Is(err, ports.ErrNotFound) {
			return errors.Join(errors.New("no refusal"), err)
		}
		if err := tx.Users.Put(ctx, &domain.User{ID: "u1", Email: "u1@example.com"}); err != nil {
			return err
		}
		u := &domain.User{ID: "u2", Email: "u2@example.com"}
		if err := tx.Users.Put(ctx, u); err != nil {
			return err
		}
		u.Email = "u1@example.com"
		if err := tx.Users.Put(ctx, u); !errors.Is(err, ports.ErrExists) {
			return errors.Join(errors.New("no refusal"), err)
		}
		return tx.Settings.Put(ctx, "after", "1")
	}
	clear := func(ctx context.Context, tx *ports.Tx) error { return tx.Settings.Put(ctx, "after", "0") }
	for name, fn := range map[string]updateFunc{"write first": refused, "read first": readFirst(refused)} {
		t.Run(name, func(t *testing.T) {
			s := open(t, postgrestest.Shared(t).NewDatabase(t))
			require.NoError(t, s.Update(t.Context(), clear))
			require.NoError(t, s.Update(t.Context(), fn))
			require.Equal(t, "1", setting(t, s, "before"))
			require.Equal(t, "1", setting(t, s, "after"))
		})
	}
	require.ErrorIs(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Sessions.Put(ctx, domain.NewSession("s1", "nobody", "s1", "", time.Now()))
	}), ports.ErrNotFound)
}

// TestUpdate_Deadlock_RunsAgain has two Updates wait for each other. Both run individually, because they have failed in
// their groups.
func TestUpdate_Deadlock_RunsAgain(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	s := open(t, dsn+"&deadlock_timeout=10ms")
	require.NoError(t, set(s, "a", "0"))
	require.NoError(t, set(s, "b", "0"))
	var runs atomic.Int32
	var met sync.WaitGroup
	met.Add(2)
	var wg sync.WaitGroup
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		meet := sync.OnceFunc(func() {
			met.Done()
			met.Wait()
		})
		failed := false
		wg.Go(func() {
			err := s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				if err := tx.Settings.Put(ctx, order[0], order[0]); err != nil || !failed {
					failed = true
					return errors.Join(err, errors.New("not yet"))
				}
				runs.Add(1)
				meet()
				return tx.Settings.Put(ctx, order[1], order[0])
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// The victim may lock its first row again before the other transaction, which waits for that row, has woken up.
	// Then they block each other once more.
	require.GreaterOrEqual(t, runs.Load(), int32(3))
	require.Equal(t, setting(t, s, "a"), setting(t, s, "b"), "one after the other")
}

func TestUpdate_TextCannotBeStored_IsReplaced(t *testing.T) {
	s := open(t, postgrestest.Shared(t).NewDatabase(t))
	for given, want := range map[string]string{"a\x00b": "a\uFFFDb", "a\xffb": "a\uFFFDb", "\xed\xa0\x80": "\uFFFD", "größe ✓ 🙂": "größe ✓ 🙂"} {
		require.NoError(t, set(s, "name", given))
		require.Equal(t, want, setting(t, s, "name"))
	}
	require.Empty(t, setting(t, s, "no\x00such"))
}

func TestStore_TwoSchemas_AreSeparate(t *testing.T) {
	server := postgrestest.Shared(t)
	one, two := open(t, server.NewDatabase(t)), open(t, server.NewDatabase(t))
	require.NoError(t, set(one, "name", "one"))
	require.Empty(t, setting(t, two, "name"))
}
