package conformance

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

var transactionClauses = []clause{
	{"an Update is atomic", atomicUpdate},
	{"an Update reads its own writes", readsOwnWrites},
	{"an error rolls back and is returned unchanged", errorRollsBack},
	{"a panic rolls back and continues", panicRollsBack},
	{"a rollback restores every index", rollbackRestores},
	{"rolled-back rows can be written again", writtenAgain},
	{"a refused write does not spoil the rest", refusalWithin},
	{"a write in a View is refused", readOnly},
	{"an error of a View is returned unchanged", viewError},
	{"nesting is refused", nested},
	{"an expired context has no effect", expired},
	{"a context that expires inside has no effect", expiresWithin},
	{"repeated runs leave no trace", rerun},
	{"a View sees one state", snapshot},
	{"scans do not delay other Views", scans},
	{"Close waits for running transactions", closeWaits},
	{"a closed store refuses transactions", closed},
}

var errOurs = errors.New("ours")

// scans starts more scans than any store runs at once, and ends them only after another View has ended.
func scans(d *db) {
	d.update(writeFixture)
	over := make(chan struct{})
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	began := make(chan struct{}, 1)
	var scanning sync.WaitGroup
	for range 64 {
		scanning.Go(func() {
			err := d.store.View(ports.ForLongRead(ctx), func(ctx context.Context, tx *ports.Tx) error {
				_, err := tx.Users.Get(ctx, "u1")
				select {
				case began <- struct{}{}:
				default:
				}
				<-over
				return err
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				d.Errorf("scan: %v", err)
			}
		})
	}
	<-began
	require.Equal(d.T, "u1", read(d, func(ctx context.Context, tx *ports.Tx) (*domain.User, error) {
		return tx.Users.Get(ctx, "u1")
	}).ID)
	cancel() // also for those that wait for their turn
	close(over)
	scanning.Wait()
}

func atomicUpdate(d *db) {
	empty := d.dump()
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(writeFixture(ctx, tx), errOurs)
	})
	require.Equal(d.T, empty, d.dump())

	d.update(writeFixture)
	after := d.dump()
	require.Len(d.T, after["users"], 2)
	require.Len(d.T, after["s1 messages"], 3)
	require.Len(d.T, after["w1 sessions"], 2)
	require.Len(d.T, after["events"], 2)
	require.Equal(d.T, domain.UserUsage{Sessions: 2, ActiveSessions: 1}, after["u1 usage"])
}

