package membership

import (
	"context"
	"time"

	"github.com/switchyard-wa/switchyard/domain"
	"github.com/switchyard-wa/switchyard/ports"
)

const alivePollEvery = 100 * time.Millisecond

// ReplicasAlive reports whether replicas work on a store, for a process that is no
// replica yet. It waits for a heartbeat: for the given time, and where rows exist
// for at least the time after which their replicas count as dead.
func ReplicasAlive(ctx context.Context, store ports.Store, wait time.Duration) (bool, error) {
	began := time.Now()
	var heartbeats map[string]time.Time
	for {
		var all []*domain.Replica
		err := store.View(ctx, func(ctx context.Context, tx *ports.Tx) (err error) {
			all, err = tx.Replicas.List(ctx)
			return err
		})
		if err != nil {
			return false, err
		}
		if heartbeats == nil {
			heartbeats = make(map[string]time.Time)
			for _, r := range all {
				heartbeats[r.ID] = r.SeenAt
				wait = max(wait, replicaTimeout)
			}
		}
		for _, r := range all {
			first, known := heartbeats[r.ID]
			if !known || !first.Equal(r.SeenAt) {
				return true, nil
			}
		}
		if time.Since(began) >= wait {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(alivePollEvery):
		}
	}
}
