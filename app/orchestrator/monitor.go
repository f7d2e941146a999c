package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// monitor finds workers that are silent and probes those whose turn it is.
func (o *Orchestrator) monitor(ctx context.Context, work *tasks) (time.Time, error) {
	now := o.now()
	probing := !o.loop.stopped.Load()
	type silence struct {
		id    string
		heard time.Time // the heartbeat that none has followed
	}
	var silent []silence
	var probes, doubts []*domain.Worker
	o.fleet.each(func(n *node) {
		w := n.worker
		switch {
		case !w.Online:
			if probing && n.doubt(now) {
				doubts = append(doubts, w)
			}
		case !now.Before(n.silentAt(o.timing)):
			if !o.members.blind.Load() && o.turn(workOn(w.ID), n.silentAt(o.timing), now) {
				silent = append(silent, silence{w.ID, w.LastHeartbeat})
			}
		case n.probes.NextAt.IsZero():
			// A worker that has just been heard of need not be asked at once.
			n.probes.NextAt = now.Add(o.timing.ProbeInterval)
		case probing && !n.probing && !now.Before(n.probes.NextAt):
			if n.probes.Refusals == 0 && !o.mine(workOn(w.ID)) {
				n.probes.NextAt = now.Add(o.timing.ProbeInterval) // another replica asks it
				return
			}
			n.probing = true
			probes = append(probes, w)
		}
	})
	o.loop.stale.Store(int64(len(silent)))
	if len(probes) > 0 {
		o.loop.checked.Store(now.UnixMicro())
	}
	var errs []error
	for _, s := range silent {
		// Another replica may have heard of it since: then the row says so.
		errs = append(errs, o.lose(ctx, s.id, domain.DownHeartbeatTimeout, func(w *domain.Worker) bool {
			return w.LastHeartbeat.Equal(s.heard)
		}))
	}
	for _, w := range probes {
		if !o.dispatch(work, task{key: "probe/" + w.ID, pool: o.loop.probes}, func() error {
			o.probe(work.ctx, w, w.Endpoint)
			return nil
		}) {
			o.fleet.on(w.ID, func(n *node) { n.probing = false })
		}
	}
	for _, w := range doubts {
		o.dispatch(work, task{key: "doubt/" + w.ID, pool: o.loop.probes}, func() error {
			return o.contradict(work.ctx, w)
		})
	}
	var next time.Time
	o.fleet.each(func(n *node) {
		if !n.worker.Online {
			return
		}
		at := n.silentAt(o.timing)
		if probing && !n.probing && n.probes.NextAt.Before(at) {
			at = n.probes.NextAt
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	})
	return next, errors.Join(errs...)
}

// silentAt is when the worker counts as lost if nothing is heard of it. When
// its latest heartbeat was first known here decides, not the time in its row:
// that is by the clock of whichever replica heard it. It needs the lock.
func (n *node) silentAt(t domain.Timing) time.Time {
	w := *n.worker
	w.LastHeartbeat = time.Time{}
	return w.HeartbeatDeadline(t, n.heardAt)
}

// doubt reports, once for each loss, whether another replica found that the
// worker crashed, and this one has not been refused by it. It needs the lock.
func (n *node) doubt(now time.Time) bool {
	w := n.worker
	if w.DownReason != domain.DownCrashed || n.probes.Refusals > 0 || n.doubted.Equal(w.DownAt) || !now.Before(w.FailoverAt) {
		return false
	}
	n.doubted = w.DownAt
	return true
}

// contradict asks a worker that crashed, by another replica's word. If it answers,
// its process is there, and only the other's way to it is cut.
func (o *Orchestrator) contradict(ctx context.Context, lost *domain.Worker) error {
	if err := o.workers.Health(ctx, lost.Endpoint); err != nil {
		return nil //nolint:nilerr // then it crashed, as far as this replica can tell
	}
	err := o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		w, err := tx.Workers.Get(ctx, lost.ID)
		if errors.Is(err, ports.ErrNotFound) || err == nil && (w.Online || !w.DownAt.Equal(lost.DownAt)) {
			return nil
		}
		if err != nil {
			return err
		}
		now := o.now()
		events := o.applyBeat(w, domain.Heartbeat{CPU: -1, Memory: -1, MessageCount: -1}, now)
		if err := o.saveWorker(ctx, tx, c, w, events); err != nil {
			return err
		}
		o.log.WarnContext(ctx, "worker answers, though another replica is refused", "worker", w.ID)
		return o.back(ctx, tx, c, w, o.timing.DisconnectDebounce, nil, now)
	})
	o.logFailure(ctx, "worker not taken back", err, "worker", lost.ID)
	return err
}

