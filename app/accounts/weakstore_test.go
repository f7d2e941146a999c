package accounts_test

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
)

// weakStore is the weakest store that meets the contract, as far as accounts use
// it. Each read of an Update sees the commits up to that moment. The writes happen
// together at the end. A row that has changed since its read is a conflict. Code
// that works on weakStore relies on row versions alone. An Update does not read its
// own writes.
type weakStore struct {
	ports.Store
	pause func() // runs after each read of an Update
}

// runUpdate is an AroundUpdate of a storehooks.Store.
func (s *weakStore) runUpdate(ctx context.Context, fn storehooks.Func, _ func(context.Context, storehooks.Func) error) error {
	w := &weakTx{store: s}
	if err := fn(ctx, &ports.Tx{Users: weakUsers{tx: w}, RefreshTokenFamilies: weakSignIns{tx: w}, PasswordResets: weakResets{tx: w}, Audit: weakAudit{tx: w}}); err != nil {
		return err
	}
	return s.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		for _, write := range w.writes {
			if err := write(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

type weakTx struct {
	store  *weakStore
	writes []func(context.Context, *ports.Tx) error
}

func (w *weakTx) read(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	err := w.store.View(ctx, fn)
	if w.store.pause != nil {
		w.store.pause()
	}
	return err
}

func (w *weakTx) write(fn func(context.Context, *ports.Tx) error) error {
	w.writes = append(w.writes, fn)
	return nil
}

type weakUsers struct {
	ports.Users
	tx *weakTx
}

func (r weakUsers) Get(ctx context.Context, id string) (u *domain.User, err error) {
	err = r.tx.read(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		u, err = tx.Users.Get(ctx, id)
		return err
	})
	return u, err
}

func (r weakUsers) ByEmail(ctx context.Context, email string) (u *domain.User, err error) {
	err = r.tx.read(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		u, err = tx.Users.ByEmail(ctx, email)
		return err
	})
	return u, err
}

func (r weakUsers) List(ctx context.Context, f ports.UserFilter, p ports.Page) (list []*domain.User, n int, err error) {
	err = r.tx.read(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		list, n, err = tx.Users.List(ctx, f, p)
		return err
	})
	return list, n, err
}

func (r weakUsers) Usage(ctx context.Context, id string) (has domain.UserUsage, err error) {
	err = r.tx.read(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		has, err = tx.Users.Usage(ctx, id)
		return err
	})
	return has, err
}

// Put writes twice: first in a dry run, which detects a taken email, and again at
// the end.
func (r weakUsers) Put(ctx context.Context, u *domain.User) error {
	err := r.tx.store.dryRun(ctx, func(ctx context.Context, tx *ports.Tx) error {
		c := *u
		return tx.Users.Put(ctx, &c)
	})
	if err != nil {
		return err
	}
	return r.tx.write(func(ctx context.Context, tx *ports.Tx) error {
		err := tx.Users.Put(ctx, u)
		if errors.Is(err, ports.ErrExists) {
			return ports.ErrConflict
		}
		return err
	})
}

type weakSignIns struct {
	ports.RefreshTokenFamilies
	tx *weakTx
}

func (r weakSignIns) Get(ctx context.Context, id string) (f *domain.RefreshTokenFamily, err error) {
	err = r.tx.read(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		f, err = tx.RefreshTokenFamilies.Get(ctx, id)
		return err
	})
	return f, err
}

func (r weakSignIns) ByUser(ctx context.Context, userID string) (list []*domain.RefreshTokenFamily, err error) {
	err = r.tx.read(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		list, err = tx.RefreshTokenFamilies.ByUser(ctx, userID)
		return err
	})
	return list, err
}

func (r weakSignIns) Delete(_ context.Context, id string) error {
	return r.tx.write(func(ctx context.Context, tx *ports.Tx) error { return tx.RefreshTokenFamilies.Delete(ctx, id) })
}

func (r weakSignIns) Put(_ context.Context, f *domain.RefreshTokenFamily) error {
	return r.tx.write(func(ctx context.Context, tx *ports.Tx) error { return tx.RefreshTokenFamilies.Put(ctx, f) })
}

func (r weakSignIns) RevokeAll(_ context.Context, userID, except string, at time.Time) error {
	return r.tx.write(func(ctx context.Context, tx *ports.Tx) error {
		return tx.RefreshTokenFamilies.RevokeAll(ctx, userID, except, at)
	})
}

type weakResets struct {
	ports.PasswordResets
	tx *weakTx
}

func (r weakResets) Put(_ context.Context, reset *domain.PasswordReset) error {
	return r.tx.write(func(ctx context.Context, tx *ports.Tx) error { return tx.PasswordResets.Put(ctx, reset) })
}

func (r weakResets) Get(ctx context.Context, hash [32]byte) (reset *domain.PasswordReset, err error) {
	err = r.tx.read(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		reset, err = tx.PasswordResets.Get(ctx, hash)
		return err
	})
	return reset, err
}

func (r weakResets) ByUser(ctx context.Context, userID string) (resets []*domain.PasswordReset, err error) {
	err = r.tx.read(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		resets, err = tx.PasswordResets.ByUser(ctx, userID)
		return err
	})
	return resets, err
}

// Consume reads in a dry run, and consumes at the end.
func (r weakResets) Consume(ctx context.Context, hash [32]byte) (reset *domain.PasswordReset, err error) {
	err = r.tx.store.dryRun(ctx, func(ctx context.Context, tx *ports.Tx) error {
		reset, err = tx.PasswordResets.Consume(ctx, hash)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reset, r.tx.write(func(ctx context.Context, tx *ports.Tx) error {
		_, err := tx.PasswordResets.Consume(ctx, hash)
		if errors.Is(err, ports.ErrNotFound) {
			return ports.ErrConflict
		}
		return err
	})
}

type weakAudit struct {
	ports.Audit
	tx *weakTx
}

func (r weakAudit) Append(_ context.Context, e domain.AuditEntry) error {
	return r.tx.write(func(ctx context.Context, tx *ports.Tx) error { return tx.Audit.Append(ctx, e) })
}

// dryRun runs fn in an Update that is rolled back.
func (s *weakStore) dryRun(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	rollback := errors.New("rolled back")
	err := s.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return rollback
	})
	if errors.Is(err, rollback) {
		return nil
	}
	return err
}
