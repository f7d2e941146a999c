package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/ports"
)

// run runs SQL as an administrator would.
func run(t testing.TB, dsn, sql string) {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer c.Close(t.Context())
	_, err = c.Exec(t.Context(), sql).ReadAll()
	require.NoError(t, err)
}

// soon is a Timeout for tests in which the server does not answer.
const soon = 800 * time.Millisecond

// inTime requires that calls of every kind fail while there is no server, and
// do so in time.
func inTime(t *testing.T, s *postgres.Store) {
	t.Helper()
	calls := map[string]func() error{
		"a View": func() error {
			return s.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				_, err := tx.Settings.Get(ctx, "name")
				return err
			})
		},
		"an Update in a group": func() error { return set(s, "name", "lost") },
		"an Update alone":      func() error { return s.Update(context.Background(), after(put("name", "lost"))) },
	}
	var wg sync.WaitGroup
	for range 12 { // more than there are connections
		for name, call := range calls {
			wg.Go(func() {
				began := time.Now()
				if err := call(); !errors.Is(err, postgres.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", name, err)
				}
				if took := time.Since(began); took > 3*soon {
					t.Errorf("%s took %v", name, took)
				}
			})
		}
	}
	wg.Wait()
}

// recovers requires that everything works again.
func recovers(t *testing.T, s *postgres.Store) {
	t.Helper()
	require.Eventually(t, func() bool { return set(s, "name", "again") == nil }, 20*time.Second, 10*time.Millisecond)
	for range 20 { // on every connection
		require.NoError(t, s.Update(t.Context(), after(put("name", "once more"))))
		require.Equal(t, "once more", setting(t, s, "name"))
	}
}

func TestAServerThatHangs(t *testing.T) {
	server := postgrestest.Start(t)
	s := openWith(t, server.NewDatabase(t), postgres.Options{Migrate: true, Timeout: soon})
	require.NoError(t, set(s, "name", "value"))
	server.Pause()
	inTime(t, s) // on connections that there are
	inTime(t, s) // while making new ones
	server.Resume()
	recovers(t, s)
}

func TestANetworkThatLosesEverything(t *testing.T) {
	p, dsn := through(t, postgrestest.Shared(t).NewDatabase(t))
	s := openWith(t, dsn, postgres.Options{Migrate: true, Timeout: soon})
	require.NoError(t, set(s, "name", "value"))
	p.lose()
	inTime(t, s)
	p.heal()
	recovers(t, s)
}

func TestAServerThatIsDown(t *testing.T) {
	server := postgrestest.Start(t)
	s := openWith(t, server.NewDatabase(t), postgres.Options{Migrate: true, Timeout: soon})
	for _, down := range []func(){server.Stop, server.Kill} {
		require.NoError(t, set(s, "name", "value"))
		down()
		inTime(t, s)
		require.NoError(t, server.Restart())
		recovers(t, s)
	}
}

// TestARestartIsNotNoticed: what was certainly not committed is done again.
func TestARestartIsNotNoticed(t *testing.T) {
	server := postgrestest.Start(t)
	s := open(t, server.NewDatabase(t))
	require.NoError(t, set(s, "name", "value"))
	for _, fn := range []work{put("name", "after"), after(put("name", "after"))} {
		server.Stop()
		done := make(chan error, 1)
		go func() { done <- s.Update(context.Background(), fn) }()
		require.NoError(t, server.Restart())
		require.NoError(t, <-done)
		require.Equal(t, "after", setting(t, s, "name"))
	}
}

// TestConnectionsThatEndWithin has the server end the session of an Update
// before it commits.
func TestConnectionsThatEndWithin(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	s := open(t, dsn+"&application_name=doomed")
	for _, kind := range []func(work) work{func(fn work) work { return fn }, after} {
		runs := 0
		require.NoError(t, s.Update(t.Context(), kind(func(ctx context.Context, tx *ports.Tx) error {
			if err := tx.Settings.Put(ctx, "name", fmt.Sprint(runs)); err != nil {
				return err
			}
			if runs++; runs == 1 {
				run(t, dsn, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'doomed'")
			}
			return tx.Settings.Put(ctx, "other", "1")
		})))
		require.Greater(t, runs, 1)
		require.Equal(t, fmt.Sprint(runs-1), setting(t, s, "name"))
	}
}

// TestStandingStill: a process that stands still within an Update loses its
// session, and with it what it kept from others.
func TestStandingStill(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	still, other := openWith(t, dsn, postgres.Options{Migrate: true, Timeout: soon}), open(t, dsn)
	runs := 0
	require.NoError(t, still.Update(t.Context(), after(func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Settings.Put(ctx, "name", "ours"); err != nil {
			return err
		}
		if runs++; runs == 1 {
			if err := set(other, "name", "theirs"); err != nil { // waits for the row
				return err
			}
		}
		return tx.Settings.Put(ctx, "runs", fmt.Sprint(runs))
	})))
	require.Equal(t, "2", setting(t, other, "runs"))
	require.Equal(t, "ours", setting(t, other, "name"))
}

