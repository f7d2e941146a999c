// Package storehooks provides a store for tests that calls hooks around the transactions
// of another store. Tests use it to count transactions, to inject faults and delays, and
// to run something else at an exact point of a transaction.
//
//	store := storehooks.New(memory.NewStore())
//	store.BeforeUpdate = func(context.Context) error { return ports.ErrConflict }
//
// # Order of the hooks
//
//	View:   count → down? → BeforeView → fn, with the Tx that ViewTx has changed → AfterView
//	Update: count → down? → BeforeUpdate → AroundUpdate → fn, with the Tx that UpdateTx has
//	        changed → AfterUpdate
//
// # Concurrency
//
// The counters and [Store.SetDown] are safe for concurrent use. A hook is set while no
// transaction runs, or by a hook itself. Hooks run on the goroutine of the caller, outside
// the transaction of the store. They may therefore run transactions of their own, also on
// the same Store.
package storehooks

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/switchyard-wa/switchyard/ports"
)

// ErrDown is the error of every transaction while a store is down.
var ErrDown = errors.New("the store cannot be reached")

// Func is the function that a transaction runs.
type Func = func(ctx context.Context, tx *ports.Tx) error

// Store is a store with hooks. A hook that is nil does nothing.
type Store struct {
	ports.Store // runs the transactions

	// BeforeView runs before a View. If it returns an error, the View fails with it.
	BeforeView func(ctx context.Context) error
	// AfterView runs after a View. It receives the error of the View and returns the error
	// that the caller receives.
	AfterView func(ctx context.Context, err error) error
	// BeforeUpdate runs before an Update. If it returns an error, the Update fails with it.
	BeforeUpdate func(ctx context.Context) error
	// AfterUpdate runs after an Update, as AfterView runs after a View.
	AfterUpdate func(ctx context.Context, err error) error
	// AroundUpdate replaces an Update. It may call update with fn, with another function,
	// more than once, or not at all.
	AroundUpdate func(ctx context.Context, fn Func, update func(context.Context, Func) error) error

	// ViewTx and UpdateTx receive a copy of the Tx before fn receives it. They may replace
	// its repositories.
	ViewTx, UpdateTx func(ctx context.Context, tx *ports.Tx)

	views, updates, running atomic.Int64
	down                    atomic.Bool
}

// New returns a Store without hooks.
func New(store ports.Store) *Store { return &Store{Store: store} }

// View runs a View of the wrapped store with the hooks.
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	s.views.Add(1)
	if s.down.Load() {
		return ErrDown
	}
	if s.BeforeView != nil {
		if err := s.BeforeView(ctx); err != nil {
			return err
		}
	}
	after := s.AfterView
	err := s.Store.View(ctx, s.counted(WithTx(fn, s.ViewTx)))
	if after != nil {
		return after(ctx, err)
	}
	return err
}

// Update runs an Update of the wrapped store with the hooks.
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	s.updates.Add(1)
	if s.down.Load() {
		return ErrDown
	}
	if s.BeforeUpdate != nil {
		if err := s.BeforeUpdate(ctx); err != nil {
			return err
		}
	}
	after := s.AfterUpdate
	err := s.update(ctx, s.counted(WithTx(fn, s.UpdateTx)))
	if after != nil {
		return after(ctx, err)
	}
	return err
}

func (s *Store) update(ctx context.Context, fn Func) error {
	if s.AroundUpdate != nil {
		return s.AroundUpdate(ctx, fn, s.Store.Update)
	}
	return s.Store.Update(ctx, fn)
}

// counted returns a function that runs fn and counts it as running meanwhile.
func (s *Store) counted(fn Func) Func {
	return func(ctx context.Context, tx *ports.Tx) error {
		s.running.Add(1)
		defer s.running.Add(-1)
		return fn(ctx, tx)
	}
}

// WithTx returns a function that runs fn with a copy of the Tx that change has changed. If
// change is nil, it returns fn.
func WithTx(fn Func, change func(ctx context.Context, tx *ports.Tx)) Func {
	if change == nil {
		return fn
	}
	return func(ctx context.Context, tx *ports.Tx) error {
		changed := *tx
		change(ctx, &changed)
		return fn(ctx, &changed)
	}
}

// BeforeNextUpdate sets BeforeUpdate to a hook that removes itself and then runs fn.
// BeforeUpdate is nil once it has run.
func (s *Store) BeforeNextUpdate(fn func()) {
	s.BeforeUpdate = func(context.Context) error {
		s.BeforeUpdate = nil
		fn()
		return nil
	}
}

// AfterNextUpdate sets AfterUpdate to a hook that removes itself and then runs fn.
func (s *Store) AfterNextUpdate(fn func()) {
	s.AfterUpdate = func(_ context.Context, err error) error {
		s.AfterUpdate = nil
		fn()
		return err
	}
}

// AfterNextView sets AfterView to a hook that removes itself and then runs fn.
func (s *Store) AfterNextView(fn func()) {
	s.AfterView = func(_ context.Context, err error) error {
		s.AfterView = nil
		fn()
		return err
	}
}

// SetDown makes every later transaction fail with [ErrDown] before it has any effect.
func (s *Store) SetDown() { s.down.Store(true) }

// SetUp ends what SetDown has begun.
func (s *Store) SetUp() { s.down.Store(false) }

// IsDown reports whether the store is down.
func (s *Store) IsDown() bool { return s.down.Load() }

// Views returns how many Views were asked for since the latest ResetCounts. It counts those
// that failed too.
func (s *Store) Views() int64 { return s.views.Load() }

// Updates returns the same for Updates.
func (s *Store) Updates() int64 { return s.updates.Load() }

// Running returns how many functions of transactions run now.
func (s *Store) Running() int64 { return s.running.Load() }

// ResetCounts sets Views and Updates to zero.
func (s *Store) ResetCounts() {
	s.views.Store(0)
	s.updates.Store(0)
}
