package orchestrator

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// maxSteps bounds how far one pass takes a session; the loop goes on from there.
const maxSteps = 12

// pursue takes a session as far towards what is wanted as it goes now. It is
// the single way by which sessions are started, moved, restarted and stopped:
// use cases call it for the first pass, the loop for everything after. It
// returns the session as it is then, and the last failure of a worker, if any.
func (o *Orchestrator) pursue(ctx context.Context, sessionID string) (*domain.Session, error) {
	return o.pursueBy(ctx, sessionID, pass{})
}

func (o *Orchestrator) pursueBy(ctx context.Context, sessionID string, p pass) (*domain.Session, error) {
	end, err := o.calls.begin(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	defer end()
	return o.advance(ctx, sessionID, p)
}

// pass says in what way a session is taken on.
type pass struct {
	background bool // it ends once the session has got a worker, whose turn it then has to wait for
	hurry      bool // a session that is to leave its worker does not wait for its turn
}

// advance does the work of pursue; the caller has the turn.
func (o *Orchestrator) advance(ctx context.Context, sessionID string, p pass) (*domain.Session, error) {
	var last error
	for range maxSteps {
		s, w, err := o.readWithWorker(ctx, sessionID)
		if err != nil {
			return nil, err
		}
		now := o.now()
		step, at := o.next(s, w, now)
		if step == domain.StepNone {
			if !s.DueAt.IsZero() && !now.Before(s.DueAt) && !o.taken(s, now) {
				s, err = o.postpone(ctx, s, at)
			}
			return s, errors.Join(last, err)
		}
		done, err := o.take(ctx, s, w, step, p)
		if err != nil {
			last = err
			var failure *ports.WorkerError
			if !errors.As(err, &failure) {
				return s, err
			}
		}
		if !done || p.background && step == domain.StepPlace {
			s, _, err = o.readWithWorker(ctx, sessionID)
			return s, errors.Join(last, err)
		}
	}
	s, _, err := o.readWithWorker(ctx, sessionID)
	return s, errors.Join(last, err)
}

func (o *Orchestrator) readWithWorker(ctx context.Context, sessionID string) (s *domain.Session, w *domain.Worker, err error) {
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		s, w = nil, nil
		if s, err = tx.Sessions.Get(ctx, sessionID); err != nil {
			return sessionMissing(err)
		}
		if !s.IsAssigned() {
			return nil
		}
		if w, err = tx.Workers.Get(ctx, s.WorkerID); errors.Is(err, ports.ErrNotFound) {
			w, err = nil, nil
		}
		return err
	})
	return s, w, err
}

// postpone clears or moves a due time at which there turned out to be nothing to
// do, unless the session has changed since: then there may be.
func (o *Orchestrator) postpone(ctx context.Context, read *domain.Session, at time.Time) (*domain.Session, error) {
	return o.change(ctx, read.ID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.Rev != read.Rev {
			return nil, errUnchanged
		}
		s.DueAt = at
		return nil, nil
	})
}

// take carries out one step. done is false if there is nothing more to be done
// for now; a *ports.WorkerError is a failure that has been recorded already.
func (o *Orchestrator) take(ctx context.Context, s *domain.Session, w *domain.Worker, step domain.Step, p pass) (done bool, err error) {
	switch step {
	case domain.StepPlace:
		return o.place(ctx, s)
	case domain.StepCall:
		return o.call(ctx, s, w)
	case domain.StepStopForMove:
		return o.move(ctx, s, p.hurry)
	}
	worker := s.WorkerID
	_, err = o.change(ctx, s.ID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		w, err := tx.Workers.Get(ctx, worker)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return nil, err
		}
		now := o.now()
		if again, _ := o.next(s, w, now); again != step || s.WorkerID != worker {
			return nil, errUnchanged
		}
		switch step {
		case domain.StepEndDebounce:
			return s.EndDebounce(o.timing, now), nil
		case domain.StepAbandonAssignment:
			if err := o.leave(ctx, tx, worker, s.ID, stopOrder(s.Command), s.Generation); err != nil {
				return nil, err
			}
			s.StopConfirmed(now)
		case domain.StepFailover:
			if err := o.leave(ctx, tx, worker, s.ID, domain.CommandDisconnect, s.Generation); err != nil {
				return nil, err
			}
			batch := ""
			if w != nil {
				batch = w.DrainID
			}
			return nil, o.depart(ctx, tx, s, domain.MigrationByFailover, batch, lostReason(w), func() { s.UnassignForMove(domain.EventSessionFailedOver, now) })
		case domain.StepStartTimedOut:
			const why = "the worker did not confirm the start"
			return nil, o.depart(ctx, tx, s, domain.MigrationByFailover, "", why, func() { s.StartTimedOut(why, o.timing, now) })
		}
		return nil, nil
	})
	return true, err
}

