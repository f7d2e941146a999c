package orchestrator_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

var errNotYet = errors.New("something else comes first")

// overtakeAfterCounting makes the next Update of the replica that counts open moves lose a
// race: the Update rolls back after it has counted, other runs, and the Update runs again
// with what it has read before.
func (r *replica) overtakeAfterCounting(other func()) {
	r.store.AroundUpdate = func(ctx context.Context, fn storehooks.Func, update func(context.Context, storehooks.Func) error) error {
		var seen reading
		err := update(ctx, func(ctx context.Context, tx *ports.Tx) error {
			seen = reading{}
			err := storehooks.WithTx(fn, seen.replace)(ctx, tx)
			if seen.counted {
				return errNotYet
			}
			return err
		})
		if !errors.Is(err, errNotYet) {
			return err
		}
		r.store.AroundUpdate = nil
		other()
		seen.again = true
		return update(ctx, storehooks.WithTx(fn, seen.replace))
	}
}

// reading records what an Update has read of moves, and returns it again to a later run.
type reading struct {
	counted, again bool
	open           []*domain.Migration
	value          string
	missing        error
}

func (r *reading) replace(_ context.Context, tx *ports.Tx) {
	tx.Migrations, tx.Settings = openMoves{tx.Migrations, r}, settingsRead{tx.Settings, r}
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
		a.overtakeAfterCounting(func() { move(b, begun) })
		move(a, begun+1)
		_, running, err := a.Operations.ListMigrations(t.Context(), ports.MigrationFilter{Status: domain.MigrationRunning}, ports.Page{})
		require.NoError(t, err)
		require.Equal(t, begun+1, running)
	}
}
