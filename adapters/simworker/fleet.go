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

// Fleet implements ports.WorkerGateway for simulated workers in this process. It
// finds them by their endpoints and uses no sockets. An endpoint without a worker
// refuses the connection. Nothing waits: a call to a worker that hangs times out
// at once, and no call is retried. The zero value is an empty fleet. It is safe
// for concurrent use.
type Fleet struct {
	mu      sync.RWMutex
	workers map[string]*Worker
}

var _ ports.WorkerGateway = (*Fleet)(nil)

// Add adds workers to the fleet, each at its endpoint.
func (f *Fleet) Add(workers ...*Worker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.workers == nil {
		f.workers = map[string]*Worker{}
	}
	for _, w := range workers {
		f.workers[canonicalEndpoint(w.Endpoint())] = w
	}
}

// Remove removes the worker at the endpoint.
func (f *Fleet) Remove(endpoint string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.workers, canonicalEndpoint(endpoint))
}

// Workers returns the workers, sorted by id.
func (f *Fleet) Workers() []*Worker {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.SortedFunc(maps.Values(f.workers), func(a, b *Worker) int { return cmp.Compare(a.cfg.ID, b.cfg.ID) })
}

// Tick ticks every worker in the order of the ids. It returns when the next one
// is due; zero means not before an event.
func (f *Fleet) Tick(ctx context.Context, now time.Time) time.Time {
	var next time.Time
	for _, w := range f.Workers() {
		next = earliest(next, w.Tick(ctx, now))
	}
	return next
}

// canonicalEndpoint returns the canonical form of an endpoint.
func canonicalEndpoint(endpoint string) string {
	if canonical, err := domain.ParseEndpoint(endpoint); err == nil {
		return canonical
	}
	return endpoint
}

// worker returns the worker at an endpoint.
func (f *Fleet) worker(endpoint string) (*Worker, *ports.WorkerError) {
	f.mu.RLock()
	w := f.workers[endpoint]
	f.mu.RUnlock()
	if w == nil {
		f.mu.RLock()
		w = f.workers[canonicalEndpoint(endpoint)]
		f.mu.RUnlock()
	}
	if w == nil {
		return nil, failure(ports.WorkerConnectionRefused, 0, "Connection refused: nothing listens at the worker's endpoint")
	}
	return w, nil
}

// Health implements ports.WorkerGateway.
func (f *Fleet) Health(ctx context.Context, ref ports.WorkerRef) error {
	w, err := f.worker(ref.Endpoint)
	if err != nil {
		return err
	}
	return w.Health(ctx)
}

// Start implements ports.WorkerGateway.
func (f *Fleet) Start(ctx context.Context, ref ports.WorkerRef, s ports.Start) (domain.Report, error) {
	w, refused := f.worker(ref.Endpoint)
	if refused != nil {
		return domain.Report{}, refused
	}
	order := s
	order.Generation = announcedGeneration(ref, s.Generation)
	if !slices.Contains(ref.Capabilities, domain.CapGeneration) {
		order.Recover = false
	}
	if ref.IsLegacy() {
		order.PairingPhone = ""
	}
	r, err := w.Start(ctx, order)
	if err == nil {
		r = asResponse(r, ref)
		r.Generation = cmp.Or(r.Generation, s.Generation)
	}
	return r, err
}

// asResponse returns a report as an HTTP response carries it: with the caller's id of
// the worker, and without a time.
func asResponse(r domain.Report, ref ports.WorkerRef) domain.Report {
	r.WorkerID, r.At = ref.ID, time.Time{}
	return r
}

// Status implements ports.WorkerGateway.
func (f *Fleet) Status(ctx context.Context, ref ports.WorkerRef, sessionID string) (domain.Report, error) {
	w, refused := f.worker(ref.Endpoint)
	if refused != nil {
		return domain.Report{}, refused
	}
	r, err := w.Status(ctx, sessionID)
	if err == nil {
		r = asResponse(r, ref)
	}
	return r, err
}

