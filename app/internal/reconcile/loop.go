package reconcile

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	rowsPerPass            = 256
	maxRowsPerPass         = 8192                   // while many due rows cannot be dispatched
	inProgressPollInterval = 500 * time.Millisecond // between passes while due rows are worked on
	retryAfterError        = time.Second
)

// loopState is what one pass of the loop leaves to the next. Only the goroutine of the
// loop uses it.
type loopState struct {
	blockedSessions int // due rows that the latest pass could not dispatch
	blockedCleanups int

	ownsWaiting bool                            // this replica makes waiting sessions due
	callers     map[string]map[string]time.Time // other replicas that call a worker, and when that was last seen
}

// DueSessions dispatches the sessions that are due. It returns when the next is due.
func (r *Reconciler) DueSessions(ctx context.Context, b *workqueue.Batch) (time.Time, error) {
	now := r.Now()
	if err := r.wakeWaiting(ctx, now); err != nil {
		return now.Add(retryAfterError), err
	}
	due, ranks, next, err := r.readDue(ctx, now)
	if err != nil {
		return now.Add(retryAfterError), err
	}
	r.loop.blockedSessions = 0
	r.trackCallingReplicas(due, now)
	backlog := make(map[string][]string)
	for _, s := range domain.SortByPriority(due, func(user string) int { return ranks[user] }) {
		worker := r.onlineWorkerOf(s)
		if r.members.IsClaimedByOther(s, now) || !r.shouldReconcile(s, worker, now) {
			r.loop.blockedSessions++
			continue
		}
		if !r.dispatch(ctx, b, s.ID, worker) {
			r.loop.blockedSessions++
			if s.ClaimedBy == r.Self.ID || r.members.OwnsWork(membership.WorkOn(worker)) {
				backlog[worker] = append(backlog[worker], s.ID)
			}
		}
	}
	r.queue.SetBacklog(backlog)
	return nextPassAt(next, now), nil
}

// readDue reads the due sessions with the ranks of their users' tiers, and when the
// next session is due.
func (r *Reconciler) readDue(ctx context.Context, now time.Time) (due []*domain.Session, ranks map[string]int, next time.Time, err error) {
	limit := min(rowsPerPass+r.loop.blockedSessions, maxRowsPerPass)
	err = r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		due, err = tx.Sessions.Due(ctx, now, limit)
		if err != nil {
			return err
		}
		ranks, err = r.ranks(ctx, tx, due)
		if err != nil {
			return err
		}
		next, err = tx.Sessions.NextDue(ctx)
		return err
	})
	return due, ranks, next, err
}

// dispatch reconciles a session in the background. The next session in the worker's
// backlog follows at once.
func (r *Reconciler) dispatch(ctx context.Context, b *workqueue.Batch, sessionID, worker string) bool {
	t := workqueue.Task{Key: "session/" + sessionID, Worker: worker, Pool: workqueue.Sessions}
	return r.queue.Dispatch(b, t, func() error {
		return r.reconcileInBackground(b.Context, sessionID)
	}, func() {
		for ctx.Err() == nil && worker != "" {
			next := r.queue.NextInBacklog(worker)
			if next == "" || r.dispatch(ctx, b, next, worker) {
				return
			}
		}
	})
}

func (r *Reconciler) reconcileInBackground(ctx context.Context, sessionID string) error {
	_, err := r.lockAndReconcile(ctx, sessionID, inBackground)
	var failure *ports.WorkerError
	if errors.As(err, &failure) || domain.CodeOf(err) == domain.CodeSessionNotFound {
		return nil // recorded, or deleted
	}
	r.LogFailure(ctx, "session not reconciled", err, "session", sessionID)
	return err
}

// nextPassAt returns when to look again, given when the earliest row is due. A row that
// is due already is being worked on. Its end wakes the loop, but rows that are due
// after it must not wait for that.
func nextPassAt(earliest, now time.Time) time.Time {
	if earliest.IsZero() || earliest.After(now) {
		return earliest
	}
	return now.Add(inProgressPollInterval)
}

// ranks returns the rank of the tier of every user whose sessions wait for a worker.
func (r *Reconciler) ranks(ctx context.Context, tx *ports.Tx, sessions []*domain.Session) (map[string]int, error) {
	ranks := make(map[string]int)
	for _, s := range sessions {
		if _, known := ranks[s.UserID]; known || s.IsAssigned() {
			continue
		}
		u, err := tx.Users.Get(ctx, s.UserID)
		if err != nil {
			return nil, err
		}
		ranks[s.UserID] = r.Limits(u.Tier).Rank
	}
	return ranks, nil
}

// wakeWaiting makes sessions due that wait for room, when there may be some. Among
// replicas one does so, which keeps the order.
func (r *Reconciler) wakeWaiting(ctx context.Context, now time.Time) error {
	owns := r.members.OwnsWork("waiting")
	becameOwner := owns && !r.loop.ownsWaiting
	r.loop.ownsWaiting = owns
	hasFreed := r.cache.CapacityFreed.Take()
	if !becameOwner && !(hasFreed && owns) {
		return nil
	}
	err := r.makeWaitingDue(ctx, now)
	if err != nil {
		r.cache.CapacityFreed.Set()
	}
	return err
}

