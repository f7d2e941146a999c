package orchestrator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	defaultCapacity = 50
	maxCapacity     = 1000
)

// reservedIDs would hide a worker behind a fixed path of the HTTP API.
var reservedIDs = []string{"available", "health-check", "register", "statistics", "test", "unregister"}

// RegisterWorker takes a worker into the fleet, or takes it back after a
// restart. Its health route must answer.
func (o *Orchestrator) RegisterWorker(ctx context.Context, r domain.Registration) (*ports.Registered, error) {
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
	var out *ports.Registered
	err = o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		out = &ports.Registered{Lease: o.timing.Lease}
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
		assigned, err := tx.Sessions.Assigned(ctx, w.ID)
		if err != nil {
			return err
		}
		for _, s := range assigned {
			if domain.Recoverable(s, w.ID) {
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
			"The worker's endpoint could not be reached: %s", plain(err)).Because(err)
	}
	return nil
}

// mayRegister refuses a worker that shows its own token for an endpoint where it
// is not known to be. This comes before the endpoint is called, for calls carry
// the fleet token.
func (o *Orchestrator) mayRegister(ctx context.Context, r domain.Registration) error {
	if !r.Own {
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
	if !r.Own || known != nil && known.Endpoint == r.Endpoint {
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
	refused := errors.As(err, &failure) && failure.Failure == ports.WorkerRefused
	if err == nil || known.Can(domain.CapLease) && !refused {
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

// Heartbeat takes in what a worker says of itself and its sessions. With
// nothing new it costs one row.
func (o *Orchestrator) Heartbeat(ctx context.Context, h domain.Heartbeat) (*ports.HeartbeatAnswer, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	h.WorkerID = domain.NormalizeWorkerRef(h.WorkerID)
	if h.Capacity > maxCapacity {
		h.Capacity = maxCapacity
	}
	for i := range h.Sessions {
		h.Sessions[i].SessionID = domain.NormalizeSessionRef(h.Sessions[i].SessionID)
		h.Sessions[i].WorkerID = h.WorkerID
		h.Sessions[i].Snapshot = true
	}
	now := o.now()
	known, err := o.known(ctx, h.WorkerID)
	if err != nil {
		return nil, err
	}
	found := o.fleet.compare(&h, o.timing, now)
	old := false
	if known.Online && !found.any() {
		known, err = o.beat(ctx, known, h, now)
		old = known == nil
	} else {
		known = nil
	}
	if old && err == nil {
		if err = o.refresh(ctx, h.WorkerID); err == nil {
			found = o.fleet.compare(&h, o.timing, now)
		}
	}
	answer := &ports.HeartbeatAnswer{Processed: len(h.Sessions), Lease: o.timing.Lease, Stale: int(o.loop.stale.Load())}
	if known == nil && err == nil {
		known, err = o.beatWithNews(ctx, h, found, answer, now)
	}
	if err != nil {
		return nil, o.fault(err)
	}
	answer.Breakdown = o.fleet.breakdown(h.WorkerID)
	answer.Worker = known.Clone()
	answer.Worker.Used = answer.Breakdown.Total
	return answer, nil
}

// beat stores a heartbeat that brings nothing new. It returns nil if the view
// turned out to be old.
func (o *Orchestrator) beat(ctx context.Context, known *domain.Worker, h domain.Heartbeat, now time.Time) (*domain.Worker, error) {
	var w *domain.Worker
	others := o.others() // then the row is likely to have changed, by a heartbeat that came to one of them
	err := o.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if w = known.Clone(); others {
			w, err = tx.Workers.Get(ctx, known.ID)
		}
		switch {
		case errors.Is(err, ports.ErrNotFound), err == nil && (!w.Online || !w.RegisteredAt.Equal(known.RegisteredAt)):
			return ports.ErrConflict
		case err != nil:
			return err
		}
		o.applyBeat(w, h, now)
		return tx.Workers.Put(ctx, w)
	})
	if errors.Is(err, ports.ErrConflict) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o.fleet.putWorker(w, o.now())
	return w, nil
}

// applyBeat applies a heartbeat to a row. The time of the latest one moves on by
// each, though the clock of another replica may have been ahead: that it moves is
// what shows the others that the worker is heard of.
func (o *Orchestrator) applyBeat(w *domain.Worker, h domain.Heartbeat, now time.Time) []domain.Event {
	latest := w.LastHeartbeat
	events := w.Beat(h, o.timing, now)
	if !w.LastHeartbeat.After(latest) {
		w.LastHeartbeat = latest.Add(time.Microsecond)
	}
	return events
}

func (o *Orchestrator) beatWithNews(ctx context.Context, h domain.Heartbeat, found news, answer *ports.HeartbeatAnswer, now time.Time) (*domain.Worker, error) {
	var worker *domain.Worker
	var commands []ports.Command
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		answer.Synced, commands = 0, nil
		w, err := tx.Workers.Get(ctx, h.WorkerID)
		if err != nil {
			return workerMissing(err)
		}
		wasOnline := w.Online
		events := o.applyBeat(w, h, now)
		if err := o.saveWorker(ctx, tx, c, w, events); err != nil {
			return err
		}
		worker = w
		if !wasOnline {
			// Whatever it still has it will list, now or in its next heartbeat.
			if err := o.back(ctx, tx, c, w, o.timing.Settle, nil, now); err != nil {
				return err
			}
			if commands, err = leftBehind(ctx, tx, w); err != nil {
				return err
			}
		}
		if err := o.sync(ctx, tx, c, w, append(found.changed, found.foreign...), answer, &commands, now); err != nil {
			return err
		}
		if o.now().Sub(now) > heldUpFor {
			return nil // what was missing then may have come since
		}
		return o.restartMissing(ctx, tx, c, w, found.missing, now)
	})
	if err != nil {
		return nil, err
	}
	if worker.Can(domain.CapGeneration) {
		answer.Commands = commands
	} else {
		o.evict(ctx, worker, commands)
	}
	return worker, nil
}

