package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// Every move of a session from one worker to another is a row: it is written in
// the transaction that makes the session move, follows it in every later one,
// and is over with it. So whichever replica takes the session on takes the move
// on as well.
const (
	moveEvery = 30 * time.Second    // between looks whether a session may move by now, should its turn not be given to it
	turnEvery = 2 * time.Second     // between two rounds of giving turns
	moveStuck = 5 * time.Minute     // a move that takes longer keeps no other from beginning
	moveLife  = 30 * 24 * time.Hour // how long those that are over are kept
)

// follow keeps the migration of a session up to date.
func (o *Orchestrator) follow(ctx context.Context, tx *ports.Tx, c *changes, s *domain.Session) error {
	if s.MigrationID == "" {
		return nil
	}
	m, err := tx.Migrations.Get(ctx, s.MigrationID)
	if errors.Is(err, ports.ErrNotFound) {
		s.MigrationID, s.MigrationTargetID = "", ""
		return nil
	}
	if err != nil {
		return err
	}
	before := *m
	if m.SyncWithSession(s, o.now()); *m == before {
		return nil
	}
	c.moved = c.moved || m.Status.Ended()
	return tx.Migrations.Put(ctx, m)
}

// depart lets a session leave its worker, by a migration of its own unless it
// has one already.
func (o *Orchestrator) depart(ctx context.Context, tx *ports.Tx, s *domain.Session, kind domain.MigrationKind, batch, reason string, leave func()) error {
	if s.MigrationID != "" {
		leave()
		return nil
	}
	now := o.now()
	m := domain.NewMigration(o.ids.NewID(), s, kind, "", reason, now)
	m.BatchID = batch
	s.Migrate(m, now)
	leave()
	m.SyncWithSession(s, now)
	return tx.Migrations.Put(ctx, m)
}

// lostReason says why sessions leave a worker that is lost; nil is one that was removed.
func lostReason(w *domain.Worker) string {
	if w == nil {
		return "the worker was removed"
	}
	return map[domain.DownReason]string{
		domain.DownCrashed:          "the worker crashed",
		domain.DownHeartbeatTimeout: "the worker fell silent",
		domain.DownUnregistered:     "the worker left",
	}[w.DownReason]
}