// List implements ports.WorkerGateway.
func (f *Fleet) List(ctx context.Context, ref ports.WorkerRef) ([]domain.Report, error) {
	w, refused := f.worker(ref.Endpoint)
	if refused != nil {
		return nil, refused
	}
	list, err := w.List(ctx)
	for i := range list {
		list[i] = asResponse(list[i], ref)
	}
	return list, err
}

// Restart implements ports.WorkerGateway.
func (f *Fleet) Restart(ctx context.Context, ref ports.WorkerRef, sessionID string, generation int64) error {
	return f.withWorker(ref, func(w *Worker) error { return w.Restart(ctx, sessionID, announcedGeneration(ref, generation)) })
}

// Disconnect implements ports.WorkerGateway.
func (f *Fleet) Disconnect(ctx context.Context, ref ports.WorkerRef, sessionID string, generation int64) error {
	return ignoreNotFound(f.withWorker(ref, func(w *Worker) error { return w.Disconnect(ctx, sessionID, announcedGeneration(ref, generation)) }))
}

// Logout implements ports.WorkerGateway.
func (f *Fleet) Logout(ctx context.Context, ref ports.WorkerRef, sessionID string, generation int64) error {
	return ignoreNotFoundInWipe(ref, f.withWorker(ref, func(w *Worker) error { return w.Logout(ctx, sessionID, announcedGeneration(ref, generation)) }))
}

// Delete implements ports.WorkerGateway.
func (f *Fleet) Delete(ctx context.Context, ref ports.WorkerRef, sessionID string, generation int64) error {
	return ignoreNotFoundInWipe(ref, f.withWorker(ref, func(w *Worker) error { return w.Delete(ctx, sessionID, announcedGeneration(ref, generation)) }))
}

// Send implements ports.WorkerGateway.
func (f *Fleet) Send(ctx context.Context, ref ports.WorkerRef, s ports.Send) (ports.Sent, error) {
	w, refused := f.worker(ref.Endpoint)
	if refused != nil {
		return ports.Sent{}, refused
	}
	if !slices.Contains(ref.Capabilities, domain.CapDedupe) {
		s.ClientMessageID = ""
	}
	if s.Message.HasRelations() && !slices.Contains(ref.Capabilities, domain.CapReplies) {
		plain := *s.Message
		plain.QuotedMessageID, plain.Mentions = "", nil
		s.Message = &plain
	}
	return w.Send(ctx, s)
}

// PerformAction implements ports.WorkerGateway.
func (f *Fleet) PerformAction(ctx context.Context, ref ports.WorkerRef, sessionID string, a domain.Action) error {
	return f.withWorker(ref, func(w *Worker) error { return w.PerformAction(ctx, sessionID, a) })
}

// announcedGeneration returns the generation that a call to the worker carries.
func announcedGeneration(ref ports.WorkerRef, generation int64) int64 {
	if !slices.Contains(ref.Capabilities, domain.CapGeneration) {
		return 0
	}
	return generation
}

// withWorker calls fn with the worker.
func (f *Fleet) withWorker(ref ports.WorkerRef, fn func(*Worker) error) error {
	w, refused := f.worker(ref.Endpoint)
	if refused != nil {
		return refused
	}
	return fn(w)
}

// ignoreNotFoundInWipe is [ignoreNotFound] for calls that wipe a session. A legacy worker
// may keep the credentials of a session that it does not have.
func ignoreNotFoundInWipe(ref ports.WorkerRef, err error) error {
	if ref.IsLegacy() {
		return err
	}
	return ignoreNotFound(err)
}

// ignoreNotFound returns nil for a session that the worker does not have.
func ignoreNotFound(err error) error {
	var e *ports.WorkerError
	if errors.As(err, &e) && e.Failure == ports.WorkerSessionNotFound {
		return nil
	}
	return err
}
