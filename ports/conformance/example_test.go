package conformance_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// countingStore is the skeleton of a custom store. An engine begins its transaction in View and Update,
// builds a ports.Tx of repositories that write to it, calls fn, and commits. This store delegates all
// of that to the memory store and counts commits.
type countingStore struct {
	inner   ports.Store
	commits atomic.Int64
}

func (s *countingStore) View(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	return s.inner.View(ctx, fn)
}

func (s *countingStore) Update(ctx context.Context, fn func(ctx context.Context, tx *ports.Tx) error) error {
	err := s.inner.Update(ctx, fn)
	if err == nil {
		s.commits.Add(1)
	}
	return err
}

func (s *countingStore) Close() error { return s.inner.Close() }

// A custom store is ready when it passes the suite.
func TestStore_CustomStore_PassesTheSuite(t *testing.T) {
	conformance.Store(t, func(t *testing.T) ports.Store {
		s := &countingStore{inner: memory.NewStore()}
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}