func stopOrder(order domain.Command) domain.Command {
	if order == domain.CommandLogout {
		return domain.CommandLogout
	}
	return domain.CommandDisconnect
}

// place chooses a worker and assigns the session to it.
func (o *Orchestrator) place(ctx context.Context, s *domain.Session) (done bool, err error) {
	req, err := o.request(ctx, s, nil)
	if err != nil {
		return false, err
	}
	for {
		worker, ok := o.fleet.choose(req, o.now())
		if !ok && s.PreviousWorkerID != "" {
			// Rather back where it was than nowhere.
			req.Avoid = slices.DeleteFunc(req.Avoid, func(id string) bool { return id == s.PreviousWorkerID && id != s.ExcludedWorkerID })
			worker, ok = o.fleet.choose(req, o.now())
		}
		if !ok {
			_, err := o.change(ctx, s.ID, func(_ context.Context, _ *ports.Tx, s *domain.Session) ([]domain.Event, error) {
				if s.IsAssigned() || s.Intent != domain.Up {
					return nil, errUnchanged
				}
				s.PlacementFailed(o.timing, o.now())
				return nil, nil
			})
			return false, err
		}
		placed, err := o.change(ctx, s.ID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
			now := o.now()
			if step, _ := o.next(s, nil, now); s.IsAssigned() || step != domain.StepPlace {
				return nil, errUnchanged
			}
			return o.assign(ctx, tx, s, worker, now)
		})
		o.fleet.settle(worker)
		if !errors.Is(err, ports.ErrFull) {
			if err == nil {
				o.calls.assigned(placed)
			}
			return true, err
		}
		if err := o.refresh(ctx, worker); err != nil {
			return false, err
		}
		req.Avoid = append(req.Avoid, worker)
	}
}

// call tells the worker what the session's order says, and records the answer.
// The replica has a claim meanwhile: with the assignment, or by one write more.
func (o *Orchestrator) call(ctx context.Context, s *domain.Session, w *domain.Worker) (done bool, err error) {
	order, generation, heard := s.Command, s.Generation, s.LastReportAppliedAt
	began, kept := o.now(), s.ClaimedBy == o.self.ID
	if !o.holds(s, began.Add(callLimit)) {
		claimed, err := o.change(ctx, s.ID, func(_ context.Context, _ *ports.Tx, now *domain.Session) ([]domain.Event, error) {
			if now.Rev != s.Rev {
				return nil, errUnchanged
			}
			o.claim(now, o.now())
			return nil, nil
		})
		if err != nil || claimed.ClaimedBy != o.self.ID {
			return err == nil && !o.taken(claimed, o.now()), err
		}
	}
	// Without a claim since the assignment, another replica may have called meanwhile.
	first := o.calls.first(s) && kept && order == domain.CommandStart
	calling, end := o.calls.calling(ctx, w.ID, callLimit-o.now().Sub(began))
	report, err := o.tell(calling, s, w, order)
	end()
	o.noteCall(ctx, w, err)
	var failure *ports.WorkerError
	if err != nil && !errors.As(err, &failure) {
		return false, err
	}
	_, changeErr := o.change(ctx, s.ID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.WorkerID != w.ID || s.Generation != generation || s.ClaimedBy != o.self.ID {
			return nil, errUnchanged // it was overtaken
		}
		now := o.now()
		unchanged := errUnchanged
		if s.ClaimedBy != "" {
			s.ReleaseClaim()
			unchanged = nil
		}
		switch {
		case s.Command != order && s.Command != domain.CommandNone:
			return nil, unchanged // there is something else to be done now
		case failure != nil:
			return nil, o.failed(ctx, tx, s, first, failure, now)
		case s.Command == domain.CommandNone:
			return nil, unchanged // a report confirmed it during the call
		case order.Stops():
			s.StopConfirmed(now)
			return nil, nil
		}
		s.CommandAccepted(o.timing, now)
		if report.Status == "" || !s.LastReportAppliedAt.Equal(heard) {
			return nil, nil // what was reported during the call is newer than its answer
		}
		report.WorkerID, report.Generation = w.ID, generation
		_, events := s.Apply(report, o.timing, now)
		return events, nil
	})
	if changeErr != nil {
		return false, changeErr
	}
	return true, err
}