// forget ends the migration of a session that is deleted.
func (o *Orchestrator) forget(ctx context.Context, tx *ports.Tx, c *changes, s *domain.Session) error {
	if s.MigrationID == "" {
		return nil
	}
	m, err := tx.Migrations.Get(ctx, s.MigrationID)
	if errors.Is(err, ports.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	m.Deleted(o.now())
	c.moved = true
	return tx.Migrations.Put(ctx, m)
}

// release gives a slot back, and tells if it was the last one of a drain.
func (o *Orchestrator) release(ctx context.Context, tx *ports.Tx, c *changes, workerID string) error {
	if err := tx.Workers.Release(ctx, workerID); err != nil {
		return err
	}
	w, err := tx.Workers.Get(ctx, workerID)
	if errors.Is(err, ports.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return o.record(ctx, tx, c, w.Drained(o.now()))
}

// movesBegun is the setting that counts them. Who begins a move has counted those
// that are under way; that none has begun meanwhile on any replica, this shows.
const movesBegun = "moves.begun"

// tally counts the moves that are under way.
type tally struct {
	o   *Orchestrator
	all int
	off map[string]int // by worker
}

func (o *Orchestrator) tally(open []*domain.Migration) *tally {
	t := &tally{o: o, off: make(map[string]int)}
	since := o.loop.movesSince(open, o.now())
	for _, m := range open {
		waits := m.Kind == domain.MigrationByFailover && m.ToWorker == "" // for room, and burdens nobody
		switch stuck := since[m.ID] >= moveStuck; {
		case m.Status != domain.MigrationRunning || waits:
		case !stuck:
			t.begin(m.FromWorker)
		case o.fleet.workerOf(m.SessionID) == m.FromWorker:
			t.off[m.FromWorker]++ // that does not stop it, nor would it others
		}
	}
	return t
}

// movesSince gives how long moves have been known here to be under way: when they
// began is by the clock of whichever replica began them.
func (l *loop) movesSince(open []*domain.Migration, now time.Time) map[string]time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	since, seen := make(map[string]time.Duration), make(map[string]time.Time)
	for _, m := range open {
		if m.Status == domain.MigrationRunning {
			at, known := l.moving[m.ID]
			if !known {
				at = now
			}
			seen[m.ID], since[m.ID] = at, now.Sub(at)
		}
	}
	l.moving = seen
	return since
}

func (t *tally) begin(worker string) {
	t.all++
	t.off[worker]++
}

// full reports whether no further session may leave the worker for now.
func (t *tally) full(worker string) bool {
	return t.all >= t.o.movesAll || t.off[worker] >= t.o.moves
}

// move lets a session leave its worker, which is draining or which a migration
// takes it from, if its turn has come and there is somewhere to go. In a hurry it
// does not wait for its turn.
func (o *Orchestrator) move(ctx context.Context, s *domain.Session, hurry bool) (done bool, err error) {
	req, err := o.request(ctx, s, []string{s.WorkerID})
	if err != nil {
		return false, err
	}
	room := o.fleet.hasRoom(req, o.now())
	o.loop.moves.Lock()
	defer o.loop.moves.Unlock()
	_, err = o.change(ctx, s.ID, func(ctx context.Context, tx *ports.Tx, current *domain.Session) (_ []domain.Event, err error) {
		if done = false; current.Rev != s.Rev {
			return nil, errUnchanged
		}
		begun, err := tx.Settings.Get(ctx, movesBegun) // before they are counted
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return nil, err
		}
		open, err := tx.Migrations.Open(ctx)
		if err != nil {
			return nil, err
		}
		full := !hurry && o.tally(open).full(current.WorkerID)
		cramped := !room
		if current.MigrationTargetID != "" {
			if done, cramped, err = o.checkTarget(ctx, tx, current, req, open); done || err != nil {
				return nil, err
			}
		}
		if cramped || full {
			if current.DueAt = o.now().Add(moveEvery); cramped {
				current.Attempts++ // all replicas see that it is too early for another look
			}
			return nil, nil
		}
		done = true
		n, _ := strconv.ParseInt(begun, 10, 64) // 0: none has
		if err := tx.Settings.CompareAndSwap(ctx, movesBegun, begun, strconv.FormatInt(n+1, 10)); err != nil {
			return nil, err
		}
		return nil, o.beginMove(ctx, tx, current)
	})
	return done, err
}

// checkTarget looks whether the worker that a session is wanted on can take it
// still. If not, its migration is over; cramped is if it cannot at the moment.
func (o *Orchestrator) checkTarget(ctx context.Context, tx *ports.Tx, s *domain.Session, req domain.Request, open []*domain.Migration) (over, cramped bool, err error) {
	i := slices.IndexFunc(open, func(m *domain.Migration) bool { return m.ID == s.MigrationID })
	if i < 0 {
		s.MigrationID, s.MigrationTargetID = "", ""
		return true, false, nil
	}
	m := open[i]
	why, left, err := o.unfit(ctx, tx, m.ToWorker, req)
	if err != nil {
		return false, false, err
	}
	if why != "" {
		m.FailPending(s, fmt.Sprintf("%s cannot take the session any more: %s", m.ToWorker, why), o.now())
		return true, false, tx.Migrations.Put(ctx, m)
	}
	return false, left <= o.promised(open, m, domain.MigrationRunning), nil
}

