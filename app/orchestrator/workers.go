package orchestrator

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Add takes a worker into the fleet on an administrator's word. Its
// health route must answer. Without an id one is derived from the endpoint.
func (o *workerService) Add(ctx context.Context, r domain.Registration) (*service.WorkerView, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	if r.WorkerID == "" {
		if id, err := domain.WorkerIDFromEndpoint(r.Endpoint); err == nil {
			r.WorkerID = id
		} else {
			r.WorkerID = "worker" // the endpoint's own problem is reported below
		}
	}
	if err := checkRegistration(&r); err != nil {
		return nil, err
	}
	if _, err := o.endpointFree(ctx, r); err != nil {
		return nil, o.fault(err)
	}
	if err := o.reach(ctx, r.Endpoint); err != nil {
		return nil, err
	}
	var w *domain.Worker
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		now := o.now()
		_, err := tx.Workers.Get(ctx, r.WorkerID)
		if err == nil {
			return workerTaken()
		}
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		w = &domain.Worker{ID: r.WorkerID, CPU: -1, Memory: -1, CreatedAt: now}
		events := w.Register(r, o.timing, now)
		return endpointTaken(o.saveWorker(ctx, tx, c, w, events))
	})
	if err != nil {
		return nil, o.fault(err)
	}
	return o.workerView(w), nil
}

func workerTaken() error {
	return domain.Errorf(domain.Conflict, domain.CodeWorkerConflict, "A worker with this id exists already; choose another id")
}

func (o *Orchestrator) workerView(w *domain.Worker) *service.WorkerView {
	v := &service.WorkerView{Worker: w}
	o.fleet.on(w.ID, func(n *node) {
		v.Breakdown, v.Warning = n.counts, n.probes.Warning
	})
	return v
}

// Get gives one worker with the sessions assigned to it.
func (o *workerService) Get(ctx context.Context, id string) (*service.WorkerView, []*domain.Session, error) {
	if err := o.ready(ctx); err != nil {
		return nil, nil, err
	}
	var w *domain.Worker
	var assigned []*domain.Session
	var drain *service.DrainProgress
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if w, err = tx.Workers.Get(ctx, domain.NormalizeWorkerRef(id)); err != nil {
			return workerMissing(err)
		}
		if assigned, err = tx.Sessions.ListByWorker(ctx, w.ID); err != nil {
			return err
		}
		drain, err = drainProgress(ctx, tx, w, assigned)
		return err
	})
	if err != nil {
		return nil, nil, o.fault(err)
	}
	v := o.workerView(w)
	v.Drain = drain
	return v, assigned, nil
}

// drainProgress tells how far the drain of a worker is; nil: it is not draining.
func drainProgress(ctx context.Context, tx *ports.Tx, w *domain.Worker, assigned []*domain.Session) (*service.DrainProgress, error) {
	if !w.Draining {
		return nil, nil
	}
	p := &service.DrainProgress{BatchID: w.DrainID, Remaining: len(assigned)}
	running, _, err := tx.Migrations.List(ctx, ports.MigrationFilter{BatchID: w.DrainID, Status: domain.MigrationRunning}, ports.Page{})
	if err != nil {
		return nil, err
	}
	for status, n := range map[domain.MigrationStatus]*int{domain.MigrationCompleted: &p.Moved, domain.MigrationFailed: &p.Failed} {
		if _, *n, err = tx.Migrations.List(ctx, ports.MigrationFilter{BatchID: w.DrainID, Status: status}, ports.Page{Limit: 1}); err != nil {
			return nil, err
		}
	}
	p.Moving = len(running)
	p.Total = p.Remaining + p.Moving + p.Moved + p.Failed
	for _, m := range running {
		if slices.ContainsFunc(assigned, func(s *domain.Session) bool { return s.ID == m.SessionID }) {
			p.Total-- // it is among the remaining
		}
	}
	return p, nil
}

// LoadSamples gives the load of a worker, which is recorded once a minute and
// kept for a day.
func (o *workerService) LoadSamples(ctx context.Context, id string, since time.Time) (samples []domain.LoadSample, err error) {
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		w, err := tx.Workers.Get(ctx, domain.NormalizeWorkerRef(id))
		if err != nil {
			return workerMissing(err)
		}
		samples, err = tx.LoadSamples.Since(ctx, w.ID, since)
		return err
	})
	return samples, o.fault(err)
}

