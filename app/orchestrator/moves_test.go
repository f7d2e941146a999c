package orchestrator_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// overtaken is a store in which something else happens, once, between what an
// Update reads of moves and what it writes.
type overtaken struct {
	ports.Store
	by func()
}

var errNotYet = errors.New("something else comes first")

func (s *overtaken) Update(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	by := s.by
	if by == nil {
		return s.Store.Update(ctx, fn)
	}
	var seen reading
	err := s.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		seen = reading{Migrations: tx.Migrations, Settings: tx.Settings}
		err := fn(ctx, seen.in(tx))
		if seen.counted {
			return errNotYet
		}
		return err
	})
	if !errors.Is(err, errNotYet) {
		return err
	}
	s.by = nil
	by()
	seen.again = true
	return s.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		seen.Migrations, seen.Settings = tx.Migrations, tx.Settings
		return fn(ctx, seen.in(tx))
	})
}

// reading is what an Update has read, and gives it again.
type reading struct {
	ports.Migrations
	ports.Settings
	counted, again bool
	open           []*domain.Migration
	value          string
	missing        error
}

func (r *reading) in(tx *ports.Tx) *ports.Tx {
	spied := *tx
	spied.Migrations, spied.Settings = openMoves{r.Migrations, r}, settingsRead{r.Settings, r}
	return &spied
}

type openMoves struct {
	ports.Migrations
	*reading
}

func (m openMoves) Open(ctx context.Context) (open []*domain.Migration, err error) {
	if !m.again {
		m.counted = true
		m.open, err = m.Migrations.Open(ctx)
	}
	return m.open, err
}

type settingsRead struct {
	ports.Settings
	*reading
}

func (s settingsRead) Get(ctx context.Context, name string) (string, error) {
	if !s.again {
		s.value, s.missing = s.Settings.Get(ctx, name)
	}
	return s.value, s.missing
}

func TestMovesThatBeginOnTwoReplicasAtOnceKeepTheLimit(t *testing.T) {
	for begun := range 3 {
		c := newReplicaSet(t, 2, func(cfg *orchestrator.Config) { cfg.MigrationsPerWorker = begun + 1 })
		a, b := c.all[0], c.all[1]
		c.register(a, "worker-1", 10)
		var sessions []*service.CreatedSession
		for range begun + 2 {
			sessions = append(sessions, c.connected(a))
		}
		c.register(a, "worker-2", 10)
		c.pass(tick)
		c.hands.set(func(call) error { return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"} })
		move := func(by *replica, i int) {
			_, err := by.Operations.Migrate(t.Context(), sessions[i].ID, "", "")
			require.NoError(t, err)
		}
		for i := range begun {
			move(a, i)
		}
		a.store.Store = &overtaken{Store: c.store, by: func() { move(b, begun) }}
		move(a, begun+1)
		_, running, err := a.Operations.ListMigrations(t.Context(), ports.MigrationFilter{Status: domain.MigrationRunning}, ports.Page{})
		require.NoError(t, err)
		require.Equal(t, begun+1, running)
	}
}
