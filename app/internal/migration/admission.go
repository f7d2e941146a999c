package migration

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/switchyard-wa/switchyard/app/internal/fleet"
	"github.com/switchyard-wa/switchyard/app/internal/txn"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

// counts counts the migrations under way.
type counts struct {
	total    int
	byWorker map[string]int // by the worker that they leave
}

// count counts the running migrations among the open ones. A failover that waits for
// room burdens nobody. A stuck migration counts at its worker alone, as long as its
// session is there.
func (m *Migrator) count(open []*domain.Migration) *counts {
	c := &counts{byWorker: make(map[string]int)}
	since := m.runningSince.update(open, m.Now())
	for _, o := range open {
		waitsForRoom := o.Kind == domain.MigrationByFailover && o.ToWorker == ""
		isStuck := since[o.ID] >= stuckAfter
		switch {
		case o.Status != domain.MigrationRunning || waitsForRoom:
		case !isStuck:
			c.add(o.FromWorker)
		case m.cache.WorkerOf(o.SessionID) == o.FromWorker:
			c.byWorker[o.FromWorker]++
		}
	}
	return c
}

func (c *counts) add(worker string) {
	c.total++
	c.byWorker[worker]++
}

// isFull reports whether the limits let no further session leave the worker for now.
func (c *counts) isFull(worker string, l Limits) bool {
	return c.total >= l.Total || c.byWorker[worker] >= l.PerWorker
}

// runningSince knows when this replica first saw each running migration. When it began
// is recorded by the clock of whichever replica began it.
type runningSince struct {
	mu     sync.Mutex
	seenAt map[string]time.Time
}

// update returns for how long each running migration has been seen.
func (r *runningSince) update(open []*domain.Migration, now time.Time) map[string]time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	since, seenAt := make(map[string]time.Duration), make(map[string]time.Time)
	for _, o := range open {
		if o.Status != domain.MigrationRunning {
			continue
		}
		at, known := r.seenAt[o.ID]
		if !known {
			at = now
		}
		seenAt[o.ID], since[o.ID] = at, now.Sub(at)
	}
	r.seenAt = seenAt
	return since
}

// Admit makes sessions due that may start to move now. It returns when it must be
// called again; zero: no session waits.
func (m *Migrator) Admit(ctx context.Context) (time.Time, error) {
	now := m.Now()
	if err := m.returnHome(ctx, now); err != nil {
		return now.Add(retryAfterError), err
	}
	waiting := m.cache.WaitingToMove()
	hasEnded := m.cache.MigrationEnded.Take()
	switch {
	case len(waiting) == 0:
		return time.Time{}, nil
	case !hasEnded && now.Before(m.admitAt):
		return m.admitAt, nil
	}
	m.admitAt = now.Add(admitEvery)
	if !m.members.OwnsWork("turns") {
		return m.admitAt, nil
	}
	var open []*domain.Migration
	err := m.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		open, err = tx.Migrations.Open(ctx)
		return err
	})
	if err != nil {
		return now.Add(retryAfterError), err
	}
	ids := m.nextToMove(open, waiting, now)
	if len(ids) == 0 {
		return m.admitAt, nil
	}
	return m.admitAt, m.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		for _, id := range ids {
			if err := m.makeDue(ctx, tx, id, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// returnHome records the migrations of sessions that have to scan elsewhere and whose
// homes are back.
func (m *Migrator) returnHome(ctx context.Context, now time.Time) error {
	ids := m.cache.ReadyToReturn(now)
	if len(ids) == 0 || !m.members.OwnsWork("turns") {
		return nil
	}
	return m.Transact(ctx, func(ctx context.Context, tx *txn.Tx) error {
		for _, id := range ids {
			s, err := tx.Sessions.Get(ctx, id)
			if errors.Is(err, ports.ErrNotFound) || err == nil && !s.ShouldReturnHome() {
				continue
			}
			if err != nil {
				return err
			}
			before := s.Clone()
			migration := domain.NewMigration(m.IDs.NewID(), s, domain.MigrationByReturn, s.CredentialsWorkerID, "the worker with its credentials is back", now)
			s.Migrate(migration, now)
			s.DueAt = now
			if err := tx.Migrations.Put(ctx, migration); err != nil {
				return err
			}
			if err := tx.SaveSession(ctx, before, s, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeDue makes a session due if it still waits to move.
func (m *Migrator) makeDue(ctx context.Context, tx *txn.Tx, sessionID string, now time.Time) error {
	s, err := tx.Sessions.Get(ctx, sessionID)
	if errors.Is(err, ports.ErrNotFound) || err == nil && !s.IsAssigned() {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := tx.Workers.Get(ctx, s.WorkerID)
	if err != nil && !errors.Is(err, ports.ErrNotFound) {
		return err
	}
	isDue := !s.DueAt.IsZero() && !s.DueAt.After(now)
	if step, _ := m.members.NextStep(s, w, now); step != domain.StepStopForMove || isDue {
		return nil
	}
	before := s.Clone()
	s.DueAt = now
	return tx.SaveSession(ctx, before, s, nil)
}

// nextToMove returns as many waiting sessions as may start, in order.
func (m *Migrator) nextToMove(open []*domain.Migration, waiting []*fleet.Assignment, now time.Time) (ids []string) {
	positions := make(map[string]int, len(open))
	for i, o := range open {
		positions[o.ID] = i
	}
	position := func(a *fleet.Assignment) int {
		if i, ok := positions[a.MigrationID]; ok {
			return i
		}
		return len(open)
	}
	slices.SortFunc(waiting, func(a, b *fleet.Assignment) int {
		return cmp.Or(cmp.Compare(position(a), position(b)), cmp.Compare(a.SessionID, b.SessionID))
	})
	c := m.count(open)
	for _, a := range waiting {
		if !c.isFull(a.WorkerID, m.limits) && (a.Attempts == 0 || !now.Before(a.DueAt)) {
			ids = append(ids, a.SessionID)
			c.add(a.WorkerID)
		}
	}
	return ids
}