// beginMove orders the session to leave, in the transaction.
func (o *Orchestrator) beginMove(ctx context.Context, tx *ports.Tx, s *domain.Session) error {
	w, err := tx.Workers.Get(ctx, s.WorkerID)
	if err != nil {
		return err
	}
	return o.depart(ctx, tx, s, domain.MigrationByDrain, w.DrainID, "the worker is being drained", func() { s.RequestStopForMove(o.now()) })
}

// unfit says why a worker cannot take what is requested; empty: it can, and has
// so many slots left.
func (o *Orchestrator) unfit(ctx context.Context, tx *ports.Tx, workerID string, req domain.Request) (why string, left int, err error) {
	w, err := tx.Workers.Get(ctx, workerID)
	if errors.Is(err, ports.ErrNotFound) {
		return "it is not there any more", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	_, all := domain.Explain([]domain.Load{loadOf(w)}, req, o.fleet.strategy, o.now())
	return all[0].Excluded, w.Capacity - w.Used, nil
}

// promised counts other sessions that are to go where a migration wants to, by
// migrations of the statuses, and are not there yet.
func (o *Orchestrator) promised(open []*domain.Migration, to *domain.Migration, statuses ...domain.MigrationStatus) (n int) {
	for _, m := range open {
		if m.ID != to.ID && m.ToWorker == to.ToWorker && slices.Contains(statuses, m.Status) && o.fleet.workerOf(m.SessionID) != m.ToWorker {
			n++
		}
	}
	return n
}

// turns gives sessions that wait to move their turn: migrations in the order in
// which they were asked for, then what is on draining workers.
func (o *Orchestrator) turns(ctx context.Context, _ *tasks) (time.Time, error) {
	now := o.now()
	waiting := o.fleet.waitingToMove()
	ended := o.fleet.moved.Swap(false)
	switch {
	case len(waiting) == 0:
		return time.Time{}, nil
	case !ended && now.Before(o.loop.turnAt):
		return o.loop.turnAt, nil
	}
	o.loop.turnAt = now.Add(turnEvery)
	if !o.mine("turns") {
		return o.loop.turnAt, nil
	}
	var open []*domain.Migration
	err := o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		open, err = tx.Migrations.Open(ctx)
		return err
	})
	if err != nil {
		return now.Add(pauseAfterFault), err
	}
	ids := o.nextToMove(open, waiting, now)
	if len(ids) == 0 {
		return o.loop.turnAt, nil
	}
	return o.loop.turnAt, o.transact(ctx, func(ctx context.Context, tx *ports.Tx, c *changes) error {
		for _, id := range ids {
			s, err := tx.Sessions.Get(ctx, id)
			if errors.Is(err, ports.ErrNotFound) || err == nil && !s.IsAssigned() {
				continue
			}
			if err != nil {
				return err
			}
			w, err := tx.Workers.Get(ctx, s.WorkerID)
			if err != nil && !errors.Is(err, ports.ErrNotFound) {
				return err
			}
			if step, _ := o.next(s, w, now); step != domain.StepStopForMove || !s.DueAt.IsZero() && !s.DueAt.After(now) {
				continue
			}
			before := s.Clone()
			s.DueAt = now
			if err := o.save(ctx, tx, c, before, s, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// nextToMove chooses as many sessions as may begin to move now.
func (o *Orchestrator) nextToMove(open []*domain.Migration, waiting []*seat, now time.Time) (ids []string) {
	order := make(map[string]int, len(open))
	for i, m := range open {
		order[m.ID] = i
	}
	place := func(s *seat) int {
		if i, ok := order[s.moveID]; ok {
			return i
		}
		return len(open)
	}
	slices.SortFunc(waiting, func(a, b *seat) int { return cmp.Or(cmp.Compare(place(a), place(b)), cmp.Compare(a.id, b.id)) })
	t := o.tally(open)
	for _, s := range waiting {
		if !t.full(s.workerID) && (s.tries == 0 || !now.Before(s.dueAt)) {
			ids = append(ids, s.id)
			t.begin(s.workerID)
		}
	}
	return ids
}
