package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

type migrationRow struct{ v *domain.Migration }

func migrationAge(a, b *migrationRow) int {
	return cmp.Or(a.v.CreatedAt.Compare(b.v.CreatedAt), cmp.Compare(a.v.ID, b.v.ID))
}

func (r *migrationRow) clone() *domain.Migration {
	m := *r.v
	return &m
}

func (r *migrationRow) rev() int64 {
	if r == nil {
		return 0
	}
	return r.v.Rev
}

// migrations is the repository of migrations.
type migrations struct{ *txn }

func (t migrations) Get(_ context.Context, id string) (*domain.Migration, error) {
	return find(t.txn, t.s.migrations, id, (*migrationRow).clone)
}

func (t migrations) Put(_ context.Context, m *domain.Migration) error {
	if err := t.writable(); err != nil {
		return err
	}
	r := t.s.migrations[m.ID]
	if err := checkRev(r, m.Rev); err != nil {
		return err
	}
	if r == nil {
		r = &migrationRow{}
	}
	v := *m
	truncate(&v.CreatedAt, &v.StartedAt, &v.CompletedAt)
	v.Rev = t.s.nextRev()
	t.set(r, &v)
	m.Rev = v.Rev
	return nil
}

func (t migrations) List(_ context.Context, f ports.MigrationFilter, p ports.Page) ([]*domain.Migration, int, error) {
	if err := t.readable(); err != nil {
		return nil, 0, err
	}
	rows := filterLatest(t.s.migrationOrder, func(r *migrationRow) bool {
		return (f.SessionID == "" || r.v.SessionID == f.SessionID) &&
			(f.WorkerID == "" || r.v.FromWorker == f.WorkerID || r.v.ToWorker == f.WorkerID) &&
			(f.BatchID == "" || r.v.BatchID == f.BatchID) &&
			(f.Kind == "" || r.v.Kind == f.Kind) && (f.Status == "" || r.v.Status == f.Status)
	})
	return copies(page(rows, p), (*migrationRow).clone), len(rows), nil
}

func (t migrations) Open(context.Context) ([]*domain.Migration, error) {
	if err := t.readable(); err != nil {
		return nil, err
	}
	return copies(t.s.openMigrations, (*migrationRow).clone), nil
}

func (t migrations) DeleteBefore(_ context.Context, before time.Time) error {
	if err := t.writable(); err != nil {
		return err
	}
	for _, r := range slices.Clone(t.s.migrationOrder) {
		if ended := r.v.CompletedAt; !ended.IsZero() && ended.Before(before) {
			t.set(r, nil)
		}
	}
	return nil
}

func (t migrations) set(r *migrationRow, v *domain.Migration) {
	old := r.v
	t.s.setMigration(r, v)
	t.onRollback(func() { t.s.setMigration(r, old) })
}

// setMigration sets the value of a row, or removes the row if v is nil, in every index.
func (s *Store) setMigration(r *migrationRow, v *domain.Migration) {
	if old := r.v; old != nil {
		delete(s.migrations, old.ID)
		s.migrationOrder.remove(r, migrationAge)
		if isOpen(old) {
			s.openMigrations.remove(r, migrationAge)
		}
	}
	r.v = v
	if v != nil {
		s.migrations[v.ID] = r
		s.migrationOrder.add(r, migrationAge)
		if isOpen(v) {
			s.openMigrations.add(r, migrationAge)
		}
	}
}

func isOpen(m *domain.Migration) bool {
	return m.Status == domain.MigrationPending || m.Status == domain.MigrationRunning
}
