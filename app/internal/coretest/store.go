package coretest

import (
	"context"
	"sync"

	"github.com/switchyard-wa/switchyard/ports"
)

// Store wraps a store to count its transactions and to disturb them. It is safe for
// concurrent use.
type Store struct {
	ports.Store

	mu             sync.Mutex
	updates, views int
	failures       []error
	beforeUpdate   []func()
	beforeViews    func()
}

// Update runs a transaction, unless the test makes it fail.
func (s *Store) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	s.mu.Lock()
	s.updates++
	before, err := pop(&s.beforeUpdate), pop(&s.failures)
	s.mu.Unlock()
	if before != nil {
		before()
	}
	if err == nil {
		return s.Store.Update(ctx, fn)
	}
	rollBack := s.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		if e := fn(ctx, tx); e != nil {
			return e
		}
		return err // as an engine that refuses the commit
	})
	return rollBack
}

// View runs a read-only transaction.
func (s *Store) View(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	s.mu.Lock()
	s.views++
	before := s.beforeViews
	s.mu.Unlock()
	if before != nil {
		before()
	}
	return s.Store.View(ctx, fn)
}

// FailCommits makes the commits of the next Updates fail with these errors, in turn.
// The functions of these Updates run all the same.
func (s *Store) FailCommits(errs ...error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, errs...)
}

// BeforeUpdate calls fn before the next Update begins, as if another writer were faster.
func (s *Store) BeforeUpdate(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beforeUpdate = append(s.beforeUpdate, fn)
}

// BeforeEachView calls fn before every View from now on. fn may block.
func (s *Store) BeforeEachView(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beforeViews = fn
}

// Count returns how many Updates and Views fn makes.
func (s *Store) Count(fn func()) (updates, views int) {
	s.mu.Lock()
	updates, views = s.updates, s.views
	s.mu.Unlock()
	fn()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates - updates, s.views - views
}

// pop removes and returns the first value, or returns the zero value.
func pop[T any](list *[]T) (first T) {
	if len(*list) > 0 {
		first, *list = (*list)[0], (*list)[1:]
	}
	return first
}