func readsOwnWrites(d *db) {
	type found struct {
		user, email, key, session, worker, message, whatsApp, setting bool
		sessions, assigned, claimed, due, cleanups, migrations, open  int
		messages, events, sent, replicas                              int
	}
	var f, gone found
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		f, gone = found{}, found{}
		s := assignedSession("s1", "u1", "w1")
		s.DueAt, s.ClaimedBy = noon, "r1"
		c, g := cleanup("w1", "s9", noon), migration("g1", "s1", 0)
		m := received("m1", "x1", "s1", "u1", 1)
		look := func() (f found, err error) {
			there := func(e error) bool {
				if e != nil && !errors.Is(e, ports.ErrNotFound) {
					err = e
				}
				return e == nil
			}
			_, e := tx.Users.Get(ctx, "u1")
			f.user = there(e)
			_, e = tx.Users.ByEmail(ctx, "u1@example.com")
			f.email = there(e)
			_, e = tx.APIKeys.ByHash(ctx, hash("k1"))
			f.key = there(e)
			_, e = tx.Sessions.Get(ctx, "s1")
			f.session = there(e)
			_, e = tx.Workers.ByEndpoint(ctx, "http://w1:8001")
			f.worker = there(e)
			_, e = tx.Messages.Get(ctx, "s1", "m1")
			f.message = there(e)
			_, e = tx.Messages.ByWhatsAppID(ctx, "s1", "x1")
			f.whatsApp = there(e)
			_, e = tx.Settings.Get(ctx, "secret")
			f.setting = there(e)
			_, f.sessions, e = tx.Sessions.List(ctx, ports.SessionFilter{UserID: "u1"}, ports.Page{})
			there(e)
			assigned, e := tx.Sessions.ListByWorker(ctx, "w1")
			f.assigned = len(assigned)
			there(e)
			claimed, e := tx.Sessions.ClaimedBy(ctx, "r1")
			f.claimed = len(claimed)
			there(e)
			due, e := tx.Sessions.Due(ctx, noon, 10)
			f.due = len(due)
			there(e)
			cleanups, e := tx.Cleanups.ByWorker(ctx, "w1")
			f.cleanups = len(cleanups)
			there(e)
			_, f.migrations, e = tx.Migrations.List(ctx, ports.MigrationFilter{}, ports.Page{})
			there(e)
			open, e := tx.Migrations.Open(ctx)
			f.open = len(open)
			there(e)
			replicas, e := tx.Replicas.List(ctx)
			f.replicas = len(replicas)
			there(e)
			messages, e := tx.Messages.List(ctx, "s1", domain.MessageFilter{})
			f.messages = len(messages)
			there(e)
			events, e := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 10)
			f.events = len(events)
			there(e)
			f.sent, _, e = tx.Messages.CountSince(ctx, "u1", noon)
			there(e)
			return f, err
		}
		for _, row := range []any{
			user("u1"), worker("w1", 1), s, apiKey("k1", "s1", "u1"), c, g, m,
			sent("m2", "s1", "u1", 2), event("one", noon), replica("r1"),
		} {
			if err := put(ctx, tx, row); err != nil {
				return err
			}
		}
		err := tx.Settings.Put(ctx, "secret", "1")
		if err != nil {
			return err
		}
		f, err = look()
		if err != nil {
			return err
		}
		g.Status, g.CompletedAt = domain.MigrationCompleted, at(1)
		if err := firstError(
			tx.Sessions.Delete(ctx, "s1", s.Rev), tx.Workers.Delete(ctx, "w1"), tx.Cleanups.Delete(ctx, c),
			tx.Migrations.Put(ctx, g), tx.Replicas.Delete(ctx, "r1"),
		); err != nil {
			return err
		}
		gone, err = look()
		return err
	})
	require.Equal(d.T, found{
		user: true, email: true, key: true, session: true, worker: true, message: true, whatsApp: true, setting: true,
		sessions: 1, assigned: 1, claimed: 1, due: 1, cleanups: 1, migrations: 1, open: 1,
		messages: 2, events: 1, sent: 1, replicas: 1,
	}, f)
	require.Equal(d.T, found{user: true, email: true, setting: true, events: 1, migrations: 1}, gone)
}

func errorRollsBack(d *db) {
	d.update(writeFixture)
	before := d.dump()
	err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Settings.Put(ctx, "secret", "2"), errOurs)
	})
	require.Same(d.T, errOurs, err, "the same error, not a wrapped one")
	ours := domain.Errorf(domain.Conflict, domain.CodeSessionLimit, "Enough")
	err = d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(tx.Settings.Put(ctx, "secret", "2"), ours)
	})
	require.Same(d.T, ours, err)
	for _, theirs := range []error{ports.ErrConflict, ports.ErrExists, ports.ErrNotFound} {
		err = d.store.Update(d.ctx, func(context.Context, *ports.Tx) error { return theirs })
		require.Same(d.T, theirs, err)
	}
	require.Equal(d.T, before, d.dump())
}

func panicRollsBack(d *db) {
	d.update(writeFixture)
	before := d.dump()
	require.PanicsWithError(d.T, "ours", func() {
		_ = d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
			_ = changeFixture(ctx, tx)
			panic(errOurs)
		})
	})
	require.PanicsWithError(d.T, "ours", func() {
		_ = d.store.View(d.ctx, func(context.Context, *ports.Tx) error { panic(errOurs) })
	})
	require.Equal(d.T, before, d.dump(), "the store still works")
	d.put(user("u9"))
}