// tell makes the call. A report without a status says nothing.
func (o *Orchestrator) tell(ctx context.Context, s *domain.Session, w *domain.Worker, order domain.Command) (domain.Report, error) {
	switch order {
	case domain.CommandRestart:
		err := o.workers.Restart(ctx, ref(w), s.ID, s.Generation)
		var failure *ports.WorkerError
		if !errors.As(err, &failure) || failure.Failure != ports.WorkerSessionNotFound {
			return domain.Report{}, err
		}
		// The worker does not have it: a start does what is wanted.
	case domain.CommandDisconnect, domain.CommandMove:
		return domain.Report{}, o.workers.Disconnect(ctx, ref(w), s.ID, s.Generation)
	case domain.CommandLogout:
		return domain.Report{}, o.workers.Logout(ctx, ref(w), s.ID, s.Generation)
	}
	return o.workers.Start(ctx, ref(w), ports.Start{
		SessionID: s.ID, UserID: s.UserID, SessionName: s.Name, Generation: s.Generation,
		Recover: s.PhoneNumber != "", PairingPhone: s.PairingPhone,
	})
}

// failed records that a call did not work. Only if it was the first since this
// process assigned the session, and certainly was not carried out, may the
// session go elsewhere at once: nothing of this assignment can be running.
func (o *Orchestrator) failed(ctx context.Context, tx *ports.Tx, s *domain.Session, first bool, failure *ports.WorkerError, now time.Time) error {
	busy := failure.Failure == ports.WorkerBusy
	if busy {
		o.fleet.suspend(s.WorkerID, now.Add(min(max(failure.Retry, o.timing.RestartBackoff), o.timing.MaxBackoff)))
	}
	switch {
	case busy && !first:
		s.CommandThrottled(failure.Retry, o.timing, now)
		return nil
	case !first || !failure.IsNotExecuted():
		s.CommandOutcomeUnknown(o.timing, now)
		return nil
	}
	if failure.Failure != ports.WorkerConnectionRefused && !busy {
		// It answers, so it might have the session from an earlier assignment.
		if err := o.leave(ctx, tx, s.WorkerID, s.ID, domain.CommandDisconnect, s.Generation); err != nil {
			return err
		}
	}
	s.StartRejected(failure.Message, o.timing, now)
	return nil
}

// leave notes that something is to be cleaned up for the session on a worker,
// once that can be reached.
func (o *Orchestrator) leave(ctx context.Context, tx *ports.Tx, worker, sessionID string, order domain.Command, generation int64) error {
	w, err := tx.Workers.Get(ctx, worker)
	if errors.Is(err, ports.ErrNotFound) {
		return nil // a worker that was removed keeps nothing that we could reach
	}
	if err != nil {
		return err
	}
	c := &domain.Cleanup{
		WorkerID: worker, SessionID: sessionID, Command: order, Generation: generation, CreatedAt: o.now(),
	}
	if w.Online {
		c.DueAt = c.CreatedAt
	}
	left, err := tx.Cleanups.BySession(ctx, sessionID)
	if err != nil {
		return err
	}
	for _, earlier := range left {
		if earlier.WorkerID == worker {
			c.Command, c.Rev = c.Command.MoreDestructive(earlier.Command), earlier.Rev
			c.Generation = max(c.Generation, earlier.Generation)
		}
	}
	if err = tx.Cleanups.Put(ctx, c); errors.Is(err, ports.ErrExists) {
		return ports.ErrConflict // another replica noted it since
	}
	return err
}

