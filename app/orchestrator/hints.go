package orchestrator

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// listen begins to take in hints. What was read before is read again, since a hint
// about it may have been missed.
func (o *Orchestrator) listen() (cancel func()) {
	cancel = o.hints.Subscribe(o.hear)
	o.loadMu.Lock()
	defer o.loadMu.Unlock()
	if o.loaded && o.shared() {
		o.members.mu.Lock()
		defer o.members.mu.Unlock()
		o.members.stale.all = true
	}
	return cancel
}

// hear takes in a hint of another replica. What it names is read again soon.
func (o *Orchestrator) hear(h ports.Invalidation) {
	if h.All || len(h.Users) > 0 {
		o.keys.forget()
	}
	m := &o.members
	m.mu.Lock()
	m.stale.all = m.stale.all || h.All
	for _, id := range h.Sessions {
		m.stale.sessions[id] = true
	}
	for _, id := range h.Workers {
		m.stale.some[id] = true
	}
	m.mu.Unlock()
	o.loop.relay.Store(true)
	o.loop.wake()
}

// hint tells the other replicas what has changed.
func (o *Orchestrator) hint(h ports.Invalidation) {
	if o.shared() {
		o.hints.Publish(h)
	}
}

// catchUp reads what others have changed, or what the view was wrong about.
func (o *Orchestrator) catchUp(ctx context.Context, _ *tasks) (time.Time, error) {
	now := o.now()
	m := &o.members
	m.mu.Lock()
	all, fleet := m.stale.all, false
	if o.shared() {
		all, fleet = all || !now.Before(m.reload), !now.Before(m.workers)
	}
	sessions, workers := m.stale.sessions, m.stale.some
	m.stale.all, m.stale.sessions, m.stale.some = false, make(map[string]bool), make(map[string]bool)
	m.mu.Unlock()
	var err error
	switch {
	case all:
		err = o.reload(ctx)
	case fleet:
		if err = o.rereadWorkers(ctx); err != nil {
			break
		}
		fallthrough
	default:
		err = o.reread(ctx, sessions, workers)
	}
	for id := range sessions {
		o.watch.notify(id)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.stale.all = true
		return now.Add(pauseAfterFault), err
	}
	if !o.shared() {
		return time.Time{}, nil
	}
	return m.workers, nil
}

// rereadWorkers takes over the rows of all workers: heartbeats with nothing new
// come without a hint.
func (o *Orchestrator) rereadWorkers(ctx context.Context) error {
	if err := o.readWorkers(ctx); err != nil {
		return err
	}
	o.members.mu.Lock()
	defer o.members.mu.Unlock()
	o.members.workers = o.now().Add(workersLife)
	return nil
}

func (o *Orchestrator) readWorkers(ctx context.Context) error {
	before := o.fleet.markWorkers()
	var workers []*domain.Worker
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		workers, _, err = tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{})
		return err
	})
	if err != nil {
		return err
	}
	for _, w := range workers {
		if err := o.sawAny(ctx, w); err != nil {
			return err
		}
	}
	o.fleet.sweepWorkers(before, workers)
	return nil
}

// look makes sure that all workers are known as they are now, when another replica
// may have changed them and no hint of it has come yet. Whoever waits meanwhile
// shares the next look, also one that fails.
func (o *Orchestrator) look(ctx context.Context) error {
	if err := o.ready(ctx); err != nil || !o.shared() {
		return err
	}
	l := &o.members.looks
	before := l.begun.Load()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.done > before {
		return l.outcome // it began after this one was called
	}
	this := l.begun.Add(1)
	err := o.fault(o.readWorkers(ctx))
	if err == nil || ctx.Err() == nil {
		l.done, l.outcome = this, err
	}
	return err
}

// sawAny takes over a row of a worker that may not have been known: then its
// sessions were not either.
func (o *Orchestrator) sawAny(ctx context.Context, w *domain.Worker) error {
	if o.fleet.worker(w.ID) == nil {
		return o.refresh(ctx, w.ID)
	}
	o.sawWorker(w)
	return nil
}

// reread takes over some rows as they are now.
func (o *Orchestrator) reread(ctx context.Context, sessions, workers map[string]bool) error {
	if err := o.rereadSome(ctx, slices.Sorted(maps.Keys(workers))); err != nil {
		return err
	}
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(sessions)), batch) {
		found := make([]*domain.Session, 0, len(ids))
		var gone []string
		err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
			found, gone = found[:0], gone[:0]
			for _, id := range ids {
				s, err := tx.Sessions.Get(ctx, id)
				switch {
				case errors.Is(err, ports.ErrNotFound):
					gone = append(gone, id)
				case err != nil:
					return err
				default:
					found = append(found, s)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, s := range found {
			if s.IsAssigned() && o.fleet.worker(s.WorkerID) == nil {
				if err := o.refresh(ctx, s.WorkerID); err != nil {
					return err
				}
			}
			o.fleet.putSession(s)
		}
		for _, id := range gone {
			o.fleet.dropSession(id)
		}
	}
	return nil
}

// rereadSome takes over the rows of some workers. Their sessions have hints of
// their own.
func (o *Orchestrator) rereadSome(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	before := make(map[string]int64, len(ids))
	for _, id := range ids {
		if w := o.fleet.worker(id); w != nil {
			before[id] = w.Rev
		}
	}
	var found []*domain.Worker
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		found = nil
		for _, id := range ids {
			w, err := tx.Workers.Get(ctx, id)
			if errors.Is(err, ports.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			found = append(found, w)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range found {
		if err := o.sawAny(ctx, w); err != nil {
			return err
		}
	}
	o.fleet.sweepWorkers(before, found)
	return nil
}

// reload takes over everything as it is now.
func (o *Orchestrator) reload(ctx context.Context) error {
	now := o.now()
	before, known := o.fleet.mark(), o.fleet.markWorkers()
	var workers []*domain.Worker
	seen := make(map[string]bool)
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if workers, _, err = tx.Workers.List(ctx, ports.WorkerFilter{}, ports.Page{}); err != nil {
			return err
		}
		for _, w := range workers {
			o.sawWorker(w)
		}
		if err := o.readMonitor(ctx, tx); err != nil {
			return err
		}
		clear(seen)
		return tx.Sessions.EachAssigned(ctx, func(s *domain.Session) error {
			seen[s.ID] = true
			o.fleet.putSession(s)
			return nil
		})
	})
	if err != nil {
		return err
	}
	o.fleet.sweep(before, seen)
	o.fleet.sweepWorkers(known, workers)
	o.members.mu.Lock()
	o.members.reload, o.members.workers = now.Add(reloadEvery), now.Add(workersLife)
	o.members.mu.Unlock()
	return nil
}

// sawWorker takes over a row of a worker. Calls to one that is lost are given
// up: they would only hold up what comes next.
func (o *Orchestrator) sawWorker(w *domain.Worker) {
	o.fleet.putWorker(w, o.now())
	if !w.Online {
		o.calls.giveUp(w.ID)
	}
}
