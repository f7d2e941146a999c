package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/failure"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/messaging"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// listLimit bounds the call that lists a worker's sessions. The worker waits for the
// answer to its registration meanwhile.
const listLimit = 5 * time.Second

// Protocol implements [service.WorkerProtocol]. It is safe for concurrent use.
type Protocol struct {
	*txn.Writer
	members  *membership.Members
	cache    *fleet.Cache
	sync     *fleet.Sync
	detector *failure.Detector
	queue    *workqueue.Queue
	messages *messaging.Messages
	intake   intake
}

var _ service.WorkerProtocol = (*Protocol)(nil)

// NewProtocol returns the service.
func NewProtocol(w *txn.Writer, m *membership.Members, c *fleet.Cache, s *fleet.Sync, d *failure.Detector, q *workqueue.Queue, msg *messaging.Messages) *Protocol {
	return &Protocol{Writer: w, members: m, cache: c, sync: s, detector: d, queue: q, messages: msg}
}

// ReportMessage applies a report on a message.
func (p *Protocol) ReportMessage(ctx context.Context, r domain.MessageReport) (applied bool, err error) {
	return p.messages.ReportMessage(ctx, r)
}

// ReceiveMessage stores an inbound message.
func (p *Protocol) ReceiveMessage(ctx context.Context, m service.InboundMessage) (stored bool, err error) {
	return p.messages.ReceiveMessage(ctx, m)
}

// Register takes a worker into the fleet, or takes it back after a restart. Its health
// route must answer.
func (p *Protocol) Register(ctx context.Context, r domain.Registration) (*service.RegisterResult, error) {
	if err := p.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	if err := normalizeRegistration(&r); err != nil {
		return nil, err
	}
	if err := p.checkToken(ctx, r); err != nil {
		return nil, apperr.Public(err)
	}
	known, err := checkEndpoint(ctx, p.Writer, r)
	if err != nil {
		return nil, apperr.Public(err)
	}
	if err := p.detector.RequireHealthy(ctx, refOf(r)); err != nil {
		return nil, err
	}
	r.TokenEpoch, err = p.newTokenEpoch()
	if err != nil {
		return nil, apperr.Public(err)
	}
	running := p.listRunning(ctx, r)
	var result *service.RegisterResult
	err = p.Transact(ctx, func(ctx context.Context, tx *txn.Tx) (err error) {
		result, err = p.register(ctx, tx, r, known, running)
		return err
	})
	if errors.Is(err, ports.ErrExists) {
		err = p.explainConflict(ctx, r)
	}
	if err != nil {
		return nil, apperr.Public(err)
	}
	p.Log.InfoContext(ctx, "worker registered", "worker", r.WorkerID, "known", result.Known, "toRecover", result.Assigned)
	return result, nil
}

