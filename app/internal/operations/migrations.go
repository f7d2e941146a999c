package operations

import (
	"context"
	"errors"
	"slices"

	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// ListMigrations returns migrations and failovers, newest first. They are kept for 30
// days.
func (o *Operations) ListMigrations(ctx context.Context, f ports.MigrationFilter, p ports.Page) (list []*domain.Migration, total int, err error) {
	err = o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		list, total, err = tx.Migrations.List(ctx, f, p)
		return err
	})
	return list, total, apperr.Public(err)
}

// Migrate moves a session to the target or, without one, to the best worker. It begins at
// once unless too many other migrations are under way.
func (o *Operations) Migrate(ctx context.Context, sessionID string, opt service.MigrateOptions) (*domain.Migration, error) {
	if err := o.sync.RefreshShared(ctx); err != nil {
		return nil, err
	}
	m, err := o.recordMigration(ctx, sessionID, opt)
	if err != nil {
		return nil, err
	}
	_, err = o.reconciler.Session(context.WithoutCancel(ctx), sessionID)
	var failure *ports.WorkerError
	if err != nil && !errors.As(err, &failure) { // the loop continues with the migration
		o.LogFailure(ctx, "migration not started", err, "session", sessionID)
	}
	err = o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
		current, err := tx.Migrations.Get(ctx, m.ID)
		if err == nil {
			m = current
		}
		return err
	})
	return m, apperr.Public(err)
}

// recordMigration records that an administrator wants a session on another worker.
func (o *Operations) recordMigration(ctx context.Context, sessionID string, opt service.MigrateOptions) (m *domain.Migration, err error) {
	target := opt.TargetWorkerID
	s, err := o.readSession(ctx, sessionID)
	if err != nil {
		return nil, err
	}
	needsScan, err := o.needsScan(ctx, s, target)
	switch {
	case err != nil:
		return nil, apperr.Public(err)
	case needsScan && !opt.Force:
		return nil, fleet.ScanRefusal(1)
	case needsScan:
		s.AbandonHome()
	}
	req, err := o.sync.PlacementRequest(ctx, s, []string{s.WorkerID})
	if err != nil {
		return nil, apperr.Public(err)
	}
	hasRoom := o.cache.HasRoom(req, o.Now())
	_, err = o.ChangeSession(ctx, s.ID, func(ctx context.Context, tx *txn.Tx, current *domain.Session) ([]domain.Event, error) {
		now := o.Now()
		m = domain.NewMigration(o.IDs.NewID(), current, domain.MigrationByOperator, target, opt.Reason, now)
		if err := checkCanMigrate(current); err != nil {
			return nil, err
		}
		switch {
		case target == current.WorkerID:
			return nil, domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The session is on %s already", target)
		case target != "":
			if err := o.checkTarget(ctx, tx, m, req); err != nil {
				return nil, err
			}
		case !hasRoom:
			return nil, domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
				"No other worker can take the session at the moment; add capacity or try again later")
		}
		if needsScan {
			current.AbandonHome()
		}
		current.Migrate(m, now)
		if err := tx.Migrations.Put(ctx, m); err != nil {
			return nil, err
		}
		return nil, o.record(ctx, tx, domain.AuditSessionMigrated, sessionID, "from", m.FromWorker, "to", target, "migration", m.ID)
	})
	return m, apperr.Public(err)
}

// needsScan reports whether a migration of the session would cost a scan. A migration that
// is refused anyway costs none.
func (o *Operations) needsScan(ctx context.Context, s *domain.Session, target string) (bool, error) {
	if !canMigrate(s) || target == s.WorkerID || target != "" && o.cache.Worker(target) == nil {
		return false, nil
	}
	var needing []*domain.Session
	err := o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		needing, err = o.sync.NeedingScan(ctx, tx, []*domain.Session{s}, target)
		return err
	})
	return len(needing) > 0, err
}

