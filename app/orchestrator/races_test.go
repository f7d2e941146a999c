package orchestrator_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-wa/switchyard/app/orchestrator"
	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
	"github.com/switchyard-wa/switchyard/ports/service"
)

// blindStore is one on which transactions that run at the same time do not see which
// moves the others begin, as on isolation levels that databases begin with.
type blindStore struct{ ports.Store }

func (s blindStore) Update(ctx context.Context, fn func(context.Context, *ports.Tx) error) error {
	var open []*domain.Migration
	err := s.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
		open, err = tx.Migrations.Open(ctx)
		return err
	})
	if err != nil {
		return err
	}
	time.Sleep(time.Millisecond) // others begin
	return s.Store.Update(ctx, func(ctx context.Context, tx *ports.Tx) error {
		blind := *tx
		blind.Migrations = openBefore{tx.Migrations, open}
		return fn(ctx, &blind)
	})
}

type openBefore struct {
	ports.Migrations
	open []*domain.Migration
}

func (m openBefore) Open(context.Context) ([]*domain.Migration, error) { return m.open, nil }

// TestMovesOfAReplicaBeginOneAtATime: the limits of moves hold, whatever the transactions of the store see of each other.
func TestMovesOfAReplicaBeginOneAtATime(t *testing.T) {
	c := newReplicaSet(t, 1, func(cfg *orchestrator.Config) {
		cfg.Store, cfg.Spawn, cfg.Parallel = blindStore{cfg.Store}, nil, 24
	})
	a := c.all[0]
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