// List lists the fleet by id.
func (o *workerService) List(ctx context.Context, f ports.WorkerFilter, p ports.Page) ([]*service.WorkerView, int, error) {
	if err := o.ready(ctx); err != nil {
		return nil, 0, err
	}
	var list []*domain.Worker
	var total int
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		list, total, err = tx.Workers.List(ctx, f, p)
		return err
	})
	if err != nil {
		return nil, 0, o.fault(err)
	}
	views := make([]*service.WorkerView, len(list))
	for i, w := range list {
		views[i] = o.workerView(w)
	}
	return views, total, nil
}

// changeWorker lets fn alter one worker and stores the result.
func (o *Orchestrator) changeWorker(ctx context.Context, id string,
	fn func(ctx context.Context, tx *ports.Tx, c *changes, w *domain.Worker) ([]domain.Event, error),
) (*domain.Worker, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	var result *domain.Worker
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		w, err := tx.Workers.Get(ctx, domain.NormalizeWorkerRef(id))
		if err != nil {
			return workerMissing(err)
		}
		result = w
		events, err := fn(ctx, tx, c, w)
		if err != nil {
			return err
		}
		return o.saveWorker(ctx, tx, c, w, events)
	})
	return result, o.fault(err)
}

// Update changes what an administrator may change of a worker.
func (o *workerService) Update(ctx context.Context, id string, ch service.WorkerChange) (*service.WorkerView, error) {
	var p domain.Problems
	if ch.Capacity != nil {
		checkCapacity(&p, *ch.Capacity)
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	checkTexts(&p, text(ch.Description), text(ch.Version), text(ch.Environment))
	checkLabels(&p, ch.Labels)
	if err := p.Err(); err != nil {
		return nil, err
	}
	w, err := o.changeWorker(ctx, id, func(_ context.Context, _ *ports.Tx, _ *changes, w *domain.Worker) ([]domain.Event, error) {
		if ch.Capacity != nil {
			w.Capacity = *ch.Capacity
		}
		for to, from := range map[*string]*string{&w.Description: ch.Description, &w.Version: ch.Version, &w.Environment: ch.Environment} {
			if from != nil {
				*to = *from
			}
		}
		if ch.Labels != nil {
			w.Labels = ch.Labels
		}
		w.UpdatedAt = o.now()
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return o.workerView(w), nil
}

// Drain takes a worker out of placement and moves its sessions to others, a few
// at a time.
func (o *workerService) Drain(ctx context.Context, id string) (*service.WorkerView, error) {
	w, err := o.changeWorker(ctx, id, func(ctx context.Context, tx *ports.Tx, c *changes, w *domain.Worker) ([]domain.Event, error) {
		now := o.now()
		events := w.Drain(o.ids.NewID(), now)
		if events == nil {
			return nil, nil
		}
		c.moved = true
		events = append(events, w.Drained(now)...)
		due := now
		return events, o.eachOn(ctx, tx, c, w.ID, func(s *domain.Session) ([]domain.Event, error) {
			if !s.DueAt.IsZero() {
				return nil, errUnchanged
			}
			s.DueAt = due
			due = now.Add(moveEvery) // the others wait for their turn
			return nil, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return o.workerView(w), nil
}

// Activate puts a worker back into placement, if it answers. Sessions that have
// not begun to leave it stay, and what its canary period found is forgotten.
func (o *workerService) Activate(ctx context.Context, id string) (*service.WorkerView, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	known, err := o.known(ctx, domain.NormalizeWorkerRef(id))
	if err != nil {
		return nil, err
	}
	if err := o.reach(ctx, known.Endpoint); err != nil {
		return nil, err
	}
	w, err := o.changeWorker(ctx, id, func(ctx context.Context, tx *ports.Tx, c *changes, w *domain.Worker) ([]domain.Event, error) {
		now := o.now()
		wasOnline := w.Online
		w.Activate(now)
		events := o.applyBeat(w, domain.Heartbeat{CPU: -1, Memory: -1, MessageCount: -1}, now)
		if wasOnline {
			return events, nil
		}
		return events, o.back(ctx, tx, c, w, o.timing.DisconnectDebounce, nil, now)
	})
	if err != nil {
		return nil, err
	}
	return o.workerView(w), nil
}

// Remove moves the sessions of a worker elsewhere and then forgets it.
// Those that cannot move keep it from being removed, unless force is set: then
// they are disconnected. Those of a worker that does not answer keep it until
// it certainly has stopped them, forced or not.
func (o *workerService) Remove(ctx context.Context, id string, opt service.RemoveOptions) error {
	id = domain.NormalizeWorkerRef(id)
	if _, err := o.Workers.Drain(ctx, id); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	left, err := o.clear(ctx, id, opt.Force)
	if err != nil {
		return o.fault(err)
	}
	switch {
	case left > 0 && opt.Force:
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
			"The worker does not confirm that it has stopped %d session(s); they are disconnected, and it can be removed once it does or its lease is over: try again in a minute", left)
	case left > 0:
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState,
			"%d session(s) could not move to another worker; the worker is in maintenance now: add capacity and try again, or use force=true to disconnect them", left)
	}
	var rev int64
	err = o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		w, err := tx.Workers.Get(ctx, id)
		if err != nil {
			return workerMissing(err)
		}
		rev = w.Rev
		todo, err := tx.Cleanups.ByWorker(ctx, id)
		if err != nil {
			return err
		}
		for _, l := range todo {
			if err := tx.Cleanups.Delete(ctx, l); err != nil {
				return err
			}
		}
		return workerMissing(tx.Workers.Delete(ctx, id))
	})
	if err == nil {
		o.fleet.removeWorker(id, rev)
		o.hint(ports.Invalidation{Workers: []string{id}})
	}
	return o.fault(err)
}

// clear gets the sessions off a worker and returns how many are left. With
// force, those that did not move in time are disconnected.
func (o *Orchestrator) clear(ctx context.Context, id string, force bool) (left int, err error) {
	left, err = o.pursueAll(ctx, id, moveLimit)
	if err != nil || !force || left == 0 {
		return left, err
	}
	err = o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) (err error) {
		return o.eachOn(ctx, tx, c, id, func(s *domain.Session) ([]domain.Event, error) {
			if s.Intent == domain.Down {
				return nil, errUnchanged
			}
			_, events := s.Disconnect(o.now())
			return events, nil
		})
	})
	if err != nil {
		return left, err
	}
	return o.pursueAll(ctx, id, tellLimit)
}

// pursueAll takes all sessions of a worker on, whosever turn it is, and returns
// how many it still has.
func (o *Orchestrator) pursueAll(ctx context.Context, id string, limit time.Duration) (left int, err error) {
	assigned, err := o.assignedTo(ctx, id)
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o.eachAtOnce(assigned, func(s *domain.Session) {
		_, err := o.pursueBy(limited, s.ID, pass{hurry: true})
		o.logFailure(limited, "session not moved or stopped", err, "session", s.ID, "worker", id)
	})
	assigned, err = o.assignedTo(ctx, id)
	return len(assigned), err
}

// How long removing a worker may take for moving its sessions, and for stopping
// those that cannot move.
const (
	moveLimit = 20 * time.Second
	tellLimit = 5 * time.Second
)

func (o *Orchestrator) assignedTo(ctx context.Context, workerID string) (assigned []*domain.Session, err error) {
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		assigned, err = tx.Sessions.ListByWorker(ctx, workerID)
		return err
	})
	return assigned, err
}

