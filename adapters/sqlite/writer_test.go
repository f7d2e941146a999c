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

// inOneGroup runs the functions in one group. It returns the error of each.
func inOneGroup(t *testing.T, s *Store, all ...func() error) []error {
	t.Helper()
	started, unblock, blocked := make(chan bool), make(chan bool), make(chan error, 1)
	unblockOnce := sync.OnceFunc(func() { close(unblock) })
	defer unblockOnce()
	go func() { // blocks the writer until all functions are in its queue
		blocked <- s.Update(context.Background(), func(context.Context, *ports.Tx) error {
			close(started)
			<-unblock
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
	unblockOnce()
	wg.Wait()
	require.NoError(t, <-blocked)
	require.LessOrEqual(t, s.writer.commits.Load()-before, int64(2), "one commit of the first Update, and one of the group")
	return results
}

func TestUpdate_ManyCallers_ShareCommits(t *testing.T) {
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

func TestUpdate_OthersOfItsGroupFail_IsNotAffected(t *testing.T) {
	s := openTemp(t)
	failure := errors.New("failure")
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
				(&testing.T{}).SkipNow() // calls runtime.Goexit, as FailNow does
				return nil
			})
			exited.Store(false)
			t.Error("the goroutine continued after Update")
		}()
		<-done
		return nil
	}
	results := inOneGroup(t, s,
		update(put("first")),
		update(func(ctx context.Context, tx *ports.Tx) error {
			_ = put("fails")(ctx, tx)
			return failure
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
	require.Same(t, failure, results[1])
	require.EqualError(t, results[2], "panicked: help")
	require.True(t, exited.Load())
	require.NoError(t, results[4])
	require.NoError(t, results[5])
	require.Equal(t, []string{"first"}, seen)
	for name, want := range map[string]bool{"first": true, "fails": false, "panics": false, "exits": false, "last": true} {
		require.Equal(t, want, has(t, s, name), name)
	}
}

func TestUpdate_CommitFails_WholeGroupFails(t *testing.T) {
	s := openTemp(t)
	failure := errors.New("failure")
	results := inOneGroup(t, s,
		func() error { return s.Update(context.Background(), put("first")) },
		func() error {
			return s.Update(context.Background(), func(context.Context, *ports.Tx) error { return failure })
		},
		func() error {
			return s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				// COMMIT now detects that the session has no user.
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
			require.Same(t, failure, err)
			continue
		}
		require.ErrorContains(t, err, "commit", "Update %d", i)
	}
	require.False(t, has(t, s, "first"))
	require.False(t, has(t, s, "last"))
	require.NoError(t, s.Update(t.Context(), put("after")))
	require.True(t, has(t, s, "after"))
}

func TestUpdate_DiskFull_FailsAndWritesNothing(t *testing.T) {
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
		require.Equal(t, err == nil, has(t, s, fmt.Sprint(i)), "Update %d returned %v", i, err)
		if err != nil {
			failed++
		}
	}
	require.Positive(t, failed)
	require.Less(t, failed, len(results))
}

// TestUpdate_SQLiteEndsTheTransaction_GroupFails ends the transaction of a group.
func TestUpdate_SQLiteEndsTheTransaction_GroupFails(t *testing.T) {
	s := openTemp(t)
	results := inOneGroup(t, s,
		func() error { return s.Update(context.Background(), put("first")) },
		func() error {
			return s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				if err := put("loses")(ctx, tx); err != nil {
					return err
				}
				if err := s.writer.conn.control(rollback); err != nil {
					return err
				}
				s.writer.conn.detectLoss(errors.New("disk on fire")) //nolint:errcheck // as a failing statement does
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
	require.NoError(t, results[2], "it runs in the next transaction")
	for name, want := range map[string]bool{"first": false, "loses": false, "more": false, "last": true} {
		require.Equal(t, want, has(t, s, name), name)
	}
}

func TestUpdate_ContextEndsInQueue_DoesNotRun(t *testing.T) {
	s := openTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	var ran atomic.Bool
	results := inOneGroup(t, s,
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

func TestTx_FunctionHasReturned_ReturnsErrors(t *testing.T) {
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
