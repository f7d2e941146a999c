package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/adapters/postgres/postgrestest"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// testUpdate is an Update that a test runs in a group, and what came of it.
type testUpdate struct {
	fn   updateFunc
	ctx  context.Context // nil: none
	then func()          // nil: nothing; called once the Update is queued
	over chan struct{}   // nil: none; is closed once the Update has returned

	runs   atomic.Int32
	err    error
	panics any
	exits  bool
}

// runInOneGroup queues the Updates in order, and then has one leader commit them.
func runInOneGroup(t *testing.T, c *groupCommitter, updates ...*testUpdate) {
	t.Helper()
	c.mu.Lock()
	c.leaders += c.maxLeaders // so that no leader starts
	c.mu.Unlock()
	queued := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.queue)
	}
	var wg sync.WaitGroup
	for _, m := range updates {
		before := queued()
		wg.Go(func() {
			m.exits = true
			defer func() { m.panics = recover() }()
			ctx := context.Background()
			if m.ctx != nil {
				ctx = m.ctx
			}
			m.err = c.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
				m.runs.Add(1)
				return m.fn(ctx, tx)
			})
			if m.over != nil {
				close(m.over)
			}
			m.exits = false
		})
		require.Eventually(t, func() bool { return queued() > before }, 10*time.Second, 100*time.Microsecond)
		if m.then != nil {
			m.then()
		}
	}
	c.mu.Lock()
	c.leaders = 1
	c.mu.Unlock()
	c.lead()
	wg.Wait()
}

func TestGroupCommit_EventsOfManyUpdates_AreNumberedWithoutGaps(t *testing.T) {
	s := openShared(t)
	updates := make([]*testUpdate, 40)
	for i := range updates {
		updates[i] = &testUpdate{fn: func(ctx context.Context, tx *ports.Tx) error {
			first := domain.Event{Type: domain.EventMessageSent, SessionID: fmt.Sprint("s", i), Reason: "first"}
			second := domain.Event{Type: domain.EventMessageSent, SessionID: fmt.Sprint("s", i), Reason: "second"}
			return tx.Outbox.Append(ctx, first, second)
		}}
	}
	runInOneGroup(t, s.writeFirst, updates...)
	for _, u := range updates {
		require.NoError(t, u.err)
		require.EqualValues(t, 1, u.runs.Load())
	}
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		events, err := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 1000)
		require.Len(t, events, 2*len(updates))
		reasons := make(map[string][]string)
		for i, e := range events {
			require.EqualValues(t, i+1, e.Seq)
			reasons[e.SessionID] = append(reasons[e.SessionID], e.Reason)
		}
		for i := range updates {
			require.Equal(t, []string{"first", "second"}, reasons[fmt.Sprint("s", i)])
		}
		return err
	}))
}

// TestGroupCommit_ManyUpdates_EachRunsOnce also requires that each Update reads its own writes.
func TestGroupCommit_ManyUpdates_EachRunsOnce(t *testing.T) {
	s := openShared(t)
	updates := make([]*testUpdate, 2*maxGroupSize)
	for i := range updates {
		updates[i] = &testUpdate{fn: func(ctx context.Context, tx *ports.Tx) error {
			for n := range i % 4 {
				if err := put(fmt.Sprint(i, "-", n))(ctx, tx); err != nil {
					return err
				}
				if _, err := tx.Settings.Get(ctx, fmt.Sprint(i, "-", n)); err != nil {
					return fmt.Errorf("read its own write: %w", err)
				}
			}
			return put(fmt.Sprint(i))(ctx, tx)
		}}
	}
	runInOneGroup(t, s.writeFirst, updates...)
	for i, m := range updates {
		require.NoError(t, m.err)
		require.EqualValues(t, 1, m.runs.Load(), "Update %d ran individually", i)
		require.True(t, has(t, s, fmt.Sprint(i)))
	}
}

