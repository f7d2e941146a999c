package orchestrator_test

import (
	"context"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// call is one call of a replica to a worker.
type call struct {
	by              string // the replica
	kind            string // "start", "disconnect", …
	worker, session string
	generation      int64
}

// fakeWorkers record calls and answer them as the test says.
type fakeWorkers struct {
	mu     sync.Mutex
	calls  []call
	answer func(call) error         // may block; nil: everything works
	report func(call) domain.Report // the answer to a start; nil: CONNECTED
	listed []domain.Report          // the answer to a list
	sent   map[string][]string      // workers that sent a message, by the id of the message
}

func (h *fakeWorkers) record(c call) error {
	h.mu.Lock()
	h.calls = append(h.calls, c)
	answer := h.answer
	h.mu.Unlock()
	if answer != nil {
		return answer(c)
	}
	return nil
}

// count returns the number of calls of a kind.
func (h *fakeWorkers) count(kind string) (n int) { return len(h.callsOf(kind)) }

// callsOf returns the calls of a kind.
func (h *fakeWorkers) callsOf(kind string) (all []call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		if c.kind == kind {
			all = append(all, c)
		}
	}
	return all
}

func (h *fakeWorkers) answerWith(answer func(call) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// replicaGateway is the gateway of one replica to the workers.
type replicaGateway struct {
	*fakeWorkers
	by string
}

func (a replicaGateway) call(kind string, w ports.WorkerRef, session string, generation int64) error {
	return a.record(call{a.by, kind, w.ID, session, generation})
}

func (a replicaGateway) Health(_ context.Context, w ports.WorkerRef) error {
	return a.record(call{by: a.by, kind: "health", worker: w.Endpoint[len("http://") : len(w.Endpoint)-len(":1")]})
}

func (a replicaGateway) Start(_ context.Context, w ports.WorkerRef, s ports.Start) (domain.Report, error) {
	c := call{a.by, "start", w.ID, s.SessionID, s.Generation}
	if err := a.record(c); err != nil {
		return domain.Report{}, err
	}
	if a.report != nil {
		return a.report(c), nil
	}
	return domain.Report{SessionID: s.SessionID, Status: domain.Connected, PhoneNumber: "6281234567890"}, nil
}

func (a replicaGateway) Restart(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return a.call("restart", w, id, generation)
}

func (a replicaGateway) Disconnect(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return a.call("disconnect", w, id, generation)
}

func (a replicaGateway) Logout(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return a.call("logout", w, id, generation)
}

func (a replicaGateway) Delete(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return a.call("delete", w, id, generation)
}

func (a replicaGateway) Send(_ context.Context, w ports.WorkerRef, s ports.Send) (ports.Sent, error) {
	if err := a.call("send", w, s.SessionID, 0); err != nil {
		return ports.Sent{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent[s.ClientMessageID] = append(a.sent[s.ClientMessageID], w.ID)
	return ports.Sent{WhatsAppID: "WA-" + s.ClientMessageID}, nil
}

func (a replicaGateway) PerformAction(_ context.Context, w ports.WorkerRef, id string, _ domain.Action) error {
	return a.call("act", w, id, 0)
}

func (a replicaGateway) OpenMedia(_ context.Context, w ports.WorkerRef, r ports.MediaRequest) (*ports.Media, error) {
	return nil, a.call("media", w, r.SessionID, 0)
}

func (a replicaGateway) List(_ context.Context, w ports.WorkerRef) ([]domain.Report, error) {
	return a.listed, a.call("list", w, "", 0)
}

func (a replicaGateway) Status(_ context.Context, w ports.WorkerRef, id string) (domain.Report, error) {
	return domain.Report{}, a.call("status", w, id, 0)
}

// hangingGateway is a gateway on which calls to stop get no answer.
type hangingGateway struct{ replicaGateway }

func (h hangingGateway) Disconnect(ctx context.Context, w ports.WorkerRef, id string, generation int64) error {
	_ = h.call("disconnect", w, id, generation)
	<-ctx.Done()
	return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"}
}

func refused() error {
	return &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "connection refused"}
}