// eachAtOnce calls fn for all sessions, a few at a time.
func (o *Orchestrator) eachAtOnce(sessions []*domain.Session, fn func(*domain.Session)) {
	o.atOnce(len(sessions), func(i int) { fn(sessions[i]) })
}

// atOnce calls fn for 0 to n-1, a few at a time.
func (o *Orchestrator) atOnce(n int, fn func(i int)) {
	turns := make(chan struct{}, 2*o.moves)
	var all sync.WaitGroup
	for i := range n {
		all.Add(1)
		turns <- struct{}{}
		o.spawn(func() {
			defer func() { <-turns; all.Done() }()
			fn(i)
		})
	}
	all.Wait()
}

// Statistics sums up the sessions and workers in the store.
func (o *workerService) Statistics(ctx context.Context) (*service.FleetStatistics, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	st := &service.FleetStatistics{}
	var workers []*domain.Worker
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if workers, _, err = tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{}); err != nil {
			return err
		}
		st.Sessions, err = tx.Sessions.CountByStatus(ctx)
		return err
	})
	if err != nil {
		return nil, o.fault(err)
	}
	cpus, memories := 0, 0
	for _, w := range workers {
		switch w.Status() {
		case domain.WorkerOnline:
			st.Online++
		case domain.WorkerOffline:
			st.Offline++
			continue
		case domain.WorkerMaintenance:
			st.Maintenance++
		}
		st.Capacity += w.Capacity
		st.Used += w.Used
		if w.CPU >= 0 {
			st.CPU += w.CPU
			cpus++
		}
		if w.Memory >= 0 {
			st.Memory += w.Memory
			memories++
		}
	}
	st.CPU /= float64(max(cpus, 1))
	st.Memory /= float64(max(memories, 1))
	return st, nil
}