// register records a registration. known is the worker as it was when its endpoint was
// checked, or nil.
func (p *Protocol) register(ctx context.Context, tx *txn.Tx, r domain.Registration, known *domain.Worker, running map[string]bool) (*service.RegisterResult, error) {
	now := p.Now()
	w, err := tx.Workers.Get(ctx, r.WorkerID)
	isKnown := err == nil
	if errors.Is(err, ports.ErrNotFound) {
		w, err = newWorker(r, now), nil
	}
	if err != nil {
		return nil, err
	}
	hasChanged := known == nil || known.Endpoint != w.Endpoint || !known.RegisteredAt.Equal(w.RegisteredAt)
	if w.Online && !domain.IsSameEndpoint(w.Endpoint, r.Endpoint) && hasChanged {
		return nil, errStillRuns // it registered from there since its endpoint was checked
	}
	if err := checkOwnToken(w, r); err != nil {
		return nil, err
	}
	if err := requireFreeEndpoint(ctx, tx.Tx, r); err != nil {
		return nil, err
	}
	if err := p.recordTakeover(ctx, tx, w, r); err != nil {
		return nil, err
	}
	formerGroup := w.StateGroup
	events := w.Register(r, p.Timing, now)
	if err := tx.SaveWorker(ctx, w, events); err != nil {
		return nil, err
	}
	if isKnown && w.StateGroup != formerGroup {
		p.Log.WarnContext(ctx, "worker changed its state group", "worker", w.ID, "from", formerGroup, "to", w.StateGroup)
		if err := tx.RecordHolders(ctx, w); err != nil {
			return nil, err
		}
	}
	if err := tx.AdoptCleanups(ctx, w); err != nil {
		return nil, err
	}
	if err := p.detector.WorkerReturned(ctx, tx, w, p.Timing.StartTimeout, running, now); err != nil {
		return nil, err
	}
	assigned, err := tx.Sessions.ListByWorker(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	result := &service.RegisterResult{Worker: w, Known: isKnown, Interval: w.Interval, Lease: p.Timing.Lease}
	for _, s := range assigned {
		if domain.IsRecoverableBy(s, w.ID) {
			result.Assigned++
		}
		result.Breakdown.Add(s.Status)
	}
	w.Used = len(assigned)
	result.Commands, err = pendingStopCommands(ctx, tx, w)
	return result, err
}

// recordTakeover records that the fleet token registers a worker that has a token of its own. The
// registration ends that token. A worker that restarts does so too; the status tells the two apart.
func (p *Protocol) recordTakeover(ctx context.Context, tx *txn.Tx, w *domain.Worker, r domain.Registration) error {
	if w.TokenEpoch == "" || !r.Holder.IsFleet() {
		return nil
	}
	status := string(w.Status())
	p.Log.WarnContext(ctx, "worker taken over", "worker", w.ID, "endpoint", r.Endpoint, "status", status)
	return p.Trail().Record(ctx, tx.Tx, domain.AuditWorkerTakenOver, audit.Object("worker", w.ID), "endpoint", r.Endpoint, "status", status)
}

func newWorker(r domain.Registration, now time.Time) *domain.Worker {
	return &domain.Worker{ID: r.WorkerID, CPU: -1, Memory: -1, CreatedAt: now}
}

// listRunning returns the sessions that a registering worker has connected already. Only
// a worker that was online at the same endpoint is asked: it may be the same process,
// whose sessions need no recovery.
func (p *Protocol) listRunning(ctx context.Context, r domain.Registration) map[string]bool {
	known, err := p.sync.LookupWorker(ctx, r.WorkerID)
	if err != nil || !known.Online || !domain.IsSameEndpoint(known.Endpoint, r.Endpoint) || p.cache.Breakdown(r.WorkerID).Connected == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	list, err := p.Workers.List(ctx, fleet.Ref(known))
	if err != nil {
		return nil // the worker recovers whatever it lacks
	}
	running := make(map[string]bool, len(list))
	for _, s := range list {
		if s.Status == domain.Connected {
			running[domain.NormalizeSessionRef(s.SessionID)] = true
		}
	}
	return running
}

// refOf returns how the gateway addresses a worker whose registration is not accepted yet.
// A worker that announces ownToken is called without a token until it has its own. A legacy
// worker is called with the fleet token: it may guard its health route with this token, and
// whoever registers it has shown the token.
func refOf(r domain.Registration) ports.WorkerRef {
	ref := ports.WorkerRef{Endpoint: r.Endpoint}
	if !slices.Contains(r.Capabilities, domain.CapOwnToken) {
		ref.ID, ref.Capabilities = r.WorkerID, r.Capabilities
	}
	return ref
}

// newTokenEpoch returns a random epoch for the tokens of a registration.
func (p *Protocol) newTokenEpoch() (string, error) {
	epoch := make([]byte, 16)
	_, err := p.Random.Read(epoch)
	return hex.EncodeToString(epoch), err
}

// Authorize checks an own token, or the fleet token, for requests of one worker. Replicas
// that share a store read the worker: its token ends at once on all of them.
func (p *Protocol) Authorize(ctx context.Context, holder domain.TokenHolder, workerID string) error {
	if err := p.sync.EnsureLoaded(ctx); err != nil {
		return err
	}
	var known *domain.Worker
	var err error
	if p.IsShared() {
		err = p.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			known, err = tx.Workers.Get(ctx, workerID)
			return apperr.Worker(err)
		})
	} else {
		known, err = p.sync.LookupWorker(ctx, workerID)
	}
	if domain.CodeOf(err) == domain.CodeWorkerNotFound {
		known, err = nil, nil
	}
	if err != nil {
		return apperr.Public(err)
	}
	return holder.Authorize(known)
}

// checkToken refuses a worker that shows its own token for an endpoint where it is not
// known to be. The check comes before the endpoint is called.
func (p *Protocol) checkToken(ctx context.Context, r domain.Registration) error {
	if r.Holder.IsFleet() {
		return nil
	}
	return p.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		known, err := tx.Workers.Get(ctx, r.WorkerID)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		return checkOwnToken(known, r)
	})
}

