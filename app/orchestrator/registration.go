package orchestrator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	defaultCapacity = 50
	maxCapacity     = 1000
)

// reservedIDs would hide a worker behind a fixed path of the HTTP API.
var reservedIDs = []string{"available", "health-check", "register", "statistics", "test", "unregister"}

// Register takes a worker into the fleet, or takes it back after a
// restart. Its health route must answer.
func (o *workerProtocol) Register(ctx context.Context, r domain.Registration) (*service.RegisterResult, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	if err := checkRegistration(&r); err != nil {
		return nil, err
	}
	if err := o.mayRegister(ctx, r); err != nil {
		return nil, o.fault(err)
	}
	known, err := o.endpointFree(ctx, r)
	if err != nil {
		return nil, o.fault(err)
	}
	if err := o.reach(ctx, r.Endpoint); err != nil {
		return nil, err
	}
	running := o.stillRunning(ctx, r)
	var out *service.RegisterResult
	err = o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		out = &service.RegisterResult{Lease: o.timing.Lease}
		now := o.now()
		w, err := tx.Workers.Get(ctx, r.WorkerID)
		if out.Known = err == nil; errors.Is(err, ports.ErrNotFound) {
			w, err = &domain.Worker{ID: r.WorkerID, CPU: -1, Memory: -1, CreatedAt: now}, nil
		}
		if err != nil {
			return err
		}
		if w.Online && w.Endpoint != r.Endpoint && (known == nil || known.Endpoint != w.Endpoint || !known.RegisteredAt.Equal(w.RegisteredAt)) {
			return errStillRuns // it has registered from there since we looked
		}
		if err := atHome(w, r); err != nil {
			return err
		}
		events := w.Register(r, o.timing, now)
		if err := o.saveWorker(ctx, tx, c, w, events); err != nil {
			return err
		}
		if err := o.back(ctx, tx, c, w, o.timing.StartTimeout, running, now); err != nil {
			return err
		}
		assigned, err := tx.Sessions.ListByWorker(ctx, w.ID)
		if err != nil {
			return err
		}
		for _, s := range assigned {
			if domain.IsRecoverableBy(s, w.ID) {
				out.Assigned++
			}
			out.Breakdown.Add(s.Status)
		}
		w.Used = len(assigned)
		out.Worker, out.Interval = w, w.Interval
		out.Commands, err = leftBehind(ctx, tx, w)
		return err
	})
	if errors.Is(err, ports.ErrExists) {
		err = o.outrun(ctx, r)
	}
	if err != nil {
		return nil, o.fault(err)
	}
	o.log.InfoContext(ctx, "worker registered", "worker", r.WorkerID, "known", out.Known, "toRecover", out.Assigned)
	return out, nil
}

// stillRunning lists the sessions that a worker which registers has connected
// already. Only one that was online at the same endpoint is asked: it may be the
// same process, whose sessions need no recovery.
func (o *Orchestrator) stillRunning(ctx context.Context, r domain.Registration) map[string]bool {
	known, err := o.known(ctx, r.WorkerID)
	if err != nil || !known.Online || known.Endpoint != r.Endpoint || o.fleet.breakdown(r.WorkerID).Connected == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	list, err := o.workers.List(ctx, ports.WorkerRef{ID: r.WorkerID, Endpoint: r.Endpoint, Capabilities: r.Capabilities})
	if err != nil {
		return nil // it then recovers what it does not have
	}
	running := make(map[string]bool, len(list))
	for _, s := range list {
		if s.Status == domain.Connected {
			running[domain.NormalizeSessionRef(s.SessionID)] = true
		}
	}
	return running
}

// listLimit bounds the question, since the worker waits for its registration.
const listLimit = 5 * time.Second

// checkRegistration normalises a registration and reports every problem of it.
func checkRegistration(r *domain.Registration) error {
	var p domain.Problems
	id, err := domain.NormalizeWorkerID(r.WorkerID)
	p.Check("workerId", err)
	if slices.Contains(reservedIDs, id) {
		p.Add("workerId", "Worker ID %s is the name of a route; choose another", id)
	}
	endpoint, err := domain.ParseEndpoint(r.Endpoint)
	p.Check("endpoint", err)
	r.WorkerID, r.Endpoint = id, endpoint
	if r.Capacity == 0 {
		r.Capacity = defaultCapacity
	}
	checkCapacity(&p, r.Capacity)
	checkTexts(&p, r.Description, r.Version, r.Environment)
	checkLabels(&p, r.Labels)
	if r.Interval < 0 || r.Interval > time.Hour {
		p.Add("heartbeatInterval", "Heartbeat interval must be between 0 and 3600000 ms")
	}
	if r.Version == "" {
		r.Version = "1.0.0"
	}
	if r.Environment == "" {
		r.Environment = "DEVELOPMENT"
	}
	return p.Err()
}

func checkCapacity(p *domain.Problems, n int) {
	if n < 1 || n > maxCapacity {
		p.Add("maxSessions", "Max sessions must be between 1 and %d", maxCapacity)
	}
}

func checkTexts(p *domain.Problems, description, version, environment string) {
	_, err := domain.CheckDescription(description)
	p.Check("description", err)
	if len(version) > 50 {
		p.Add("version", "Version must have at most 50 characters")
	}
	if len(environment) > 50 {
		p.Add("environment", "Environment must have at most 50 characters")
	}
}

func checkLabels(p *domain.Problems, labels map[string]string) {
	if len(labels) > 32 {
		p.Add("labels", "A worker may have at most 32 labels")
	}
	for k, v := range labels {
		if k == "" || len(k) > 63 || len(v) > 63 {
			p.Add("labels", "Label names must have 1 to 63 characters and values at most 63")
			return
		}
	}
}