func rollbackRestores(d *db) {
	d.update(writeFixture)
	before := d.dump()
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(changeFixture(ctx, tx), errOurs)
	})
	require.Equal(d.T, before, d.dump())

	d.update(changeFixture)
	after := d.dump()
	require.NotEqual(d.T, before, after)
	require.Empty(d.T, after["s1 messages"])
	d.refuse(ports.ErrNotFound, changeFixture) // s1 is deleted
	require.Equal(d.T, after, d.dump())
}

func writtenAgain(d *db) {
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(writeFixture(ctx, tx), errOurs)
	})
	d.update(writeFixture)
	d.refuse(errOurs, func(ctx context.Context, tx *ports.Tx) error {
		return firstError(changeFixture(ctx, tx), errOurs)
	})
	d.update(changeFixture)
}

// refusalWithin checks that services can handle a refused write and commit the rest.
func refusalWithin(d *db) {
	d.update(writeFixture)
	var got []error
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		_, none := tx.Users.Get(ctx, "none")
		_, reset := tx.PasswordResets.Consume(ctx, hash("none"))
		u, err := tx.Users.Get(ctx, "u1")
		if err != nil {
			return err
		}
		u.Rev += 1000
		taken := user("u9")
		taken.Email = "u1@example.com"
		w := worker("w9", 1)
		w.Endpoint = "http://w1:8001"
		got = []error{
			none, reset,
			tx.Users.Put(ctx, u),
			tx.Users.Put(ctx, user("u2")),
			tx.Users.Put(ctx, taken),
			tx.Sessions.Put(ctx, session("s2", "u1")),
			tx.Workers.Put(ctx, w),
			tx.APIKeys.Put(ctx, apiKey("k1", "s1", "u1")),
			tx.Messages.Put(ctx, received("m9", "x2", "s1", "u1", 9)),
			tx.Users.Reserve(ctx, "u1", domain.UserUsage{ActiveSessions: 1}, domain.UserUsage{}),
			tx.Workers.Delete(ctx, "w1"),
			tx.Sessions.Delete(ctx, "none", 1),
			tx.Cleanups.Put(ctx, cleanup("w1", "s9", noon)),
			tx.Cleanups.Delete(ctx, cleanup("w1", "s9", noon)),
			tx.Migrations.Put(ctx, migration("g1", "s1", 0)),
		}
		return tx.Settings.Put(ctx, "secret", "after all")
	})
	for i, want := range []error{
		ports.ErrNotFound, ports.ErrNotFound, ports.ErrConflict, ports.ErrExists, ports.ErrExists, ports.ErrExists,
		ports.ErrExists, ports.ErrExists, ports.ErrExists, ports.ErrFull, ports.ErrConflict, ports.ErrNotFound,
		ports.ErrExists, ports.ErrConflict, ports.ErrExists,
	} {
		require.ErrorIs(d.T, got[i], want, "refusal %d", i)
	}
	require.Equal(d.T, "after all", d.setting("secret"))
}

func (d *db) setting(name string) string {
	d.Helper()
	return read(d, func(ctx context.Context, tx *ports.Tx) (string, error) { return tx.Settings.Get(ctx, name) })
}