// ExplainPlacement explains which worker the next session would get.
func (o *workerService) ExplainPlacement(ctx context.Context) (string, []domain.Candidate, error) {
	if err := o.look(ctx); err != nil {
		return "", nil, err
	}
	chosen, all := domain.Explain(o.fleet.loads(), domain.Request{}, o.fleet.strategy, o.now())
	return chosen, all, nil
}

// TestEndpoint calls a health route that need not belong to a worker.
func (o *workerService) TestEndpoint(ctx context.Context, endpoint string) (*service.ProbeReport, error) {
	canonical, err := domain.ParseEndpoint(endpoint)
	if err != nil {
		var p domain.Problems
		p.Check("endpoint", err)
		return nil, p.Err()
	}
	r := o.probe(ctx, nil, canonical)
	return &r, nil
}

// Test calls a worker's health route now.
func (o *workerService) Test(ctx context.Context, id string) (*service.ProbeReport, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	w, err := o.known(ctx, domain.NormalizeWorkerRef(id))
	if err != nil {
		return nil, err
	}
	r := o.probe(ctx, w, w.Endpoint)
	return &r, nil
}

// ProbeAll calls every worker's health route now.
func (o *workerService) ProbeAll(ctx context.Context) ([]service.ProbeReport, error) {
	if err := o.look(ctx); err != nil {
		return nil, err
	}
	var all []*domain.Worker
	o.fleet.each(func(n *node) { all = append(all, n.worker) })
	slices.SortFunc(all, func(a, b *domain.Worker) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	reports := make([]service.ProbeReport, len(all))
	turns := make(chan struct{}, o.parallel)
	var asked sync.WaitGroup
	for i, w := range all {
		asked.Add(1)
		turns <- struct{}{}
		o.spawn(func() {
			defer func() { <-turns; asked.Done() }()
			reports[i] = o.probe(ctx, w, w.Endpoint)
		})
	}
	asked.Wait()
	return reports, nil
}

// known gives a worker from the view, or else from the store.
func (o *Orchestrator) known(ctx context.Context, id string) (*domain.Worker, error) {
	if o.fleet.worker(id) == nil {
		if err := o.refresh(ctx, id); err != nil {
			return nil, o.fault(err)
		}
	}
	if w := o.fleet.worker(id); w != nil {
		return w, nil
	}
	return nil, workerMissing(ports.ErrNotFound)
}

// ProbeStatus tells the state of the background health monitor.
func (o *workerService) ProbeStatus(ctx context.Context) service.ProbeStatus {
	stopped := o.loop.stopped.Load()
	if o.shared() { // another replica may have changed it a moment ago
		o.logFailure(ctx, "monitor's setting not read", o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
			now, err := monitorIsStopped(ctx, tx)
			if err == nil {
				stopped = now
			}
			return err
		}))
	}
	st := service.ProbeStatus{Running: !stopped, Interval: o.timing.ProbeInterval}
	if us := o.loop.checked.Load(); us != 0 {
		st.LastCheck = time.UnixMicro(us).UTC()
	}
	o.fleet.each(func(*node) { st.Workers++ })
	return st
}

// StartProbes starts the background probes on all replicas. Other replicas follow at
// their next heartbeat.
func (o *workerService) StartProbes(ctx context.Context) (service.ProbeStatus, error) {
	return o.setProbesEnabled(ctx, true)
}

// StopProbes stops the background probes on all replicas. Silent workers are still
// marked down.
func (o *workerService) StopProbes(ctx context.Context) (service.ProbeStatus, error) {
	return o.setProbesEnabled(ctx, false)
}

func (o *workerService) setProbesEnabled(ctx context.Context, running bool) (service.ProbeStatus, error) {
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.Settings.Put(ctx, monitorStopped, strconv.FormatBool(!running))
	})
	if err != nil {
		return service.ProbeStatus{}, o.fault(err)
	}
	o.loop.stopped.Store(!running)
	o.loop.wake()
	return o.Workers.ProbeStatus(ctx), nil
}

const monitorStopped = "monitor.stopped" // setting

func monitorIsStopped(ctx context.Context, tx *ports.Tx) (bool, error) {
	text, err := tx.Settings.Get(ctx, monitorStopped)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return false, err
	}
	return text == "true", nil
}

// readMonitor takes over whether the monitor is stopped.
func (o *Orchestrator) readMonitor(ctx context.Context, tx *ports.Tx) error {
	stopped, err := monitorIsStopped(ctx, tx)
	if err == nil {
		o.loop.stopped.Store(stopped)
	}
	return err
}
