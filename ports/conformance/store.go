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

// A clause is one subtest of a store.
type clause struct {
	name string
	test func(d *db)
}

// Store tests a store. open returns a new, empty store. The suite closes it, and open may close it a
// second time. Racing subtests use about 8 goroutines.
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
		{"IdempotencyKeys", idempotencyClauses},
		{"LoadSamples", loadClauses},
		{"Usage", usageClauses},
		{"Analytics", analyticsClauses},
		{"Outbox", outboxClauses},
		{"Settings", settingsClauses},
		{"Replicas", replicaClauses},
		{"Health", healthClauses},
		{"Audit", auditClauses},
		{"Webhooks", webhookClauses},
		{"Deliveries", deliveryClauses},
		{"SendQueues", sendQueueClauses},
		{"QueuedMessages", queuedMessageClauses},
		{"Model", modelClauses},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.clauses {
				t.Run(c.name, func(t *testing.T) { c.test(openDB(t, open)) })
			}
		})
	}
}

// work is the function of a transaction. It may run again. It may run outside the goroutine of the
// test, so it must not assert anything.
type work = func(ctx context.Context, tx *ports.Tx) error

// A db is a store under test.
type db struct {
	*testing.T
	store ports.Store
	ctx   context.Context
}

// openDB opens the store of a subtest.
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

// update runs an Update that must succeed.
func (d *db) update(fn work) {
	d.Helper()
	require.NoError(d.T, d.store.Update(d.ctx, fn))
}

// refuse runs an Update that must return the error want.
func (d *db) refuse(want error, fn work) {
	d.Helper()
	require.ErrorIs(d.T, d.store.Update(d.ctx, fn), want)
}

// read returns the result of one View.
func read[V any](d *db, fn func(ctx context.Context, tx *ports.Tx) (V, error)) V {
	d.Helper()
	var v V
	require.NoError(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		v, err = fn(ctx, tx)
		return err
	}))
	return v
}

// missing requires that a read returns ErrNotFound.
func missing[V any](d *db, fn func(ctx context.Context, tx *ports.Tx) (V, error)) {
	d.Helper()
	require.ErrorIs(d.T, d.store.View(d.ctx, func(ctx context.Context, tx *ports.Tx) error {
		_, err := fn(ctx, tx)
		return err
	}), ports.ErrNotFound)
}

// put stores the rows in one Update that must succeed.
func (d *db) put(rows ...any) {
	d.Helper()
	require.NoError(d.T, d.tryPut(rows...))
}

// tryPut stores the rows in one Update and returns its error. After an error the rows keep their Rev.
func (d *db) tryPut(rows ...any) error {
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

// put stores one row of any kind.
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
	case *domain.Webhook:
		return tx.Webhooks.Put(ctx, v)
	case *domain.Delivery:
		return tx.Deliveries.Put(ctx, v)
	case *domain.IdempotencyKey:
		return tx.IdempotencyKeys.Put(ctx, v)
	case *domain.SendQueue:
		return tx.SendQueues.Put(ctx, v)
	case *domain.QueuedMessage:
		return tx.QueuedMessages.Put(ctx, v)
	case *domain.Event:
		return tx.Outbox.Append(ctx, *v)
	}
	panic("conformance: unknown kind of row")
}

// get returns the stored row with the id of the given one.
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
			if c.SessionID == v.SessionID && c.StateGroup == v.StateGroup {
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
	case *domain.Webhook:
		return tx.Webhooks.Get(ctx, v.ID)
	case *domain.Delivery:
		return tx.Deliveries.Get(ctx, v.ID)
	case *domain.IdempotencyKey:
		return tx.IdempotencyKeys.Get(ctx, v.SessionID, v.Key)
	case *domain.SendQueue:
		return tx.SendQueues.Get(ctx, v.SessionID)
	case *domain.QueuedMessage:
		return tx.QueuedMessages.Get(ctx, v.SessionID, v.ID)
	case *domain.Event:
		all, err := tx.Outbox.After(ctx, ports.EventFilter{}, 0, 1)
		if len(all) == 0 {
			return nil, firstError(err, ports.ErrNotFound)
		}
		return &all[0], err
	}
	panic("conformance: unknown kind of row")
}

// firstError returns the first error that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// second returns the error of a call that also returns a value.
func second[T any](_ T, err error) error { return err }

// get returns the stored row. It uses an Update, because consuming a password reset is a write.
func (d *db) get(row any) any {
	d.Helper()
	var v any
	d.update(func(ctx context.Context, tx *ports.Tx) (err error) {
		v, err = get(ctx, tx, row)
		return err
	})
	return v
}

// reload is get for a row of a known type.
func reload[V any](d *db, row *V) *V {
	d.Helper()
	return d.get(row).(*V)
}

// requireGone requires that the row is not stored.
func (d *db) requireGone(row any) {
	d.Helper()
	d.refuse(ports.ErrNotFound, func(ctx context.Context, tx *ports.Tx) error {
		_, err := get(ctx, tx, row)
		return err
	})
}

// revOf returns the Rev of a row, or 0 for kinds without a Rev.
func revOf(row any) int64 {
	if f := reflect.ValueOf(row).Elem().FieldByName("Rev"); f.IsValid() {
		return f.Int()
	}
	return 0
}

// setRev sets the Rev of a row, if its kind has one.
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