// probe calls a worker's health route and draws the conclusion, if the worker
// is one of the fleet.
func (o *Orchestrator) probe(ctx context.Context, w *domain.Worker, endpoint string) service.ProbeReport {
	began := o.now()
	err := o.workers.Health(ctx, endpoint)
	r := service.ProbeReport{Endpoint: endpoint, Reachable: err == nil, At: o.now()}
	r.Took = r.At.Sub(began)
	if err != nil {
		r.Error = plain(err)
	}
	if w != nil {
		r.WorkerID = w.ID
		o.fleet.on(w.ID, func(n *node) { n.probing = false })
		o.noteCall(ctx, w, err)
	}
	return r
}

// plain gives what a failure of a worker is called in words fit to show.
func plain(err error) string {
	var failure *ports.WorkerError
	if errors.As(err, &failure) {
		return failure.Message
	}
	return "the worker could not be called"
}

// noteCall lets the outcome of any call count as a probe of the process that was
// called.
func (o *Orchestrator) noteCall(ctx context.Context, w *domain.Worker, err error) {
	result, warning := domain.ProbeAnswered, ""
	if err != nil {
		var failure *ports.WorkerError
		if !errors.As(err, &failure) || failure.Failure == ports.WorkerCircuitOpen || errors.Is(err, context.Canceled) ||
			failure.Failure == ports.WorkerBusy && failure.Status == 0 {
			return // nothing of the worker's doing
		}
		if result = failure.Probe(); result != domain.ProbeAnswered || failure.Failure == ports.WorkerFailed {
			warning = failure.Message
		}
	}
	if result == domain.ProbeRefused && o.shared() && !o.fleet.refuses(w.ID) {
		// The first refusal: whatever was heard of it elsewhere before must be known,
		// so that only what is heard after it counts.
		if err := o.rereadSome(ctx, []string{w.ID}); err != nil {
			o.logFailure(ctx, "worker not read", err, "worker", w.ID)
			return
		}
	}
	crashed := false
	var heard time.Time // its latest heartbeat
	o.fleet.on(w.ID, func(n *node) {
		if !n.worker.RegisteredAt.Equal(w.RegisteredAt) || n.worker.Endpoint != w.Endpoint {
			return // it was a former process
		}
		if result == domain.ProbeAnswered && n.probes.Refusals == 0 && n.probes.Warning == warning && err == nil &&
			o.now().Add(o.timing.ProbeInterval/2).Before(n.probes.NextAt) {
			return // nothing new
		}
		crashed = n.probes.Note(result, warning, n.heardAt, o.timing, o.now()) && n.worker.Online
		heard = n.worker.LastHeartbeat
	})
	if crashed {
		err := o.lose(ctx, w.ID, domain.DownCrashed, func(now *domain.Worker) bool {
			return now.RegisteredAt.Equal(w.RegisteredAt) && now.Endpoint == w.Endpoint && now.LastHeartbeat.Equal(heard)
		})
		o.logFailure(ctx, "crashed worker not recorded", err, "worker", w.ID)
	} else if result == domain.ProbeRefused {
		o.loop.wake() // the next probe is soon
	}
}

