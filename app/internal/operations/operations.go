package operations

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/analytics"
	"github.com/switchyard-wa/switchyard/app/internal/apperr"
	"github.com/switchyard-wa/switchyard/app/internal/audit"
	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/migration"
	"github.com/switchyard-wa/switchyard/app/internal/reconcile"
	"github.com/switchyard-wa/switchyard/app/internal/sessions"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/app/internal/workqueue"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

const (
	// How long a bulk action may take in all, and for one session, which may just be
	// started or stopped.
	bulkLimit       = time.Minute
	bulkSingleLimit = 10 * time.Second
)

// Operations implements [service.Operations]. It is safe for concurrent use.
type Operations struct {
	*txn.Writer
	cache      *fleet.Cache
	sync       *fleet.Sync
	migrator   *migration.Migrator
	reconciler *reconcile.Reconciler
	sessions   *sessions.Sessions
	analytics  *analytics.Analytics
	queue      *workqueue.Queue
	parallel   int // sessions of a bulk action at once
}

var _ service.Operations = (*Operations)(nil)

// Parts lists the parts that operations build on.
type Parts struct {
	Writer     *txn.Writer
	Cache      *fleet.Cache
	Sync       *fleet.Sync
	Migrator   *migration.Migrator
	Reconciler *reconcile.Reconciler
	Sessions   *sessions.Sessions
	Analytics  *analytics.Analytics
	Queue      *workqueue.Queue
	Parallel   int
}

// New returns the service.
func New(p Parts) *Operations {
	return &Operations{
		Writer: p.Writer, cache: p.Cache, sync: p.Sync, migrator: p.Migrator, reconciler: p.Reconciler,
		sessions: p.Sessions, analytics: p.Analytics, queue: p.Queue, parallel: p.Parallel,
	}
}

// ListSessions returns sessions of all users, newest first.
func (o *Operations) ListSessions(ctx context.Context, f ports.SessionFilter, p ports.Page) ([]*service.SessionView, int, error) {
	return o.sessions.ListAll(ctx, f, p)
}

// DeleteSession deletes a session as its owner would.
func (o *Operations) DeleteSession(ctx context.Context, sessionID string) error {
	s, err := o.readSession(ctx, sessionID)
	if err != nil {
		return err
	}
	return o.sessions.Delete(ctx, s.UserID, sessionID)
}

func (o *Operations) readSession(ctx context.Context, id string) (*domain.Session, error) {
	if err := o.sync.EnsureLoaded(ctx); err != nil {
		return nil, err
	}
	s, _, err := o.reconciler.ReadWithWorker(ctx, id)
	return s, apperr.Public(err)
}

// Bulk does the same to many sessions. What can be done is recorded at once, session by
// session, and carried out in the background.
func (o *Operations) Bulk(ctx context.Context, b service.BulkRequest) ([]service.BulkResult, error) {
	if err := o.sync.RefreshShared(ctx); err != nil {
		return nil, err
	}
	act := map[service.BulkAction]func(ctx context.Context, id string) error{
		service.BulkRestart:    o.recordRestart,
		service.BulkDisconnect: o.recordDisconnect,
		service.BulkDelete:     o.recordDelete,
		service.BulkMigrate: func(ctx context.Context, id string) error {
			_, err := o.recordMigration(ctx, id, service.MigrateOptions{TargetWorkerID: b.TargetWorkerID, Reason: b.Reason, Force: b.Force})
			return err
		},
	}[b.Action]
	var p domain.Problems
	if act == nil {
		p.Add("action", "Action must be one of %s, %s, %s, %s", service.BulkRestart, service.BulkDisconnect, service.BulkMigrate, service.BulkDelete)
	}
	ids, err := o.selectSessions(ctx, b, &p)
	if err == nil {
		err = p.Err()
	}
	if err == nil && b.Action == service.BulkMigrate && !b.Force {
		err = o.checkScans(ctx, ids, b.TargetWorkerID)
	}
	if err != nil {
		return nil, apperr.Public(err)
	}
	results := make([]service.BulkResult, len(ids))
	all, cancel := context.WithTimeout(context.WithoutCancel(ctx), bulkLimit)
	defer cancel()
	workqueue.ForEach(len(ids), o.parallel, o.Spawn, func(i int) {
		ctx, cancel := context.WithTimeout(all, bulkSingleLimit)
		defer cancel()
		results[i] = service.BulkResult{SessionID: ids[i], Err: apperr.Public(act(ctx, ids[i]))}
	})
	return results, nil
}

// checkScans refuses migrations that would cost scans. Sessions that cannot migrate cost
// none.
func (o *Operations) checkScans(ctx context.Context, ids []string, target string) error {
	scans := 0
	for _, id := range ids {
		s, err := o.readSession(ctx, id)
		if domain.CodeOf(err) == domain.CodeSessionNotFound {
			continue
		}
		if err != nil {
			return err
		}
		needsScan, err := o.needsScan(ctx, s, target)
		if err != nil {
			return err
		}
		if needsScan {
			scans++
		}
	}
	if scans > 0 {
		return fleet.ScanRefusal(scans)
	}
	return nil
}

// selectSessions returns the sessions of a bulk action, without duplicates.
func (o *Operations) selectSessions(ctx context.Context, b service.BulkRequest, p *domain.Problems) (ids []string, err error) {
	field := "sessionIds"
	switch {
	case len(b.SessionIDs) > 0:
		isListed := make(map[string]bool, len(b.SessionIDs))
		for _, id := range b.SessionIDs {
			id = domain.NormalizeSessionRef(id)
			if !isListed[id] {
				isListed[id] = true
				ids = append(ids, id)
			}
		}
	case b.Filter == ports.SessionFilter{}:
		p.Add(field, "Session ids or a filter are required")
	default:
		field = "filter"
		err = o.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) error {
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

// record adds an action on a session to the audit trail.
func (o *Operations) record(ctx context.Context, tx *txn.Tx, action domain.AuditAction, id string, details ...string) error {
	return o.Trail().Record(ctx, tx.Tx, action, audit.Object("session", id), details...)
}

func (o *Operations) recordRestart(ctx context.Context, id string) error {
	_, err := o.ChangeSession(ctx, id, func(ctx context.Context, tx *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		if err := s.Restart(o.Now()); err != nil {
			return nil, err
		}
		return nil, o.record(ctx, tx, domain.AuditSessionRestarted, id)
	})
	return err
}

func (o *Operations) recordDisconnect(ctx context.Context, id string) error {
	_, err := o.ChangeSession(ctx, id, func(ctx context.Context, tx *txn.Tx, s *domain.Session) ([]domain.Event, error) {
		if err := o.record(ctx, tx, domain.AuditSessionDisconnected, id); err != nil {
			return nil, err
		}
		if s.Intent == domain.Down && !s.IsAssigned() {
			return nil, txn.ErrUnchanged
		}
		_, events := s.Disconnect(o.Now())
		return events, nil
	})
	return err
}

func (o *Operations) recordDelete(ctx context.Context, id string) error {
	s, err := o.readSession(ctx, id)
	if err != nil {
		return err
	}
	_, err = o.sessions.DeleteInStore(ctx, s.UserID, id)
	return err
}

// Analytics returns the figures of all users in n steps of time.
func (o *Operations) Analytics(ctx context.Context, step time.Duration, n int) ([]service.AnalyticsPoint, error) {
	return o.analytics.Series(ctx, step, n)
}
