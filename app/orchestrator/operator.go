package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// tolerance is how far apart, by the share of their capacity, workers may be
// without a rebalance: one session of fifty, and as little of what large workers have.
const tolerance = 0.02

// ListSessions lists sessions of all users, newest first.
func (o *operationService) ListSessions(ctx context.Context, f ports.SessionFilter, p ports.Page) ([]*service.SessionView, int, error) {
	return o.listSessions(ctx, f, p)
}

// DeleteSession does what [Orchestrator.DeleteSession] does, whoever the owner is.
func (o *operationService) DeleteSession(ctx context.Context, sessionID string) error {
	s, err := o.anySession(ctx, sessionID)
	if err != nil {
		return err
	}
	return o.Sessions.Delete(ctx, s.UserID, sessionID)
}

func (o *Orchestrator) anySession(ctx context.Context, id string) (*domain.Session, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	s, _, err := o.readWithWorker(ctx, id)
	return s, o.fault(err)
}

// ListMigrations lists moves and failovers, newest first. They are kept for 30 days.
func (o *operationService) ListMigrations(ctx context.Context, f ports.MigrationFilter, p ports.Page) (list []*domain.Migration, total int, err error) {
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		list, total, err = tx.Migrations.List(ctx, f, p)
		return err
	})
	return list, total, o.fault(err)
}

// Migrate moves a session to another worker: to the target, if one is named, or
// to the best. It begins at once unless too many others are on their way.
func (o *operationService) Migrate(ctx context.Context, sessionID, targetWorkerID, reason string) (*domain.Migration, error) {
	if err := o.look(ctx); err != nil {
		return nil, err
	}
	m, err := o.plan(ctx, sessionID, targetWorkerID, reason)
	if err != nil {
		return nil, err
	}
	_, err = o.pursue(context.WithoutCancel(ctx), sessionID)
	var failure *ports.WorkerError
	if err != nil && !errors.As(err, &failure) { // it is recorded, and goes on in the background
		o.logFailure(ctx, "migration not begun", err, "session", sessionID)
	}
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		now, err := tx.Migrations.Get(ctx, m.ID)
		if err == nil {
			m = now
		}
		return err
	})
	return m, o.fault(err)
}

// plan records that an operator wants a session elsewhere.
func (o *Orchestrator) plan(ctx context.Context, sessionID, target, reason string) (m *domain.Migration, err error) {
	s, err := o.anySession(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	req, err := o.request(ctx, s, []string{s.WorkerID})
	if err != nil {
		return nil, o.fault(err)
	}
	room := o.fleet.hasRoom(req, o.now())
	_, err = o.change(ctx, s.ID, func(ctx context.Context, tx *ports.Tx, current *domain.Session) ([]domain.Event, error) {
		now := o.now()
		m = domain.NewMigration(o.ids.NewID(), current, domain.MigrationByOperator, target, reason, now)
		if err := canMigrate(current); err != nil {
			return nil, err
		}
		switch {
		case target == current.WorkerID:
			return nil, domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The session is on %s already", target)
		case target != "":
			if err := o.canTake(ctx, tx, m, req); err != nil {
				return nil, err
			}
		case !room:
			return nil, domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
				"No other worker can take the session at the moment; add capacity or try again later")
		}
		current.Migrate(m, now)
		return nil, tx.Migrations.Put(ctx, m)
	})
	return m, o.fault(err)
}

// canMigrate refuses sessions that are not where a migration could begin.
func canMigrate(s *domain.Session) error {
	switch {
	case s.MigrationID != "" || s.Command == domain.CommandMove:
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The session is migrating already; see its migrations")
	case s.Intent == domain.Down:
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The session is not running; connect it first")
	case !s.IsAssigned():
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The session is waiting for a worker already; it takes the first that has room")
	case s.Command.Stops():
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The session is being stopped at the moment; try again in a minute")
	}
	return nil
}

// canTake refuses a target that could not take the session now.
func (o *Orchestrator) canTake(ctx context.Context, tx *ports.Tx, m *domain.Migration, req domain.Request) error {
	if _, err := tx.Workers.Get(ctx, m.ToWorker); err != nil {
		return workerMissing(err)
	}
	why, left, err := o.unfit(ctx, tx, m.ToWorker, req)
	if err != nil {
		return err
	}
	open, err := tx.Migrations.Open(ctx)
	if err != nil {
		return err
	}
	switch {
	case left <= o.promised(open, m, domain.MigrationPending, domain.MigrationRunning):
		return domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
			"Worker %s is full, or will be once the sessions that are on their way have arrived; choose another or none", m.ToWorker)
	case why != "":
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState, "Worker %s cannot take the session (%s); choose another or none", m.ToWorker, why)
	}
	return nil
}

