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

func openShared(t *testing.T) *Store {
	t.Helper()
	return openAt(t, postgrestest.Shared(t).NewDatabase(t))
}

func openAt(t *testing.T, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn, Options{Migrate: true})
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

// member is an Update in a group.
type member struct {
	fn   work
	ctx  context.Context // nil: none
	then func()          // nil: nothing; called once it waits for a group
	over chan struct{}   // nil: none; is closed once its Update has returned
	// What came of it.
	runs   atomic.Int32
	err    error
	panics any
	exits  bool
}

// together has the members run in one group.
func together(t *testing.T, g *groups, members ...*member) {
	t.Helper()
	g.mu.Lock()
	g.running += g.atOnce // no more of them
	g.mu.Unlock()
	waiting := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.waiting)
	}
	var wg sync.WaitGroup
	for _, m := range members {
		before := waiting()
		wg.Go(func() {
			m.exits = true
			defer func() { m.panics = recover() }()
			ctx := context.Background()
			if m.ctx != nil {
				ctx = m.ctx
			}
			m.err = g.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
				m.runs.Add(1)
				return m.fn(ctx, tx)
			})
			if m.over != nil {
				close(m.over)
			}
			m.exits = false
		})
		require.Eventually(t, func() bool { return waiting() > before }, 10*time.Second, 100*time.Microsecond)
		if m.then != nil {
			m.then()
		}
	}
	g.mu.Lock()
	g.running = 1
	g.mu.Unlock()
	g.run()
	wg.Wait()
}

func TestAGroup(t *testing.T) {
	s := openShared(t)
	members := make([]*member, 2*groupSize)
	for i := range members {
		members[i] = &member{fn: func(ctx context.Context, tx *ports.Tx) error {
			for n := range i % 4 {
				if err := put(fmt.Sprint(i, "-", n))(ctx, tx); err != nil {
					return err
				}
				if _, err := tx.Settings.Get(ctx, fmt.Sprint(i, "-", n)); err != nil {
					return fmt.Errorf("what was just written: %w", err)
				}
			}
			return put(fmt.Sprint(i))(ctx, tx)
		}}
	}
	together(t, s.short, members...)
	for i, m := range members {
		require.NoError(t, m.err)
		require.EqualValues(t, 1, m.runs.Load(), "member %d ran alone", i)
		require.True(t, has(t, s, fmt.Sprint(i)))
	}
}

// TestGroupsAreSmallerAfterAFailure: one that fails costs every member a second run.
func TestGroupsAreSmallerAfterAFailure(t *testing.T) {
	g := &groups{}
	form := func(outcome error) int {
		g.waiting = make([]*seat, 2*groupSize)
		for i := range g.waiting {
			g.waiting[i] = &seat{}
		}
		crowd := len(g.form().asking)
		g.learn(crowd, outcome)
		return crowd
	}
	for _, want := range []int{groupSize, groupSize / 4, groupSize / 16, 2, 1, 1} {
		require.Equal(t, want, form(errAlone))
	}
	require.Equal(t, 1, form(ErrUnavailable), "that is nobody's fault")
	last, turns := 1, 0
	for ; last < groupSize; turns++ {
		crowd := form(nil)
		require.GreaterOrEqual(t, crowd, last)
		last = crowd
	}
	require.Less(t, turns, 30)
}

// TestAGroupOfThoseThatRead: they see what the others of the group wrote, and of
// those that change a row that all have read one wins.
func TestAGroupOfThoseThatRead(t *testing.T) {
	s := openShared(t)
	require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		return tx.Users.Put(ctx, &domain.User{ID: "u", Email: "u@example.com"})
	}))
	members := make([]*member, groupSize)
	var saw atomic.Int32
	for i := range members {
		members[i] = &member{fn: func(ctx context.Context, tx *ports.Tx) error {
			u, err := tx.Users.Get(ctx, "u")
			if err == nil {
				u.Name = fmt.Sprint(i)
				err = tx.Users.Put(ctx, u)
			}
			if !errors.Is(err, ports.ErrConflict) {
				return errors.Join(err, put("winner")(ctx, tx))
			}
			if _, seen := tx.Settings.Get(ctx, "winner"); seen != nil { // in the round of the winner's put
				if _, seen = tx.Settings.Get(ctx, "winner"); seen != nil {
					return seen
				}
			}
			saw.Add(1)
			return err
		}}
	}
	together(t, s.long, members...)
	won := 0
	for i, m := range members {
		require.EqualValues(t, 1, m.runs.Load(), "member %d ran alone", i)
		if m.err == nil {
			won++
		} else {
			require.Equal(t, ports.ErrConflict, m.err)
		}
	}
	require.Equal(t, 1, won)
	require.EqualValues(t, groupSize-1, saw.Load())
}