// leftBehind lists what a worker that is back must not run any more. It learns
// so before it may run anything again, so that a start of ours which was on its
// way for long comes too late.
func leftBehind(ctx context.Context, tx *ports.Tx, w *domain.Worker) ([]ports.Command, error) {
	if !w.Can(domain.CapGeneration) {
		return nil, nil // it is told by calls
	}
	left, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	commands := make([]ports.Command, len(left))
	for i, l := range left {
		commands[i] = ports.Command{SessionID: l.SessionID, Generation: l.Generation}
	}
	return commands, nil
}

// sync applies what a heartbeat says of sessions, and finds those that the
// worker has to stop.
func (o *Orchestrator) sync(ctx context.Context, tx *ports.Tx, c *changes, w *domain.Worker, reports []domain.Report,
	answer *ports.HeartbeatAnswer, commands *[]ports.Command, now time.Time,
) error {
	for _, r := range reports {
		if o.heldUp(now, r.Status) {
			continue
		}
		s, err := tx.Sessions.Get(ctx, r.SessionID)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		outcome := domain.NotOwner
		generation := r.Generation
		if s != nil {
			if generation == 0 {
				generation = s.Generation
			}
			before := s.Clone()
			var events []domain.Event
			outcome, events = s.Apply(r, o.timing, now)
			o.noteOutcome(ctx, r, outcome)
			if outcome == domain.Applied || outcome == domain.Repeated {
				answer.Synced++
				if err := o.save(ctx, tx, c, before, s, events); err != nil {
					return err
				}
			} else {
				c.read = append(c.read, before)
			}
		}
		stopping := s != nil && s.WorkerID == w.ID && s.Order.Stops()
		if r.Status.Live() && !stopping && (outcome == domain.NotOwner || outcome == domain.NotWanted) {
			*commands = append(*commands, ports.Command{SessionID: r.SessionID, Generation: generation})
		}
	}
	return nil
}

