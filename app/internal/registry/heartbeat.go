package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// Heartbeat records that a worker lives, and applies what it says of its sessions.
// Without news it costs one row.
func (p *Protocol) Heartbeat(ctx context.Context, h domain.Heartbeat) (*service.HeartbeatResult, error) {
	if err := p.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	normalizeHeartbeat(&h)
	now := p.Now()
	known, err := p.sync.LookupWorker(ctx, h.WorkerID)
	if err != nil {
		return nil, err
	}
	admitted, end := p.intake.begin(known.ID, now)
	defer end()
	if admitted == admitSessions {
		p.boundList(&h, max(known.Capacity, h.Capacity))
	} else {
		ignoreSessions(&h)
	}
	result := &service.HeartbeatResult{
		Processed: len(h.Sessions), Skipped: h.Skipped, Warnings: h.Warnings, Lease: p.Timing.Lease, Stale: p.detector.SilentWorkers(),
	}
	w := known
	age := now.Sub(known.LastHeartbeat)
	if admitted == admitNothing && known.Online && age < storedWithin {
		result.Lease -= max(age, 0) // the stored heartbeat began the lease
	} else {
		w, err = p.applyHeartbeat(ctx, h, known, result, now)
		if err != nil {
			return nil, apperr.Public(err)
		}
	}
	result.Breakdown = p.cache.Breakdown(h.WorkerID)
	result.Worker = w.Clone()
	result.Worker.Used = result.Breakdown.Total
	return result, nil
}

func normalizeHeartbeat(h *domain.Heartbeat) {
	h.WorkerID = domain.NormalizeWorkerRef(h.WorkerID)
	h.Capacity = min(h.Capacity, maxCapacity)
	for i := range h.Sessions {
		h.Sessions[i].SessionID = domain.NormalizeSessionRef(h.Sessions[i].SessionID)
		h.Sessions[i].WorkerID = h.WorkerID
		h.Sessions[i].Snapshot = true
	}
}

// applyHeartbeat stores a heartbeat, by one row if it says nothing new. The sign of life is
// stored even if the worker has hung up, and even if its sessions cannot be stored.
func (p *Protocol) applyHeartbeat(ctx context.Context, h domain.Heartbeat, known *domain.Worker, result *service.HeartbeatResult, now time.Time) (*domain.Worker, error) {
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), lifeLimit)
	defer cancel()
	diff := p.diffHeartbeat(detached, &h, now)
	if known.Online && diff.IsEmpty() {
		w, err := p.renewWorker(detached, known, h, now)
		if w != nil || err != nil {
			return w, err
		}
		// The cache was old: read the worker again.
		if err := p.sync.RefreshWorker(detached, h.WorkerID); err != nil {
			return nil, err
		}
		diff = p.diffHeartbeat(detached, &h, now)
	}
	news := batches(diff)
	w, err := p.applyNews(detached, h, news[0], result, now)
	if err != nil {
		for _, id := range diff.NewForeign {
			p.cache.ForgetForeign(id) // the next heartbeat records it
		}
	}
	if err != nil && !diff.IsEmpty() && domain.CodeOf(err) != domain.CodeWorkerNotFound {
		p.LogFailure(ctx, "sessions of a heartbeat not applied", err, "worker", h.WorkerID)
		result.Warnings = append(result.Warnings, "The sessions could not be stored")
		return p.applyNews(detached, h, batch{}, result, now)
	}
	if err != nil {
		return nil, err
	}
	for _, b := range news[1:] {
		if err := p.applyMore(ctx, w, b, result, now); err != nil {
			p.LogFailure(ctx, "sessions of a heartbeat not applied", err, "worker", h.WorkerID)
			result.Warnings = append(result.Warnings, "Some of the sessions could not be stored")
			break
		}
	}
	return w, nil
}

