package operations

import (
	"cmp"
	"context"
	"slices"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// rebalanceTolerance is how far apart workers may be, as a share of their capacity,
// without a rebalance.
const rebalanceTolerance = 0.02

// Rebalance moves sessions until workers are about equally full. With DryRun it returns
// the plan alone.
func (o *Operations) Rebalance(ctx context.Context, opt service.RebalanceOptions) (*service.RebalanceResult, error) {
	if err := o.sync.RefreshShared(ctx); err != nil {
		return nil, err
	}
	loads, movable, err := o.projectedLoads(ctx)
	if err != nil {
		return nil, apperr.Public(err)
	}
	groups := stateGroups(loads)
	forced := movable
	if !opt.Force {
		movable = withinGroups(movable, groups)
	}
	plan := domain.PlanRebalance(loads, movable, rebalanceTolerance)
	r := &service.RebalanceResult{DryRun: opt.DryRun, Moves: plan[:min(len(plan), service.BulkLimit)]}
	r.RemainingMoves = len(plan) - len(r.Moves)
	r.Scans = countScans(r.Moves, groups)
	if opt.DryRun {
		r.ScansIfForced = countScans(domain.PlanRebalance(loads, forced, rebalanceTolerance), groups)
	}
	if !opt.DryRun && len(r.Moves) > 0 {
		r.BatchID = o.IDs.NewID()
		r.Moves, err = o.recordMoves(context.WithoutCancel(ctx), r.BatchID, r.Moves, groups)
		if err != nil {
			return nil, apperr.Public(err)
		}
	}
	r.Workers = loadsBeforeAfter(loads, r.Moves)
	return r, nil
}

// projectedLoads returns the loads of the fleet once all open migrations have arrived,
// and the sessions that can be moved.
func (o *Operations) projectedLoads(ctx context.Context) (loads []domain.Load, movable []domain.MovableSession, err error) {
	var open []*domain.Migration
	selectors := make(map[string]map[string]string) // by user, where the tier has a pool
	err = o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		clear(selectors)
		for tier, limits := range o.Tiers() {
			if limits.Pool == "" {
				continue
			}
			users, _, err := tx.Users.List(ctx, ports.UserFilter{Tier: tier}, ports.Page{})
			if err != nil {
				return err
			}
			for _, u := range users {
				selectors[u.ID] = map[string]string{"pool": limits.Pool}
			}
		}
		open, err = tx.Migrations.Open(ctx)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	change := make(map[string]int)
	for _, m := range open {
		if at := o.cache.WorkerOf(m.SessionID); m.ToWorker != "" && m.ToWorker != at {
			change[m.ToWorker]++
			change[at]--
		}
	}
	loads = o.cache.Loads()
	for i := range loads {
		loads[i].Used += change[loads[i].WorkerID]
	}
	for _, a := range o.cache.Rebalanceable() {
		movable = append(movable, domain.MovableSession{SessionID: a.SessionID, UserID: a.UserID, WorkerID: a.WorkerID, Selector: selectors[a.UserID]})
	}
	return loads, movable, nil
}

// stateGroups returns the state group of every worker that has one.
func stateGroups(loads []domain.Load) map[string]string {
	groups := make(map[string]string, len(loads))
	for i := range loads {
		if l := &loads[i]; l.StateGroup != "" {
			groups[l.WorkerID] = l.StateGroup
		}
	}
	return groups
}

// withinGroups returns the sessions that can move without a scan, each bound to its state
// group.
func withinGroups(all []domain.MovableSession, groups map[string]string) (bound []domain.MovableSession) {
	for _, s := range all {
		s.Group = groups[s.WorkerID]
		if s.Group != "" {
			bound = append(bound, s)
		}
	}
	return bound
}

// needsScan reports whether a move leads to a worker without the session's credentials.
func needsScan(m domain.PlannedMove, groups map[string]string) bool {
	return groups[m.FromWorker] == "" || groups[m.FromWorker] != groups[m.ToWorker]
}

func countScans(moves []domain.PlannedMove, groups map[string]string) (n int) {
	for _, m := range moves {
		if needsScan(m, groups) {
			n++
		}
	}
	return n
}

// recordMoves records the migrations of a plan and returns those that it could record.
// Sessions that have changed since the plan are left alone.
func (o *Operations) recordMoves(ctx context.Context, batch string, plan []domain.PlannedMove, groups map[string]string) (moves []domain.PlannedMove, err error) {
	moves = []domain.PlannedMove{}
	for i, p := range plan {
		isRecorded := false
		_, err := o.ChangeSession(ctx, p.SessionID, func(ctx context.Context, tx *txn.Tx, s *domain.Session) ([]domain.Event, error) {
			isRecorded = s.WorkerID == p.FromWorker && checkCanMigrate(s) == nil
			if !isRecorded {
				return nil, txn.ErrUnchanged
			}
			now := o.Now()
			m := domain.NewMigration(o.IDs.NewID(), s, domain.MigrationByRebalance, p.ToWorker, "to even out the load", now)
			m.BatchID = batch
			due := now
			if i > 0 {
				due = now.Add(migration.RecheckEvery) // it waits for admission
			}
			if needsScan(p, groups) {
				s.AbandonHome()
			}
			s.Migrate(m, due)
			if err := tx.Migrations.Put(ctx, m); err != nil {
				return nil, err
			}
			return nil, o.record(ctx, tx, domain.AuditSessionMigrated, s.ID, "from", p.FromWorker, "to", p.ToWorker, "batch", batch)
		})
		switch {
		case domain.CodeOf(err) == domain.CodeSessionNotFound:
		case err != nil:
			return moves, err
		case isRecorded:
			moves = append(moves, p)
		}
	}
	o.cache.MigrationEnded.Set() // admit at once
	o.queue.Wake()
	return moves, nil
}

// loadsBeforeAfter returns the schedulable workers before and after the moves, by id.
func loadsBeforeAfter(loads []domain.Load, moves []domain.PlannedMove) []service.WorkerLoad {
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