// CancelMigrations cancels a migration, or all of a batch, as far as they have
// not begun: their sessions stay where they are. Those that have begun take their
// course; running counts them.
func (o *operationService) CancelMigrations(ctx context.Context, id string) (cancelled []*domain.Migration, running int, err error) {
	if err := o.ready(ctx); err != nil {
		return nil, 0, err
	}
	var single *domain.Migration
	var batch []*domain.Migration
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		if single, err = tx.Migrations.Get(ctx, id); err == nil || !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		batch, _, err = tx.Migrations.List(ctx, ports.MigrationFilter{BatchID: id}, ports.Page{})
		return err
	})
	if err != nil {
		return nil, 0, o.fault(err)
	}
	if single != nil {
		m, err := o.cancel(ctx, single)
		if err != nil {
			return nil, 0, o.fault(err)
		}
		return []*domain.Migration{m}, 0, nil
	}
	if w := o.fleet.draining(id); w != "" {
		return nil, 0, domain.Errorf(domain.Conflict, domain.CodeInvalidState,
			"These are the moves of the drain of worker %s; activate the worker to end it", w)
	}
	if len(batch) == 0 {
		return nil, 0, domain.Errorf(domain.NotFound, domain.CodeNotFound, "There is no such migration or batch; see the list of migrations")
	}
	for _, m := range slices.Backward(batch) {
		if m.Status.Ended() {
			continue
		}
		m, err := o.cancel(ctx, m)
		switch {
		case err == nil:
			cancelled = append(cancelled, m)
		case domain.CodeOf(err) != domain.CodeInvalidState:
			return cancelled, running, o.fault(err)
		case m.Status == domain.MigrationRunning:
			running++
		}
	}
	return cancelled, running, nil
}

// cancel ends one migration that has not begun.
func (o *Orchestrator) cancel(ctx context.Context, m *domain.Migration) (*domain.Migration, error) {
	_, err := o.change(ctx, m.SessionID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) (_ []domain.Event, err error) {
		if m, err = tx.Migrations.Get(ctx, m.ID); err != nil {
			return nil, err
		}
		if err := m.Cancel(s, "cancelled by an administrator", o.now()); err != nil {
			return nil, err
		}
		return nil, tx.Migrations.Put(ctx, m)
	})
	if domain.CodeOf(err) == domain.CodeSessionNotFound {
		err = domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The migration is over: its session was deleted")
	}
	return m, err
}

// Rebalance moves sessions so that the workers that may have them are about
// equally full. With DryRun it only says what it would do. The moves are
// recorded at once and carried out a few at a time.
func (o *operationService) Rebalance(ctx context.Context, opt service.RebalanceOptions) (*service.RebalanceResult, error) {
	if err := o.look(ctx); err != nil {
		return nil, err
	}
	loads, seats, err := o.situation(ctx)
	if err != nil {
		return nil, o.fault(err)
	}
	plan := domain.PlanRebalance(loads, seats, tolerance)
	r := &service.RebalanceResult{DryRun: opt.DryRun, Moves: plan[:min(len(plan), service.BulkLimit)]}
	r.RemainingMoves = len(plan) - len(r.Moves)
	if !opt.DryRun && len(r.Moves) > 0 {
		r.BatchID = o.ids.NewID()
		if r.Moves, err = o.schedule(context.WithoutCancel(ctx), r.BatchID, r.Moves); err != nil {
			return nil, o.fault(err)
		}
	}
	r.Workers = outlook(loads, r.Moves)
	return r, nil
}

// situation gives the fleet as it will be when the moves that are open have been
// made, and the sessions that could be moved further.
func (o *Orchestrator) situation(ctx context.Context) (loads []domain.Load, seats []domain.MovableSession, err error) {
	var open []*domain.Migration
	pools := make(map[string]map[string]string) // selectors by user, where the tier has one
	err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		clear(pools)
		for tier, limits := range *o.tiers.Load() {
			if limits.Pool == "" {
				continue
			}
			users, _, err := tx.Users.List(ctx, ports.UserFilter{Tier: tier}, ports.Page{})
			if err != nil {
				return err
			}
			for _, u := range users {
				pools[u.ID] = map[string]string{"pool": limits.Pool}
			}
		}
		open, err = tx.Migrations.Open(ctx)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	shift := make(map[string]int)
	for _, m := range open {
		if at := o.fleet.workerOf(m.SessionID); m.ToWorker != "" && m.ToWorker != at {
			shift[m.ToWorker]++
			shift[at]--
		}
	}
	loads = o.fleet.loads()
	for i := range loads {
		loads[i].Used += shift[loads[i].WorkerID]
	}
	for _, s := range o.fleet.steady() {
		seats = append(seats, domain.MovableSession{SessionID: s.id, UserID: s.userID, WorkerID: s.workerID, Selector: pools[s.userID]})
	}
	return loads, seats, nil
}