// TestGroupCommitter_GroupFails_NextGroupsAreSmaller: a group that fails costs each of its Updates a second run.
func TestGroupCommitter_GroupFails_NextGroupsAreSmaller(t *testing.T) {
	c := &groupCommitter{}
	commitWith := func(outcome error) (size int) {
		c.queue = make([]*participant, 2*maxGroupSize)
		for i := range c.queue {
			c.queue[i] = &participant{}
		}
		size = c.formGroup().size
		c.adaptSize(size, outcome)
		return size
	}
	for _, want := range []int{maxGroupSize, maxGroupSize / 4, maxGroupSize / 16, 2, 1, 1} {
		require.Equal(t, want, commitWith(errRetryIndividually))
	}
	require.Equal(t, 1, commitWith(ErrUnavailable), "an outage says nothing about size")
	last, groups := 1, 0
	for ; last < maxGroupSize; groups++ {
		size := commitWith(nil)
		require.GreaterOrEqual(t, size, last)
		last = size
	}
	require.Less(t, groups, 30)
}

// TestGroupCommit_AllChangeTheSameRow_OneWins also requires that the Updates of a group see each other's writes.
func TestGroupCommit_AllChangeTheSameRow_OneWins(t *testing.T) {
	s := openShared(t)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Users.Put(ctx, &domain.User{ID: "u", Email: "u@example.com"})
	}))
	updates := make([]*testUpdate, maxGroupSize)
	var saw atomic.Int32
	for i := range updates {
		updates[i] = &testUpdate{fn: func(ctx context.Context, tx *ports.Tx) error {
			u, err := tx.Users.Get(ctx, "u")
			if err == nil {
				u.Name = fmt.Sprint(i)
				err = tx.Users.Put(ctx, u)
			}
			if !errors.Is(err, ports.ErrConflict) {
				return errors.Join(err, put("winner")(ctx, tx))
			}
			if _, seen := tx.Settings.Get(ctx, "winner"); seen != nil { // in the same round as the winner's put
				_, seen = tx.Settings.Get(ctx, "winner")
				if seen != nil {
					return seen
				}
			}
			saw.Add(1)
			return err
		}}
	}
	runInOneGroup(t, s.readFirst, updates...)
	won := 0
	for i, m := range updates {
		require.EqualValues(t, 1, m.runs.Load(), "Update %d ran individually", i)
		if m.err == nil {
			won++
		} else {
			require.Equal(t, ports.ErrConflict, m.err)
		}
	}
	require.Equal(t, 1, won)
	require.EqualValues(t, maxGroupSize-1, saw.Load())
}

// TestGroupCommit_MergedPuts_ActLikeSeparateOnes: a merged statement has the results of the statements that it replaces.
func TestGroupCommit_MergedPuts_ActLikeSeparateOnes(t *testing.T) {
	s := openShared(t)
	at := time.UnixMicro(1_700_000_000_000_000).UTC()
	message := func(id string) *domain.Message {
		return &domain.Message{ID: id, SessionID: "s", UserID: "u", Direction: domain.Outbound, Content: id, Status: domain.MessagePending, CreatedAt: at}
	}
	user := func(id string) *domain.User { return &domain.User{ID: id, Email: id + "@example.com", Name: id} }
	ahead := []*domain.User{user("ahead-1"), user("ahead-2"), user("behind")}
	there := message("there")
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		err := errors.Join(tx.Users.Put(ctx, user("u")), tx.Users.Put(ctx, ahead[0]), tx.Users.Put(ctx, ahead[1]), tx.Users.Put(ctx, ahead[2]))
		return errors.Join(err, tx.Sessions.Put(ctx, domain.NewSession("s", "u", "s", "", at)), tx.Messages.Put(ctx, there))
	}))
	const future = 1 << 60
	_, err := s.pool.Exec(t.Context(), "UPDATE users SET rev = $1 WHERE id LIKE 'ahead%'", int64(future))
	require.NoError(t, err)
	for _, u := range ahead {
		u.Rev = future // their next revision is the same; the stored row of the last one has another revision
	}

	putting := func(m *domain.Message) *testUpdate {
		return &testUpdate{fn: func(ctx context.Context, tx *ports.Tx) error {
			next := *m
			return tx.Messages.Put(ctx, &next)
		}}
	}
	naming := func(u *domain.User) *testUpdate {
		return &testUpdate{fn: func(ctx context.Context, tx *ports.Tx) error {
			next := *u
			next.Name = "renamed"
			return tx.Users.Put(ctx, &next)
		}}
	}
	fresh, sent, sentToo, long := message("fresh"), *there, *there, message("long")
	sent.SentAt, sent.WhatsAppID, sent.Content = at.Add(time.Second), "wa", "first"
	sentToo.Content = "second"
	long.Content = strings.Repeat("long ", maxMergedSize)
	updates := []*testUpdate{
		putting(fresh), putting(message("there")), putting(message("twice")), putting(message("twice")), putting(long),
		putting(&sent), putting(&sentToo), naming(ahead[0]), naming(ahead[1]), naming(ahead[2]),
	}
	runInOneGroup(t, s.writeFirst, updates...)
	outcomes := func(of ...*testUpdate) (errs []error) {
		for _, m := range of {
			require.EqualValues(t, 1, m.runs.Load(), "the Update ran individually: %d", slices.Index(updates, m))
			if m.err != nil {
				errs = append(errs, m.err)
			}
		}
		return errs
	}
	require.Empty(t, outcomes(updates[0], updates[4], updates[7], updates[8]))
	require.Equal(t, []error{ports.ErrExists}, outcomes(updates[1]))
	require.Equal(t, []error{ports.ErrConflict}, outcomes(updates[9]))
	require.Equal(t, []error{ports.ErrExists}, outcomes(updates[2], updates[3]), "one of two with the same id")
	require.Equal(t, []error{ports.ErrConflict}, outcomes(updates[5], updates[6]), "one of two with the same rev")

	require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		found, err := tx.Messages.List(ctx, "s", domain.MessageFilter{})
		for _, m := range found {
			want := map[string]*domain.Message{"fresh": fresh, "there": &sent, "twice": message("twice"), "long": long}[m.ID]
			if m.ID == "there" && m.Content == sentToo.Content {
				want = &sentToo
			}
			require.NotEqual(t, want.Rev, m.Rev)
			want.Rev = m.Rev
			require.Equal(t, want, m, "including what is NULL")
		}
		require.Len(t, found, 4)
		for _, u := range ahead[:2] {
			got, err := tx.Users.Get(ctx, u.ID)
			require.NoError(t, err)
			require.Equal(t, "renamed", got.Name)
		}
		return err
	}))
}