// reach calls a health route and turns a failure into words for the caller.
func (o *Orchestrator) reach(ctx context.Context, endpoint string) error {
	if err := o.workers.Health(ctx, endpoint); err != nil {
		return domain.Errorf(domain.Unavailable, domain.CodeWorkerUnreachable,
			"The worker's endpoint could not be reached: %s", plain(err)).WithCause(err)
	}
	return nil
}

// mayRegister refuses a worker that shows its own token for an endpoint where it
// is not known to be. This comes before the endpoint is called, for calls carry
// the fleet token.
func (o *Orchestrator) mayRegister(ctx context.Context, r domain.Registration) error {
	if !r.ByWorkerToken {
		return nil
	}
	return o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		known, err := tx.Workers.Get(ctx, r.WorkerID)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		return atHome(known, r)
	})
}

// atHome lets a worker's own token say no more than what is recorded: the token
// outlives the worker's removal, and must not become the whole fleet's.
func atHome(known *domain.Worker, r domain.Registration) error {
	if !r.ByWorkerToken || known != nil && known.Endpoint == r.Endpoint {
		return nil
	}
	return domain.Errorf(domain.Forbidden, domain.CodeInsufficientPermission,
		"A worker's own token registers it only where it is known to be; a new worker or a new endpoint needs the fleet token")
}

// endpointFree refuses an endpoint that another worker holds, and a new endpoint
// for a worker that runs at its old one, or that may until its lease is out: only
// a refused connection proves that it does not. It gives the worker as it is
// known by now; nil: it is not.
func (o *Orchestrator) endpointFree(ctx context.Context, r domain.Registration) (known *domain.Worker, err error) {
	var holder *domain.Worker
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if known, err = tx.Workers.Get(ctx, r.WorkerID); err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		if holder, err = tx.Workers.ByEndpoint(ctx, r.Endpoint); err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case holder != nil && holder.ID != r.WorkerID:
		return nil, endpointTaken(ports.ErrExists)
	case known == nil || known.Endpoint == r.Endpoint || !known.Online:
		return known, nil
	}
	err = o.workers.Health(ctx, known.Endpoint)
	var failure *ports.WorkerError
	refused := errors.As(err, &failure) && failure.Failure == ports.WorkerConnectionRefused
	if err == nil || known.Supports(domain.CapLease) && !refused {
		return nil, errStillRuns
	}
	return known, nil
}

var errStillRuns = domain.Errorf(domain.Conflict, domain.CodeWorkerConflict,
	"A worker with this id is running at another endpoint, or was until a moment ago; stop it first, try again in a minute, or choose another id")

// outrun says which of its id and endpoint a registration has lost to another that
// came at the same time.
func (o *Orchestrator) outrun(ctx context.Context, r domain.Registration) error {
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		holder, err := tx.Workers.ByEndpoint(ctx, r.Endpoint)
		if err == nil && holder.ID != r.WorkerID {
			return ports.ErrExists
		}
		return err
	})
	if err == nil || errors.Is(err, ports.ErrNotFound) {
		return domain.Errorf(domain.Conflict, domain.CodeWorkerConflict,
			"Another process has just registered with this id; choose another id, or register again if it was this one")
	}
	return endpointTaken(err)
}

func endpointTaken(err error) error {
	if errors.Is(err, ports.ErrExists) {
		return domain.Errorf(domain.Conflict, domain.CodeWorkerConflict,
			"Another worker has this endpoint; remove that one first or use another endpoint")
	}
	return err
}

// Unregister lets a worker leave: its sessions are placed elsewhere
// unless it is back within the failover delay. It gives the worker's status.
func (o *workerProtocol) Unregister(ctx context.Context, workerID, endpoint string) (domain.WorkerStatus, error) {
	if err := o.ready(ctx); err != nil {
		return "", err
	}
	if workerID == "" {
		var p domain.Problems
		canonical, err := domain.ParseEndpoint(endpoint)
		if endpoint == "" {
			p.Add("workerId", "Worker id or endpoint is required")
		} else {
			p.Check("endpoint", err)
		}
		if err := p.Err(); err != nil {
			return "", err
		}
		err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
			w, err := tx.Workers.ByEndpoint(ctx, canonical)
			if err == nil {
				workerID = w.ID
			}
			return err
		})
		if errors.Is(err, ports.ErrNotFound) {
			return domain.WorkerOffline, nil
		}
		if err != nil {
			return "", o.fault(err)
		}
	}
	canonical, err := domain.ParseEndpoint(endpoint)
	leaving, failure := o.row(ctx, domain.NormalizeWorkerRef(workerID))
	if failure != nil || leaving == nil {
		return domain.WorkerOffline, o.fault(failure)
	}
	status := domain.WorkerOffline
	lost := o.lose(ctx, leaving.ID, domain.DownUnregistered, func(w *domain.Worker) bool {
		// A former process may say so when the next one runs already, or has registered since.
		leaves := (err != nil || canonical == w.Endpoint) && w.RegisteredAt.Equal(leaving.RegisteredAt) && ctx.Err() == nil
		if status = domain.WorkerOffline; !leaves {
			status = w.Status()
		}
		return leaves
	})
	return status, o.fault(lost)
}

// row gives a worker as it is stored; nil: there is none.
func (o *Orchestrator) row(ctx context.Context, id string) (w *domain.Worker, err error) {
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if w, err = tx.Workers.Get(ctx, id); errors.Is(err, ports.ErrNotFound) {
			w, err = nil, nil
		}
		return err
	})
	return w, err
}