// restartMissing starts again what the worker should have had for long.
func (o *Orchestrator) restartMissing(ctx context.Context, tx *ports.Tx, c *changes, w *domain.Worker, ids []string, now time.Time) error {
	for _, id := range ids {
		s, err := tx.Sessions.Get(ctx, id)
		if errors.Is(err, ports.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		before := s.Clone()
		var events []domain.Event
		switch {
		case s.WorkerID != w.ID:
			c.read = append(c.read, s)
			continue
		case s.Order.Stops() && s.Tries >= o.timing.StartTries:
			// The worker does not confirm the stop, but its list does.
			if err := o.leave(ctx, tx, w.ID, s.ID, stopOrder(s.Order), s.Generation); err != nil {
				return err
			}
			s.Stopped(now)
		case s.Intent == domain.Up && s.Order == domain.OrderNone && s.Status.Live():
			events = s.Missing(now)
		case s.Order == domain.OrderStart && s.Tries > 0 && s.DueAt.After(now):
			s.DueAt = now // it was accepted and came to nothing
		default:
			c.read = append(c.read, s)
			continue
		}
		if err := o.save(ctx, tx, c, before, s, events); err != nil {
			return err
		}
	}
	return nil
}

// evict stops sessions on a worker that does not own them and knows no
// commands. It goes by the cleanup list, so it is done in the end.
func (o *Orchestrator) evict(ctx context.Context, w *domain.Worker, commands []ports.Command) {
	if len(commands) == 0 {
		return
	}
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		for _, c := range commands {
			if err := o.leave(ctx, tx, w.ID, c.SessionID, domain.OrderDisconnect, c.Generation); err != nil {
				return err
			}
		}
		return nil
	})
	o.logFailure(ctx, "eviction not recorded", err, "worker", w.ID)
	o.loop.wake()
}

// noteOutcome logs what was refused.
func (o *Orchestrator) noteOutcome(ctx context.Context, r domain.Report, outcome domain.Outcome) {
	switch outcome {
	case domain.Stale, domain.NotOwner, domain.NotWanted:
		o.log.InfoContext(ctx, "report refused", "session", r.SessionID, "worker", r.WorkerID,
			"status", r.Status, "generation", r.Generation, "why", outcome.String())
	}
}

// SessionReport applies a worker's word on one session.
func (o *Orchestrator) SessionReport(ctx context.Context, r domain.Report) (domain.Outcome, error) {
	if err := o.ready(ctx); err != nil {
		return 0, err
	}
	r.SessionID = domain.NormalizeSessionRef(r.SessionID)
	if r.WorkerID != "" {
		r.WorkerID = domain.NormalizeWorkerRef(r.WorkerID)
	}
	outcome, arrived := domain.NotOwner, o.now()
	_, err := o.change(ctx, r.SessionID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if o.heldUp(arrived, r.Status) {
			outcome = domain.Stale
			return nil, errUnchanged
		}
		if r.WorkerID == "" && r.Generation == 0 && !r.Status.Live() {
			stopping, err := stoppingElsewhere(ctx, tx, s)
			if err != nil {
				return nil, err
			}
			if stopping {
				outcome = domain.NotOwner // most likely the former owner
				return nil, errUnchanged
			}
		}
		var events []domain.Event
		outcome, events = s.Apply(r, o.timing, o.now())
		if outcome != domain.Applied && outcome != domain.Repeated {
			return nil, errUnchanged
		}
		return events, nil
	})
	if err != nil {
		return outcome, o.fault(err)
	}
	o.noteOutcome(ctx, r, outcome)
	return outcome, nil
}

// heldUp reports whether this replica, or the store, has stood still since a report
// of an end arrived. It may be of a former process by now; what is true of it the
// next heartbeat says again.
func (o *Orchestrator) heldUp(arrived time.Time, status domain.Status) bool {
	return !status.Live() && o.now().Sub(arrived) > heldUpFor
}

const heldUpFor = 5 * time.Second

// stoppingElsewhere reports whether the session is being stopped on a worker that
// does not own it. Older workers report that without saying who they are. A
// heartbeat repairs it if the report was the owner's after all.
func stoppingElsewhere(ctx context.Context, tx *ports.Tx, s *domain.Session) (bool, error) {
	left, err := tx.Cleanups.BySession(ctx, s.ID)
	return slices.ContainsFunc(left, func(c *domain.Cleanup) bool {
		return c.WorkerID != s.WorkerID && !c.DueAt.IsZero()
	}), err
}

// AssignedSessions lists what a restarted worker has to recover.
func (o *Orchestrator) AssignedSessions(ctx context.Context, workerID string) ([]ports.AssignedSession, error) {
	workerID = domain.NormalizeWorkerRef(workerID)
	var list []ports.AssignedSession
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		list = nil
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return workerMissing(err)
		}
		assigned, err := tx.Sessions.Assigned(ctx, workerID)
		if err != nil {
			return err
		}
		owners := make(map[string]*domain.User)
		for _, s := range assigned {
			if !domain.Recoverable(s, workerID) {
				continue
			}
			u := owners[s.UserID]
			if u == nil {
				if u, err = tx.Users.Get(ctx, s.UserID); err != nil {
					return err
				}
				owners[s.UserID] = u
			}
			list = append(list, ports.AssignedSession{Session: s, UserEmail: u.Email, UserTier: u.Tier})
		}
		return nil
	})
	return list, o.fault(err)
}