// diffHeartbeat compares a heartbeat with the cache. It notes foreign sessions and leaves
// them alone: they may belong to another control plane, or the store may be the wrong one.
// Unexpected sessions in the result are those that the store knows or has known.
func (p *Protocol) diffHeartbeat(ctx context.Context, h *domain.Heartbeat, now time.Time) fleet.HeartbeatDiff {
	diff := p.cache.DiffHeartbeat(h, p.Timing, now)
	known, foreign, unrecorded, err := p.splitForeign(ctx, p.intake.pickUnexpected(h.WorkerID, diff.Unexpected))
	if err != nil {
		p.LogFailure(ctx, "foreign sessions not looked up", err, "worker", h.WorkerID)
		known, foreign, unrecorded = nil, nil, nil // the next heartbeat repeats them
	}
	if len(foreign) > 0 {
		p.Log.WarnContext(ctx, "foreign sessions", "worker", h.WorkerID, "new", len(foreign))
	}
	p.cache.NoteForeign(h, foreign, now)
	diff.Unexpected, diff.NewForeign = known, unrecorded
	return diff
}

// splitForeign divides reports by whether the store knows or has known the session. unrecorded
// lists the foreign sessions that are not recorded for the worker.
func (p *Protocol) splitForeign(ctx context.Context, reports []domain.Report) (known, foreign []domain.Report, unrecorded []string, err error) {
	if len(reports) == 0 {
		return nil, nil, nil, nil
	}
	err = p.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		known, foreign, unrecorded = nil, nil, nil
		for _, r := range reports {
			isKnown, err := txn.IsKnown(ctx, tx, r.SessionID)
			if err != nil {
				return err
			}
			if isKnown {
				known = append(known, r)
				continue
			}
			foreign = append(foreign, r)
			c, err := txn.FindCleanup(ctx, tx, r.WorkerID, r.SessionID)
			if err != nil {
				return err
			}
			if c == nil {
				unrecorded = append(unrecorded, r.SessionID)
			}
		}
		return nil
	})
	return known, foreign, unrecorded, err
}

// renewWorker stores a heartbeat that says nothing new. It returns nil if the cached
// worker is old.
func (p *Protocol) renewWorker(ctx context.Context, known *domain.Worker, h domain.Heartbeat, now time.Time) (*domain.Worker, error) {
	var w *domain.Worker
	hasOthers := p.members.HasOthers() // then a heartbeat to another replica has probably changed the row
	err := p.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		w = known.Clone()
		if hasOthers {
			w, err = tx.Workers.Get(ctx, known.ID)
		}
		switch {
		case errors.Is(err, ports.ErrNotFound), err == nil && (!w.Online || !w.RegisteredAt.Equal(known.RegisteredAt)):
			return ports.ErrConflict
		case err != nil:
			return err
		}
		p.detector.ApplyHeartbeat(w, h, now)
		return tx.Workers.Put(ctx, w)
	})
	if errors.Is(err, ports.ErrConflict) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p.cache.PutWorker(w, p.Now())
	return w, nil
}

// applyNews stores a heartbeat with news, and returns commands to stop what the worker
// should not run.
func (p *Protocol) applyNews(ctx context.Context, h domain.Heartbeat, b batch, result *service.HeartbeatResult, now time.Time) (*domain.Worker, error) {
	var w *domain.Worker
	var applied batchResult
	err := p.Transact(ctx, func(ctx context.Context, tx *txn.Tx) (err error) {
		applied = batchResult{}
		w, err = tx.Workers.Get(ctx, h.WorkerID)
		if err != nil {
			return apperr.Worker(err)
		}
		wasOnline := w.Online
		events := p.detector.ApplyHeartbeat(w, h, now)
		if err := tx.SaveWorker(ctx, w, events); err != nil {
			return err
		}
		if !wasOnline {
			// The worker lists whatever it still runs, now or in its next heartbeat.
			if err := p.detector.WorkerReturned(ctx, tx, w, p.Timing.DisconnectDebounce, nil, now); err != nil {
				return err
			}
			applied.stops, err = pendingStopCommands(ctx, tx, w)
			if err != nil {
				return err
			}
		}
		return p.applyBatch(ctx, tx, w, b, &applied, now)
	})
	if err != nil {
		return nil, err
	}
	p.addNews(ctx, w, applied, result)
	return w, nil
}

// applyMore stores more news of a heartbeat that is stored.
func (p *Protocol) applyMore(ctx context.Context, w *domain.Worker, b batch, result *service.HeartbeatResult, now time.Time) error {
	var applied batchResult
	err := p.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		applied = batchResult{}
		return p.applyBatch(ctx, tx, w, b, &applied, now)
	})
	if err == nil {
		p.addNews(ctx, w, applied, result)
	}
	return err
}

