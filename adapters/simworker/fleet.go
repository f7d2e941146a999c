package simworker

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Fleet is a ports.WorkerGateway to simulated workers in this process, found by
// their endpoints, without sockets. An endpoint where none is refuses. Nothing
// waits: a call to a worker that hangs fails at once as timed out, and no call
// is repeated. The zero value is an empty fleet, ready for use and for
// concurrent use.
type Fleet struct {
	mu      sync.RWMutex
	workers map[string]*Worker
}

var _ ports.WorkerGateway = (*Fleet)(nil)

// Add puts workers into the fleet, each at its endpoint.
func (f *Fleet) Add(workers ...*Worker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.workers == nil {
		f.workers = map[string]*Worker{}
	}
	for _, w := range workers {
		f.workers[spell(w.Endpoint())] = w
	}
}

// Remove takes the worker at the endpoint away.
func (f *Fleet) Remove(endpoint string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.workers, spell(endpoint))
}

// Workers gives the fleet, by id.
func (f *Fleet) Workers() []*Worker {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.SortedFunc(maps.Values(f.workers), func(a, b *Worker) int { return cmp.Compare(a.cfg.ID, b.cfg.ID) })
}

// Tick ticks every worker, by id, and returns when the next one has to be
// stepped; zero: none before something happens.
func (f *Fleet) Tick(ctx context.Context, now time.Time) time.Time {
	var next time.Time
	for _, w := range f.Workers() {
		next = earliest(next, w.Tick(ctx, now))
	}
	return next
}

// spell gives the one spelling of an endpoint.
func spell(endpoint string) string {
	if canonical, err := domain.ParseEndpoint(endpoint); err == nil {
		return canonical
	}
	return endpoint
}

func (f *Fleet) at(endpoint string) (*Worker, *ports.WorkerError) {
	f.mu.RLock()
	w := f.workers[endpoint]
	f.mu.RUnlock()
	if w == nil {
		f.mu.RLock()
		w = f.workers[spell(endpoint)]
		f.mu.RUnlock()
	}
	if w == nil {
		return nil, failure(ports.WorkerConnectionRefused, 0, "Connection refused: nothing listens at the worker's endpoint")
	}
	return w, nil
}

// Health implements ports.WorkerGateway.
func (f *Fleet) Health(ctx context.Context, endpoint string) error {
	w, err := f.at(endpoint)
	if err != nil {
		return err
	}
	return w.Health(ctx)
}

// Start implements ports.WorkerGateway.
func (f *Fleet) Start(ctx context.Context, ref ports.WorkerRef, s ports.Start) (domain.Report, error) {
	w, refused := f.at(ref.Endpoint)
	if refused != nil {
		return domain.Report{}, refused
	}
	order := s
	if order.Generation = named(ref, s.Generation); !slices.Contains(ref.Capabilities, domain.CapGeneration) {
		order.Recover = false
	}
	if len(ref.Capabilities) == 0 {
		order.PairingPhone = ""
	}
	r, err := w.Start(ctx, order)
	if err == nil {
		r = said(r, ref)
		r.Generation = cmp.Or(r.Generation, s.Generation)
	}
	return r, err
}

// said is a report as an answer gives it: the caller knows who answers, and the
// answer does not say when it was true.
func said(r domain.Report, ref ports.WorkerRef) domain.Report {
	r.WorkerID, r.At = ref.ID, time.Time{}
	return r
}

// Status implements ports.WorkerGateway.
func (f *Fleet) Status(ctx context.Context, ref ports.WorkerRef, sessionID string) (domain.Report, error) {
	w, refused := f.at(ref.Endpoint)
	if refused != nil {
		return domain.Report{}, refused
	}
	r, err := w.Status(ctx, sessionID)
	if err == nil {
		r = said(r, ref)
	}
	return r, err
}

// List implements ports.WorkerGateway.
func (f *Fleet) List(ctx context.Context, ref ports.WorkerRef) ([]domain.Report, error) {
	w, refused := f.at(ref.Endpoint)
	if refused != nil {
		return nil, refused
	}
	list, err := w.List(ctx)
	for i := range list {
		list[i] = said(list[i], ref)
	}
	return list, err
}

// Restart implements ports.WorkerGateway.
func (f *Fleet) Restart(ctx context.Context, ref ports.WorkerRef, sessionID string, generation int64) error {
	return f.order(ref, func(w *Worker) error { return w.Restart(ctx, sessionID, named(ref, generation)) })
}

// Disconnect implements ports.WorkerGateway.
func (f *Fleet) Disconnect(ctx context.Context, ref ports.WorkerRef, sessionID string, generation int64) error {
	return gone(f.order(ref, func(w *Worker) error { return w.Disconnect(ctx, sessionID, named(ref, generation)) }))
}

// Logout implements ports.WorkerGateway.
func (f *Fleet) Logout(ctx context.Context, ref ports.WorkerRef, sessionID string, generation int64) error {
	return gone(f.order(ref, func(w *Worker) error { return w.Logout(ctx, sessionID, named(ref, generation)) }))
}

// Delete implements ports.WorkerGateway.
func (f *Fleet) Delete(ctx context.Context, ref ports.WorkerRef, sessionID string, generation int64) error {
	return gone(f.order(ref, func(w *Worker) error { return w.Delete(ctx, sessionID, named(ref, generation)) }))
}

// Send implements ports.WorkerGateway.
func (f *Fleet) Send(ctx context.Context, ref ports.WorkerRef, s ports.Send) (ports.Sent, error) {
	w, refused := f.at(ref.Endpoint)
	if refused != nil {
		return ports.Sent{}, refused
	}
	if !slices.Contains(ref.Capabilities, domain.CapDedupe) {
		s.ClientMessageID = ""
	}
	return w.Send(ctx, s)
}

// PerformAction implements ports.WorkerGateway.
func (f *Fleet) PerformAction(ctx context.Context, ref ports.WorkerRef, sessionID string, a domain.Action) error {
	return f.order(ref, func(w *Worker) error { return w.PerformAction(ctx, sessionID, a) })
}

// named is the generation as the worker is told it.
func named(ref ports.WorkerRef, generation int64) int64 {
	if !slices.Contains(ref.Capabilities, domain.CapGeneration) {
		return 0
	}
	return generation
}

func (f *Fleet) order(ref ports.WorkerRef, fn func(*Worker) error) error {
	w, refused := f.at(ref.Endpoint)
	if refused != nil {
		return refused
	}
	return fn(w)
}

// gone takes it for success that there is no such session.
func gone(err error) error {
	var e *ports.WorkerError
	if errors.As(err, &e) && e.Failure == ports.WorkerSessionNotFound {
		return nil
	}
	return err
}
