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

// Heartbeat takes in what a worker says of itself and its sessions. With
// nothing new it costs one row.
func (o *workerProtocol) Heartbeat(ctx context.Context, h domain.Heartbeat) (*service.HeartbeatResult, error) {
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
	answer := &service.HeartbeatResult{Processed: len(h.Sessions), Lease: o.timing.Lease, Stale: int(o.loop.stale.Load())}
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
	events := w.ApplyHeartbeat(h, o.timing, now)
	if !w.LastHeartbeat.After(latest) {
		w.LastHeartbeat = latest.Add(time.Microsecond)
	}
	return events
}

func (o *Orchestrator) beatWithNews(ctx context.Context, h domain.Heartbeat, found news, answer *service.HeartbeatResult, now time.Time) (*domain.Worker, error) {
	var worker *domain.Worker
	var commands []service.StopCommand
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
			if err := o.back(ctx, tx, c, w, o.timing.DisconnectDebounce, nil, now); err != nil {
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
	if worker.Supports(domain.CapGeneration) {
		answer.Commands = commands
	} else {
		o.evict(ctx, worker, commands)
	}
	return worker, nil
}

// leftBehind lists what a worker that is back must not run any more. It learns
// so before it may run anything again, so that a start of ours which was on its
// way for long comes too late.
func leftBehind(ctx context.Context, tx *ports.Tx, w *domain.Worker) ([]service.StopCommand, error) {
	if !w.Supports(domain.CapGeneration) {
		return nil, nil // it is told by calls
	}
	left, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	commands := make([]service.StopCommand, len(left))
	for i, l := range left {
		commands[i] = service.StopCommand{SessionID: l.SessionID, Generation: l.Generation}
	}
	return commands, nil
}

// sync applies what a heartbeat says of sessions, and finds those that the
// worker has to stop.
func (o *Orchestrator) sync(ctx context.Context, tx *ports.Tx, c *changes, w *domain.Worker, reports []domain.Report,
	answer *service.HeartbeatResult, commands *[]service.StopCommand, now time.Time,
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
		stopping := s != nil && s.WorkerID == w.ID && s.Command.Stops()
		if r.Status.IsActive() && !stopping && (outcome == domain.NotOwner || outcome == domain.NotWanted) {
			stop := service.StopCommand{SessionID: r.SessionID, Generation: generation}
			if !slices.Contains(*commands, stop) { // it may be among what it left behind
				*commands = append(*commands, stop)
			}
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
		case s.Command.Stops() && s.Attempts >= o.timing.StartAttempts:
			// The worker does not confirm the stop, but its list does.
			if err := o.leave(ctx, tx, w.ID, s.ID, stopOrder(s.Command), s.Generation); err != nil {
				return err
			}
			s.StopConfirmed(now)
		case s.Intent == domain.Up && s.Command == domain.CommandNone && s.Status.IsActive():
			events = s.ReportedMissing(now)
		case s.Command == domain.CommandStart && s.Attempts > 0 && s.DueAt.After(now):
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
func (o *Orchestrator) evict(ctx context.Context, w *domain.Worker, commands []service.StopCommand) {
	if len(commands) == 0 {
		return
	}
	err := o.update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		for _, c := range commands {
			if err := o.leave(ctx, tx, w.ID, c.SessionID, domain.CommandDisconnect, c.Generation); err != nil {
				return err
			}
		}
		return nil
	})
	o.logFailure(ctx, "eviction not recorded", err, "worker", w.ID)
	o.loop.wake()
}