func readOnly(d *db) {
	d.update(writeFixture)
	before := d.dump()
	var got []error
	require.NoError(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		_, reset := tx.PasswordResets.Consume(ctx, hash("none"))
		_, setting := tx.Settings.PutIfAbsent(ctx, "other", "1")
		_, stands := tx.Settings.PutIfAbsent(ctx, "secret", "1")
		got = []error{
			reset, setting, stands,
			tx.Users.Put(ctx, user("u9")),
			tx.Users.Reserve(ctx, "u1", domain.UserUsage{ActiveSessions: -1}, domain.UserUsage{}),
			tx.RefreshTokenFamilies.Put(ctx, refreshTokenFamily("f9", "u1")),
			tx.RefreshTokenFamilies.RevokeAll(ctx, "u1", "", noon),
			tx.RefreshTokenFamilies.DeleteExpired(ctx, at(600)),
			tx.PasswordResets.Put(ctx, &domain.PasswordReset{UserID: "u1", TokenHash: hash("reset")}),
			tx.APIKeys.Put(ctx, apiKey("k9", "s1", "u1")),
			tx.APIKeys.Delete(ctx, "k1"),
			tx.Sessions.Put(ctx, session("s9", "u1")),
			tx.Sessions.Delete(ctx, "s1", 1),
			tx.Workers.Put(ctx, worker("w9", 1)),
			tx.Workers.Delete(ctx, "w2"),
			tx.Workers.Reserve(ctx, "w2"),
			tx.Workers.Release(ctx, "w1"),
			tx.Cleanups.Put(ctx, cleanup("w1", "s8", noon)),
			tx.Cleanups.Delete(ctx, cleanup("w1", "s9", noon)),
			tx.Migrations.Put(ctx, migration("g9", "s1", 9)),
			tx.Migrations.DeleteBefore(ctx, at(600)),
			tx.Replicas.Put(ctx, replica("r9")),
			tx.Replicas.Delete(ctx, "r1"),
			tx.Messages.Put(ctx, sent("m9", "s1", "u1", 9)),
			tx.Outbox.Append(ctx, *event("three", noon)),
			second(tx.Outbox.DeleteBefore(ctx, at(600), 10)),
			tx.Settings.Put(ctx, "secret", "2"),
			tx.Settings.CompareAndSwap(ctx, "secret", "1", "2"),
			tx.Settings.Delete(ctx, "secret"),
		}
		return nil
	}))
	for i, err := range got {
		require.ErrorIs(d.T, err, ports.ErrReadOnly, "write %d", i)
	}
	require.Equal(d.T, before, d.dump())
}

func viewError(d *db) {
	err := d.store.View(d.ctx, func(context.Context, *ports.Tx) error { return errOurs })
	require.Same(d.T, errOurs, err)
}

func nested(d *db) {
	type key struct{}
	nothing := func(context.Context, *ports.Tx) error { return nil }
	var got []error
	try := func(ctx context.Context) {
		derived, cancel := context.WithCancel(context.WithValue(ctx, key{}, 1))
		defer cancel()
		for _, ctx := range []context.Context{ctx, derived, context.WithoutCancel(ctx)} {
			got = append(got, d.store.View(ctx, nothing), d.store.Update(ctx, nothing))
		}
	}
	d.update(func(ctx context.Context, tx *ports.Tx) error {
		got = nil
		try(ctx)
		return tx.Settings.Put(ctx, "secret", "1")
	})
	require.Equal(d.T, "1", d.setting("secret"), "the outer transaction continues")
	all := got
	require.NoError(d.T, d.store.View(d.ctx, func(ctx context.Context, _ *ports.Tx) error {
		got = nil
		try(ctx)
		return nil
	}))
	for _, err := range append(all, got...) {
		require.ErrorIs(d.T, err, ports.ErrNested)
	}
}

func expired(d *db) {
	d.update(writeFixture)
	before := d.dump()
	cancelled, cancel := context.WithCancel(d.ctx)
	cancel()
	late, cancel := context.WithDeadline(d.ctx, time.Unix(0, 0))
	defer cancel()
	for ctx, want := range map[context.Context]error{cancelled: context.Canceled, late: context.DeadlineExceeded} {
		require.ErrorIs(d.T, d.store.Update(ctx, changeFixture), want)
		require.ErrorIs(d.T, d.store.View(ctx, func(context.Context, *ports.Tx) error { return nil }), want)
	}
	require.Equal(d.T, before, d.dump())
}

func expiresWithin(d *db) {
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	err := d.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		err := tx.Settings.Put(ctx, "secret", "1")
		cancel()
		return err
	})
	require.ErrorIs(d.T, err, context.Canceled)
	missing(d, func(ctx context.Context, tx *ports.Tx) (string, error) { return tx.Settings.Get(ctx, "secret") })
}