// TestGroupCommit_OneUpdateFails_OthersSucceed: whatever happens to one Update, the others of its group are committed.
func TestGroupCommit_OneUpdateFails_OthersSucceed(t *testing.T) {
	failure := errors.New("failure")
	after := func(fn, then updateFunc) updateFunc {
		return func(ctx context.Context, tx *ports.Tx) error {
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return then(ctx, tx)
		}
	}
	for name, c := range map[string]struct {
		fn    updateFunc
		with  updateFunc // a further participant; nil: none
		runs  int        // of the others
		check func(t *testing.T, m *testUpdate)
	}{
		"an error after a write": {
			fn:   after(put("bad"), func(context.Context, *ports.Tx) error { return failure }),
			runs: 2, check: func(t *testing.T, m *testUpdate) { require.Same(t, failure, m.err) },
		},
		"an error without a write": {
			fn: func(ctx context.Context, tx *ports.Tx) error {
				return errors.Join(failure, tx.RefreshTokenFamilies.DeleteExpired(ctx, time.Now()))
			},
			runs: 1, check: func(t *testing.T, m *testUpdate) { require.ErrorIs(t, m.err, failure) },
		},
		"a panic": {
			fn:   after(put("bad"), func(context.Context, *ports.Tx) error { panic("help") }),
			runs: 2, check: func(t *testing.T, m *testUpdate) { require.Equal(t, "help", m.panics) },
		},
		"a goroutine that ends": {
			fn: after(put("bad"), func(context.Context, *ports.Tx) error {
				runtime.Goexit()
				return nil
			}),
			runs: 2, check: func(t *testing.T, m *testUpdate) { require.True(t, m.exits) },
		},
		"a constraint violation": {
			fn: func(ctx context.Context, tx *ports.Tx) error {
				return tx.Sessions.Put(ctx, domain.NewSession("s1", "nobody", "s1", "", time.Now()))
			},
			runs: 2, check: func(t *testing.T, m *testUpdate) { require.ErrorIs(t, m.err, ports.ErrNotFound) },
		},
		"a function that takes too long": {
			fn: after(put("slow"), func(ctx context.Context, tx *ports.Tx) error {
				time.Sleep(roundTimeout + roundTimeout/2)
				return put("slow")(ctx, tx)
			}),
			runs: 2, check: func(t *testing.T, m *testUpdate) { require.NoError(t, m.err) },
		},
		"too many statements": {
			fn: after(put("long"), func(ctx context.Context, tx *ports.Tx) error {
				for range maxRounds {
					if err := put("long")(ctx, tx); err != nil {
						return err
					}
				}
				return nil
			}),
			runs: 2, check: func(t *testing.T, m *testUpdate) { require.NoError(t, m.err) },
		},
		"a constraint violation in a merged statement": {
			fn: func(ctx context.Context, tx *ports.Tx) error {
				return tx.Messages.Put(ctx, &domain.Message{ID: "m2", SessionID: "nothing", UserID: "u", CreatedAt: time.Now()})
			},
			with: func(ctx context.Context, tx *ports.Tx) error {
				return tx.Messages.Put(ctx, &domain.Message{ID: "m1", SessionID: "s", UserID: "u", CreatedAt: time.Now()})
			},
			runs: 2, check: func(t *testing.T, m *testUpdate) { require.ErrorIs(t, m.err, ports.ErrNotFound) },
		},
		"a conflict": {
			fn: func(ctx context.Context, tx *ports.Tx) error {
				if err := put("bad")(ctx, tx); err != nil {
					return err
				}
				return tx.Users.Put(ctx, &domain.User{ID: "nobody", Rev: 7})
			},
			runs: 2, check: func(t *testing.T, m *testUpdate) { require.ErrorIs(t, m.err, ports.ErrConflict) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openShared(t)
			first, odd, last := &testUpdate{fn: put("first")}, &testUpdate{fn: c.fn}, &testUpdate{fn: after(put("last"), put("more"))}
			others := []*testUpdate{first, last}
			if c.with != nil {
				require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
					err := tx.Users.Put(ctx, &domain.User{ID: "u", Email: "u@example.com"})
					return errors.Join(err, tx.Sessions.Put(ctx, domain.NewSession("s", "u", "s", "", time.Now())))
				}))
				others = append(others, &testUpdate{fn: c.with})
			}
			runInOneGroup(t, s.writeFirst, append(slices.Clone(others), odd)...)
			c.check(t, odd)
			for _, m := range others {
				require.NoError(t, m.err)
				require.EqualValues(t, c.runs, m.runs.Load())
			}
			for name, want := range map[string]bool{"first": true, "last": true, "more": true, "bad": false} {
				require.Equal(t, want, has(t, s, name), name)
			}
		})
	}
}