// TestACommitThatIsNotAnswered: it may or may not have taken place.
func TestACommitThatIsNotAnswered(t *testing.T) {
	direct := postgrestest.Shared(t).NewDatabase(t)
	look := open(t, direct)
	p, dsn := through(t, direct)
	for _, way := range []struct {
		name string
		lost func()
		want string
	}{
		{"nor heard", p.lose, ""},
		{"but heard", func() { p.set(func() { p.deaf = true }) }, "new"},
		{"since the connection breaks", p.cut, ""},
	} {
		for kind, as := range map[string]func(work) work{"in a group": func(fn work) work { return fn }, "alone": after} {
			t.Run(way.name+" "+kind, func(t *testing.T) {
				s := openWith(t, dsn, postgres.Options{Migrate: true, Timeout: soon})
				name, runs := t.Name(), 0
				err := s.Update(t.Context(), as(func(ctx context.Context, tx *ports.Tx) error {
					runs++
					err := tx.Settings.Put(ctx, name, "new")
					way.lost()
					return err
				}))
				p.heal()
				require.ErrorIs(t, err, postgres.ErrUncertain)
				require.Equal(t, 1, runs, "it was repeated")
				require.Equal(t, way.want, setting(t, look, name))
				recovers(t, s)
			})
		}
	}
}

func TestContextsThatEndWhileTheServerHangs(t *testing.T) {
	server := postgrestest.Start(t)
	s := open(t, server.NewDatabase(t))
	require.NoError(t, set(s, "name", "value"))
	server.Pause()
	defer server.Resume()
	var wg sync.WaitGroup
	for _, call := range []func(ctx context.Context) error{
		func(ctx context.Context) error {
			return s.View(ctx, after(func(context.Context, *ports.Tx) error { return nil }))
		},
		func(ctx context.Context) error { return s.Update(ctx, after(put("name", "lost"))) },
		func(ctx context.Context) error { return s.Update(ctx, put("name", "lost")) },
		func(ctx context.Context) error { return s.Update(ctx, put("name", "lost")) },
		func(ctx context.Context) error { return s.Update(ctx, put("name", "lost")) },
	} {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	wg.Wait()
	server.Resume()
	recovers(t, s)
}

// TestKilledServers kills the server while it writes, and requires everything
// that was acknowledged.
func TestKilledServers(t *testing.T) {
	server := postgrestest.Start(t, "fsync=on", "full_page_writes=on")
	s := open(t, server.NewDatabase(t))
	const writing = 12
	var acknowledged [writing]atomic.Int64
	var failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range writing {
		kind := func(fn work) work { return fn }
		if g%4 == 0 {
			kind = after
		}
		wg.Go(func() {
			for n := int64(1); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				err := s.Update(context.Background(), kind(put(fmt.Sprint(g), fmt.Sprint(n))))
				switch {
				case err == nil:
					acknowledged[g].Store(n)
				case errors.Is(err, postgres.ErrUncertain), errors.Is(err, postgres.ErrUnavailable):
					failed.Add(1)
				default:
					t.Errorf("an outage shows as %v", err)
					return
				}
			}
		})
	}
	for range 3 {
		var before [writing]int64
		for g := range before {
			before[g] = acknowledged[g].Load()
		}
		require.Eventually(t, func() bool { // everybody gets on
			for g := range before {
				if acknowledged[g].Load() < before[g]+20 {
					return false
				}
			}
			return true
		}, time.Minute, time.Millisecond)
		server.Kill()
		var at [writing]int64
		for g := range at {
			at[g] = acknowledged[g].Load()
		}
		require.NoError(t, server.Restart())
		for g := range at {
			var n int64
			_, err := fmt.Sscan(setting(t, s, fmt.Sprint(g)), &n)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, at[g], "an acknowledged Update is lost")
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d Updates failed", failed.Load())
}

func TestOpenWaitsForAServerThatStarts(t *testing.T) {
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	server.Stop()
	done := make(chan error, 1)
	go func() { done <- server.Restart() }()
	s, err := postgres.Open(t.Context(), dsn, postgres.Options{Migrate: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, <-done)
}