// batchResult holds the outcome of a batch.
type batchResult struct {
	synced      int
	stops       []service.StopCommand
	implausible []domain.Report
}

// applyBatch applies some of a heartbeat's news, and adds to the result.
func (p *Protocol) applyBatch(ctx context.Context, tx *txn.Tx, w *domain.Worker, b batch, result *batchResult, now time.Time) error {
	if err := tx.RecordForeign(ctx, w.ID, b.foreign); err != nil {
		return err
	}
	for _, r := range b.reports {
		outcome, stop, err := p.applySnapshot(ctx, tx, w, r, now)
		if err != nil {
			return err
		}
		switch outcome {
		case domain.Applied, domain.Repeated:
			result.synced++
		case domain.Implausible:
			result.implausible = append(result.implausible, r)
		}
		if stop != nil && !slices.Contains(result.stops, *stop) {
			result.stops = append(result.stops, *stop)
		}
	}
	if isLate(p.Env, now) {
		return nil // missing sessions may have come since
	}
	return p.restartMissing(ctx, tx, w, b.missing, now)
}

// addNews adds to the result what a transaction has stored, and what it has refused as implausible.
func (p *Protocol) addNews(ctx context.Context, w *domain.Worker, applied batchResult, result *service.HeartbeatResult) {
	result.Synced += applied.synced
	result.Skipped += len(applied.implausible)
	for _, r := range applied.implausible {
		if len(result.Warnings) < maxWarnings {
			result.Warnings = append(result.Warnings,
				fmt.Sprintf("sessions (%s) has the generation %d, which is far beyond any that the session was given", r.SessionID, r.Generation))
		}
	}
	if w.Supports(domain.CapGeneration) {
		result.Commands = append(result.Commands, applied.stops...)
	} else {
		p.scheduleStops(ctx, w, applied.stops)
	}
}