// TestPutsThatGoOutTogether: what is one statement for many must be to each what
// a statement of its own would have been.
func TestPutsThatGoOutTogether(t *testing.T) {
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
		u.Rev = future // all get the same one next, but the last is not of that rev any more
	}

	putting := func(m *domain.Message) *member {
		return &member{fn: func(ctx context.Context, tx *ports.Tx) error {
			next := *m
			return tx.Messages.Put(ctx, &next)
		}}
	}
	naming := func(u *domain.User) *member {
		return &member{fn: func(ctx context.Context, tx *ports.Tx) error {
			next := *u
			next.Name = "renamed"
			return tx.Users.Put(ctx, &next)
		}}
	}
	fresh, sent, sentToo, long := message("fresh"), *there, *there, message("long")
	sent.SentAt, sent.WhatsAppID, sent.Content = at.Add(time.Second), "wa", "first"
	sentToo.Content = "second"
	long.Content = strings.Repeat("long ", smallEnough)
	members := []*member{
		putting(fresh), putting(message("there")), putting(message("twice")), putting(message("twice")), putting(long),
		putting(&sent), putting(&sentToo), naming(ahead[0]), naming(ahead[1]), naming(ahead[2]),
	}
	together(t, s.short, members...)
	outcomes := func(of ...*member) (errs []error) {
		for _, m := range of {
			require.EqualValues(t, 1, m.runs.Load(), "it ran alone")
			if m.err != nil {
				errs = append(errs, m.err)
			}
		}
		return errs
	}
	require.Empty(t, outcomes(members[0], members[4], members[7], members[8]))
	require.Equal(t, []error{ports.ErrExists}, outcomes(members[1]))
	require.Equal(t, []error{ports.ErrConflict}, outcomes(members[9]))
	require.Equal(t, []error{ports.ErrExists}, outcomes(members[2], members[3]), "one of two with the same id")
	require.Equal(t, []error{ports.ErrConflict}, outcomes(members[5], members[6]), "one of two with the same rev")

	require.NoError(t, s.View(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
		found, err := tx.Messages.List(ctx, "s", domain.MessageFilter{})
		for _, m := range found {
			want := map[string]*domain.Message{"fresh": fresh, "there": &sent, "twice": message("twice"), "long": long}[m.ID]
			if m.ID == "there" && m.Content == sentToo.Content {
				want = &sentToo
			}
			require.NotEqual(t, want.Rev, m.Rev)
			want.Rev = m.Rev
			require.Equal(t, want, m, "and nothing is NULL that should not be, or the other way round")
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

func TestWhatBreaksAGroup(t *testing.T) {
	ours := errors.New("ours")
	after := func(fn, then work) work {
		return func(ctx context.Context, tx *ports.Tx) error {
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return then(ctx, tx)
		}
	}
	for name, c := range map[string]struct {
		fn    work
		with  work // of another; nil: there is none
		runs  int  // of the others
		check func(t *testing.T, m *member)
	}{
		"an error after a write": {
			fn:   after(put("bad"), func(context.Context, *ports.Tx) error { return ours }),
			runs: 2, check: func(t *testing.T, m *member) { require.Same(t, ours, m.err) },
		},
		"an error of one that wrote nothing": {
			fn: func(ctx context.Context, tx *ports.Tx) error {
				return errors.Join(ours, tx.RefreshTokenFamilies.DeleteExpired(ctx, time.Now()))
			},
			runs: 1, check: func(t *testing.T, m *member) { require.ErrorIs(t, m.err, ours) },
		},
		"a panic": {
			fn:   after(put("bad"), func(context.Context, *ports.Tx) error { panic("help") }),
			runs: 2, check: func(t *testing.T, m *member) { require.Equal(t, "help", m.panics) },
		},
		"a goroutine that ends": {
			fn: after(put("bad"), func(context.Context, *ports.Tx) error {
				runtime.Goexit()
				return nil
			}),
			runs: 2, check: func(t *testing.T, m *member) { require.True(t, m.exits) },
		},
		"a refusal by PostgreSQL": {
			fn: func(ctx context.Context, tx *ports.Tx) error {
				return tx.Sessions.Put(ctx, domain.NewSession("s1", "nobody", "s1", "", time.Now()))
			},
			runs: 2, check: func(t *testing.T, m *member) { require.ErrorIs(t, m.err, ports.ErrNotFound) },
		},
		"a function that takes too long": {
			fn: after(put("slow"), func(ctx context.Context, tx *ports.Tx) error {
				time.Sleep(groupPatience + groupPatience/2)
				return put("slow")(ctx, tx)
			}),
			runs: 2, check: func(t *testing.T, m *member) { require.NoError(t, m.err) },
		},
		"very many statements": {
			fn: after(put("long"), func(ctx context.Context, tx *ports.Tx) error {
				for range groupRounds {
					if err := put("long")(ctx, tx); err != nil {
						return err
					}
				}
				return nil
			}),
			runs: 2, check: func(t *testing.T, m *member) { require.NoError(t, m.err) },
		},
		"a refusal by PostgreSQL of what goes out with others": {
			fn: func(ctx context.Context, tx *ports.Tx) error {
				return tx.Messages.Put(ctx, &domain.Message{ID: "m2", SessionID: "nothing", UserID: "u", CreatedAt: time.Now()})
			},
			with: func(ctx context.Context, tx *ports.Tx) error {
				return tx.Messages.Put(ctx, &domain.Message{ID: "m1", SessionID: "s", UserID: "u", CreatedAt: time.Now()})
			},
			runs: 2, check: func(t *testing.T, m *member) { require.ErrorIs(t, m.err, ports.ErrNotFound) },
		},
		"a conflict": {
			fn: func(ctx context.Context, tx *ports.Tx) error {
				if err := put("bad")(ctx, tx); err != nil {
					return err
				}
				return tx.Users.Put(ctx, &domain.User{ID: "nobody", Rev: 7})
			},
			runs: 2, check: func(t *testing.T, m *member) { require.ErrorIs(t, m.err, ports.ErrConflict) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openShared(t)
			first, odd, last := &member{fn: put("first")}, &member{fn: c.fn}, &member{fn: after(put("last"), put("more"))}
			others := []*member{first, last}
			if c.with != nil {
				require.NoError(t, s.Update(t.Context(), func(ctx context.Context, tx *ports.Tx) error {
					err := tx.Users.Put(ctx, &domain.User{ID: "u", Email: "u@example.com"})
					return errors.Join(err, tx.Sessions.Put(ctx, domain.NewSession("s", "u", "s", "", time.Now())))
				}))
				others = append(others, &member{fn: c.with})
			}
			together(t, s.short, append(slices.Clone(others), odd)...)
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

func TestLeavingBeforeAGroupBegins(t *testing.T) {
	s := openShared(t)
	ctx, cancel := context.WithCancel(t.Context())
	goes, stays := &member{ctx: ctx, fn: put("gone")}, &member{fn: put("stays")}
	goes.then = func() {
		cancel()
		require.Eventually(t, func() bool {
			s.short.mu.Lock()
			defer s.short.mu.Unlock()
			return len(s.short.waiting) == 0
		}, 10*time.Second, 100*time.Microsecond)
	}
	together(t, s.short, goes, stays)
	require.ErrorIs(t, goes.err, context.Canceled)
	require.NoError(t, stays.err)
	require.EqualValues(t, 1, stays.runs.Load())
	require.False(t, has(t, s, "gone"))
}

// TestLeavingWhileOthersWait has a group wait for a row that somebody holds.
func TestLeavingWhileOthersWait(t *testing.T) {
	s := openShared(t)
	require.NoError(t, s.Update(t.Context(), put("held")))
	ctx, cancel := context.WithCancel(t.Context())
	held, release, holder := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		holder <- s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
			if _, err := tx.Settings.Get(ctx, "held"); err != nil { // a transaction of its own
				return err
			}
			err := put("held")(ctx, tx)
			held <- true
			<-release
			return err
		})
	}()
	<-held
	answered := make(chan error, 1)
	voter := &member{ctx: ctx, fn: put("gone")}
	asker := &member{ctx: ctx, fn: func(ctx context.Context, tx *ports.Tx) error {
		err := errors.Join(put("gone too")(ctx, tx), put("held")(ctx, tx))
		answered <- err
		return err
	}}
	other := &member{fn: put("stays")}
	go func() {
		time.Sleep(groupPatience / 5)
		cancel()
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		close(release)
	}()
	together(t, s.short, voter, asker, other)
	require.NoError(t, <-holder)
	require.ErrorIs(t, voter.err, context.Canceled)
	require.ErrorIs(t, asker.err, context.Canceled)
	require.NoError(t, other.err)
	for name, want := range map[string]bool{"gone": false, "gone too": false, "stays": true} {
		require.Equal(t, want, has(t, s, name), name)
	}
}

// TestLeavingAfterTheVote: whoever does not wait for the outcome is told that it was
// in vain, and so it is.
func TestLeavingAfterTheVote(t *testing.T) {
	s := openShared(t)
	ctx, cancel := context.WithCancel(t.Context())
	voter := &member{ctx: ctx, fn: put("gone"), over: make(chan struct{})}
	other := &member{fn: func(ctx context.Context, tx *ports.Tx) error {
		err := errors.Join(put("stays")(ctx, tx), put("stays")(ctx, tx)) // the second goes out once the voter has voted
		cancel()
		<-voter.over
		return err
	}}
	together(t, s.short, voter, other)
	require.ErrorIs(t, voter.err, context.Canceled)
	require.NoError(t, other.err)
	require.EqualValues(t, 2, other.runs.Load())
	require.False(t, has(t, s, "gone"))
	require.True(t, has(t, s, "stays"))
}

// TestNobodyLeavesDuringTheCommit: it may succeed.
func TestNobodyLeavesDuringTheCommit(t *testing.T) {
	s := openShared(t)
	_, err := s.pool.Exec(t.Context(), `
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON settings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	stays := &member{ctx: ctx, fn: put("stays"), over: make(chan struct{})}
	committing := false
	var watcher sync.WaitGroup
	watcher.Go(func() {
		defer cancel()
		for err := error(nil); err == nil && !committing; {
			err = s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')").Scan(&committing)
			select {
			case <-stays.over:
				return
			default:
			}
		}
	})
	together(t, s.short, stays)
	watcher.Wait()
	require.True(t, committing)
	require.NoError(t, stays.err)
	require.True(t, has(t, s, "stays"))
}

// TestLongGroupsTakeTurns: while a replica has the turn, Updates of others that read
// first wait, and those that write first do not.
func TestLongGroupsTakeTurns(t *testing.T) {
	s := openShared(t)
	tx, err := s.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }() // if it fails
	_, err = tx.Exec(t.Context(), longTurn.SQL)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		done <- s.Update(context.Background(), func(ctx context.Context, tx *ports.Tx) error {
			_, err := tx.Settings.Get(ctx, "long")
			return errors.Join(put("long")(ctx, tx), ignore(err, ports.ErrNotFound))
		})
	}()
	require.NoError(t, s.Update(t.Context(), put("short")))
	require.Eventually(t, func() bool {
		var waits bool
		err := s.pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks l, pg_database d "+
			"WHERE l.database = d.oid AND d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted)").Scan(&waits)
		return err == nil && waits
	}, 4*time.Second, 10*time.Millisecond)
	require.Empty(t, done)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-done)
	require.True(t, has(t, s, "long"))
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// TestGroupsThatWaitForEachOther has groups of two replicas lock the same rows in
// different orders.
func TestGroupsThatWaitForEachOther(t *testing.T) {
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

func TestDurabilityIsOn(t *testing.T) {
	s := openShared(t)
	pooled, err := s.acquire(t.Context())
	require.NoError(t, err)
	defer pooled.Release()
	for name, want := range map[string]string{
		"synchronous_commit": "on", "statement_timeout": "8s", "lock_timeout": "5s",
		"idle_in_transaction_session_timeout": "5s", "application_name": "switchyard",
	} {
		results, err := ours(pooled).pg.Exec(t.Context(), "SHOW "+name).ReadAll()
		require.NoError(t, err)
		require.Equal(t, want, string(results[0].Rows[0][0]), name)
	}
}

// TestTextIsComparedBytewise: whatever the database compares by itself.
func TestTextIsComparedBytewise(t *testing.T) {
	s := openShared(t)
	pooled, err := s.acquire(t.Context())
	require.NoError(t, err)
	defer pooled.Release()
	results, err := ours(pooled).pg.Exec(t.Context(), `SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'`).ReadAll()
	require.NoError(t, err)
	require.Empty(t, results[0].Rows)
}