// clean carries out one cleanup, if it is still to be done.
func (o *Orchestrator) clean(ctx context.Context, workerID, sessionID string) {
	end, err := o.calls.begin(ctx, sessionID)
	if err != nil {
		return
	}
	defer end()
	c, w, owner, err := o.readCleanup(ctx, workerID, sessionID)
	if err != nil || c == nil {
		o.logFailure(ctx, "cleanup not read", err, "session", sessionID, "worker", workerID)
		return
	}
	switch {
	case o.othersClaim(c.ClaimedBy, c.DueAt, o.now()):
		return // another replica is at it
	case w == nil, owner && c.Command == domain.CommandDisconnect:
		o.cleaned(ctx, c)
		return
	case !w.Online:
		o.park(ctx, c, time.Time{})
		return
	case o.shared():
		if c.ClaimedBy = o.self.ID; !o.park(ctx, c, o.now().Add(claimLife)) {
			return
		}
	}
	call := o.workers.Disconnect
	switch c.Command {
	case domain.CommandLogout:
		call = o.workers.Logout
	case domain.CommandDelete:
		call = o.workers.Delete
	}
	calling, release := o.calls.calling(ctx, w.ID, callLimit)
	err = call(calling, ref(w), sessionID, c.Generation)
	release()
	o.noteCall(ctx, w, err)
	if err != nil {
		c.Attempts++
		wait := o.timing.Backoff(c.Attempts)
		var failure *ports.WorkerError
		if errors.As(err, &failure) {
			wait = max(wait, min(failure.Retry, o.timing.MaxBackoff))
		}
		c.ClaimedBy = ""
		o.park(ctx, c, o.now().Add(wait))
		return
	}
	o.cleaned(ctx, c)
}

// cleaned drops a cleanup that is done, unless there is more to do by now.
func (o *Orchestrator) cleaned(ctx context.Context, c *domain.Cleanup) {
	err := o.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error { return tx.Cleanups.Delete(ctx, c) })
	if !errors.Is(err, ports.ErrConflict) {
		o.logFailure(ctx, "cleanup not dropped", err, "session", c.SessionID, "worker", c.WorkerID)
	}
}

// readCleanup gives the cleanup, its worker (nil if there is none any more), and
// whether the session is assigned to that very worker now.
func (o *Orchestrator) readCleanup(ctx context.Context, workerID, sessionID string) (c *domain.Cleanup, w *domain.Worker, owner bool, err error) {
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		c, w, owner = nil, nil, false
		left, err := tx.Cleanups.BySession(ctx, sessionID)
		if err != nil {
			return err
		}
		for _, l := range left {
			if l.WorkerID == workerID {
				c = l
			}
		}
		if w, err = tx.Workers.Get(ctx, workerID); err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		s, err := tx.Sessions.Get(ctx, sessionID)
		if errors.Is(err, ports.ErrNotFound) {
			return nil
		}
		owner = err == nil && s.WorkerID == workerID
		return err
	})
	return c, w, owner, err
}

// park puts a cleanup off; the zero time means until its worker is back. It
// reports whether it could: nobody else has changed it.
func (o *Orchestrator) park(ctx context.Context, c *domain.Cleanup, until time.Time) bool {
	next := *c
	err := o.store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		next = *c
		w, err := tx.Workers.Get(ctx, c.WorkerID)
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		if next.DueAt = until; until.IsZero() && w != nil && w.Online {
			next.DueAt = o.now() // it came back meanwhile
		}
		return tx.Cleanups.Put(ctx, &next)
	})
	if err == nil {
		*c = next
	} else if !errors.Is(err, ports.ErrConflict) {
		o.logFailure(ctx, "cleanup not put off", err, "session", c.SessionID, "worker", c.WorkerID)
	}
	return err == nil
}

func (o *Orchestrator) logFailure(ctx context.Context, what string, err error, args ...any) {
	if err != nil && ctx.Err() == nil {
		o.log.ErrorContext(ctx, what, append(args, "error", err)...)
	}
}
