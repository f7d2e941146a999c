package conformance_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/switchyard-wa/switchyard/adapters/memory"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance"
)

// countingStore is the skeleton of a store of one's own. An engine would open
// its transaction in View and Update, build a ports.Tx of repositories that
// write to it, call fn, and commit; this one lends all of that from the store
// in memory and counts.
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

// A store of one's own is ready when it passes the suite.
func TestOwnStore(t *testing.T) {
	conformance.Store(t, func(t *testing.T) ports.Store {
		s := &countingStore{inner: memory.NewStore()}
		t.Cleanup(func() { _ = s.Close() })
		return s
	})
}
