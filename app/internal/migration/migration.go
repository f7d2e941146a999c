package migration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/membership"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const (
	// RecheckEvery is when a session that waits to move is looked at again, if it is
	// not admitted before.
	RecheckEvery = 30 * time.Second

	admitEvery      = 2 * time.Second
	stuckAfter      = 5 * time.Minute     // a migration that takes longer holds up no other
	retention       = 30 * 24 * time.Hour // of migrations that are over
	retryAfterError = time.Second

	// startedSetting counts the migrations started by all replicas.
	startedSetting = "moves.begun"
)

// Limits bounds the migrations under way.
type Limits struct {
	PerWorker int // that leave one worker
	Total     int // in the whole fleet
}

// unlimited admits every migration.
var unlimited = Limits{PerWorker: math.MaxInt, Total: math.MaxInt}

// Migrator admits and starts migrations. It is safe for concurrent use, except for
// Admit, which one goroutine calls.
type Migrator struct {
	*txn.Writer
	members *membership.Members
	cache   *fleet.Cache
	sync    *fleet.Sync
	limits  Limits

	starting sync.Mutex // one start at a time: others of this replica would only conflict
	admitAt  time.Time

	runningSince runningSince
}

// New returns a migrator.
func New(w *txn.Writer, m *membership.Members, c *fleet.Cache, s *fleet.Sync, l Limits) *Migrator {
	return &Migrator{Writer: w, members: m, cache: c, sync: s, limits: l}
}

// Detach lets a session leave its worker by leave, with a migration of its own unless
// it has one.
func (m *Migrator) Detach(ctx context.Context, tx *txn.Tx, s *domain.Session, kind domain.MigrationKind, batch, reason string, leave func()) error {
	if s.MigrationID != "" {
		leave()
		return nil
	}
	now := m.Now()
	migration := domain.NewMigration(m.IDs.NewID(), s, kind, "", reason, now)
	migration.BatchID = batch
	s.Migrate(migration, now)
	leave()
	migration.SyncWithSession(s, now)
	return tx.Migrations.Put(ctx, migration)
}

// Start lets a session leave its worker, which is draining or which the session's
// migration leaves, if the limits admit it and a worker has room for it. isStarted
// reports whether the session has more to do now.
func (m *Migrator) Start(ctx context.Context, s *domain.Session) (isStarted bool, err error) {
	return m.start(ctx, s, m.limits)
}

// StartUnlimited starts as Start does, and does not wait for admission: its worker is
// being removed. The migration counts all the same.
func (m *Migrator) StartUnlimited(ctx context.Context, s *domain.Session) (isStarted bool, err error) {
	return m.start(ctx, s, unlimited)
}

func (m *Migrator) start(ctx context.Context, s *domain.Session, limits Limits) (isStarted bool, err error) {
	req, err := m.sync.PlacementRequest(ctx, s, []string{s.WorkerID})
	if err != nil {
		return false, err
	}
	hasRoom := m.cache.HasRoom(req, m.Now())
	m.starting.Lock()
	defer m.starting.Unlock()
	_, err = m.ChangeSession(ctx, s.ID, func(ctx context.Context, tx *txn.Tx, current *domain.Session) ([]domain.Event, error) {
		isStarted = false
		if current.Rev != s.Rev {
			return nil, txn.ErrUnchanged
		}
		ended, err := m.endIfLinked(ctx, tx, current)
		if ended || err != nil {
			isStarted = ended
			return nil, err
		}
		started, err := tx.Settings.Get(ctx, startedSetting) // before the open ones are counted
		if err != nil && !errors.Is(err, ports.ErrNotFound) {
			return nil, err
		}
		open, err := tx.Migrations.Open(ctx)
		if err != nil {
			return nil, err
		}
		isFull := m.count(open).isFull(current.WorkerID, limits)
		canPlace := hasRoom
		if current.MigrationTargetID != "" {
			target, err := m.checkTarget(ctx, tx, current, req, open)
			if err != nil || target == targetGone {
				isStarted = err == nil
				return nil, err
			}
			canPlace = target == targetFits
		}
		if !canPlace || isFull {
			current.DueAt = m.Now().Add(RecheckEvery)
			if !canPlace {
				current.Attempts++ // tells all replicas that it is too early for another look
			}
			return nil, nil
		}
		isStarted = true
		n, _ := strconv.ParseInt(started, 10, 64)
		if err := tx.Settings.CompareAndSwap(ctx, startedSetting, started, strconv.FormatInt(n+1, 10)); err != nil {
			return nil, err
		}
		return nil, m.requestStop(ctx, tx, current)
	})
	return isStarted, err
}