// makeWaitingDue makes as many waiting sessions due as there are free slots, in the
// order of their priority.
func (r *Reconciler) makeWaitingDue(ctx context.Context, now time.Time) error {
	free, ids := r.cache.FreeSlots(), r.cache.WaitingForRoom()
	if free == 0 || len(ids) == 0 {
		return nil
	}
	return r.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		var waiting []*domain.Session
		for _, id := range ids {
			s, err := tx.Sessions.Get(ctx, id)
			if err != nil && !errors.Is(err, ports.ErrNotFound) {
				return err
			}
			if s != nil && s.Intent == domain.Up && !s.IsAssigned() && !r.shouldWaitForOfflineHome(s) {
				waiting = append(waiting, s)
			}
		}
		ranks, err := r.ranks(ctx, tx.Tx, waiting)
		if err != nil {
			return err
		}
		ordered := domain.SortByPriority(waiting, func(user string) int { return ranks[user] })
		for _, s := range ordered[:min(free, len(ordered))] {
			if !s.DueAt.After(now) {
				continue
			}
			before := s.Clone()
			s.DueAt = now
			if err := tx.SaveSession(ctx, before, s, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// shouldWaitForOfflineHome reports whether a session takes no worker but its home, which is
// not online.
func (r *Reconciler) shouldWaitForOfflineHome(s *domain.Session) bool {
	w := r.cache.Worker(s.CredentialsWorkerID)
	return s.HomePolicy == domain.HomeRequired && s.CredentialsGroup == "" && (w == nil || w.Status() != domain.WorkerOnline)
}

// DueCleanups dispatches the cleanups that are due. It returns when the next is due.
func (r *Reconciler) DueCleanups(ctx context.Context, b *workqueue.Batch) (time.Time, error) {
	now := r.Now()
	limit := min(rowsPerPass+r.loop.blockedCleanups, maxRowsPerPass)
	var due []*domain.Cleanup
	var next time.Time
	err := r.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		due, err = tx.Cleanups.Due(ctx, now, limit)
		if err != nil {
			return err
		}
		next, err = tx.Cleanups.NextDue(ctx)
		return err
	})
	if err != nil {
		return now.Add(retryAfterError), err
	}
	r.loop.blockedCleanups = 0
	for _, c := range due {
		if !r.shouldCleanUp(c, now) || !r.dispatchCleanup(b, c) {
			r.loop.blockedCleanups++
		}
	}
	return nextPassAt(next, now), nil
}

func (r *Reconciler) shouldCleanUp(c *domain.Cleanup, now time.Time) bool {
	work := membership.WorkOn(c.WorkerID)
	if c.Attempts > 1 {
		work = membership.RetryKey(work, c.Attempts)
	}
	return r.members.ShouldRun(work, c.DueAt, now)
}

func (r *Reconciler) dispatchCleanup(b *workqueue.Batch, c *domain.Cleanup) bool {
	t := workqueue.Task{Key: "cleanup/" + c.WorkerID + "/" + c.SessionID, Worker: c.WorkerID, Pool: workqueue.Sessions}
	return r.queue.Dispatch(b, t, func() error {
		r.Cleanup(b.Context, c.WorkerID, c.SessionID)
		return nil
	})
}

// shouldReconcile reports whether this replica should reconcile a due session. A worker
// that another replica called a moment ago is left to that replica: then one replica
// calls it about many sessions, a few at a time. If several have begun, one of them
// continues. worker is empty if no worker has to be called.
func (r *Reconciler) shouldReconcile(s *domain.Session, worker string, now time.Time) bool {
	callers := r.loop.callers[worker]
	switch {
	case r.IsShared() && s.ClaimedBy == r.Self.ID:
		return true
	case worker == "":
		return r.members.ShouldRun("session/"+s.ID, s.DueAt, now)
	case s.Command.Stops() && s.Attempts >= r.Timing.StartAttempts:
		return r.members.ShouldRun(membership.RetryKey(membership.WorkOn(worker), s.Attempts), s.DueAt, now)
	case len(callers) > 0:
		return r.queue.IsBusy(worker) && domain.OwnsWork(r.Self.ID, slices.Collect(maps.Keys(callers)), membership.WorkOn(worker))
	}
	return r.members.ShouldRun(membership.WorkOn(worker), s.DueAt, now)
}

// trackCallingReplicas remembers which other replicas call which workers about due
// sessions.
func (r *Reconciler) trackCallingReplicas(due []*domain.Session, now time.Time) {
	all := r.loop.callers
	for worker, callers := range all {
		maps.DeleteFunc(callers, func(_ string, seenAt time.Time) bool { return now.Sub(seenAt) >= membership.TakeoverDelay })
		if len(callers) == 0 {
			delete(all, worker)
		}
	}
	for _, s := range due {
		if !s.IsAssigned() || !r.members.IsClaimedByOther(s, now) {
			continue
		}
		if all[s.WorkerID] == nil {
			all[s.WorkerID] = make(map[string]time.Time)
		}
		all[s.WorkerID][s.ClaimedBy] = now
	}
}

// onlineWorkerOf returns the worker that has to be called about a session, or the empty
// string if the session has none or its worker is down.
func (r *Reconciler) onlineWorkerOf(s *domain.Session) string {
	w := r.cache.Worker(s.WorkerID)
	if w == nil || !w.Online {
		return ""
	}
	return s.WorkerID
}
