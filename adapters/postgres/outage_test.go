package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres"
	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/ports"
)

// shortTimeout is the Timeout of stores whose server does not answer.
const shortTimeout = 800 * time.Millisecond

// requireFailInTime requires that calls of every kind fail with [postgres.ErrUnavailable], and in time.
func requireFailInTime(t *testing.T, s *postgres.Store) {
	t.Helper()
	calls := map[string]func() error{
		"View": func() error {
			return s.View(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				_, err := tx.Settings.Get(ctx, "name")
				return err
			})
		},
		"write-first Update": func() error { return set(s, "name", "lost") },
		"read-first Update":  func() error { return s.Update(context.Background(), readFirst(put("name", "lost"))) },
	}
	var wg sync.WaitGroup
	for range 12 { // more than the pool has connections
		for name, call := range calls {
			wg.Go(func() {
				began := time.Now()
				if err := call(); !errors.Is(err, postgres.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", name, err)
				}
				if took := time.Since(began); took > 3*shortTimeout {
					t.Errorf("%s took %v", name, took)
				}
			})
		}
	}
	wg.Wait()
}

// requireRecovery requires that everything works again.
func requireRecovery(t *testing.T, s *postgres.Store) {
	t.Helper()
	require.Eventually(t, func() bool { return set(s, "name", "again") == nil }, 20*time.Second, 10*time.Millisecond)
	for range 20 { // on every connection
		require.NoError(t, s.Update(t.Context(), readFirst(put("name", "once more"))))
		require.Equal(t, "once more", setting(t, s, "name"))
	}
}

func TestStore_ServerHangs_FailsInTime(t *testing.T) {
	server := postgrestest.Start(t)
	s := openWith(t, server.NewDatabase(t), postgres.Options{Migrate: true, Timeout: shortTimeout})
	require.NoError(t, set(s, "name", "value"))
	server.Pause()
	requireFailInTime(t, s) // on open connections
	requireFailInTime(t, s) // while making new ones
	server.Resume()
	requireRecovery(t, s)
}

func TestStore_NetworkDropsPackets_FailsInTime(t *testing.T) {
	p, dsn := through(t, postgrestest.Shared(t).NewDatabase(t))
	s := openWith(t, dsn, postgres.Options{Migrate: true, Timeout: shortTimeout})
	require.NoError(t, set(s, "name", "value"))
	p.Lose()
	requireFailInTime(t, s)
	p.Heal()
	requireRecovery(t, s)
}

func TestStore_ServerIsDown_FailsInTime(t *testing.T) {
	server := postgrestest.Start(t)
	s := openWith(t, server.NewDatabase(t), postgres.Options{Migrate: true, Timeout: shortTimeout})
	for _, down := range []func(){server.Stop, server.Kill} {
		require.NoError(t, set(s, "name", "value"))
		down()
		requireFailInTime(t, s)
		require.NoError(t, server.Restart())
		requireRecovery(t, s)
	}
}

// TestUpdate_ServerRestarts_Retries: an Update that certainly was not committed runs again.
func TestUpdate_ServerRestarts_Retries(t *testing.T) {
	server := postgrestest.Start(t)
	s := open(t, server.NewDatabase(t))
	require.NoError(t, set(s, "name", "value"))
	for _, fn := range []updateFunc{put("name", "after"), readFirst(put("name", "after"))} {
		server.Stop()
		done := make(chan error, 1)
		go func() { done <- s.Update(context.Background(), fn) }()
		require.NoError(t, server.Restart())
		require.NoError(t, <-done)
		require.Equal(t, "after", setting(t, s, "name"))
	}
}