// schedule records the moves of a rebalance, and gives those that could be:
// sessions that have changed meanwhile are left alone.
func (o *Orchestrator) schedule(ctx context.Context, batch string, plan []domain.PlannedMove) (moves []domain.PlannedMove, err error) {
	moves = []domain.PlannedMove{}
	for i, p := range plan {
		begun := false
		_, err := o.change(ctx, p.SessionID, func(ctx context.Context, tx *ports.Tx, s *domain.Session) ([]domain.Event, error) {
			if begun = s.WorkerID == p.FromWorker && canMigrate(s) == nil; !begun {
				return nil, errUnchanged
			}
			now := o.now()
			m := domain.NewMigration(o.ids.NewID(), s, domain.MigrationByRebalance, p.ToWorker, "to even out the load", now)
			m.BatchID = batch
			due := now
			if i > 0 {
				due = now.Add(moveEvery) // it waits for its turn
			}
			s.Migrate(m, due)
			return nil, tx.Migrations.Put(ctx, m)
		})
		switch {
		case domain.CodeOf(err) == domain.CodeSessionNotFound:
		case err != nil:
			return moves, err
		case begun:
			moves = append(moves, p)
		}
	}
	o.fleet.moved.Store(true)
	o.loop.wake()
	return moves, nil
}

// outlook gives the workers that receive sessions, before and after the moves.
func outlook(loads []domain.Load, moves []domain.PlannedMove) []service.WorkerLoad {
	change := make(map[string]int)
	for _, m := range moves {
		change[m.FromWorker]--
		change[m.ToWorker]++
	}
	list := make([]service.WorkerLoad, 0, len(loads))
	for _, l := range loads {
		if l.Status == domain.WorkerOnline && l.Suspect == "" {
			list = append(list, service.WorkerLoad{WorkerID: l.WorkerID, Capacity: l.Capacity, Before: l.Used, After: l.Used + change[l.WorkerID]})
		}
	}
	slices.SortFunc(list, func(a, b service.WorkerLoad) int { return cmp.Compare(a.WorkerID, b.WorkerID) })
	return list
}

// Bulk does the same to many sessions. What can be done is recorded at
// once, session by session, and carried out in the background.
func (o *operationService) Bulk(ctx context.Context, b service.BulkRequest) ([]service.BulkResult, error) {
	if err := o.look(ctx); err != nil {
		return nil, err
	}
	act := map[service.BulkAction]func(ctx context.Context, id string) error{
		service.BulkRestart:    o.restartLater,
		service.BulkDisconnect: o.disconnectLater,
		service.BulkDelete:     o.deleteLater,
		service.BulkMigrate: func(ctx context.Context, id string) error {
			_, err := o.plan(ctx, id, b.TargetWorkerID, b.Reason)
			return err
		},
	}[b.Action]
	var p domain.Problems
	if act == nil {
		p.Add("action", "Action must be one of %s, %s, %s, %s", service.BulkRestart, service.BulkDisconnect, service.BulkMigrate, service.BulkDelete)
	}
	ids, err := o.bulk(ctx, b, &p)
	if err == nil {
		err = p.Err()
	}
	if err != nil {
		return nil, o.fault(err)
	}
	results := make([]service.BulkResult, len(ids))
	all, cancel := context.WithTimeout(context.WithoutCancel(ctx), bulkTime)
	defer cancel()
	o.atOnce(len(ids), func(i int) {
		ctx, cancel := context.WithTimeout(all, bulkPatience)
		defer cancel()
		results[i] = service.BulkResult{SessionID: ids[i], Err: o.fault(act(ctx, ids[i]))}
	})
	return results, nil
}

// How long a bulk action may take in all, and for one session, which may just be
// started or stopped.
const (
	bulkTime     = time.Minute
	bulkPatience = 10 * time.Second
)

// bulk gives the sessions that a bulk action is for.
func (o *Orchestrator) bulk(ctx context.Context, b service.BulkRequest, p *domain.Problems) (ids []string, err error) {
	field := "sessionIds"
	switch {
	case len(b.SessionIDs) > 0:
		known := make(map[string]bool, len(b.SessionIDs))
		for _, id := range b.SessionIDs {
			if id = domain.NormalizeSessionRef(id); !known[id] {
				known[id] = true
				ids = append(ids, id)
			}
		}
	case b.Filter == ports.SessionFilter{}:
		p.Add(field, "Session ids or a filter are required")
	default:
		field = "filter"
		err = o.store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
			found, _, err := tx.Sessions.List(ctx, b.Filter, ports.Page{Limit: service.BulkLimit + 1})
			ids = ids[:0]
			for _, s := range found {
				ids = append(ids, s.ID)
			}
			return err
		})
	}
	if len(ids) > service.BulkLimit {
		p.Add(field, "There are more than %d sessions; do fewer at a time", service.BulkLimit)
	}
	return ids, err
}

func (o *Orchestrator) restartLater(ctx context.Context, id string) error {
	_, err := o.change(ctx, id, func(_ context.Context, _ *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		return nil, s.Restart(o.now())
	})
	return err
}

func (o *Orchestrator) disconnectLater(ctx context.Context, id string) error {
	_, err := o.change(ctx, id, func(_ context.Context, _ *ports.Tx, s *domain.Session) ([]domain.Event, error) {
		if s.Intent == domain.Down && !s.IsAssigned() {
			return nil, errUnchanged
		}
		_, events := s.Disconnect(o.now())
		return events, nil
	})
	return err
}

func (o *Orchestrator) deleteLater(ctx context.Context, id string) error {
	s, err := o.anySession(ctx, id)
	if err == nil {
		_, err = o.takeOut(ctx, s.UserID, id)
	}
	return err
}
