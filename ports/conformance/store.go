package conformance

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// clause is one subtest of a store.
type clause struct {
	name string
	test func(d *db)
}

// Store tests a store. open returns a new, empty one, which the suite closes;
// closing it a second time must do no harm. A subtest that races many
// goroutines uses about 8 of them.
func Store(t *testing.T, open func(t *testing.T) ports.Store) {
	for _, group := range []struct {
		name    string
		clauses []clause
	}{
		{"Transactions", transactionClauses},
		{"Rows", rowClauses},
		{"Races", raceClauses},
		{"Accounts", accountClauses},
		{"Sessions", sessionClauses},
		{"Workers", workerClauses},
		{"Cleanups", cleanupClauses},
		{"Migrations", migrationClauses},
		{"Messages", messageClauses},
		{"History", historyClauses},
		{"LoadSamples", loadClauses},
		{"Outbox", outboxClauses},
		{"Settings", settingsClauses},
		{"Replicas", replicaClauses},
		{"Model", modelClauses},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.clauses {
				t.Run(c.name, func(t *testing.T) { c.test(openDB(t, open)) })
			}
		})
	}
}

// work is what a transaction does. It must bear being run again, and must not
// end its goroutine, which need not be that of the test: so it asserts nothing.
type work = func(ctx context.Context, tx *ports.Tx) error

// db is a store under test.
type db struct {
	*testing.T
	store ports.Store
	ctx   context.Context
}

func openDB(t *testing.T, open func(t *testing.T) ports.Store) *db {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	d := &db{T: t, store: open(t), ctx: ctx}
	t.Cleanup(func() {
		cancel()
		require.NoError(t, d.store.Close())
	})
	return d
}

func (d *db) update(fn work) {
	d.Helper()
	require.NoError(d.T, d.store.Update(d.ctx, fn))
}

func (d *db) refuse(want error, fn work) {
	d.Helper()
	require.ErrorIs(d.T, d.store.Update(d.ctx, fn), want)
}

// read returns what one View finds.
func read[V any](d *db, fn func(ctx context.Context, tx *ports.Tx) (V, error)) V {
	d.Helper()
	var v V
	require.NoError(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		v, err = fn(ctx, tx)
		return err
	}))
	return v
}

// missing requires that a read finds nothing.
func missing[V any](d *db, fn func(ctx context.Context, tx *ports.Tx) (V, error)) {
	d.Helper()
	require.ErrorIs(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		_, err := fn(ctx, tx)
		return err
	}), ports.ErrNotFound)
}

// put stores the rows in one Update.
func (d *db) put(rows ...any) {
	d.Helper()
	require.NoError(d.T, d.try(rows...))
}

// try is put, with its error.
func (d *db) try(rows ...any) error {
	revs := make([]int64, len(rows))
	for i, row := range rows {
		revs[i] = revOf(row)
	}
	reset := func() {
		for i, row := range rows {
			setRev(row, revs[i])
		}
	}
	err := d.store.Update(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		reset()
		for _, row := range rows {
			if err := put(ctx, tx, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		reset()
	}
	return err
}

// put stores one row, of any kind.
func put(ctx context.Context, tx *ports.Tx, row any) error {
	switch v := row.(type) {
	case *domain.User:
		return tx.Users.Put(ctx, v)
	case *domain.RefreshTokenFamily:
		return tx.RefreshTokenFamilies.Put(ctx, v)
	case *domain.PasswordReset:
		return tx.PasswordResets.Put(ctx, v)
	case *domain.APIKey:
		return tx.APIKeys.Put(ctx, v)
	case *domain.Session:
		return tx.Sessions.Put(ctx, v)
	case *domain.Worker:
		return tx.Workers.Put(ctx, v)
	case *domain.Cleanup:
		return tx.Cleanups.Put(ctx, v)
	case *domain.Migration:
		return tx.Migrations.Put(ctx, v)
	case *domain.Replica:
		return tx.Replicas.Put(ctx, v)
	case *domain.Message:
		return tx.Messages.Put(ctx, v)
	case *domain.Event:
		return tx.Outbox.Append(ctx, *v)
	}
	panic("conformance: no such row")
}

// get finds a row again by its id.
func get(ctx context.Context, tx *ports.Tx, row any) (any, error) {
	switch v := row.(type) {
	case *domain.User:
		return tx.Users.Get(ctx, v.ID)
	case *domain.RefreshTokenFamily:
		return tx.RefreshTokenFamilies.Get(ctx, v.ID)
	case *domain.PasswordReset:
		return tx.PasswordResets.Consume(ctx, v.TokenHash)
	case *domain.APIKey:
		return tx.APIKeys.Get(ctx, v.ID)
	case *domain.Session:
		return tx.Sessions.Get(ctx, v.ID)
	case *domain.Worker:
		return tx.Workers.Get(ctx, v.ID)
	case *domain.Cleanup:
		all, err := tx.Cleanups.ByWorker(ctx, v.WorkerID)
		for _, c := range all {
			if c.SessionID == v.SessionID {
				return c, err
			}
		}
		return nil, firstError(err, ports.ErrNotFound)
	case *domain.Migration:
		return tx.Migrations.Get(ctx, v.ID)
	case *domain.Replica:
		all, err := tx.Replicas.List(ctx)
		for _, r := range all {
			if r.ID == v.ID {
				return r, err
			}
		}
		return nil, firstError(err, ports.ErrNotFound)
	case *domain.Message:
		return tx.Messages.Get(ctx, v.SessionID, v.ID)
	case *domain.Event:
		all, err := tx.Outbox.After(ctx, 0, 1)
		if len(all) == 0 {
			return nil, firstError(err, ports.ErrNotFound)
		}
		return &all[0], err
	}
	panic("conformance: no such row")
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// get returns the row as it is stored now, in an Update since taking a reset
// is a write.
func (d *db) get(row any) any {
	d.Helper()
	var v any
	d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
		v, err = get(ctx, tx, row)
		return err
	})
	return v
}

// fresh is get for a row whose type is known.
func fresh[V any](d *db, row *V) *V {
	d.Helper()
	return d.get(row).(*V)
}

func (d *db) gone(row any) {
	d.Helper()
	d.refuse(ports.ErrNotFound, func(ctx context.Context, tx *ports.Tx) error {
		_, err := get(ctx, tx, row)
		return err
	})
}

// revOf returns the Rev of a row, or 0 if rows of the kind have none.
func revOf(row any) int64 {
	if f := reflect.ValueOf(row).Elem().FieldByName("Rev"); f.IsValid() {
		return f.Int()
	}
	return 0
}

func setRev(row any, rev int64) {
	if f := reflect.ValueOf(row).Elem().FieldByName("Rev"); f.IsValid() {
		f.SetInt(rev)
	}
}

// race runs fn in n goroutines that start together, and waits for them.
func race(n int, fn func(i int)) {
	ready, start, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for i := range n {
		go func() {
			ready <- struct{}{}
			<-start
			defer func() { done <- struct{}{} }()
			fn(i)
		}()
	}
	for range n {
		<-ready
	}
	close(start)
	for range n {
		<-done
	}
}