// TestUpdate_ConnectionLostBeforeCommit_Retries has the server end the session of an Update.
func TestUpdate_ConnectionLostBeforeCommit_Retries(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	s := open(t, dsn+"&application_name=doomed")
	for _, kind := range []func(updateFunc) updateFunc{func(fn updateFunc) updateFunc { return fn }, readFirst} {
		runs := 0
		require.NoError(t, s.Update(t.Context(), kind(func(ctx context.Context, tx *ports.Tx) error {
			if err := tx.Settings.Put(ctx, "name", fmt.Sprint(runs)); err != nil {
				return err
			}
			runs++
			if runs == 1 {
				run(t, dsn, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'doomed'")
			}
			return tx.Settings.Put(ctx, "other", "1")
		})))
		require.Greater(t, runs, 1)
		require.Equal(t, fmt.Sprint(runs-1), setting(t, s, "name"))
	}
}

// TestUpdate_ProcessStandsStill_LosesItsLocks: the server ends the session of a process that stands still.
func TestUpdate_ProcessStandsStill_LosesItsLocks(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	still, other := openWith(t, dsn, postgres.Options{Migrate: true, Timeout: shortTimeout}), open(t, dsn)
	runs := 0
	require.NoError(t, still.Update(t.Context(), readFirst(func(ctx context.Context, tx *ports.Tx) error {
		if err := tx.Settings.Put(ctx, "name", "ours"); err != nil {
			return err
		}
		runs++
		if runs == 1 {
			if err := set(other, "name", "theirs"); err != nil { // waits for the row
				return err
			}
		}
		return tx.Settings.Put(ctx, "runs", fmt.Sprint(runs))
	})))
	require.Equal(t, "2", setting(t, other, "runs"))
	require.Equal(t, "ours", setting(t, other, "name"))
}

// TestUpdate_CommitIsNotAnswered_OutcomeIsUncertain also requires that the Update is not repeated.
func TestUpdate_CommitIsNotAnswered_OutcomeIsUncertain(t *testing.T) {
	direct := postgrestest.Shared(t).NewDatabase(t)
	look := open(t, direct)
	p, dsn := through(t, direct)
	for _, way := range []struct {
		name string
		lost func()
		want string
	}{
		{"COMMIT lost", p.Lose, ""},
		{"answer lost", p.LoseAnswers, "new"},
		{"connection broken", p.Cut, ""},
	} {
		for kind, as := range map[string]func(updateFunc) updateFunc{"write first": func(fn updateFunc) updateFunc { return fn }, "read first": readFirst} {
			t.Run(way.name+" "+kind, func(t *testing.T) {
				s := openWith(t, dsn, postgres.Options{Migrate: true, Timeout: shortTimeout})
				name, runs := t.Name(), 0
				err := s.Update(t.Context(), as(func(ctx context.Context, tx *ports.Tx) error {
					runs++
					err := tx.Settings.Put(ctx, name, "new")
					way.lost()
					return err
				}))
				p.Heal()
				require.ErrorIs(t, err, postgres.ErrUncertain)
				require.Equal(t, 1, runs, "it was repeated")
				require.Equal(t, way.want, setting(t, look, name))
				requireRecovery(t, s)
			})
		}
	}
}

func TestStore_ContextEndsWhileServerHangs_Returns(t *testing.T) {
	server := postgrestest.Start(t)
	s := open(t, server.NewDatabase(t))
	require.NoError(t, set(s, "name", "value"))
	server.Pause()
	defer server.Resume()
	var wg sync.WaitGroup
	for _, call := range []func(ctx context.Context) error{
		func(ctx context.Context) error {
			return s.View(ctx, readFirst(func(context.Context, *ports.Tx) error { return nil }))
		},
		func(ctx context.Context) error { return s.Update(ctx, readFirst(put("name", "lost"))) },
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
	requireRecovery(t, s)
}

// TestUpdate_ServerKilled_AcknowledgedUpdatesSurvive kills the server while Updates are committed.
func TestUpdate_ServerKilled_AcknowledgedUpdatesSurvive(t *testing.T) {
	server := postgrestest.Start(t, "fsync=on", "full_page_writes=on")
	s := open(t, server.NewDatabase(t))
	const writing = 12
	var acknowledged [writing]atomic.Int64
	var failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range writing {
		kind := func(fn updateFunc) updateFunc { return fn }
		if g%4 == 0 {
			kind = readFirst
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
		require.Eventually(t, func() bool { // every goroutine makes progress
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

func TestOpen_ServerStarts_Waits(t *testing.T) {
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
