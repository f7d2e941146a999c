package fleet

import (
	"context"
	"sync/atomic"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
)

// sharedRefresh lets concurrent callers share one refresh of all workers.
type sharedRefresh struct {
	running chan struct{} // held by the caller that refreshes
	begun   atomic.Uint64 // number of the latest refresh

	// The latest refresh that was not cancelled. The holder of running owns them.
	done uint64
	err  error
}

// RefreshShared reads all workers as they are now, if other replicas may have changed
// them. Callers that wait meanwhile share the next refresh, and its error.
//
//	A: refresh 1 ────────────┐
//	B:    called ── waits ───┴─ refresh 2 ───┐
//	C:         called ── waits ──────────────┴─ returns the result of refresh 2
//
// B does not share refresh 1, which began before B was called and may have missed a
// change that B's caller knows of.
func (s *Sync) RefreshShared(ctx context.Context) error {
	if err := s.EnsureLoaded(ctx); err != nil || !s.IsShared() {
		return err
	}
	r := &s.shared
	before := r.begun.Load()
	select {
	case r.running <- struct{}{}:
		defer func() { <-r.running }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.done > before {
		return r.err
	}
	this := r.begun.Add(1)
	err := apperr.Public(s.RefreshWorkers(ctx))
	if err == nil || ctx.Err() == nil {
		r.done, r.err = this, err
	}
	return err
}