// lose records that a worker is gone: its linked sessions are RECONNECTING, and
// all of them are looked at when they may be given to others. still is asked
// about the row as it is in the transaction: the worker may have come back.
func (o *Orchestrator) lose(ctx context.Context, workerID string, why domain.DownReason, still func(*domain.Worker) bool) error {
	err := o.transact(context.WithoutCancel(ctx), func(ctx context.Context, tx *ports.Tx, c *changes) error {
		w, err := tx.Workers.Get(ctx, workerID)
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now := o.now()
		if !still(w) {
			c.workers = append(c.workers, w)
			return nil
		}
		events := w.MarkDown(why, o.timing, now)
		if events == nil {
			return nil
		}
		o.log.WarnContext(ctx, "worker lost", "worker", w.ID, "why", why, "failoverAt", w.FailoverAt)
		if err := o.saveWorker(ctx, tx, c, w, events); err != nil {
			return err
		}
		return o.eachOn(ctx, tx, c, w.ID, func(s *domain.Session) ([]domain.Event, error) {
			events := s.WorkerLost("worker "+w.ID+" is gone", now)
			s.DueAt = w.FailoverAt
			return events, nil
		})
	})
	if errors.Is(err, ports.ErrClosed) {
		return nil
	}
	return err
}

// eachOn changes the sessions that are assigned to a worker, but for those of which
// fn says errUnchanged.
func (o *Orchestrator) eachOn(ctx context.Context, tx *ports.Tx, c *changes, workerID string, fn func(*domain.Session) ([]domain.Event, error)) error {
	assigned, err := tx.Sessions.ListByWorker(ctx, workerID)
	if err != nil {
		return err
	}
	for _, s := range assigned {
		before := s.Clone()
		events, err := fn(s)
		if errors.Is(err, errUnchanged) {
			continue
		}
		if err == nil {
			err = o.save(ctx, tx, c, before, s, events)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// back makes due what waits for a worker that is online again: cleanups there,
// and the sessions it has to recover, after a grace in which it does so itself.
// Those that are running need nothing.
func (o *Orchestrator) back(ctx context.Context, tx *ports.Tx, c *changes, w *domain.Worker, grace time.Duration, running map[string]bool, now time.Time) error {
	left, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return err
	}
	for _, l := range left {
		l.DueAt = now
		if err := tx.Cleanups.Put(ctx, l); err != nil {
			return err
		}
	}
	return o.eachOn(ctx, tx, c, w.ID, func(s *domain.Session) ([]domain.Event, error) {
		if running[s.ID] && s.Status == domain.Connected && s.Command == domain.CommandNone {
			return nil, errUnchanged
		}
		return s.AwaitRecovery(grace, now), nil
	})
}

// refresh reads a worker and its sessions afresh: the view may be wrong about
// them, or another replica has changed them.
func (o *Orchestrator) refresh(ctx context.Context, workerID string) error {
	var w *domain.Worker
	var assigned []*domain.Session
	known, before := o.fleet.worker(workerID), o.fleet.seats(workerID)
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if w, err = tx.Workers.Get(ctx, workerID); err != nil {
			return err
		}
		assigned, err = tx.Sessions.ListByWorker(ctx, workerID)
		return err
	})
	if errors.Is(err, ports.ErrNotFound) {
		if known != nil {
			o.fleet.removeWorker(workerID, known.Rev)
		}
		return nil
	}
	if err != nil {
		return err
	}
	o.sawWorker(w)
	for _, s := range assigned {
		delete(before, s.ID)
		o.fleet.putSession(s)
	}
	if len(before) == 0 {
		return nil
	}
	// These have left it; where to, their own rows say.
	o.members.mu.Lock()
	defer o.members.mu.Unlock()
	for id := range before {
		o.members.stale.sessions[id] = true
	}
	o.loop.wake()
	return nil
}