// endIfLinked ends the migration of a session that was linked on its worker since the
// request, and that nobody allowed to leave its home.
func (m *Migrator) endIfLinked(ctx context.Context, tx *txn.Tx, s *domain.Session) (ended bool, err error) {
	if s.MigrationID == "" {
		return false, nil
	}
	w, err := tx.Workers.Get(ctx, s.WorkerID)
	if err != nil || !s.IsBoundToHome(w) {
		return false, err
	}
	migration, err := tx.Migrations.Get(ctx, s.MigrationID)
	if err != nil {
		return false, err
	}
	migration.FailPending(s, "the session was linked meanwhile and would need a scan elsewhere; use force=true to move it all the same", m.Now())
	return true, tx.Migrations.Put(ctx, migration)
}

// requestStop commands the session to leave its worker.
func (m *Migrator) requestStop(ctx context.Context, tx *txn.Tx, s *domain.Session) error {
	w, err := tx.Workers.Get(ctx, s.WorkerID)
	if err != nil {
		return err
	}
	reason := "the worker is being drained"
	if !w.Draining {
		reason = "the worker is in maintenance"
	}
	return m.Detach(ctx, tx, s, domain.MigrationByDrain, w.DrainID, reason, func() { s.RequestStopForMove(m.Now()) })
}

// targetState tells whether the target of a migration can take its session.
type targetState int

const (
	targetFits targetState = iota
	targetFull             // for now
	targetGone             // the migration is over
)

// checkTarget looks whether the target of a session's migration can still take it, and
// ends the migration if it never will.
func (m *Migrator) checkTarget(ctx context.Context, tx *txn.Tx, s *domain.Session, req domain.Request, open []*domain.Migration) (targetState, error) {
	i := slices.IndexFunc(open, func(o *domain.Migration) bool { return o.ID == s.MigrationID })
	if i < 0 {
		s.MigrationID, s.MigrationTargetID = "", ""
		return targetGone, nil
	}
	migration := open[i]
	obstacle, free, err := m.PlacementObstacle(ctx, tx, migration.ToWorker, req)
	if err != nil {
		return targetGone, err
	}
	if obstacle != "" {
		migration.FailPending(s, fmt.Sprintf("%s cannot take the session any more: %s", migration.ToWorker, obstacle), m.Now())
		return targetGone, tx.Migrations.Put(ctx, migration)
	}
	if free <= m.CountInbound(open, migration, domain.MigrationRunning) {
		return targetFull, nil
	}
	return targetFits, nil
}

// PlacementObstacle returns why a worker cannot take a request, or the empty string and
// how many slots are free.
func (m *Migrator) PlacementObstacle(ctx context.Context, tx *txn.Tx, workerID string, req domain.Request) (obstacle string, free int, err error) {
	w, err := tx.Workers.Get(ctx, workerID)
	if errors.Is(err, ports.ErrNotFound) {
		return "it is not there any more", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	_, all := m.cache.Explain([]domain.Load{fleet.LoadOf(w)}, req, m.Now())
	return all[0].Excluded, w.Capacity - w.Used, nil
}

// CountInbound counts other sessions that migrate to the target of a migration, by
// migrations in one of the statuses, and have not arrived.
func (m *Migrator) CountInbound(open []*domain.Migration, to *domain.Migration, statuses ...domain.MigrationStatus) (n int) {
	for _, o := range open {
		if o.ID != to.ID && o.ToWorker == to.ToWorker && slices.Contains(statuses, o.Status) && m.cache.WorkerOf(o.SessionID) != o.ToWorker {
			n++
		}
	}
	return n
}

// Housekeep deletes migrations that are over for longer than the retention.
func (m *Migrator) Housekeep(ctx context.Context, now time.Time) error {
	return m.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		return tx.Migrations.DeleteBefore(ctx, now.Add(-retention))
	})
}
