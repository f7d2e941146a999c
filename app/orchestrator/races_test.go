package orchestrator_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/conformance/storehooks"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// hideConcurrentMoves makes each Update see the open moves as they were before it began, as
// weak isolation levels of databases do.
func (r *replica) hideConcurrentMoves() {
	r.store.AroundUpdate = func(ctx context.Context, fn storehooks.Func, update func(context.Context, storehooks.Func) error) error {
		var open []*domain.Migration
		err := r.store.Store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			open, err = tx.Migrations.Open(ctx)
			return err
		})
		if err != nil {
			return err
		}
		time.Sleep(time.Millisecond) // other transactions begin
		return update(ctx, storehooks.WithTx(fn, func(_ context.Context, tx *ports.Tx) {
			tx.Migrations = openBefore{tx.Migrations, open}
		}))
	}
}

type openBefore struct {
	ports.Migrations
	open []*domain.Migration
}

func (m openBefore) Open(context.Context) ([]*domain.Migration, error) { return m.open, nil }

// TestMovesOfAReplicaBeginOneAtATime: the limits of moves hold, whatever the transactions of the store see of each other.
func TestMovesOfAReplicaBeginOneAtATime(t *testing.T) {
	c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
		cfg.Spawn, cfg.Parallel = nil, 24
	})
	a := c.all[0]
	a.hideConcurrentMoves()
	c.register(a, "worker-1", 50)
	ids := c.full([]string{"worker-1"}, 20)
	c.register(a, "worker-2", 50)
	c.hub.Join().Publish(ports.Invalidation{All: true})
	c.step()
	c.hands.set(func(made call) error {
		if made.kind == "disconnect" {
			return &ports.WorkerError{Failure: ports.WorkerTimedOut, Message: "timed out"} // so they are under way for long
		}
		return nil
	})
	_, err := a.Operations.Bulk(t.Context(), service.BulkRequest{Action: service.BulkMigrate, SessionIDs: ids})
	require.NoError(t, err)
	c.step()
	require.Equal(t, 4, c.hands.made("disconnect"))
}