// checkOwnToken lets a worker's own token register only a recorded worker where it is
// known to be, in the epoch of the token. A worker cannot drop ownToken with it, because it
// would then receive the fleet token.
func checkOwnToken(known *domain.Worker, r domain.Registration) error {
	if r.Holder.IsFleet() {
		return nil
	}
	isKnown := known != nil && domain.IsSameEndpoint(known.Endpoint, r.Endpoint)
	if isKnown && (!known.Supports(domain.CapOwnToken) || slices.Contains(r.Capabilities, domain.CapOwnToken)) {
		return r.Holder.Authorize(known)
	}
	return domain.Errorf(domain.Forbidden, domain.CodeInsufficientPermission,
		"A worker's own token registers it only where it is known to be, with ownToken; a new worker or a new endpoint needs the fleet token")
}

// findEndpointHolder returns another worker whose endpoint leads to the same address as the endpoint
// of a registration, or nil. The store refuses the same, but not beside a worker that an older version stored.
func findEndpointHolder(ctx context.Context, tx *ports.Tx, r domain.Registration) (*domain.Worker, error) {
	for _, endpoint := range domain.EndpointSpellings(r.Endpoint) {
		w, err := tx.Workers.ByEndpoint(ctx, endpoint)
		switch {
		case err == nil && w.ID != r.WorkerID:
			return w, nil
		case err != nil && !errors.Is(err, ports.ErrNotFound):
			return nil, err
		}
	}
	return nil, nil
}

// requireFreeEndpoint returns ports.ErrExists if another worker has the endpoint of a registration, in
// any spelling.
func requireFreeEndpoint(ctx context.Context, tx *ports.Tx, r domain.Registration) error {
	other, err := findEndpointHolder(ctx, tx, r)
	if other != nil {
		return ports.ErrExists
	}
	return err
}

// checkEndpoint refuses an endpoint that another worker has, and a new endpoint for a
// worker that runs at its old one, or may until its lease is out. It returns the worker
// as it is known, or nil.
func checkEndpoint(ctx context.Context, w *txn.Writer, r domain.Registration) (known *domain.Worker, err error) {
	var holder *domain.Worker
	err = w.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		known, err = tx.Workers.Get(ctx, r.WorkerID)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		holder, err = findEndpointHolder(ctx, tx, r)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case holder != nil:
		return nil, endpointTaken(ports.ErrExists)
	case known == nil || domain.IsSameEndpoint(known.Endpoint, r.Endpoint) || !known.Online:
		return known, nil
	}
	err = w.Workers.Health(ctx, fleet.Ref(known))
	var failure *ports.WorkerError
	isRefused := errors.As(err, &failure) && failure.Failure == ports.WorkerConnectionRefused
	if err == nil || known.Supports(domain.CapLease) && !isRefused {
		return nil, errStillRuns
	}
	return known, nil
}

var errStillRuns = domain.Errorf(domain.Conflict, domain.CodeWorkerConflict,
	"A worker with this id is running at another endpoint, or was until a moment ago; stop it first, try again in a minute, or choose another id")

// explainConflict returns whether a registration lost its id or its endpoint to another
// that came at the same time.
func (p *Protocol) explainConflict(ctx context.Context, r domain.Registration) error {
	err := p.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return requireFreeEndpoint(ctx, tx, r)
	})
	if err == nil {
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

// Unregister records that a worker leaves. Its sessions are placed elsewhere unless it is
// back within the failover delay. It returns the worker's status.
func (p *Protocol) Unregister(ctx context.Context, workerID, endpoint string) (domain.WorkerStatus, error) {
	if err := p.sync.EnsureLoaded(ctx); err != nil {
		return "", err
	}
	canonical, endpointErr := domain.ParseEndpoint(endpoint)
	leaving, err := p.findLeaving(ctx, workerID)
	if err != nil || leaving == nil {
		return domain.WorkerOffline, apperr.Public(err)
	}
	status := domain.WorkerOffline
	err = p.detector.MarkDown(ctx, leaving.ID, domain.DownUnregistered, func(w *domain.Worker) bool {
		// A former process may unregister after the next one has registered.
		isSame := (endpointErr != nil || domain.IsSameEndpoint(canonical, w.Endpoint)) && w.RegisteredAt.Equal(leaving.RegisteredAt)
		leaves := isSame && ctx.Err() == nil
		status = domain.WorkerOffline
		if !leaves {
			status = w.Status()
		}
		return leaves
	})
	return status, apperr.Public(err)
}

// findLeaving finds the worker that unregisters. It returns nil if there is none.
func (p *Protocol) findLeaving(ctx context.Context, workerID string) (w *domain.Worker, err error) {
	if workerID == "" {
		var problems domain.Problems
		problems.Add("workerId", "Worker ID is required")
		return nil, problems.Err()
	}
	err = p.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		w, err = tx.Workers.Get(ctx, domain.NormalizeWorkerRef(workerID))
		return err
	})
	if errors.Is(err, ports.ErrNotFound) {
		return nil, nil
	}
	return w, err
}