// Recovered takes in what became of the sessions that a worker tried to recover.
func (o *Orchestrator) Recovered(ctx context.Context, workerID string, results []ports.RecoveryResult) ([]ports.RecoveryOutcome, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	workerID = domain.NormalizeWorkerRef(workerID)
	var outcomes []ports.RecoveryOutcome
	arrived := o.now()
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		outcomes = make([]ports.RecoveryOutcome, 0, len(results))
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return workerMissing(err)
		}
		for _, r := range results {
			r.SessionID = domain.NormalizeSessionRef(r.SessionID)
			if r.Status == ports.RecoveryFailed && o.heldUp(arrived, domain.Errored) {
				outcomes = append(outcomes, ports.RecoveryOutcome{SessionID: r.SessionID, Status: ports.RecoveryIgnored, Action: "refused: held up"})
				continue
			}
			out, err := o.recovered(ctx, tx, c, workerID, r)
			if err != nil {
				return err
			}
			outcomes = append(outcomes, out)
		}
		return nil
	})
	return outcomes, o.fault(err)
}

func (o *Orchestrator) recovered(ctx context.Context, tx *ports.Tx, c *changes, workerID string, r ports.RecoveryResult) (ports.RecoveryOutcome, error) {
	out := ports.RecoveryOutcome{SessionID: r.SessionID, Status: r.Status, Error: r.Error}
	s, err := tx.Sessions.Get(ctx, r.SessionID)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return out, err
	}
	if s == nil || s.WorkerID != workerID {
		out.Status, out.Action = ports.RecoveryIgnored, "not a session of this worker"
		return out, nil
	}
	report := domain.Report{SessionID: s.ID, WorkerID: workerID, Status: domain.Connected, Error: r.Error}
	switch r.Status {
	case ports.RecoverySkipped:
		out.Action = "left unchanged"
		if s.Order != domain.OrderStart || !s.DueAt.After(o.now()) {
			return out, nil
		}
		before := s.Clone()
		s.DueAt = o.now() // it is not going to come up by itself
		return out, o.save(ctx, tx, c, before, s, nil)
	case ports.RecoveryFailed:
		report.Status = domain.Errored
	}
	now := o.now()
	before := s.Clone()
	outcome, events := s.Apply(report, o.timing, now)
	o.noteOutcome(ctx, report, outcome)
	switch outcome {
	case domain.Applied, domain.Repeated:
		out.Updated = true
		out.Action = map[domain.Status]string{domain.Connected: "connected", domain.Errored: "failed, slot freed"}[report.Status]
		return out, o.save(ctx, tx, c, before, s, events)
	case domain.Unchanged:
		out.Action = "connected"
		return out, nil
	}
	out.Status, out.Action = ports.RecoveryIgnored, "refused: "+outcome.String()
	return out, nil
}

// Preserved notes that a worker goes down but keeps credentials.
func (o *Orchestrator) Preserved(ctx context.Context, workerID string, sessionIDs []string) (int, error) {
	if err := o.ready(ctx); err != nil {
		return 0, err
	}
	workerID = domain.NormalizeWorkerRef(workerID)
	n := 0
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		n = 0
		if _, err := tx.Workers.Get(ctx, workerID); err != nil {
			return workerMissing(err)
		}
		for _, id := range sessionIDs {
			s, err := tx.Sessions.Get(ctx, domain.NormalizeSessionRef(id))
			if errors.Is(err, ports.ErrNotFound) || err == nil && s.WorkerID != workerID {
				continue
			}
			if err != nil {
				return err
			}
			n++
			before := s.Clone()
			if events := s.Lost("its worker is going down and keeps the credentials", o.now()); s.Status != before.Status {
				if err := o.save(ctx, tx, c, before, s, events); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return n, o.fault(err)
}

// UnregisterWorker lets a worker leave: its sessions are placed elsewhere
// unless it is back within the failover delay. It gives the worker's status.
func (o *Orchestrator) UnregisterWorker(ctx context.Context, workerID, endpoint string) (domain.WorkerStatus, error) {
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
	lost := o.lose(ctx, leaving.ID, domain.LossLeft, func(w *domain.Worker) bool {
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