// TestGroupCommit_CancelWhileQueued_OthersRunOnce: a canceled Update in the queue does not fail the group.
func TestGroupCommit_CancelWhileQueued_OthersRunOnce(t *testing.T) {
	s := openShared(t)
	ctx, cancel := context.WithCancel(t.Context())
	canceled, kept := &testUpdate{ctx: ctx, fn: put("canceled")}, &testUpdate{fn: put("kept")}
	canceled.then = func() {
		cancel()
		require.Eventually(t, func() bool {
			s.writeFirst.mu.Lock()
			defer s.writeFirst.mu.Unlock()
			return len(s.writeFirst.queue) == 0
		}, 10*time.Second, 100*time.Microsecond)
	}
	runInOneGroup(t, s.writeFirst, canceled, kept)
	require.ErrorIs(t, canceled.err, context.Canceled)
	require.NoError(t, kept.err)
	require.EqualValues(t, 1, kept.runs.Load())
	require.False(t, has(t, s, "canceled"))
}

// TestGroupCommit_CancelDuringStatement_RollsBack: the group waits for a row lock when the contexts of two of its Updates end.
func TestGroupCommit_CancelDuringStatement_RollsBack(t *testing.T) {
	s := openShared(t)
	require.NoError(t, s.Update(t.Context(), put("held")))
	ctx, cancel := context.WithCancel(t.Context())
	held, release, holder := make(chan bool), make(chan bool), make(chan error, 1)
	hold := sync.OnceFunc(func() { close(held) }) // a function may run again
	go func() {
		holder <- s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
			if _, err := tx.Settings.Get(ctx, "held"); err != nil { // a read-first Update, in another group
				return err
			}
			err := put("held")(ctx, tx)
			hold()
			<-release
			return err
		})
	}()
	<-held
	answered := make(chan error, 1)
	returned := &testUpdate{ctx: ctx, fn: put("canceled")}
	waiting := &testUpdate{ctx: ctx, fn: func(ctx context.Context, tx *ports.Tx) error {
		err := errors.Join(put("canceled too")(ctx, tx), put("held")(ctx, tx))
		select {
		case answered <- err:
		default: // it ran before
		}
		return err
	}}
	other := &testUpdate{fn: put("kept")}
	go func() {
		defer close(release)
		if err := awaitActivity(s, "wait_event_type = 'Lock'"); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	runInOneGroup(t, s.writeFirst, returned, waiting, other)
	require.NoError(t, <-holder)
	require.ErrorIs(t, returned.err, context.Canceled)
	require.ErrorIs(t, waiting.err, context.Canceled)
	require.NoError(t, other.err)
	for name, want := range map[string]bool{"canceled": false, "canceled too": false, "kept": true} {
		require.Equal(t, want, has(t, s, name), name)
	}
}

