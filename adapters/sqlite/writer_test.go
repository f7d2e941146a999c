package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

func openTemp(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), Options{Migrate: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

type work = func(ctx context.Context, tx *ports.Tx) error

func put(name string) work {
	return func(ctx context.Context, tx *ports.Tx) error { return tx.Settings.Put(ctx, name, "1") }
}

func has(t *testing.T, s *Store, name string) bool {
	t.Helper()
	err := s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.Settings.Get(ctx, name)
		return err
	})
	if !errors.Is(err, ports.ErrNotFound) {
		require.NoError(t, err)
	}
	return err == nil
}

// together has the functions run in one group, and returns what came of each.
func together(t *testing.T, s *Store, all ...func() error) []error {
	t.Helper()
	started, release, held := make(chan bool), make(chan bool), make(chan error, 1)
	let := sync.OnceFunc(func() { close(release) })
	defer let()
	go func() {
		held <- s.Update(context.Background(), func(context.Context, *ports.Tx) error {
			close(started)
			<-release
			return nil
		})
	}()
	<-started
	results := make([]error, len(all))
	var wg sync.WaitGroup
	queued := func() int {
		s.writer.mu.Lock()
		defer s.writer.mu.Unlock()
		return len(s.writer.queue)
	}
	for i, fn := range all {
		wg.Go(func() { results[i] = fn() })
		require.Eventually(t, func() bool { return queued() == i+1 }, 10*time.Second, time.Millisecond)
	}
	before := s.writer.commits.Load()
	let()
	wg.Wait()
	require.NoError(t, <-held)
	require.LessOrEqual(t, s.writer.commits.Load()-before, int64(2), "one of the first and one of the others")
	return results
}

func TestUpdatesShareCommits(t *testing.T) {
	s := openTemp(t)
	const goroutines, each = 16, 40
	before := s.writer.commits.Load()
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				if err := s.Update(context.Background(), put(fmt.Sprint(g, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Less(t, s.writer.commits.Load()-before, int64(goroutines*each/2))
	for g := range goroutines {
		require.True(t, has(t, s, fmt.Sprint(g, each-1)))
	}
}

func TestFailuresInAGroupAreTheirOwn(t *testing.T) {
	s := openTemp(t)
	ours := errors.New("ours")
	update := func(fn work) func() error {
		return func() error { return s.Update(context.Background(), fn) }
	}
	var exited atomic.Bool
	var seen []string
	exit := func() error {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer exited.Store(true)
			_ = s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				_ = put("exits")(ctx, tx)
				(&testing.T{}).SkipNow() // as FailNow does: runtime.Goexit
				return nil
			})
			exited.Store(false)
			t.Error("the goroutine went on")
		}()
		<-done
		return nil
	}
	results := together(t, s,
		update(put("first")),
		update(func(ctx context.Context, tx *ports.Tx) error {
			_ = put("fails")(ctx, tx)
			return ours
		}),
		func() (err error) {
			defer func() { err = fmt.Errorf("panicked: %v", recover()) }()
			return s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				_ = put("panics")(ctx, tx)
				panic("help")
			})
		},
		exit,
		update(func(context.Context, *ports.Tx) error { return nil }),
		update(func(ctx context.Context, tx *ports.Tx) error {
			for _, name := range []string{"first", "fails", "panics", "exits"} {
				if _, err := tx.Settings.Get(ctx, name); err == nil {
					seen = append(seen, name)
				}
			}
			return put("last")(ctx, tx)
		}),
	)
	require.NoError(t, results[0])
	require.Same(t, ours, results[1])
	require.EqualError(t, results[2], "panicked: help")
	require.True(t, exited.Load())
	require.NoError(t, results[4])
	require.NoError(t, results[5])
	require.Equal(t, []string{"first"}, seen)
	for name, want := range map[string]bool{"first": true, "fails": false, "panics": false, "exits": false, "last": true} {
		require.Equal(t, want, has(t, s, name), name)
	}
}