// pendingStopCommands returns commands to stop what a returning worker must not run any
// more. The worker receives them before it may run anything again, so that a delayed start
// comes too late. A legacy worker reads no commands, and is called.
func pendingStopCommands(ctx context.Context, tx *txn.Tx, w *domain.Worker) ([]service.StopCommand, error) {
	if !w.Supports(domain.CapGeneration) {
		return nil, nil
	}
	cleanups, err := tx.Cleanups.ByWorker(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	stops := make([]service.StopCommand, 0, len(cleanups))
	for _, c := range cleanups {
		if c.IsPending() {
			stops = append(stops, service.StopCommand{SessionID: c.SessionID, Generation: c.Generation})
		}
	}
	return stops, nil
}

// applySnapshot applies what a heartbeat says of one session. It returns a command if the
// worker has to stop the session. A deleted session has no owner.
func (p *Protocol) applySnapshot(ctx context.Context, tx *txn.Tx, w *domain.Worker, r domain.Report, now time.Time) (domain.Outcome, *service.StopCommand, error) {
	if isTooOldToTrust(p.Env, now, r.Status) {
		return domain.Stale, nil, nil
	}
	s, err := tx.Sessions.Get(ctx, r.SessionID)
	if errors.Is(err, ports.ErrNotFound) {
		stop, err := p.stopDeleted(ctx, tx, w, r)
		return domain.NotOwner, stop, err
	}
	if err != nil {
		return 0, nil, err
	}
	before := s.Clone()
	outcome, events := s.Apply(r, p.Timing, now)
	logRefusal(ctx, p.Env, r, outcome)
	logAdoption(ctx, p.Env, r, before.Generation, s.Generation)
	if outcome == domain.Applied || outcome == domain.Repeated {
		return outcome, nil, tx.SaveSession(ctx, before, s, events)
	}
	if s.Generation != before.Generation {
		err = tx.SaveSession(ctx, before, s, nil)
	} else {
		tx.NoteRead(before)
	}
	isStopping := s.WorkerID == w.ID && s.Command.Stops()
	if err != nil || isStopping || !isForOther(outcome) {
		return outcome, nil, err
	}
	generation := r.Generation
	if generation == 0 {
		generation = s.Generation
	}
	if r.Status.IsActive() {
		if err := p.recordUnexpected(ctx, tx, w, s, r.Generation); err != nil {
			return outcome, nil, err
		}
	}
	return outcome, stopIfActive(r, generation), nil
}

// isForOther reports whether a report was refused because the session should not run on its worker, or
// not in its generation.
func isForOther(o domain.Outcome) bool {
	return o == domain.NotOwner || o == domain.NotWanted || o == domain.Implausible
}

// recordUnexpected records that a worker runs a session that is not assigned to it. The session is
// foreign there if the worker was never given it. A worker of the owner's state group uses the
// owner's disk, and is a holder. A generation that the store does not know is kept with the record.
func (p *Protocol) recordUnexpected(ctx context.Context, tx *txn.Tx, w *domain.Worker, s *domain.Session, generation int64) error {
	owner := p.cache.Worker(s.WorkerID)
	var err error
	if owner != nil && w.StateGroup != "" && owner.StateGroup == w.StateGroup {
		err = tx.RecordHolder(ctx, w.ID, s)
	} else {
		err = tx.RecordForeignUnlessGiven(ctx, w.ID, s.ID)
	}
	if err != nil || w.ID == s.WorkerID {
		return err
	}
	return tx.RecordHigherGeneration(ctx, w, s, generation)
}

// stopDeleted stops a session that runs although it was deleted. A worker that was given the session
// is wiped of it too.
func (p *Protocol) stopDeleted(ctx context.Context, tx *txn.Tx, w *domain.Worker, r domain.Report) (*service.StopCommand, error) {
	last, isKnown, err := tx.Sessions.LastGeneration(ctx, r.SessionID)
	if err != nil || !isKnown || !r.Status.IsActive() {
		return stopIfActive(r, r.Generation), err
	}
	given, err := txn.FindCleanup(ctx, tx.Tx, w.ID, r.SessionID)
	switch {
	case err != nil:
		return nil, err
	case given == nil:
		err = tx.RecordForeignUnlessGiven(ctx, w.ID, r.SessionID)
	case !given.IsForeign():
		err = tx.ScheduleCleanup(ctx, w.ID, r.SessionID, domain.CommandDelete, max(last, r.Generation))
	}
	return stopIfActive(r, r.Generation), err
}

func stopIfActive(r domain.Report, generation int64) *service.StopCommand {
	if !r.Status.IsActive() {
		return nil
	}
	return &service.StopCommand{SessionID: r.SessionID, Generation: generation}
}

// restartMissing starts sessions again that the worker should have had for long.
func (p *Protocol) restartMissing(ctx context.Context, tx *txn.Tx, w *domain.Worker, ids []string, now time.Time) error {
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
			tx.NoteRead(s)
			continue
		case s.Command.Stops() && s.Attempts >= p.Timing.StartAttempts:
			// The worker does not confirm the stop, but its list does.
			if err := tx.ScheduleCleanup(ctx, w.ID, s.ID, s.Command.AsStop(), s.Generation); err != nil {
				return err
			}
			s.StopConfirmed(now)
		case s.Intent == domain.Up && s.Command == domain.CommandNone && s.Status.IsActive():
			events = s.ReportedMissing(now)
		case s.Command == domain.CommandStart && s.Attempts > 0 && s.DueAt.After(now):
			s.DueAt = now // the worker accepted the start, and it came to nothing
		default:
			tx.NoteRead(s)
			continue
		}
		if err := tx.SaveSession(ctx, before, s, events); err != nil {
			return err
		}
	}
	return nil
}

// scheduleStops schedules the stop of sessions on a legacy worker, which reads no
// commands.
func (p *Protocol) scheduleStops(ctx context.Context, w *domain.Worker, stops []service.StopCommand) {
	if len(stops) == 0 {
		return
	}
	err := p.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		for _, c := range stops {
			if err := tx.ScheduleCleanup(ctx, w.ID, c.SessionID, domain.CommandDisconnect, c.Generation); err != nil {
				return err
			}
		}
		return nil
	})
	p.LogFailure(ctx, "stop not scheduled", err, "worker", w.ID)
	p.queue.Wake()
}
