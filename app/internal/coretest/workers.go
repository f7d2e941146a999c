package coretest

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Call is one call to a worker. Kind is the gateway's method in lower case.
type Call struct {
	Kind, Worker, Session string
	Generation            int64
}

// Workers is a gateway to workers that do what a test says. It is safe for concurrent
// use.
type Workers struct {
	mu     sync.Mutex
	calls  []Call
	answer func(Call) error
	sent   func(ports.Send) ports.Sent
	report domain.Report
	listed []domain.Report
	probed []string
}

var _ ports.WorkerGateway = (*Workers)(nil)

// Answer sets what every call returns. answer may block, and may act on the store.
func (w *Workers) Answer(answer func(Call) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// AnswerSends sets what a send returns that does not fail.
func (w *Workers) AnswerSends(sent func(ports.Send) ports.Sent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = sent
}

// Fail makes every call fail in one way.
func (w *Workers) Fail(f ports.WorkerFailure) {
	w.Answer(func(Call) error { return &ports.WorkerError{Failure: f, Message: "it failed"} })
}

// Succeed makes every call succeed again.
func (w *Workers) Succeed() { w.Answer(nil) }

// ReportOnStart sets the report in the answer to a start.
func (w *Workers) ReportOnStart(r domain.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report = r
}

// ListSessions sets what a worker lists.
func (w *Workers) ListSessions(list ...domain.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listed = list
}

// Calls returns the calls of the kinds, or all without one, as "kind worker session".
func (w *Workers) Calls(kinds ...string) (calls []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		isWanted := len(kinds) == 0
		for _, k := range kinds {
			isWanted = isWanted || k == c.Kind
		}
		if isWanted {
			calls = append(calls, strings.TrimSpace(c.Kind+" "+c.Worker+" "+c.Session))
		}
	}
	return calls
}

// Probed returns the worker ids of the health calls; empty: an endpoint of no worker.
func (w *Workers) Probed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.probed)
}

// Forget forgets the recorded calls.
func (w *Workers) Forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = nil
}

func (w *Workers) call(ctx context.Context, kind, worker, session string, generation int64) error {
	c := Call{kind, worker, session, generation}
	w.mu.Lock()
	w.calls = append(w.calls, c)
	answer := w.answer
	w.mu.Unlock()
	if answer == nil {
		return nil
	}
	if err := answer(c); err != nil {
		return err
	}
	return ctx.Err()
}

// Health implements [ports.WorkerGateway].
func (w *Workers) Health(ctx context.Context, r ports.WorkerRef) error {
	w.mu.Lock()
	w.probed = append(w.probed, r.ID)
	w.mu.Unlock()
	return w.call(ctx, "health", strings.TrimSuffix(strings.TrimPrefix(r.Endpoint, "http://"), ":1"), "", 0)
}

// Start implements [ports.WorkerGateway].
func (w *Workers) Start(ctx context.Context, r ports.WorkerRef, s ports.Start) (domain.Report, error) {
	if err := w.call(ctx, "start", r.ID, s.SessionID, s.Generation); err != nil {
		return domain.Report{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	report := w.report
	report.SessionID = s.SessionID
	return report, nil
}

// Status implements [ports.WorkerGateway].
func (w *Workers) Status(ctx context.Context, r ports.WorkerRef, id string) (domain.Report, error) {
	return domain.Report{}, w.call(ctx, "status", r.ID, id, 0)
}

// List implements [ports.WorkerGateway].
func (w *Workers) List(ctx context.Context, r ports.WorkerRef) ([]domain.Report, error) {
	err := w.call(ctx, "list", r.ID, "", 0)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.listed, err
}

// Restart implements [ports.WorkerGateway].
func (w *Workers) Restart(ctx context.Context, r ports.WorkerRef, id string, generation int64) error {
	return w.call(ctx, "restart", r.ID, id, generation)
}

// Disconnect implements [ports.WorkerGateway].
func (w *Workers) Disconnect(ctx context.Context, r ports.WorkerRef, id string, generation int64) error {
	return w.call(ctx, "disconnect", r.ID, id, generation)
}

// Logout implements [ports.WorkerGateway].
func (w *Workers) Logout(ctx context.Context, r ports.WorkerRef, id string, generation int64) error {
	return w.call(ctx, "logout", r.ID, id, generation)
}

// Delete implements [ports.WorkerGateway].
func (w *Workers) Delete(ctx context.Context, r ports.WorkerRef, id string, generation int64) error {
	return w.call(ctx, "delete", r.ID, id, generation)
}

// Send implements [ports.WorkerGateway]. WhatsApp's id is "WA-" and ours.
func (w *Workers) Send(ctx context.Context, r ports.WorkerRef, s ports.Send) (ports.Sent, error) {
	if err := w.call(ctx, "send", r.ID, s.SessionID, 0); err != nil {
		return ports.Sent{}, err
	}
	w.mu.Lock()
	sent := w.sent
	w.mu.Unlock()
	if sent != nil {
		return sent(s), nil
	}
	return ports.Sent{WhatsAppID: "WA-" + s.ClientMessageID}, nil
}

// OpenMedia implements [ports.WorkerGateway]. The content is the id of the media.
func (w *Workers) OpenMedia(ctx context.Context, r ports.WorkerRef, m ports.MediaRequest) (*ports.Media, error) {
	if err := w.call(ctx, "media", r.ID, m.SessionID, 0); err != nil {
		return nil, err
	}
	return &ports.Media{Content: io.NopCloser(strings.NewReader(m.MediaID)), Length: int64(len(m.MediaID))}, nil
}

// PerformAction implements [ports.WorkerGateway].
func (w *Workers) PerformAction(ctx context.Context, r ports.WorkerRef, id string, _ domain.Action) error {
	return w.call(ctx, "action", r.ID, id, 0)
}