// rerun makes an adapter run a function again: goroutines read, change and write the same row. Each
// success leaves one event.
func rerun(d *db) {
	d.put(user("u1"))
	var wins atomic.Int64
	var failure error
	var once sync.Once
	race(8, func(int) {
		for done := 0; done < 5; {
			err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
				u, err := tx.Users.Get(ctx, "u1")
				if err != nil {
					return err
				}
				n, _ := strconv.Atoi(u.Name)
				u.Name = strconv.Itoa(n + 1)
				return firstError(tx.Outbox.Append(ctx, *event(u.Name, noon)), tx.Users.Put(ctx, u))
			})
			switch {
			case err == nil:
				done++
				wins.Add(1)
			case !errors.Is(err, ports.ErrConflict):
				once.Do(func() { failure = err })
				return
			}
		}
	})
	require.NoError(d.T, failure)
	require.EqualValues(d.T, 40, wins.Load())
	require.Equal(d.T, "40", reload(d, user("u1")).Name)
	events := d.events(0)
	require.Len(d.T, events, 40)
	for i, e := range events {
		require.Equal(d.T, strconv.Itoa(i+1), e.Reason, "events are in the order of their transactions")
	}
}

// snapshot changes two rows in one Update and requires that no View sees only one change.
func snapshot(d *db) {
	d.put(user("u1"), user("u2"))
	stop := make(chan struct{})
	var writer, reader error
	var apart atomic.Bool
	race(4, func(i int) {
		if i == 0 {
			defer close(stop)
			for n := 1; n <= 50 && writer == nil; n++ {
				writer = d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
					a, err := tx.Users.Get(ctx, "u1")
					if err != nil {
						return err
					}
					b, err := tx.Users.Get(ctx, "u2")
					if err != nil {
						return err
					}
					a.Name, b.Name = strconv.Itoa(n), strconv.Itoa(n)
					one := domain.UserUsage{Sessions: 1}
					return firstError(
						tx.Users.Put(ctx, a), tx.Users.Put(ctx, b),
						tx.Users.Reserve(ctx, "u1", one, domain.UserUsage{Sessions: 1000}),
						tx.Outbox.Append(ctx, *event(a.Name, noon)),
					)
				})
			}
			return
		}
		for first := true; ; first = false {
			select {
			case <-stop:
				if !first {
					return
				}
			default:
			}
			err := d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
				a, err := tx.Users.Get(ctx, "u1")
				if err != nil {
					return err
				}
				time.Sleep(100 * time.Microsecond)
				b, err := tx.Users.Get(ctx, "u2")
				if err != nil {
					return err
				}
				usage, err := tx.Users.Usage(ctx, "u1")
				if err != nil {
					return err
				}
				events, err := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 1000)
				n, _ := strconv.Atoi(a.Name)
				if err == nil && (n != 0 || a.Name != "User u1") && (a.Name != b.Name || usage.Sessions != n || len(events) != n) {
					apart.Store(true)
				}
				return err
			})
			if err != nil {
				if i == 1 {
					reader = err
				}
				return
			}
		}
	})
	require.NoError(d.T, writer)
	require.NoError(d.T, reader)
	require.False(d.T, apart.Load(), "a View saw half of an Update")
}

func closeWaits(d *db) {
	started, result := make(chan struct{}), make(chan error, 1)
	var begun sync.Once
	var over atomic.Bool
	go func() {
		result <- d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
			begun.Do(func() { close(started) })
			time.Sleep(50 * time.Millisecond)
			defer over.Store(true)
			return tx.Settings.Put(ctx, "secret", "1")
		})
	}()
	<-started
	require.NoError(d.T, d.store.Close())
	require.True(d.T, over.Load(), "Close returned before the Update")
	require.NoError(d.T, <-result)
}

func closed(d *db) {
	d.update(writeFixture)
	require.NoError(d.T, d.store.Close())
	nothing := func(context.Context, *ports.Tx) error { return nil }
	require.ErrorIs(d.T, d.store.View(d.ctx, nothing), ports.ErrClosed)
	require.ErrorIs(d.T, d.store.Update(d.ctx, nothing), ports.ErrClosed)
	require.NoError(d.T, d.store.Close(), "a second Close is harmless")
}
