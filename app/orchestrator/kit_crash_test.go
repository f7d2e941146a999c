package orchestrator_test

import (
	"context"
	"errors"
	"sync"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
)

// lifetime counts the operations of one process, and ends or pauses the process at one of them.
type lifetime struct {
	mu     sync.Mutex
	ops    int
	endAt  int  // the last operation; 0: the process does not end
	before bool // the process ends before, not after, the operation takes effect
	dead   bool
	pause  func() // if set, the process does not end: it runs this function and continues
}

func (l *lifetime) do(effect func() error) error {
	l.mu.Lock()
	if l.dead {
		l.mu.Unlock()
		return errDead
	}
	l.ops++
	ends := l.ops == l.endAt
	if ends && l.pause != nil {
		l.mu.Unlock()
		if !l.before {
			err := effect()
			l.pause()
			return err
		}
		l.pause()
		return effect()
	}
	if ends && l.before {
		l.dead = true
		l.mu.Unlock()
		return errDead
	}
	l.mu.Unlock()
	err := effect()
	if ends {
		l.mu.Lock()
		l.dead = true
		l.mu.Unlock()
		return errDead
	}
	return err
}

// wrap returns the store as a process with this lifetime sees it.
func (l *lifetime) wrap(store ports.Store) ports.Store {
	s := storehooks.New(store)
	s.AroundUpdate = func(ctx context.Context, fn storehooks.Func, update func(context.Context, storehooks.Func) error) error {
		return l.do(func() error { return update(ctx, fn) })
	}
	return s
}

// obedientWorker is a worker that carries out every call at once.
type obedientWorker struct {
	up      bool
	running map[string]int64 // session → generation
	linked  map[string]bool  // sessions with credentials, which all workers share
	fenced  map[string]int64 // session → latest generation that it was told to stop
}

// stop stops the session if it runs with the generation or an older one. The worker never starts
// these generations again.
func (at *obedientWorker) stop(id string, generation int64) {
	if at.running[id] <= generation {
		delete(at.running, id)
	}
	at.fenced[id] = max(at.fenced[id], generation)
}

// obedientFleet is a fleet of workers that outlives the control plane.
type obedientFleet struct {
	mu     sync.Mutex
	all    map[string]*obedientWorker
	linked map[string]bool // sessions with credentials
	sent   map[string]int  // client message id → times
}

// crashableGateway is the gateway of one process to the workers.
type crashableGateway struct {
	*obedientFleet
	lifetime *lifetime
}

func (p crashableGateway) on(w ports.WorkerRef, fn func(*obedientWorker) error) error {
	return p.lifetime.do(func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		at := p.all[w.ID]
		if !at.up {
			return &ports.WorkerError{Failure: ports.WorkerConnectionRefused, Message: "connection refused"}
		}
		return fn(at)
	})
}

func (p crashableGateway) Health(_ context.Context, w ports.WorkerRef) error {
	for id := range p.all {
		if w.Endpoint == "http://"+id+":1" {
			return p.on(ports.WorkerRef{ID: id}, func(*obedientWorker) error { return nil })
		}
	}
	return &ports.WorkerError{Failure: ports.WorkerConnectionRefused}
}

func (p crashableGateway) Start(_ context.Context, w ports.WorkerRef, s ports.Start) (r domain.Report, err error) {
	err = p.on(w, func(at *obedientWorker) error {
		if s.Generation <= at.fenced[s.SessionID] || s.Generation < at.running[s.SessionID] {
			return &ports.WorkerError{Failure: ports.WorkerRejected, Status: 409, Message: "the generation is fenced"}
		}
		at.running[s.SessionID], at.linked[s.SessionID] = s.Generation, true
		r = domain.Report{SessionID: s.SessionID, Status: domain.Connected, PhoneNumber: "6281234567890"}
		return nil
	})
	return r, err
}

func (p crashableGateway) Restart(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return p.on(w, func(at *obedientWorker) error {
		if at.running[id] != generation {
			return &ports.WorkerError{Failure: ports.WorkerSessionNotFound}
		}
		return nil
	})
}

func (p crashableGateway) Disconnect(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return p.on(w, func(at *obedientWorker) error { at.stop(id, generation); return nil })
}

func (p crashableGateway) Logout(_ context.Context, w ports.WorkerRef, id string, generation int64) error {
	return p.on(w, func(at *obedientWorker) error { at.stop(id, generation); delete(at.linked, id); return nil })
}

func (p crashableGateway) Delete(ctx context.Context, w ports.WorkerRef, id string, generation int64) error {
	return p.Logout(ctx, w, id, generation)
}

func (p crashableGateway) Send(_ context.Context, w ports.WorkerRef, s ports.Send) (ports.Sent, error) {
	err := p.on(w, func(*obedientWorker) error { p.sent[s.ClientMessageID]++; return nil })
	if errors.Is(err, errDead) {
		return ports.Sent{}, &ports.WorkerError{Failure: ports.WorkerTimedOut, Err: err}
	}
	return ports.Sent{WhatsAppID: "WA-" + s.ClientMessageID}, err
}

func (p crashableGateway) PerformAction(context.Context, ports.WorkerRef, string, domain.Action) error {
	return nil
}
func (p crashableGateway) OpenMedia(context.Context, ports.WorkerRef, ports.MediaRequest) (*ports.Media, error) {
	return nil, &ports.WorkerError{Failure: ports.WorkerMediaNotFound}
}
func (p crashableGateway) List(context.Context, ports.WorkerRef) ([]domain.Report, error) {
	return nil, nil
}
func (p crashableGateway) Status(context.Context, ports.WorkerRef, string) (domain.Report, error) {
	return domain.Report{}, nil
}