func TestAFailedCommitIsEverybodys(t *testing.T) {
	s := openTemp(t)
	ours := errors.New("ours")
	results := together(t, s,
		func() error { return s.Update(context.Background(), put("first")) },
		func() error {
			return s.Update(context.Background(), func(context.Context, *ports.Tx) error { return ours })
		},
		func() error {
			return s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				// The session of no user is now found out by the COMMIT.
				if _, err := s.writer.conn.pragma("defer_foreign_keys = 1"); err != nil {
					return err
				}
				return tx.Sessions.Put(ctx, domain.NewSession("s1", "none", "s1", "", time.Now()))
			})
		},
		func() error { return s.Update(context.Background(), put("last")) },
	)
	for i, err := range results {
		if i == 1 {
			require.Same(t, ours, err)
			continue
		}
		require.ErrorContains(t, err, "commit", "Update %d", i)
	}
	require.False(t, has(t, s, "first"))
	require.False(t, has(t, s, "last"))
	require.NoError(t, s.Update(t.Context(), put("after")))
	require.True(t, has(t, s, "after"))
}

func TestAFullDisk(t *testing.T) {
	s := openTemp(t)
	require.NoError(t, s.Update(t.Context(), func(context.Context, *ports.Tx) error {
		pages, err := s.writer.conn.pragma("page_count")
		if err == nil {
			_, err = s.writer.conn.pragma("max_page_count = %d", pages[0].(int64)+20)
		}
		return err
	}))
	results := make([]error, 100)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			results[i] = s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				return tx.Settings.Put(ctx, fmt.Sprint(i), string(make([]byte, 4000)))
			})
		})
	}
	wg.Wait()
	failed := 0
	for i, err := range results {
		require.Equal(t, err == nil, has(t, s, fmt.Sprint(i)), "Update %d gave %v", i, err)
		if err != nil {
			failed++
		}
	}
	require.Positive(t, failed)
	require.Less(t, failed, len(results))
}

// TestALostTransaction has SQLite end the transaction of a group.
func TestALostTransaction(t *testing.T) {
	s := openTemp(t)
	results := together(t, s,
		func() error { return s.Update(context.Background(), put("first")) },
		func() error {
			return s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				if err := put("loses")(ctx, tx); err != nil {
					return err
				}
				if err := s.writer.conn.control(rollback); err != nil {
					return err
				}
				s.writer.conn.check(errors.New("disk on fire")) //nolint:errcheck // as a statement does when it fails
				if put("more")(ctx, tx) == nil {
					t.Error("a statement ran outside the transaction")
				}
				return nil
			})
		},
		func() error { return s.Update(context.Background(), put("last")) },
	)
	require.ErrorContains(t, results[0], "disk on fire")
	require.ErrorContains(t, results[1], "disk on fire")
	require.NoError(t, results[2], "it is in a transaction of its own")
	for name, want := range map[string]bool{"first": false, "loses": false, "more": false, "last": true} {
		require.Equal(t, want, has(t, s, name), name)
	}
}

func TestWhoGivesUpWaitingHasDoneNothing(t *testing.T) {
	s := openTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	var ran atomic.Bool
	results := together(t, s,
		func() error {
			go func() {
				time.Sleep(5 * time.Millisecond)
				cancel()
			}()
			err := s.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
				ran.Store(true)
				return put("late")(ctx, tx)
			})
			return err
		},
		func() error {
			<-ctx.Done() // before the group runs
			return s.Update(context.Background(), put("other"))
		},
	)
	require.ErrorIs(t, results[0], context.Canceled)
	require.NoError(t, results[1])
	require.False(t, ran.Load())
	require.False(t, has(t, s, "late"))
	require.True(t, has(t, s, "other"))
}

func TestATransactionThatIsOver(t *testing.T) {
	s := openTemp(t)
	var kept *ports.Tx
	keep := func(_ context.Context, tx *ports.Tx) error {
		kept = tx
		return nil
	}
	require.NoError(t, s.Update(t.Context(), keep))
	require.Error(t, put("late")(t.Context(), kept))
	require.NoError(t, s.View(t.Context(), keep))
	_, err := kept.Settings.Get(t.Context(), "late")
	require.ErrorContains(t, err, "over")
}

func TestSettingsOfConnections(t *testing.T) {
	s := openTemp(t)
	for _, want := range []struct {
		conn    *conn
		pragmas map[string]any
	}{
		{s.writer.conn.conn, map[string]any{"synchronous": int64(2), "foreign_keys": int64(1), "journal_mode": "wal", "query_only": int64(0)}},
		{s.all[0], map[string]any{"query_only": int64(1), "busy_timeout": int64(5000)}},
	} {
		for name, value := range want.pragmas {
			got, err := want.conn.pragma("%s", name)
			require.NoError(t, err)
			require.Equal(t, value, got[0], name)
		}
	}
	_, err := s.all[0].raw.Exec("DELETE FROM users", nil)
	require.ErrorContains(t, err, "readonly")
}