// TestGroupCommit_CancelAfterFunctionReturned_RollsBack: an Update that returns before the group is done is not committed.
func TestGroupCommit_CancelAfterFunctionReturned_RollsBack(t *testing.T) {
	s := openShared(t)
	ctx, cancel := context.WithCancel(t.Context())
	returned := &testUpdate{ctx: ctx, fn: put("canceled"), over: make(chan struct{})}
	other := &testUpdate{fn: func(ctx context.Context, tx *ports.Tx) error {
		err := errors.Join(put("kept")(ctx, tx), put("kept")(ctx, tx)) // the second statement is sent in the next round
		cancel()
		<-returned.over
		return err
	}}
	runInOneGroup(t, s.writeFirst, returned, other)
	require.ErrorIs(t, returned.err, context.Canceled)
	require.NoError(t, other.err)
	require.EqualValues(t, 2, other.runs.Load())
	require.False(t, has(t, s, "canceled"))
	require.True(t, has(t, s, "kept"))
}

// TestGroupCommit_CancelDuringCommit_WaitsForOutcome: the COMMIT may succeed, and then so has the Update.
func TestGroupCommit_CancelDuringCommit_WaitsForOutcome(t *testing.T) {
	s := openShared(t)
	_, err := s.pool.Exec(t.Context(), `
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON settings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	u := &testUpdate{ctx: ctx, fn: put("kept")}
	var watcher sync.WaitGroup
	watcher.Go(func() {
		defer cancel()
		if err := awaitActivity(s, "wait_event = 'PgSleep'"); err != nil {
			t.Error(err)
		}
	})
	runInOneGroup(t, s.writeFirst, u)
	watcher.Wait()
	require.NoError(t, u.err)
	require.True(t, has(t, s, "kept"))
}

// TestGroupCommit_ReadFirstLockIsHeld_OnlyReadFirstUpdatesWait: another replica holds the lock.
func TestGroupCommit_ReadFirstLockIsHeld_OnlyReadFirstUpdatesWait(t *testing.T) {
	s := openShared(t)
	tx, err := s.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }() // if it fails
	_, err = tx.Exec(t.Context(), readFirstLock.SQL)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
			_, err := tx.Settings.Get(ctx, "read first")
			return errors.Join(put("read first")(ctx, tx), ignore(err, ports.ErrNotFound))
		})
	}()
	require.NoError(t, s.Update(t.Context(), put("write first")))
	require.NoError(t, awaitActivity(s, "wait_event = 'advisory'"))
	require.Empty(t, done)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-done)
	require.True(t, has(t, s, "read first"))
}

// TestGroupCommit_GroupsWaitForEachOther_BothSucceed: groups of two replicas lock the same rows in different orders.
func TestGroupCommit_GroupsWaitForEachOther_BothSucceed(t *testing.T) {
	dsn := postgrestest.Shared(t).NewDatabase(t)
	var met sync.WaitGroup
	met.Add(2)
	var wg sync.WaitGroup
	began := time.Now()
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		s := openAt(t, dsn)
		meet := sync.OnceFunc(func() {
			met.Done()
			met.Wait()
		})
		wg.Go(func() {
			if err := s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
				if err := put(order[0])(ctx, tx); err != nil {
					return err
				}
				meet()
				return put(order[1])(ctx, tx)
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Less(t, time.Since(began), 5*time.Second)
}