// checkCanMigrate refuses a session that is not where a migration can begin.
func checkCanMigrate(s *domain.Session) error {
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

// canMigrate reports whether checkCanMigrate accepts the session.
func canMigrate(s *domain.Session) bool { return checkCanMigrate(s) == nil }

// checkTarget refuses a target that cannot take the session now.
func (o *Operations) checkTarget(ctx context.Context, tx *txn.Tx, m *domain.Migration, req domain.Request) error {
	if _, err := tx.Workers.Get(ctx, m.ToWorker); err != nil {
		return apperr.Worker(err)
	}
	obstacle, free, err := o.migrator.PlacementObstacle(ctx, tx, m.ToWorker, req)
	if err != nil {
		return err
	}
	open, err := tx.Migrations.Open(ctx)
	if err != nil {
		return err
	}
	switch {
	case free <= o.migrator.CountInbound(open, m, domain.MigrationPending, domain.MigrationRunning):
		return domain.Errorf(domain.Unavailable, domain.CodeNoAvailableWorkers,
			"Worker %s is full, or will be once the sessions that are on their way have arrived; choose another or none", m.ToWorker)
	case obstacle != "":
		return domain.Errorf(domain.Conflict, domain.CodeInvalidState, "Worker %s cannot take the session (%s); choose another or none", m.ToWorker, obstacle)
	}
	return nil
}

// CancelMigrations cancels a migration, or all of a batch, that have not begun. Their
// sessions stay where they are. running counts those that have begun.
func (o *Operations) CancelMigrations(ctx context.Context, id string) (cancelled []*domain.Migration, running int, err error) {
	if err := o.sync.EnsureLoaded(ctx); err != nil {
		return nil, 0, err
	}
	single, batch, err := o.findMigrations(ctx, id)
	if err != nil {
		return nil, 0, apperr.Public(err)
	}
	if single != nil {
		m, err := o.cancel(ctx, single)
		if err != nil {
			return nil, 0, apperr.Public(err)
		}
		return []*domain.Migration{m}, 0, nil
	}
	if w := o.cache.DrainingWorker(id); w != "" {
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
			return cancelled, running, apperr.Public(err)
		case m.Status == domain.MigrationRunning:
			running++
		}
	}
	return cancelled, running, nil
}

// findMigrations returns the migration with the id, or else those of the batch.
func (o *Operations) findMigrations(ctx context.Context, id string) (single *domain.Migration, batch []*domain.Migration, err error) {
	err = o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		single, batch = nil, nil
		found, err := tx.Migrations.Get(ctx, id)
		if err == nil {
			single = found
			return nil
		}
		if !errors.Is(err, ports.ErrNotFound) {
			return err
		}
		batch, _, err = tx.Migrations.List(ctx, ports.MigrationFilter{BatchID: id}, ports.Page{})
		return err
	})
	return single, batch, err
}

// cancel cancels one migration that has not begun. It returns the migration as it is.
func (o *Operations) cancel(ctx context.Context, m *domain.Migration) (*domain.Migration, error) {
	_, err := o.ChangeSession(ctx, m.SessionID, func(ctx context.Context, tx *txn.Tx, s *domain.Session) (_ []domain.Event, err error) {
		m, err = tx.Migrations.Get(ctx, m.ID)
		if err != nil {
			return nil, err
		}
		if err := m.Cancel(s, "cancelled by an administrator", o.Now()); err != nil {
			return nil, err
		}
		if err := tx.Migrations.Put(ctx, m); err != nil {
			return nil, err
		}
		return nil, o.Trail().Record(ctx, tx.Tx, domain.AuditMigrationCancelled, audit.Object("migration", m.ID), "session", m.SessionID)
	})
	if domain.CodeOf(err) == domain.CodeSessionNotFound {
		err = domain.Errorf(domain.Conflict, domain.CodeInvalidState, "The migration is over: its session was deleted")
	}
	return m, err
}
